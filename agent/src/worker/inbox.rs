//! The socket side of a worker: one thread receives requests into a bounded queue, answers pings and
//! notes cancellations while the other decodes. The process ends when the agent closes the socket.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;

use super::frame;
use super::message::{
    Failure, FromWorker, Generate, MessageError, QUEUE_LENGTH, RequestNumber, ToWorker,
};

/// How long the decoding thread has, after the agent closed the socket, to come to an end and to wipe
/// the weights: a step of a large model, and a gigabyte a second.
const WIPE_TIMEOUT: Duration = Duration::from_secs(10);

/// Work for the decoding thread.
#[derive(Debug)]
pub enum Job {
    /// A request.
    Generate(Generate),
    /// A probe.
    Probe(RequestNumber),
}

impl Job {
    /// Number of the request.
    pub fn id(&self) -> RequestNumber {
        match self {
            Job::Generate(request) => request.id,
            Job::Probe(id) => *id,
        }
    }
}

/// What both threads see.
#[derive(Debug)]
pub struct Shared {
    socket: Mutex<UnixStream>,
    /// Requests that wait or run, each with whether it was cancelled.
    open: Mutex<HashMap<RequestNumber, Arc<AtomicBool>>>,
    steps: AtomicU64,
    working: AtomicBool,
}

impl Shared {
    /// Answers on `socket`.
    pub fn new(socket: UnixStream) -> Arc<Self> {
        Arc::new(Self {
            socket: Mutex::new(socket),
            open: Mutex::default(),
            steps: AtomicU64::new(0),
            working: AtomicBool::new(false),
        })
    }

    /// Sends a message. Without an agent to hear it there is nothing left to do: the receiving thread
    /// sees that too and ends the process.
    pub fn send(&self, message: &FromWorker) {
        let mut buffer = BytesMut::new();
        let framed = message.to_frame().and_then(|frame| Ok(frame::encode(&frame, &mut buffer)?));
        let socket = &mut *self.socket.lock().expect("no panic while sending");
        if framed.is_err() || socket.write_all(&buffer).is_err() {
            self.cancel_all();
        }
    }

    /// Marks the start of a job; returns whether it was cancelled, now or at any later call.
    pub fn begin(self: &Arc<Self>, id: RequestNumber) -> impl Fn() -> bool + use<> {
        self.working.store(true, Ordering::Relaxed);
        let shared = self.clone();
        let cancelled = self.open.lock().expect("open requests").get(&id).cloned();
        move || {
            shared.steps.fetch_add(1, Ordering::Relaxed);
            cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
        }
    }

    /// Marks the end of a job.
    pub fn end(&self, id: RequestNumber) {
        self.open.lock().expect("open requests").remove(&id);
        self.working.store(false, Ordering::Relaxed);
    }

    fn cancel(&self, id: RequestNumber) {
        if let Some(cancelled) = self.open.lock().expect("open requests").get(&id) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    fn cancel_all(&self) {
        for cancelled in self.open.lock().expect("open requests").values() {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    fn enqueue(&self, job: Job, queue: &SyncSender<Job>) {
        let id = job.id();
        self.open.lock().expect("open requests").insert(id, Arc::default());
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(job) {
            self.open.lock().expect("open requests").remove(&id);
            let message =
                format!("{QUEUE_LENGTH} requests wait for this model already: try again soon");
            self.send(&FromWorker::Failed { id, failure: Failure::Busy, message });
        }
    }
}

/// Starts to receive. When the agent closes the socket, the jobs end, so that the weights are wiped on
/// the way out; the process ends in any case, and at once when the agent speaks nonsense.
pub fn receive(mut socket: UnixStream, shared: Arc<Shared>) -> std::io::Result<Receiver<Job>> {
    let (queue, jobs) = sync_channel(QUEUE_LENGTH);
    std::thread::Builder::new().name("inbox".into()).spawn(move || {
        if let Err(error) = receive_all(&mut socket, &shared, &queue) {
            eprintln!("the agent's socket: {error}");
            std::process::exit(1);
        }
        shared.cancel_all();
        drop(queue);
        std::thread::sleep(WIPE_TIMEOUT);
        std::process::exit(0);
    })?;
    Ok(jobs)
}

fn receive_all(
    socket: &mut UnixStream,
    shared: &Shared,
    queue: &SyncSender<Job>,
) -> Result<(), MessageError> {
    while let Some(frame) = frame::read(socket)? {
        match ToWorker::from_frame(frame)? {
            ToWorker::Generate(request) => shared.enqueue(Job::Generate(request), queue),
            ToWorker::Probe { id } => shared.enqueue(Job::Probe(id), queue),
            ToWorker::Cancel { id } => shared.cancel(id),
            ToWorker::Ping { nonce } => shared.send(&FromWorker::Pong {
                nonce,
                steps: shared.steps.load(Ordering::Relaxed),
                working: shared.working.load(Ordering::Relaxed),
            }),
            ToWorker::Start(_) | ToWorker::Payload(_) | ToWorker::PayloadEnd => {
                return Err(MessageError::Misplaced);
            }
        }
    }
    Ok(())
}
