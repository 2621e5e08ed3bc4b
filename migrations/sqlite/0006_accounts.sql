-- People of a tenant.
CREATE TABLE users (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    user_name     TEXT   NOT NULL,           -- lower case
    display_name  TEXT   NOT NULL,
    email         TEXT   NOT NULL,
    external_id   TEXT   NOT NULL,           -- of an identity provider; '' for local accounts
    source        TEXT   NOT NULL,           -- local | oidc | scim
    active        BIGINT NOT NULL,           -- 0 | 1
    roles         TEXT   NOT NULL,           -- JSON list
    password_hash TEXT   NOT NULL,           -- PHC string; '' without a password
    failures      BIGINT NOT NULL,           -- log-ins failed in a row
    locked_until_us BIGINT NOT NULL,
    totp_secret   BLOB,                      -- wrapped; NULL without
    totp_confirmed BIGINT NOT NULL,          -- 0 | 1
    totp_last_step BIGINT NOT NULL,          -- newest time step that was used
    invite_sha256 BLOB,                      -- of the token that sets the first or a new password
    invite_expires_at_us BIGINT NOT NULL,
    revision      BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    last_login_at_us BIGINT,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX users_by_name ON users (tenant_id, user_name);

CREATE TABLE recovery_codes (
    tenant_id     TEXT   NOT NULL,
    user_id       TEXT   NOT NULL,
    code_sha256   BLOB   NOT NULL,
    used_at_us    BIGINT,
    PRIMARY KEY (tenant_id, user_id, code_sha256)
);

CREATE TABLE groups (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    external_id   TEXT   NOT NULL,
    roles         TEXT   NOT NULL,           -- JSON list
    revision      BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX groups_by_name ON groups (tenant_id, name);

CREATE TABLE group_members (
    tenant_id     TEXT   NOT NULL,
    group_id      TEXT   NOT NULL,
    user_id       TEXT   NOT NULL,
    PRIMARY KEY (tenant_id, group_id, user_id)
);
CREATE INDEX group_members_by_user ON group_members (tenant_id, user_id);

-- A log-in. Its access tokens are short-lived and not stored.
CREATE TABLE login_sessions (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    user_id       TEXT   NOT NULL,
    method        TEXT   NOT NULL,
    source        TEXT   NOT NULL,           -- address of the log-in
    signed_in_at_us BIGINT NOT NULL,
    secret_sha256 BLOB   NOT NULL UNIQUE,    -- of the newest refresh token
    previous_sha256 BLOB,                    -- of the one before it
    rotated_at_us BIGINT NOT NULL,
    idle_ends_at_us BIGINT NOT NULL,
    ends_at_us    BIGINT NOT NULL,
    ended_at_us   BIGINT,
    ended_because TEXT   NOT NULL,           -- logout | revoked | reuse | password | disabled
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX login_sessions_by_user ON login_sessions (tenant_id, user_id);
CREATE INDEX login_sessions_by_previous ON login_sessions (previous_sha256);

-- Keys that sign access tokens: of the installation, so tenant_id is ''.
CREATE TABLE session_keys (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    public_key    BLOB   NOT NULL,
    wrapped_key   BLOB   NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- Programs with an account: several tokens, one identity.
CREATE TABLE service_accounts (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    roles         TEXT   NOT NULL,           -- JSON list
    active        BIGINT NOT NULL,
    revision      BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX service_accounts_by_name ON service_accounts (tenant_id, name);

-- What a token is narrowed to, as JSON list of actions; '' is all that its role allows.
ALTER TABLE api_tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN service_account_id TEXT NOT NULL DEFAULT '';
-- The token that this one takes the place of.
ALTER TABLE api_tokens ADD COLUMN rotates TEXT NOT NULL DEFAULT '';
