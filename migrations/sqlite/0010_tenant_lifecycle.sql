-- When and why a tenant left the state "active". state: active | suspended | deleted | purging.
-- A deleted tenant keeps what suspended it, so that restoring it does not resume it.
ALTER TABLE tenants ADD COLUMN suspended_at_us BIGINT;
ALTER TABLE tenants ADD COLUMN suspended_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE tenants ADD COLUMN deleted_at_us BIGINT;
ALTER TABLE tenants ADD COLUMN purge_at_us BIGINT;

-- What the tenant may use at most; null: no limit. Beside its name, since both have to be known
-- before a request is let in.
ALTER TABLE tenants ADD COLUMN max_devices BIGINT;
ALTER TABLE tenants ADD COLUMN max_stored_bytes BIGINT;
ALTER TABLE tenants ADD COLUMN max_requests_per_second BIGINT;
