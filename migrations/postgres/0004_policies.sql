-- Cedar policies of a tenant beside the roles, which are part of the program.
CREATE TABLE policies (
    tenant_id     TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    text          TEXT   NOT NULL,
    revision      BIGINT NOT NULL,           -- ETag
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- What policies go by. No row: nothing was changed yet.
CREATE TABLE access_settings (
    tenant_id     TEXT   NOT NULL,
    revision      BIGINT NOT NULL,           -- grows with every change of a policy or a setting
    time_zone     TEXT   NOT NULL,           -- IANA name
    PRIMARY KEY (tenant_id)
);

-- A tenant's first token is its owner's: somebody has to be able to change policies.
UPDATE api_tokens SET role = 'owner'
WHERE tenant_id <> '' AND role = 'admin' AND name = 'first admin';
