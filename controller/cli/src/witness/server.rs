//! The witness over HTTP/1.1. Anybody may ask; only what a known log signed is looked at further. One
//! request at a time is decided, so that what is compared and what is kept are the same.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use edgeformer_proto::audit::checkpoint::Checkpoint;
use edgeformer_proto::audit::note::VerifierKey;
use edgeformer_proto::audit::witness::{
    ADD_CHECKPOINT, Accepted, AddCheckpoint, MAX_REQUEST_BYTES, Refusal, SIZE_CONTENT_TYPE, Seen,
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};

use super::folder::{Folder, FolderError};
use crate::screen::note;

/// Connections at a time: logs are few and keep theirs open.
const MAX_CONNECTIONS: usize = 128;
/// For the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole request: its body has at most some ten thousand bytes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// After an error of the listener, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

struct Witness {
    folder: Arc<Mutex<Folder>>,
    logs: Vec<VerifierKey>,
}

/// Serves until SIGTERM or SIGINT. What was answered is durable, so nothing has to be drained.
pub async fn serve(listener: TcpListener, folder: Folder, logs: Vec<VerifierKey>) {
    use tokio::signal::unix::{SignalKind, signal};
    let witness = Arc::new(Witness { folder: Arc::new(Mutex::new(folder)), logs });
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        return note("error: signals cannot be received");
    };
    loop {
        let accepted = tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let witness = Arc::clone(&witness);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&witness), request));
            // A connection that breaks is the business of who broke it.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            note(&format!("error: no connection can be accepted: {error}"));
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

type Answer = Response<Full<Bytes>>;

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

fn plain(status: StatusCode, text: &str) -> Answer {
    respond(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

async fn answer(witness: Arc<Witness>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    if request.uri().path().strip_prefix('/') != Some(ADD_CHECKPOINT) {
        return Ok(plain(StatusCode::NOT_FOUND, "this is a witness: POST /add-checkpoint"));
    }
    if request.method() != Method::POST {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "POST /add-checkpoint");
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("POST"));
        return Ok(refused);
    }
    let read = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect();
    let body = match tokio::time::timeout(REQUEST_TIMEOUT, read).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is longer than 68 KiB"));
        }
        Err(_) => return Ok(plain(StatusCode::REQUEST_TIMEOUT, "the request did not come")),
    };
    Ok(match std::str::from_utf8(&body) {
        Ok(text) => cosign(witness, text).await,
        Err(_) => plain(StatusCode::BAD_REQUEST, "the request is not text"),
    })
}

async fn cosign(witness: Arc<Witness>, text: &str) -> Answer {
    let request = match AddCheckpoint::parse(text) {
        Ok(request) => request,
        Err(refusal) => return refuse(&refusal),
    };
    let mut folder = Arc::clone(&witness.folder).lock_owned().await;
    // Keeping waits for the disk: beside the runtime, and still under the lock.
    let decided = tokio::task::spawn_blocking(move || {
        let accepted = request.decide(&witness.logs, |origin| folder.seen(origin));
        accepted.map(|accepted| keep_and_sign(&mut folder, &accepted))
    });
    match decided.await {
        Ok(Ok(Ok(line))) => respond(StatusCode::OK, "text/plain; charset=utf-8", line),
        Ok(Err(refusal)) => refuse(&refusal),
        Ok(Ok(Err(error))) => not_kept(&error),
        Err(error) => not_kept(&error),
    }
}

/// The cosignature, after what it says was made durable.
fn keep_and_sign(folder: &mut Folder, accepted: &Accepted) -> Result<String, FolderError> {
    let Checkpoint { origin, size, root } = &accepted.checkpoint;
    let seen = Seen { size: *size, root: *root };
    if folder.seen(origin) != seen {
        folder.keep(origin, seen)?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    note(&format!("cosigned {origin} at {size} records"));
    Ok(folder.key().sign(&accepted.text, now))
}

fn not_kept(error: &dyn std::fmt::Display) -> Answer {
    note(&format!("error: nothing is cosigned: {error}"));
    plain(StatusCode::INTERNAL_SERVER_ERROR, "the witness cannot keep what it would sign")
}

fn refuse(refusal: &Refusal) -> Answer {
    note(&format!("refused ({}): {refusal}", refusal.status()));
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match refusal {
        Refusal::Conflict(size) => respond(status, SIZE_CONTENT_TYPE, format!("{size}\n")),
        other => plain(status, &other.to_string()),
    }
}
