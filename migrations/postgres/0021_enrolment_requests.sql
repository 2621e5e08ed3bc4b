-- Where devices without a token may ask to be let in: public_id is not secret, its SHA-256 finds the row.
CREATE TABLE enrolment_doors (
    tenant_id     TEXT   NOT NULL,
    public_id     TEXT   NOT NULL,
    public_sha256 BYTEA   NOT NULL UNIQUE,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id)
);

-- Devices that ask. state: waiting | approved | rejected | done.
CREATE TABLE enrolment_requests (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    public_key    BYTEA   NOT NULL,           -- SubjectPublicKeyInfo, DER
    fingerprint   TEXT   NOT NULL,           -- of it, as both sides show it
    name          TEXT   NOT NULL,           -- as the device says; '' if it does not
    labels        TEXT   NOT NULL,           -- JSON, as the device says
    facts         TEXT   NOT NULL,           -- JSON, as the device says
    address       TEXT   NOT NULL,           -- where the request came from
    state         TEXT   NOT NULL,
    -- What the operator decided.
    given_name    TEXT   NOT NULL,
    given_labels  TEXT   NOT NULL,           -- JSON
    reason        TEXT   NOT NULL,
    device_id     TEXT   NOT NULL,           -- once it enrolled
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX enrolment_requests_by_key ON enrolment_requests (tenant_id, public_key);

-- Manufacturers whose certificates let devices in.
CREATE TABLE claim_cas (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    cert_der      BYTEA   NOT NULL,
    labels        TEXT   NOT NULL,           -- JSON, given to each device
    names         TEXT   NOT NULL,           -- JSON list of patterns; empty: any name
    revoked       TEXT   NOT NULL,           -- JSON list of serial numbers, hexadecimal
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- Certificates that let a device in: each does so once, unless it is released.
CREATE TABLE claim_uses (
    tenant_id     TEXT   NOT NULL,
    certificate   TEXT   NOT NULL,           -- SHA-256 of issuer key and serial number, hexadecimal
    ca_id         TEXT   NOT NULL,
    serial        TEXT   NOT NULL,           -- hexadecimal, for people
    device_id     TEXT   NOT NULL,
    used_at_us    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, certificate)
);
