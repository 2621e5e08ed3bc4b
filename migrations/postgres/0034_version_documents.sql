-- What goes with a version for people and their programs. The manifest names each by its SHA-256.
CREATE TABLE version_documents (
    tenant_id  TEXT NOT NULL,
    version_id TEXT NOT NULL,
    kind       TEXT NOT NULL,                -- 'bom', 'card'
    body       BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, version_id, kind)
);
