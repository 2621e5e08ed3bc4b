-- OpenID providers at which a tenant's people log in.
CREATE TABLE identity_providers (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    name          TEXT   NOT NULL,           -- as people choose it
    issuer        TEXT   NOT NULL,
    client_id     TEXT   NOT NULL,
    wrapped_secret BLOB,                     -- NULL for a client that has none
    settings      TEXT   NOT NULL,           -- JSON
    enabled       BIGINT NOT NULL,           -- 0 | 1
    revision      BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX identity_providers_by_name ON identity_providers (tenant_id, name);

-- Who a provider's subject is here, and what it said about them at the last log-in.
CREATE TABLE user_identities (
    tenant_id     TEXT   NOT NULL,
    provider_id   TEXT   NOT NULL,
    subject       TEXT   NOT NULL,
    user_id       TEXT   NOT NULL,
    groups        TEXT   NOT NULL,           -- JSON list of those that are mapped to roles
    linked_at_us  BIGINT NOT NULL,
    seen_at_us    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, provider_id, subject)
);
CREATE UNIQUE INDEX user_identities_by_user ON user_identities (tenant_id, user_id, provider_id);

-- Log-ins that went to a provider and are not back yet.
CREATE TABLE sso_logins (
    tenant_id     TEXT   NOT NULL,
    state_sha256  BLOB   NOT NULL,
    browser_sha256 BLOB  NOT NULL,           -- of the cookie of the browser that began it
    provider_id   TEXT   NOT NULL,
    provider_revision BIGINT NOT NULL,
    next_path     TEXT   NOT NULL,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, state_sha256)
);

-- Programs that wait for a person to let them log in (RFC 8628).
CREATE TABLE device_logins (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    provider_id   TEXT   NOT NULL,
    device_sha256 BLOB   NOT NULL,           -- of the secret that the program polls with
    user_code_sha256 BLOB NOT NULL,          -- of the code that the person compares
    source        TEXT   NOT NULL,           -- address of the program
    state         TEXT   NOT NULL,           -- waiting | allowed | refused
    session_id    TEXT   NOT NULL,           -- the log-in of whoever allowed it
    interval_s    BIGINT NOT NULL,
    polled_at_us  BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX device_logins_by_device ON device_logins (device_sha256);
CREATE INDEX device_logins_by_user_code ON device_logins (user_code_sha256);

-- Where a log-in came from, when it was not a password.
ALTER TABLE login_sessions ADD COLUMN provider_id TEXT NOT NULL DEFAULT '';
ALTER TABLE login_sessions ADD COLUMN provider_sid TEXT NOT NULL DEFAULT '';
ALTER TABLE login_sessions ADD COLUMN wrapped_id_token BLOB;
CREATE INDEX login_sessions_by_provider ON login_sessions (tenant_id, provider_id, provider_sid);

-- Whose tokens stand for a service account.
CREATE TABLE federation_rules (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    service_account_id TEXT NOT NULL,
    issuer        TEXT   NOT NULL,
    audience      TEXT   NOT NULL,
    conditions    TEXT   NOT NULL,           -- JSON: claim and pattern
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX federation_rules_by_account ON federation_rules (tenant_id, service_account_id);

-- Tokens of other issuers that were used: each is good once.
CREATE TABLE foreign_token_uses (
    tenant_id     TEXT   NOT NULL,
    use_sha256    BLOB   NOT NULL,           -- of issuer and jti
    expires_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, use_sha256)
);
