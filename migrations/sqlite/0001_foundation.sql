-- Every table but `installation` and `tenants` starts its key with tenant_id.
-- Ids are UUID text, times are microseconds since the Unix epoch (BIGINT), JSON is text.
-- The same text runs on both databases, but for the type of bytes.

CREATE TABLE installation (
    id            BIGINT PRIMARY KEY CHECK (id = 1),
    trust_domain  TEXT   NOT NULL,
    epoch         BIGINT NOT NULL,
    root_cert_der BLOB   NOT NULL,
    wrapped_root_key BLOB NOT NULL,
    created_at_us BIGINT NOT NULL
);

CREATE TABLE tenants (
    id            TEXT   PRIMARY KEY,
    name          TEXT   NOT NULL UNIQUE,
    state         TEXT   NOT NULL,
    ca_cert_der   BLOB   NOT NULL,
    wrapped_ca_key BLOB  NOT NULL,
    release_public BLOB  NOT NULL,
    wrapped_release_key BLOB NOT NULL,
    wrapped_chunk_secret BLOB NOT NULL,
    wrapped_kek   BLOB   NOT NULL,
    created_at_us BIGINT NOT NULL
);

-- Bearer tokens. tenant_id '' is the installation itself.
CREATE TABLE api_tokens (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    role          TEXT   NOT NULL,
    secret_sha256 BLOB   NOT NULL UNIQUE,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT,
    last_used_at_us BIGINT,
    revoked_at_us BIGINT,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE enrolment_tokens (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    secret_sha256 BLOB   NOT NULL UNIQUE,
    labels        TEXT   NOT NULL,
    uses_left     BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    revoked_at_us BIGINT,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE devices (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    state         TEXT   NOT NULL,           -- enrolled | revoked
    labels        TEXT   NOT NULL,           -- JSON object of strings
    facts         TEXT   NOT NULL,           -- JSON object
    public_key    BLOB   NOT NULL,           -- SubjectPublicKeyInfo, DER
    hpke_public   BLOB   NOT NULL,
    enrolment_token_id TEXT NOT NULL,
    cert_expires_at_us BIGINT NOT NULL,
    -- Desired state: replaced as a whole by compare-and-set on (epoch, counter).
    desired_epoch BIGINT NOT NULL,
    desired_counter BIGINT NOT NULL,
    -- Newest generation the device made durable.
    accepted_epoch BIGINT NOT NULL DEFAULT 0,
    accepted_counter BIGINT NOT NULL DEFAULT 0,
    revision      BIGINT NOT NULL,           -- ETag of what people edit
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX devices_by_key ON devices (tenant_id, public_key);

-- Apart from devices, because it is written in batches by heartbeats.
CREATE TABLE device_presence (
    tenant_id     TEXT   NOT NULL,
    device_id     TEXT   NOT NULL,
    last_seen_at_us BIGINT NOT NULL,
    memory_available_bytes BIGINT NOT NULL,
    disk_free_bytes BIGINT NOT NULL,
    agent_version TEXT   NOT NULL,
    PRIMARY KEY (tenant_id, device_id)
);

CREATE TABLE models (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX models_by_name ON models (tenant_id, name);

CREATE TABLE versions (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    model_id      TEXT   NOT NULL,
    version       TEXT   NOT NULL,
    manifest_envelope BLOB NOT NULL,
    manifest_sha256 BLOB NOT NULL,
    sealed_index_key TEXT NOT NULL,          -- object store key
    wrapped_data_key BLOB NOT NULL,          -- under the tenant's key-encryption key
    payload_bytes BIGINT NOT NULL,
    payload_sha256 BLOB NOT NULL,
    stored_bytes  BIGINT NOT NULL,           -- new sealed bytes that this version added
    chunk_count   BIGINT NOT NULL,
    details       TEXT   NOT NULL,           -- JSON: architecture, quantization, ...
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX versions_by_name ON versions (tenant_id, model_id, version);

CREATE TABLE rollouts (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    slot          TEXT   NOT NULL,
    version_id    TEXT   NOT NULL,
    selector      TEXT   NOT NULL,           -- JSON
    settings      TEXT   NOT NULL,           -- JSON
    state         TEXT   NOT NULL,           -- running | succeeded | failed | aborted
    reason        TEXT   NOT NULL,
    waiting_for   TEXT   NOT NULL,           -- JSON, what the planner reports
    rolls_back    TEXT,                      -- rollout id that this one undoes
    revision      BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    ended_at_us   BIGINT,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX rollouts_by_state ON rollouts (tenant_id, state);

CREATE TABLE rollout_devices (
    tenant_id     TEXT   NOT NULL,
    rollout_id    TEXT   NOT NULL,
    device_id     TEXT   NOT NULL,
    version_id    TEXT   NOT NULL,           -- '' empties the slot
    settings      TEXT   NOT NULL,           -- JSON, with which the version is to run
    previous_version_id TEXT NOT NULL,       -- '' if the slot was empty
    previous_settings TEXT NOT NULL,
    -- Generation of the device's desired state that carried it; 0.0 while pending.
    assigned_epoch BIGINT NOT NULL,
    assigned_counter BIGINT NOT NULL,
    state         TEXT   NOT NULL,           -- pending | assigned | accepted | confirmed | reverted | failed | superseded
    reason        TEXT   NOT NULL,
    message       TEXT   NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, rollout_id, device_id)
);
CREATE INDEX rollout_devices_by_device ON rollout_devices (tenant_id, device_id);

-- The desired content of each slot, valid at the device's desired generation.
CREATE TABLE assignments (
    tenant_id     TEXT   NOT NULL,
    device_id     TEXT   NOT NULL,
    slot          TEXT   NOT NULL,
    version_id    TEXT   NOT NULL,           -- '': to be empty, as that rollout decided
    rollout_id    TEXT   NOT NULL,
    settings      TEXT   NOT NULL,
    PRIMARY KEY (tenant_id, device_id, slot)
);

CREATE TABLE slot_status (
    tenant_id     TEXT   NOT NULL,
    device_id     TEXT   NOT NULL,
    slot          TEXT   NOT NULL,
    generation_epoch BIGINT NOT NULL,
    generation_counter BIGINT NOT NULL,
    phase         TEXT   NOT NULL,
    target_version_id TEXT NOT NULL,
    serving_version_id TEXT NOT NULL,
    rollout_id    TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    message       TEXT   NOT NULL,
    bytes_total   BIGINT NOT NULL,
    bytes_done    BIGINT NOT NULL,
    device_time_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, device_id, slot)
);

-- One row per OTLP data point that the agent exported.
CREATE TABLE telemetry_points (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    device_id     TEXT   NOT NULL,
    metric        TEXT   NOT NULL,
    slot          TEXT   NOT NULL,
    version_id    TEXT   NOT NULL,
    rollout_id    TEXT   NOT NULL,
    at_us         BIGINT NOT NULL,           -- device time of the point
    received_at_us BIGINT NOT NULL,
    count         BIGINT NOT NULL,           -- histograms: samples; gauges and sums: 1
    sum           DOUBLE PRECISION NOT NULL, -- histograms: sum; gauges and sums: the value
    min           DOUBLE PRECISION,
    max           DOUBLE PRECISION,
    buckets       TEXT   NOT NULL,           -- JSON {"bounds":[..],"counts":[..]} or ''
    attributes    TEXT   NOT NULL,           -- JSON object of strings
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX telemetry_by_device ON telemetry_points (tenant_id, device_id, metric, at_us);

-- Written in the transaction of the action itself; the sequencer turns rows into leaves.
CREATE TABLE audit_outbox (
    tenant_id     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    record        TEXT   NOT NULL,           -- JSON, the bytes that are hashed
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE audit_log (
    tenant_id     TEXT   NOT NULL,
    sequence      BIGINT NOT NULL,
    id            TEXT   NOT NULL,
    record        TEXT   NOT NULL,
    leaf_sha256   BLOB   NOT NULL,           -- RFC 6962 leaf hash of record
    PRIMARY KEY (tenant_id, sequence)
);
CREATE UNIQUE INDEX audit_log_by_id ON audit_log (tenant_id, id);

-- RFC 6962 tree head per tenant. frontier: concatenated roots of the perfect subtrees, largest first.
CREATE TABLE audit_heads (
    tenant_id     TEXT   NOT NULL,
    size          BIGINT NOT NULL,
    root_sha256   BLOB   NOT NULL,
    frontier      BLOB   NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id)
);

CREATE TABLE idempotency_keys (
    tenant_id     TEXT   NOT NULL,
    principal     TEXT   NOT NULL,
    key           TEXT   NOT NULL,
    request_sha256 BLOB  NOT NULL,
    status        BIGINT NOT NULL,           -- 0 while the first request runs
    response      TEXT   NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, principal, key)
);
