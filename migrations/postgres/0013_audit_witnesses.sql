-- Who is asked to cosign a log's checkpoints.
CREATE TABLE audit_witnesses (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    name          TEXT   NOT NULL,           -- of its key
    verifier      TEXT   NOT NULL,           -- its public key, as C2SP signed notes have it
    url           TEXT   NOT NULL,           -- submission prefix
    state         TEXT   NOT NULL,           -- waiting | cosigned | unreachable | refused | contradicted
    held_size     BIGINT NOT NULL,           -- records of the log as the witness holds it
    cosigned_at_us BIGINT,
    last_error    TEXT   NOT NULL,
    failures      BIGINT NOT NULL,           -- in a row
    next_try_at_us BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX audit_witnesses_by_name ON audit_witnesses (tenant_id, name);

-- What witnesses signed; kept when a witness is asked no longer.
CREATE TABLE audit_cosignatures (
    tenant_id     TEXT   NOT NULL,
    size          BIGINT NOT NULL,           -- of the checkpoint
    verifier      TEXT   NOT NULL,
    line          TEXT   NOT NULL,           -- signature line
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, size, verifier)
);
