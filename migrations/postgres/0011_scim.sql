-- Where a group comes from: local | scim. What SCIM looks after, it alone changes.
ALTER TABLE groups ADD COLUMN source TEXT NOT NULL DEFAULT 'local';
-- What an identity provider calls a person, looked up by it.
CREATE INDEX users_by_external_id ON users (tenant_id, external_id);
