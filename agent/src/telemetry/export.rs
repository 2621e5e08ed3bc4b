//! The task that carries batches: measurement → aggregator → spool → controller. It never blocks
//! the server that measures, and a controller that is away costs nothing but spool.

use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{debug, warn};

use super::{Aggregator, Spool};
use crate::privacy::Gate;
use crate::slots::RequestMeasurement;

/// After a request the batch is closed this soon, so that somebody who watches sees it; requests
/// in between share the batch.
const SOON: Duration = Duration::from_secs(1);
/// One export call: far above a slow link's need for a batch of some kilobytes.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(20);
/// Batches sent in one go before measurements are looked at again.
const MAX_BURST: usize = 64;

/// How the exporter runs.
#[derive(Debug)]
pub struct Settings {
    /// Identity as people read it in the batch.
    pub device_id: String,
    /// What may leave.
    pub gate: Gate,
    /// This build.
    pub agent_version: String,
    /// Longest time between two batches while there is something to report.
    pub interval: Duration,
}

/// Moves measurements to the controller until it is cancelled.
pub struct Exporter {
    settings: Settings,
    spool: Spool,
    measurements: mpsc::Receiver<RequestMeasurement>,
    /// The session's channel while there is one.
    channel: watch::Receiver<Option<Channel>>,
}

enum Sent {
    Confirmed,
    /// Nothing of it may leave any more.
    Withheld,
    /// The controller can never take this batch.
    Refused(String),
    /// To be sent again later.
    Failed(String),
}

impl Exporter {
    /// Over an open spool.
    pub fn new(
        settings: Settings,
        spool: Spool,
        measurements: mpsc::Receiver<RequestMeasurement>,
        channel: watch::Receiver<Option<Channel>>,
    ) -> Self {
        Self { settings, spool, measurements, channel }
    }

    /// Runs until `stop`; what was measured by then is in the spool.
    pub async fn run(mut self, now: impl Fn() -> SystemTime, stop: CancellationToken) {
        let mut aggregator =
            Aggregator::new(&self.settings.device_id, &self.settings.agent_version, now());
        let mut timer = tokio::time::interval(self.settings.interval.max(SOON));
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut close_at: Option<tokio::time::Instant> = None;
        loop {
            let soon = async {
                match close_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => {
                    while let Ok(request) = self.measurements.try_recv() {
                        aggregator.record(&request);
                    }
                    self.close_batch(&mut aggregator, now());
                    return;
                }
                Some(request) = self.measurements.recv() => {
                    aggregator.record(&request);
                    close_at.get_or_insert_with(|| tokio::time::Instant::now() + SOON);
                    continue;
                }
                () = soon => close_at = None,
                _ = timer.tick() => {}
                changed = self.channel.changed() => if changed.is_err() {
                    stop.cancelled().await;
                    continue;
                }
            }
            self.close_batch(&mut aggregator, now());
            self.send_waiting().await;
        }
    }

    fn close_batch(&mut self, aggregator: &mut Aggregator, now: SystemTime) {
        if aggregator.is_empty() {
            return;
        }
        if self.spool.dropped() > 0 {
            aggregator.record_dropped(self.spool.dropped());
        }
        let request = aggregator.take(now).and_then(|batch| self.settings.gate.metrics(batch));
        if let Some(request) = request
            && let Err(error) = self.spool.push(&request.encode_to_vec())
        {
            warn!(%error, "a batch of telemetry was lost; requests are served as before");
        }
    }

    async fn send_waiting(&mut self) {
        for _ in 0..MAX_BURST {
            let Some(channel) = self.channel.borrow().clone() else { return };
            let batch = match self.spool.oldest() {
                Ok(Some(batch)) => batch,
                Ok(None) => return,
                Err(error) => {
                    warn!(%error, "an unreadable batch of telemetry is skipped");
                    let _ = self.spool.remove_oldest();
                    continue;
                }
            };
            match send(channel, &self.settings.gate, &batch).await {
                Sent::Confirmed | Sent::Withheld => {}
                Sent::Refused(reason) => {
                    warn!(%reason, "the controller refused a batch of telemetry; it is dropped");
                }
                Sent::Failed(reason) => {
                    debug!(%reason, waiting = self.spool.len(), "telemetry waits");
                    return;
                }
            }
            if let Err(error) = self.spool.remove_oldest() {
                warn!(%error, "a confirmed batch could not be removed");
                return;
            }
        }
    }
}

async fn send(channel: Channel, gate: &Gate, batch: &[u8]) -> Sent {
    let measured = match ExportMetricsServiceRequest::decode(batch) {
        Ok(request) => request,
        Err(error) => return Sent::Refused(format!("damaged on disk: {error}")),
    };
    // Once more: it may have waited while the owner changed their mind.
    let Some(request) = gate.metrics(measured) else { return Sent::Withheld };
    let mut client = MetricsServiceClient::new(channel);
    match tokio::time::timeout(EXPORT_TIMEOUT, client.export(request)).await {
        Ok(Ok(answer)) => match answer.into_inner().partial_success {
            Some(partial) if partial.rejected_data_points > 0 => Sent::Refused(format!(
                "{} data points: {}",
                partial.rejected_data_points, partial.error_message
            )),
            _ => Sent::Confirmed,
        },
        Ok(Err(status)) if status.code() == tonic::Code::InvalidArgument => {
            Sent::Refused(status.message().to_owned())
        }
        Ok(Err(status)) => Sent::Failed(status.to_string()),
        Err(_) => Sent::Failed(format!("no answer in {EXPORT_TIMEOUT:?}")),
    }
}
