//! The OTLP metrics service of the device listener.

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use super::otlp;
use crate::app::App;
use crate::device_listener::{self, DeviceIdentity};
use crate::quota::gate::Key;
use crate::store;

/// One batch, uncompressed: [`otlp::MAX_POINTS`] points of a KiB.
const MAX_BATCH_BYTES: usize = 2 << 20;

/// Receives what devices measured.
pub struct Metrics {
    app: App,
}

impl Metrics {
    /// The service over the shared parts, as the device listener adds it.
    pub fn server(app: App) -> MetricsServiceServer<Self> {
        MetricsServiceServer::new(Self { app })
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(MAX_BATCH_BYTES)
    }
}

#[tonic::async_trait]
impl MetricsService for Metrics {
    /// Confirms only what is committed. `InvalidArgument`: never send this batch again.
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let device = request
            .extensions()
            .get::<DeviceIdentity>()
            .cloned()
            .ok_or_else(|| Status::unauthenticated("no device certificate"))?;
        let now = self.app.now();
        // Fair between tenants: one that measures much does not hold another's measurements up.
        let place = self.app.quota().devices.enter(Key::Tenant(device.tenant_id)).await;
        let _place = place.map_err(|error| Status::unavailable(error.to_string()))?;
        let scope = device.scope();
        let mut read = self.app.store.read(&scope).await.map_err(device_listener::unavailable)?;
        let settings =
            store::privacy::settings(&mut read).await.map_err(device_listener::unavailable)?;
        drop(read);
        let batch = request.into_inner();
        let otlp::Taken { points, unknown, undeclared } =
            otlp::points(batch, device.device_id, now, &settings)
                .map_err(|refused| Status::invalid_argument(refused.to_string()))?;
        let mut write =
            self.app.store.write_observation(&scope).await.map_err(device_listener::unavailable)?;
        store::telemetry::insert(&mut write, &points)
            .await
            .map_err(device_listener::unavailable)?;
        write.commit(now).await.map_err(device_listener::unavailable)?;
        let rejected = unknown + undeclared;
        let partial_success = (rejected > 0).then(|| ExportMetricsPartialSuccess {
            rejected_data_points: i64::try_from(rejected).unwrap_or(i64::MAX),
            error_message: format!(
                "{unknown} are neither gauge, sum nor explicit histogram, {undeclared} are of \
                 metrics that are not declared and that the tenant's privacy settings do not allow"
            ),
        });
        Ok(Response::new(ExportMetricsServiceResponse { partial_success }))
    }
}
