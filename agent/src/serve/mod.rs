//! The OpenAI-compatible HTTP API for applications on this device.
//!
//! The daemon binds the listener and calls `serve::run(listener, state_dir, supervisor,
//! measurements, shutdown)`, with `measurements: tokio::sync::mpsc::Sender<RequestMeasurement>` and
//! `shutdown: tokio_util::sync::CancellationToken`; it returns after the open requests ended.
