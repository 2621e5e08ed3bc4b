//! Times one request and reports it when it ends, however it ends. Must never wait: a full queue
//! costs a measurement, not an answer.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::wire::Operation;
use crate::slots::{RequestMeasurement, SlotSpec};
use crate::supervisor::{Event, RunningRequest};
use crate::worker::message::Usage;

/// Where measurements go.
pub type Measurements = mpsc::Sender<RequestMeasurement>;

/// A request with a stopwatch on it. Reports when dropped; a request dropped before its end was
/// cancelled by its client.
#[derive(Debug)]
pub struct Measured {
    request: RunningRequest,
    to: Measurements,
    operation: Operation,
    started: Instant,
    first_token: Option<Duration>,
    last_token: Duration,
    usage: Usage,
    error: Option<&'static str>,
}

impl Measured {
    /// Measures from `started`, when the request arrived.
    pub fn new(
        request: RunningRequest,
        operation: Operation,
        started: Instant,
        to: Measurements,
    ) -> Self {
        Self {
            request,
            to,
            operation,
            started,
            first_token: None,
            last_token: Duration::ZERO,
            usage: Usage::default(),
            error: Some("cancelled"),
        }
    }

    /// What runs it.
    pub fn spec(&self) -> &SlotSpec {
        self.request.spec()
    }

    /// The next event.
    pub async fn next(&mut self) -> Event {
        let event = self.request.next().await;
        match &event {
            Event::Started { prompt_tokens } => self.usage.prompt_tokens = *prompt_tokens,
            Event::Text { tokens, .. } => {
                self.last_token = self.started.elapsed();
                self.first_token.get_or_insert(self.last_token);
                self.usage.completion_tokens += tokens;
            }
            Event::Done { usage, .. } => {
                self.usage = *usage;
                self.error = None;
            }
            Event::Failed { .. } | Event::WorkerGone(_) => {}
        }
        event
    }

    /// Names the failure that is reported.
    pub fn failed(&mut self, error: &'static str) {
        self.error = Some(error);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let spec = self.request.spec();
        let gaps = self.usage.completion_tokens.saturating_sub(1);
        let measurement = RequestMeasurement {
            slot: spec.slot.clone(),
            version_id: spec.version_id,
            rollout_id: spec.rollout_id.clone(),
            operation: self.operation.name(),
            time_to_first_token: self.first_token,
            duration: self.started.elapsed(),
            time_per_output_token: self
                .first_token
                .filter(|_| gaps > 0)
                .map(|first| self.last_token.saturating_sub(first) / gaps),
            prompt_tokens: self.usage.prompt_tokens,
            completion_tokens: self.usage.completion_tokens,
            error: self.error,
            worker_rss_bytes: self.request.worker_rss_bytes(),
        };
        if self.to.try_send(measurement).is_err() {
            tracing::debug!("a measurement was dropped: the telemetry queue is full or closed");
        }
    }
}
