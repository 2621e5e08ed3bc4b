//! The agent's end of the socket to one worker: sends requests and weights, and brings each answer to
//! the request it belongs to. Knows nothing of processes, slots or HTTP.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::codec::{Decoder, FramedRead};

use crate::worker::frame::{self, Frame, FrameError};
use crate::worker::message::{FromWorker, RequestNumber, ToWorker};

/// Weight pieces on their way to the socket; with their size, 1 MiB.
const BULK_QUEUE: usize = 4;

/// Answers that belong to no request: one `Loaded` or `LoadFailed`, then pongs, which may be dropped.
const UNADDRESSED_QUEUE: usize = 16;

/// The worker has closed its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Answers to one request. Not bounded by a number: a request makes at most as many as its context
/// has tokens, and waiting for a slow reader here would stop all other requests.
pub type Answers = mpsc::UnboundedReceiver<FromWorker>;

/// Open requests; none when the worker has closed its end.
type Routes = Arc<Mutex<Option<HashMap<RequestNumber, mpsc::UnboundedSender<FromWorker>>>>>;

/// One socket to one worker.
#[derive(Debug)]
pub struct Link {
    control: mpsc::UnboundedSender<ToWorker>,
    bulk: mpsc::Sender<ToWorker>,
    routes: Routes,
    next: AtomicU64,
}

impl Link {
    /// Takes over the socket. The receiver gets what belongs to no request, and ends with the link.
    pub fn start(socket: UnixStream) -> (Self, mpsc::Receiver<FromWorker>) {
        let (read, write) = socket.into_split();
        let (control, control_queue) = mpsc::unbounded_channel();
        let (bulk, bulk_queue) = mpsc::channel(BULK_QUEUE);
        let (unaddressed, unaddressed_queue) = mpsc::channel(UNADDRESSED_QUEUE);
        let routes: Routes = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(write_all(write, control_queue, bulk_queue));
        tokio::spawn(read_all(read, routes.clone(), unaddressed));
        (Self { control, bulk, routes, next: AtomicU64::new(1) }, unaddressed_queue)
    }

    /// A new request number and where its answers arrive.
    pub fn open(&self) -> Result<(RequestNumber, Answers), Closed> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answers, queue) = mpsc::unbounded_channel();
        self.routes.lock().expect("routes").as_mut().ok_or(Closed)?.insert(id, answers);
        Ok((id, queue))
    }

    /// Forgets a request; later answers to it are dropped.
    pub fn close(&self, id: RequestNumber) {
        if let Some(routes) = self.routes.lock().expect("routes").as_mut() {
            routes.remove(&id);
        }
    }

    /// Sends a control message, before any weights that still wait.
    pub fn send(&self, message: ToWorker) -> Result<(), Closed> {
        self.control.send(message).map_err(|_| Closed)
    }

    /// Where weights go in, in order and with back-pressure.
    pub fn bulk(&self) -> mpsc::Sender<ToWorker> {
        self.bulk.clone()
    }
}

async fn write_all(
    mut write: OwnedWriteHalf,
    mut control: mpsc::UnboundedReceiver<ToWorker>,
    mut bulk: mpsc::Receiver<ToWorker>,
) {
    loop {
        let message = tokio::select! {
            biased;
            Some(message) = control.recv() => message,
            Some(message) = bulk.recv() => message,
            else => return,
        };
        let framed = message.to_frame().and_then(|frame| Ok((frame::header(&frame)?, frame.body)));
        let (header, body) = match framed {
            Ok(framed) => framed,
            Err(error) => {
                tracing::error!(%error, "a message to a worker could not be encoded; its link is closed");
                return;
            }
        };
        // The body as it is: a copy of weights in a buffer of its own would outlive them.
        if write.write_all(&header).await.is_err() || write.write_all(&body).await.is_err() {
            return;
        }
    }
}

async fn read_all(read: OwnedReadHalf, routes: Routes, unaddressed: mpsc::Sender<FromWorker>) {
    let mut frames = FramedRead::new(read, FrameDecoder);
    while let Some(frame) = frames.next().await {
        let message = match frame {
            Ok(frame) => FromWorker::from_frame(frame),
            Err(FrameError::Io(_)) => break,
            Err(error) => Err(error.into()),
        };
        match message {
            Ok(message) => deliver(message, &routes, &unaddressed),
            Err(error) => {
                tracing::error!(%error, "a worker speaks nonsense; its link is closed");
                break;
            }
        }
    }
    *routes.lock().expect("routes") = None;
}

fn deliver(message: FromWorker, routes: &Routes, unaddressed: &mpsc::Sender<FromWorker>) {
    let Some(id) = request_of(&message) else {
        let _full_of_pongs = unaddressed.try_send(message);
        return;
    };
    if let Some(answers) = routes.lock().expect("routes").as_ref().and_then(|all| all.get(&id)) {
        let _nobody_waits = answers.send(message);
    }
}

fn request_of(message: &FromWorker) -> Option<RequestNumber> {
    match message {
        FromWorker::Started { id, .. }
        | FromWorker::Text { id, .. }
        | FromWorker::Done { id, .. }
        | FromWorker::Failed { id, .. }
        | FromWorker::Probed { id, .. } => Some(*id),
        FromWorker::Loaded(_) | FromWorker::LoadFailed { .. } | FromWorker::Pong { .. } => None,
    }
}

struct FrameDecoder;

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = FrameError;
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        frame::decode(buffer)
    }
}
