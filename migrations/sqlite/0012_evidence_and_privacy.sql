-- What the audit log says last of what a device reports of a slot: "phase generation version", so
-- that a report becomes a record when it says something new and never otherwise. '': nothing yet.
ALTER TABLE slot_status ADD COLUMN evident TEXT NOT NULL DEFAULT '';

-- How long which kind of data is kept, and what applications may send beyond what is declared.
-- Without a row: the defaults.
CREATE TABLE privacy_settings (
    tenant_id     TEXT   NOT NULL,
    settings      TEXT   NOT NULL,           -- JSON
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id)
);
