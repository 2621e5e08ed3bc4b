-- Certificate authorities before the present ones, which are in `installation` and `tenants`. tenant_id
-- '': roots of the installation; else issuing CAs of that tenant. Their keys are gone.
CREATE TABLE past_cas (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,           -- SHA-256 of the certificate, hexadecimal
    cert_der      BYTEA   NOT NULL,
    cross_der     BYTEA   NOT NULL,           -- of a root: its certificate for the root after it; or empty
    replaced_at_us BIGINT NOT NULL,
    retired_at_us BIGINT,                    -- NULL: what it signed still counts
    PRIMARY KEY (tenant_id, id)
);

-- Which issuing CA a device's newest certificate is from; '' until the first rotation: from the only one.
ALTER TABLE devices ADD COLUMN ca_id TEXT NOT NULL DEFAULT '';
