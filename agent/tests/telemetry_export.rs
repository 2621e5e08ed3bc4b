//! Batches reach a real OTLP receiver, wait while it is away, and are deleted only after it
//! confirmed them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use edgeformer_agent::privacy::Gate;
use edgeformer_agent::slots::RequestMeasurement;
use edgeformer_agent::telemetry::{Exporter, Settings, Spool};
use edgeformer_proto::ids::VersionId;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Answers `Unavailable` until `ready`, and keeps what it confirmed.
#[derive(Clone, Default)]
struct Receiver {
    ready: Arc<Mutex<bool>>,
    asked: Arc<Mutex<u32>>,
    got: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        *self.asked.lock().unwrap() += 1;
        if !*self.ready.lock().unwrap() {
            return Err(Status::unavailable("not yet"));
        }
        self.got.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never happened: {what}");
}

fn measurement() -> RequestMeasurement {
    RequestMeasurement {
        slot: "assistant".parse().unwrap(),
        version_id: VersionId::new(),
        rollout_id: String::new(),
        operation: "chat",
        time_to_first_token: Some(Duration::from_millis(80)),
        duration: Duration::from_millis(900),
        time_per_output_token: Some(Duration::from_millis(12)),
        prompt_tokens: 9,
        completion_tokens: 40,
        error: None,
        worker_rss_bytes: 1 << 20,
    }
}

#[tokio::test]
async fn a_batch_waits_for_its_receiver_and_is_sent_once() {
    let receiver = Receiver::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = MetricsServiceServer::new(receiver.clone());
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
    );

    let folder = tempfile::tempdir().unwrap();
    let (measure, measurements) = mpsc::channel(8);
    let (channels, channel) = watch::channel(None);
    let stop = CancellationToken::new();
    let settings = Settings {
        device_id: "device".to_owned(),
        gate: Gate::new(folder.path()),
        agent_version: "1.2.3".to_owned(),
        interval: Duration::from_secs(1),
    };
    let exporter =
        Exporter::new(settings, Spool::open(folder.path()).unwrap(), measurements, channel);
    let running = tokio::spawn(exporter.run(SystemTime::now, stop.clone()));
    let waiting = || std::fs::read_dir(folder.path()).unwrap().count();

    measure.send(measurement()).await.unwrap();
    eventually("the batch is on disk before there is a session", || waiting() == 1).await;

    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    channels.send(Some(endpoint.connect_lazy())).unwrap();
    eventually("the receiver was asked", || *receiver.asked.lock().unwrap() >= 1).await;
    assert_eq!(waiting(), 1, "not confirmed: kept");

    *receiver.ready.lock().unwrap() = true;
    eventually("the batch is gone after it was confirmed", || waiting() == 0).await;
    assert_eq!(receiver.got.lock().unwrap().len(), 1);

    stop.cancel();
    running.await.unwrap();
    server.abort();
}
