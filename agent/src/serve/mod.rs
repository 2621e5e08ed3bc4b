//! The OpenAI-compatible HTTP API for applications on this device.
//!
//! The daemon calls `serve::bind(listen, allow_remote) -> Result<TcpListener, BindError>` and then
//! `serve::run(listener, ServeConfig { state_dir, allow_remote, allowed_origins }, supervisor,
//! measurements, shutdown)`, with `measurements: tokio::sync::mpsc::Sender<RequestMeasurement>` and
//! `shutdown: tokio_util::sync::CancellationToken`; it returns after the open requests ended.
