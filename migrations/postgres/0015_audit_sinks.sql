-- Where a log is streamed to.
CREATE TABLE audit_sinks (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    target        TEXT   NOT NULL,           -- JSON: syslog or webhook, with what it takes to reach it
    format        TEXT   NOT NULL,           -- jsonl | ocsf | cef | rfc5424
    enabled       BIGINT NOT NULL,           -- 0 | 1
    wrapped_key   BYTEA   NOT NULL,           -- private key: of the client certificate, or that signs; or empty
    next_sequence BIGINT NOT NULL,           -- first record that was not delivered yet
    delivered_at_us BIGINT,
    last_error    TEXT   NOT NULL,
    failures      BIGINT NOT NULL,           -- in a row
    next_try_at_us BIGINT NOT NULL,
    lease_holder  TEXT   NOT NULL,           -- the controller that delivers, so that order is kept
    lease_until_us BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX audit_sinks_by_name ON audit_sinks (tenant_id, name);
