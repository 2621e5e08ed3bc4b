//! Runs one request and writes its answer, whole or as a stream of events. A stream that fails after
//! its first byte ends with an error event and without `[DONE]`, which OpenAI's clients raise.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Response as HttpResponse, header};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::App;
use super::error::ApiError;
use super::measure::Measured;
use super::parse::{Parsed, parse};
use super::wire::{Answer, Choice, Delta, Operation, OutMessage, WireUsage, finish_reason};
use crate::supervisor::Event;
use crate::worker::message::{Finish, Usage};

/// A conversation that fills a context of 128 Ki tokens has about half of this.
const MAX_BODY_BYTES: usize = 1 << 20;

/// The body of a local client arrives at once or not at all.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);

const VERSION_HEADER: HeaderName = HeaderName::from_static("x-edgeformer-version");

/// `POST /v1/chat/completions`.
pub async fn chat(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    answer(app, Operation::Chat, body).await
}

/// `POST /v1/completions`.
pub async fn completion(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    answer(app, Operation::Completion, body).await
}

async fn answer(app: Arc<App>, operation: Operation, body: Body) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let parsed = parse(operation, &read(body).await?, rand::random())?;
    let running = start(&app, parsed, arrived).await?;
    if running.stream { Ok(running.into_stream()) } else { running.into_whole().await }
}

async fn read(body: Body) -> Result<Bytes, ApiError> {
    let limited = Limited::new(body, MAX_BODY_BYTES).collect();
    match tokio::time::timeout(BODY_READ_TIMEOUT, limited).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body is longer than {MAX_BODY_BYTES} bytes");
            Err(ApiError::too_large(message))
        }
        Ok(Err(error)) => Err(ApiError::invalid(None, format!("the body cannot be read: {error}"))),
        Err(_) => Err(ApiError::slow_body("the body did not arrive in time")),
    }
}

/// A request that has left its worker's queue.
struct Running {
    measured: Measured,
    operation: Operation,
    stream: bool,
    include_usage: bool,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    /// Counts against the number of open requests until the answer is written.
    _permit: OwnedSemaphorePermit,
}

async fn start(app: &Arc<App>, parsed: Parsed, arrived: Instant) -> Result<Running, ApiError> {
    let permit =
        app.requests.clone().try_acquire_owned().map_err(|_| {
            ApiError::busy("too many requests are open on this device: try again soon")
        })?;
    let Parsed { operation, model, stream, include_usage, generate } = parsed;
    let request = app
        .supervisor
        .request(&model, generate)
        .map_err(|error| ApiError::from_route(error, &app.known_models()))?;
    let mut measured = Measured::new(request, operation, arrived, app.measurements.clone());
    if let Some(error) = match measured.next().await {
        Event::Started { .. } => None,
        Event::Failed { failure, message } => Some(ApiError::from_failure(failure, message)),
        Event::WorkerGone(reason) => Some(ApiError::worker_gone(&reason)),
        Event::Text { .. } | Event::Done { .. } => {
            Some(ApiError::engine("the worker answered before it started"))
        }
    } {
        measured.failed(error.label());
        return Err(error);
    }
    let version_id = measured.spec().version_id.to_string();
    Ok(Running {
        operation,
        stream,
        include_usage,
        id: operation.new_id(),
        created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        model,
        fingerprint: format!("{version_id}+{}", env!("CARGO_PKG_VERSION")),
        measured,
        _permit: permit,
    })
}

/// What a running request comes to, step by step.
enum Step {
    Text(String),
    Done(Finish, Usage),
    Error(ApiError),
}

impl Running {
    async fn next(&mut self) -> Step {
        loop {
            let error = match self.measured.next().await {
                Event::Started { .. } => continue,
                Event::Text { text, .. } => return Step::Text(text),
                Event::Done { finish, usage } => return Step::Done(finish, usage),
                Event::Failed { failure, message } => ApiError::from_failure(failure, message),
                Event::WorkerGone(reason) => ApiError::worker_gone(&reason),
            };
            self.measured.failed(error.label());
            return Step::Error(error);
        }
    }

    fn version_header(&self) -> HeaderValue {
        HeaderValue::try_from(self.measured.spec().version.as_str())
            .unwrap_or(HeaderValue::from_static("unknown"))
    }

    fn object(&self, object: &'static str, choices: Vec<Choice<'_>>, usage: UsageField) -> String {
        let answer = Answer {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage: match usage {
                UsageField::Absent => None,
                UsageField::Null => Some(None),
                UsageField::Present(usage) => Some(Some(usage)),
            },
        };
        json(&answer)
    }

    async fn into_whole(mut self) -> Result<Response, ApiError> {
        let mut text = String::new();
        let (finish, usage) = loop {
            match self.next().await {
                Step::Text(piece) => text.push_str(&piece),
                Step::Done(finish, usage) => break (finish, usage),
                Step::Error(error) => return Err(error),
            }
        };
        let mut choice = Choice::empty(Some(finish_reason(finish)));
        let object = match self.operation {
            Operation::Chat => {
                let message = OutMessage { role: "assistant", content: &text, refusal: None };
                choice.message = Some(message);
                "chat.completion"
            }
            Operation::Completion => {
                choice.text = Some(&text);
                "text_completion"
            }
        };
        let body = self.object(object, vec![choice], UsageField::Present(usage.into()));
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (VERSION_HEADER, self.version_header()),
        ];
        Ok((headers, body).into_response())
    }

    fn into_stream(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (VERSION_HEADER, self.version_header()),
        ];
        let mut response = HttpResponse::new(Body::from_stream(self.events()));
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response
    }

    fn events(mut self) -> impl Stream<Item = Result<String, Infallible>> + Send {
        async_stream::stream! {
            if self.operation == Operation::Chat {
                let role = Delta { role: Some("assistant"), content: Some("") };
                yield Ok(event(&self.piece(Some(role), None, None)));
            }
            loop {
                match self.next().await {
                    Step::Text(text) => {
                        let delta = Delta { role: None, content: Some(&text) };
                        yield Ok(event(&self.piece(Some(delta), Some(&text), None)));
                    }
                    Step::Done(finish, usage) => {
                        let reason = Some(finish_reason(finish));
                        yield Ok(event(&self.piece(Some(Delta::default()), Some(""), reason)));
                        if self.include_usage {
                            let usage = UsageField::Present(usage.into());
                            yield Ok(event(&self.object(self.piece_object(), Vec::new(), usage)));
                        }
                        yield Ok(event("[DONE]"));
                        return;
                    }
                    Step::Error(error) => {
                        yield Ok(event(&json(&error.body())));
                        return;
                    }
                }
            }
        }
    }

    fn piece_object(&self) -> &'static str {
        match self.operation {
            Operation::Chat => "chat.completion.chunk",
            Operation::Completion => "text_completion",
        }
    }

    fn piece(
        &self,
        delta: Option<Delta<'_>>,
        text: Option<&str>,
        finish: Option<&'static str>,
    ) -> String {
        let mut choice = Choice::empty(finish);
        match self.operation {
            Operation::Chat => choice.delta = delta,
            Operation::Completion => choice.text = text,
        }
        let usage = if self.include_usage { UsageField::Null } else { UsageField::Absent };
        self.object(self.piece_object(), vec![choice], usage)
    }
}

enum UsageField {
    Absent,
    Null,
    Present(WireUsage),
}

impl Choice<'_> {
    fn empty(finish_reason: Option<&'static str>) -> Self {
        Self { index: 0, message: None, delta: None, text: None, logprobs: None, finish_reason }
    }
}

fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("an answer is plain data")
}
