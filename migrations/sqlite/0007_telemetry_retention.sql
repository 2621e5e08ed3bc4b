-- Old telemetry is found by when it was received.
CREATE INDEX telemetry_by_receipt ON telemetry_points (tenant_id, received_at_us);
