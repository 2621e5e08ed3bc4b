-- The private keys of a tenant's TUF repository that the controller holds, one for each role.
CREATE TABLE trust_keys (
    tenant_id     TEXT   NOT NULL,
    role          TEXT   NOT NULL,          -- root, targets, snapshot, timestamp
    wrapped_key   BLOB NOT NULL,            -- PKCS#8
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, role)
);

-- Signed metadata of the repository, as served. Never changed; roots are kept for ever.
CREATE TABLE trust_metadata (
    tenant_id     TEXT   NOT NULL,
    role          TEXT   NOT NULL,
    version       BIGINT NOT NULL,
    file          BLOB NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, role, version)
);
