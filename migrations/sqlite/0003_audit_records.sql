-- Whose data stands beside the log. Erasing somebody takes the salt; the row stays, so that nothing
-- about the subject is ever kept again.
CREATE TABLE audit_subjects (
    tenant_id     TEXT   NOT NULL,
    subject       TEXT   NOT NULL,           -- kind:id
    salt          BLOB,                     -- null: erased
    created_at_us BIGINT NOT NULL,
    erased_at_us  BIGINT,
    PRIMARY KEY (tenant_id, subject)
);

-- The clear values that leaves commit to.
CREATE TABLE audit_beside (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,           -- of the record
    subject       TEXT   NOT NULL,           -- '' for what is nobody's
    clear_values  TEXT   NOT NULL,           -- JSON object of strings, by field
    PRIMARY KEY (tenant_id, id, subject)
);
CREATE INDEX audit_beside_by_subject ON audit_beside (tenant_id, subject);

-- Until the record is sequenced: JSON, [{subject, values}].
ALTER TABLE audit_outbox ADD COLUMN beside TEXT NOT NULL DEFAULT '[]';
