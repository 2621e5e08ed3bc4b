-- Requests that need other people's consent. What was asked is kept, so that nothing else is done
-- with the consent.
CREATE TABLE approvals (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    action        TEXT   NOT NULL,
    facts         TEXT   NOT NULL,           -- JSON: what policies saw
    request       TEXT   NOT NULL,           -- method and path, for people
    request_sha256 BYTEA  NOT NULL,           -- method, path and body
    requested_by  TEXT   NOT NULL,           -- subject's id
    requested_by_name TEXT NOT NULL,
    justification TEXT   NOT NULL,
    needed        BIGINT NOT NULL,
    state         TEXT   NOT NULL,           -- open | rejected | used
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX approvals_by_request ON approvals (tenant_id, request_sha256);

-- Electronic signatures: who, when, and what signing means.
CREATE TABLE approval_signatures (
    tenant_id     TEXT   NOT NULL,
    approval_id   TEXT   NOT NULL,
    signer        TEXT   NOT NULL,           -- subject's id
    signer_name   TEXT   NOT NULL,
    method        TEXT   NOT NULL,           -- how the signer proved who they are
    meaning       TEXT   NOT NULL,           -- approved | reviewed | rejected
    comment       TEXT   NOT NULL,
    signed_at_us  BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, approval_id, signer)
);

-- Who made a token: nobody signs for themselves with a token of their own making.
ALTER TABLE api_tokens ADD COLUMN created_by TEXT NOT NULL DEFAULT '';
