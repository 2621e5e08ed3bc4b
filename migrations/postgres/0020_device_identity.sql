-- The rest of a device's life. state: enrolled | quarantined | decommissioning | erased | revoked.
-- Why it is in its state, and since when (0: since it enrolled).
ALTER TABLE devices ADD COLUMN state_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN state_since_us BIGINT NOT NULL DEFAULT 0;
-- The order to erase itself: its id, when the device counts as lost, and what it said it erased (JSON).
ALTER TABLE devices ADD COLUMN erase_order TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN erase_until_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN erased TEXT NOT NULL DEFAULT '';
-- The device whose place it took, and the one that took its place.
ALTER TABLE devices ADD COLUMN replaces TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN replaced_by TEXT NOT NULL DEFAULT '';
-- The device whose place this token gives.
ALTER TABLE enrolment_tokens ADD COLUMN replaces TEXT NOT NULL DEFAULT '';

-- Apart from devices, because it is written at each session.
CREATE TABLE device_instances (
    tenant_id     TEXT   NOT NULL,
    device_id     TEXT   NOT NULL,
    -- Newest value that the device said it keeps, and the one offered after it; counter 0: none.
    kept_counter  BIGINT NOT NULL,
    kept_value    BYTEA   NOT NULL,
    offered_counter BIGINT NOT NULL,
    offered_value BYTEA   NOT NULL,
    -- The newest session and the one that it took the place of, with the agent's start, and whether
    -- each answered after the other was known.
    session_id    TEXT   NOT NULL,
    boot_id       TEXT   NOT NULL,
    answered      BIGINT NOT NULL,
    rival_session_id TEXT NOT NULL,
    rival_boot_id TEXT   NOT NULL,
    rival_answered BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, device_id)
);
