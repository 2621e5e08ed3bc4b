-- How long the texts of a log's records are kept, and whether a legal hold stops every deletion. The
-- leaves and the tree stay whatever is deleted.
CREATE TABLE audit_retention (
    tenant_id     TEXT   NOT NULL,
    keep_days     BIGINT,                    -- null: for ever
    deleted_to    BIGINT NOT NULL,           -- records before this one have no text any longer
    hold_reason   TEXT   NOT NULL,           -- '': no hold
    hold_by       TEXT   NOT NULL,           -- actor's kind and id
    hold_at_us    BIGINT,
    PRIMARY KEY (tenant_id)
);

-- What was warned of, so that each threshold is reported once. Of the installation, so tenant_id is ''.
CREATE TABLE audit_capacity (
    tenant_id     TEXT   NOT NULL,
    what          TEXT   NOT NULL,           -- records, or the volume of a controller
    percent       BIGINT NOT NULL,           -- highest threshold that was reported
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, what)
);
