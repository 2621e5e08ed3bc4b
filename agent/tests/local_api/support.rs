//! A local API with real worker processes on tiny models, and a client of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeformer_agent::serve::{self, ServeConfig};
use edgeformer_agent::slots::{
    MemoryNeed, PayloadPieces, PayloadSource, RequestMeasurement, SlotName, SlotSettings, SlotSpec,
    TrialError, TrialReport, Workers,
};
use edgeformer_agent::supervisor::{Supervisor, SupervisorConfig};
use edgeformer_gguf::{Array, Value};
use edgeformer_proto::ids::VersionId;
use futures::StreamExt;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

#[path = "../../engine/tests/support/mod.rs"]
mod tiny;

/// Everything in these tests is done long before; a test that hits it hangs.
pub const LONG: Duration = Duration::from_secs(120);

/// Filling it takes far longer than any test.
const ENDLESS_CONTEXT: u32 = 1 << 20;

/// A tiny model that answers in milliseconds.
pub fn quick() -> Vec<u8> {
    tiny::file()
}

/// The same, but without a token that ends an answer, and with a context that no test fills.
pub fn endless() -> Vec<u8> {
    tiny::file_with(|metadata| {
        metadata.retain(|(key, _)| key != "tokenizer.ggml.eos_token_id");
        for (key, value) in metadata {
            match value {
                Value::U32(context) if key == "llama.context_length" => *context = ENDLESS_CONTEXT,
                Value::Array(Array::String(tokens)) if key == "tokenizer.ggml.tokens" => {
                    let named = tokens.iter().map(|token| token.replace("<|end|>", "<|on|>"));
                    *tokens = named.collect();
                }
                _ => {}
            }
        }
    })
}

/// A model file in memory.
pub struct Payload(pub Vec<u8>);

impl PayloadSource for Payload {
    fn open(&self) -> Result<PayloadPieces, edgeformer_agent::slots::PayloadError> {
        let pieces: Vec<_> = self.0.chunks(10_000).map(|p| Ok(Bytes::copy_from_slice(p))).collect();
        Ok(Box::new(pieces.into_iter()))
    }

    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The local API of a device.
pub struct Device {
    pub supervisor: Supervisor,
    pub state_dir: tempfile::TempDir,
    pub measurements: mpsc::Receiver<RequestMeasurement>,
    pub address: SocketAddr,
    _running: DropGuard,
}

/// Workers are the program under test.
pub fn config() -> SupervisorConfig {
    SupervisorConfig {
        worker_program: PathBuf::from(env!("CARGO_BIN_EXE_edgeformer-agent")),
        ..SupervisorConfig::default()
    }
}

/// A version of a slot.
pub fn spec(slot: &str, version: &str) -> SlotSpec {
    SlotSpec {
        slot: slot.parse().unwrap(),
        version_id: VersionId::new(),
        model: slot.to_owned(),
        version: version.to_owned(),
        rollout_id: "rollout-7".into(),
        settings: SlotSettings { context_tokens: 0, parallel: 0 },
        memory: MemoryNeed::default(),
    }
}

impl Device {
    pub async fn start(supervisor: SupervisorConfig) -> Self {
        Self::start_with(supervisor, Vec::new()).await
    }

    pub async fn start_with(config: SupervisorConfig, allowed_origins: Vec<String>) -> Self {
        let state_dir = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::start(config);
        let listener = serve::bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (measure, measurements) = mpsc::channel(100);
        let stop = CancellationToken::new();
        let config = ServeConfig {
            state_dir: state_dir.path().to_owned(),
            allow_remote: false,
            allowed_origins,
        };
        let handle = supervisor.clone();
        tokio::spawn(serve::run(listener, config, handle, measure, stop.clone()));
        let _running = stop.drop_guard();
        Self { supervisor, state_dir, measurements, address, _running }
    }

    /// Tries and activates a version.
    pub async fn run(&self, spec: &SlotSpec, model: Vec<u8>) -> TrialReport {
        let report = self.trial(spec, model).await.unwrap();
        self.supervisor.activate(&spec.slot, spec.version_id).await.unwrap();
        report
    }

    pub async fn trial(&self, spec: &SlotSpec, model: Vec<u8>) -> Result<TrialReport, TrialError> {
        self.supervisor.trial(spec.clone(), Arc::new(Payload(model))).await
    }

    pub fn pid(&self, slot: &SlotName) -> u32 {
        self.supervisor.serving().iter().find(|serving| serving.slot == *slot).unwrap().pid
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header(header::HOST, self.address.to_string());
        whole(self.send(request.body(Full::default()).unwrap()).await).await
    }

    /// Posts JSON and reads the whole answer.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Answer {
        whole(self.send(self.request(path, body)).await).await
    }

    /// Posts JSON and returns the answer as it arrives.
    pub async fn stream(&self, path: &str, body: &serde_json::Value) -> Events {
        let response = self.send(self.request(path, body)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Events { body: response.into_body(), buffer: String::new() }
    }

    pub fn request(&self, path: &str, body: &serde_json::Value) -> Request<Full<Bytes>> {
        Request::post(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))
            .unwrap()
    }

    /// Sends a request on a connection of its own, which closes with the answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        tokio::time::timeout(LONG, sender.send_request(request)).await.unwrap().unwrap()
    }
}

/// A whole answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub json: serde_json::Value,
}

impl Answer {
    /// `error.code`, or the kind where there is none.
    pub fn code(&self) -> &str {
        let error = &self.json["error"];
        error["code"].as_str().or(error["type"].as_str()).unwrap_or("no error")
    }

    pub fn message(&self) -> &str {
        self.json["error"]["message"].as_str().unwrap_or_default()
    }
}

pub async fn whole(response: http::Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = tokio::time::timeout(LONG, body.collect()).await.unwrap().unwrap().to_bytes();
    let json = if body.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_slice(&body).unwrap()
    };
    Answer { status: parts.status, headers: parts.headers, json }
}

/// Server-sent events.
pub struct Events {
    body: Incoming,
    buffer: String,
}

impl Events {
    /// Data of the next event; none at the end of the stream.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let data = event.strip_prefix("data: ").unwrap().to_owned();
                self.buffer = rest.to_owned();
                return Some(data);
            }
            let frame = tokio::time::timeout(LONG, self.body.frame()).await.unwrap()?.unwrap();
            self.buffer.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }

    /// All events up to the end.
    pub async fn rest(mut self) -> Vec<String> {
        let events = futures::stream::unfold(&mut self, |events| async {
            let event = events.next().await?;
            Some((event, events))
        });
        events.collect().await
    }
}

pub fn chat(model: &str, text: &str, max_tokens: u32) -> serde_json::Value {
    serde_json::json!({
        "model": model,
        "messages": [{ "role": "user", "content": text }],
        "max_tokens": max_tokens,
        "temperature": 0,
    })
}

/// The same as a stream.
pub fn chat_stream(model: &str, text: &str, max_tokens: u32) -> serde_json::Value {
    let mut body = chat(model, text, max_tokens);
    body["stream"] = true.into();
    body
}

pub fn process_exists(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, wait).await.is_ok(), "never: {what}");
}

pub fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
