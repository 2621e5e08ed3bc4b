-- The tenant's key that signs models for others to verify (OpenSSF Model Signing).
CREATE TABLE model_signing_keys (
    tenant_id     TEXT   NOT NULL,
    wrapped_key   BYTEA   NOT NULL,           -- PKCS#8, under the installation's key
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id)
);
