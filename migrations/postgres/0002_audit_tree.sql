-- The key that signs a log's checkpoints: Ed25519.
CREATE TABLE audit_keys (
    tenant_id     TEXT   NOT NULL,
    public_key    BYTEA NOT NULL,
    wrapped_key   BYTEA NOT NULL,            -- PKCS#8
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id)
);

-- Hashes of the tree, 256 neighbours a row: every proof is made of a few rows.
CREATE TABLE audit_tiles (
    tenant_id     TEXT   NOT NULL,
    level         BIGINT NOT NULL,           -- 0: leaves, 1: roots of full tiles of level 0, ...
    tile          BIGINT NOT NULL,
    hashes        BYTEA NOT NULL,            -- concatenated, at most 256
    PRIMARY KEY (tenant_id, level, tile)
);

-- What the log signed, as signed notes. Never changed, but for cosignatures that are added.
CREATE TABLE audit_checkpoints (
    tenant_id     TEXT   NOT NULL,
    size          BIGINT NOT NULL,
    note          TEXT   NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, size)
);
