//! One worker process as the agent holds it: started, loaded, probed, asked, ended. Dropping the last
//! handle ends the process, so a worker lives exactly as long as its slot or a request needs it.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{mpsc, watch};

use super::exit::{self, Ending};
use super::link::{Answers, Closed, Link};
use super::liveness::{Liveness, Patience, Verdict};
use super::memory;
use crate::slots::{Paging, PayloadError, PayloadSource, SlotSpec, TrialError};
use crate::worker::frame::PAYLOAD_PIECE_BYTES;
use crate::worker::message::{FromWorker, Generate, Loaded, RequestNumber, Start, ToWorker};

/// How long to wait for the system to say how a process ended whose socket is closed already.
const EXIT_STATUS_WAIT: Duration = Duration::from_secs(2);

/// How long a worker that is not needed any more has to wipe its weights before it is killed.
const WIPE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest line of a worker's stderr that is kept.
const MAX_LINE_BYTES: u64 = 2048;

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    /// What it runs.
    pub spec: SlotSpec,
    /// Its process.
    pub pid: u32,
    link: Link,
    end: mpsc::Sender<String>,
    exit: watch::Receiver<Option<Arc<str>>>,
    paging: OnceLock<Paging>,
}

/// What a worker sends that belongs to no request.
pub type Unaddressed = mpsc::Receiver<FromWorker>;

impl Worker {
    /// Starts the process. The weights come with [`Worker::load`].
    pub fn spawn(program: &Path, spec: SlotSpec) -> std::io::Result<(Arc<Self>, Unaddressed)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let oom_kills_before = memory::oom_kills();
        let mut child = Command::new(program)
            .arg0("edgeformer-agent")
            .args([OsStr::new("worker"), OsStr::new("--slot"), OsStr::new(spec.slot.as_str())])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C in a terminal is for the agent alone: it lets running requests finish.
            .process_group(0)
            .spawn()?;
        let pid = child.id().ok_or_else(|| std::io::Error::other("the process ended at once"))?;
        let stderr = child.stderr.take().expect("stderr is piped");
        let (link, unaddressed) = Link::start(tokio::net::UnixStream::from_std(ours)?);
        let (end, end_requests) = mpsc::channel(1);
        let (exited, exit) = watch::channel(None);
        tokio::spawn(watch_process(
            child,
            follow_stderr(stderr, spec.slot.to_string()),
            end_requests,
            exited,
            oom_kills_before,
        ));
        Ok((Arc::new(Self { spec, pid, link, end, exit, paging: OnceLock::new() }), unaddressed))
    }

    /// Streams the model into the worker and waits until it is in memory.
    pub async fn load(
        &self,
        payload: Arc<dyn PayloadSource>,
        memory_limit_bytes: u64,
        unaddressed: &mut Unaddressed,
    ) -> Result<Loaded, TrialError> {
        let start = ToWorker::Start(Start {
            slot: self.spec.slot.to_string(),
            context_tokens: self.spec.settings.context_tokens,
            threads: 0,
            memory_limit_bytes,
        });
        let bulk = self.link.bulk();
        let feeding = tokio::task::spawn_blocking(move || feed(&*payload, start, &bulk));
        feeding.await.map_err(|error| TrialError::Start(error.to_string()))??;
        match unaddressed.recv().await {
            Some(FromWorker::Loaded(loaded)) => {
                let _once = self.paging.set(loaded.paging.clone());
                Ok(loaded)
            }
            Some(FromWorker::LoadFailed { message, .. }) => Err(TrialError::Load(message)),
            Some(_) => Err(TrialError::Start("the worker answered out of turn".into())),
            None => Err(TrialError::Died(self.exit_reason().await)),
        }
    }

    /// Lets the model make a few tokens. Returns how many.
    pub async fn probe(&self) -> Result<u32, TrialError> {
        let died = async || TrialError::Died(self.exit_reason().await);
        let Ok((id, mut answers)) = self.link.open() else { return Err(died().await) };
        if self.link.send(ToWorker::Probe { id }).is_err() {
            return Err(died().await);
        }
        let answer = answers.recv().await;
        self.link.close(id);
        match answer {
            Some(FromWorker::Probed { tokens, .. }) => Ok(tokens),
            Some(FromWorker::Failed { message, .. }) => Err(TrialError::Probe(message)),
            Some(_) => Err(TrialError::Start("the worker answered out of turn".into())),
            None => Err(died().await),
        }
    }

    /// Hands a request to the worker; `request.id` is set here.
    pub fn ask(&self, mut request: Generate) -> Result<(RequestNumber, Answers), Closed> {
        let (id, answers) = self.link.open()?;
        request.id = id;
        self.link.send(ToWorker::Generate(request))?;
        Ok((id, answers))
    }

    /// Ends interest in a request; `cancel` also stops the work on it.
    pub fn forget(&self, id: RequestNumber, cancel: bool) {
        self.link.close(id);
        if cancel {
            let _gone_already = self.link.send(ToWorker::Cancel { id });
        }
    }

    /// Ends the process now. Open requests learn `reason`.
    pub fn end(&self, reason: &str) {
        let _ending_already = self.end.try_send(reason.to_owned());
    }

    /// Waits until the process is gone and says why.
    pub async fn ended(&self) -> Arc<str> {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended.ok().and_then(|reason| reason.clone()).unwrap_or_else(|| "ended".into())
    }

    /// Why the process is gone, once its socket is closed.
    pub async fn exit_reason(&self) -> String {
        match tokio::time::timeout(EXIT_STATUS_WAIT, self.ended()).await {
            Ok(reason) => reason.to_string(),
            Err(_) => "closed its socket but still runs".to_owned(),
        }
    }

    /// A watch on the exit that does not keep the worker alive.
    pub fn exit_watch(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.exit.clone()
    }

    /// Whether its weights may leave memory.
    pub fn paging(&self) -> Paging {
        let unknown = || Paging::Swappable("it has not loaded yet".to_owned());
        self.paging.get().cloned().unwrap_or_else(unknown)
    }

    /// Resident memory now.
    pub fn rss_bytes(&self) -> u64 {
        memory::rss_bytes(self.pid)
    }
}

/// Pings a worker as long as somebody holds it, and ends it when it hangs.
pub async fn watch_liveness(worker: Weak<Worker>, mut answers: Unaddressed, patience: Patience) {
    let mut liveness = Liveness::new(Instant::now());
    let mut ticks = tokio::time::interval(patience.ping_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut nonce = 0;
    loop {
        tokio::select! {
            answer = answers.recv() => match answer {
                Some(FromWorker::Pong { steps, working, .. }) => {
                    liveness.answer(Instant::now(), steps, working);
                }
                Some(_) => {}
                None => return,
            },
            _ = ticks.tick() => {
                let Some(worker) = worker.upgrade() else { return };
                if let Verdict::Hung(why) = liveness.verdict(Instant::now(), &patience) {
                    worker.end(&format!("hung: it {why} and was killed"));
                    return;
                }
                nonce += 1;
                if worker.link.send(ToWorker::Ping { nonce }).is_err() {
                    return;
                }
            }
        }
    }
}

/// Sends the whole model. An early end of the worker is no error here: its own answer says more.
fn feed(
    payload: &dyn PayloadSource,
    start: ToWorker,
    bulk: &mpsc::Sender<ToWorker>,
) -> Result<(), PayloadError> {
    if bulk.blocking_send(start).is_err() {
        return Ok(());
    }
    for pieces in payload.open()? {
        let mut pieces = pieces?;
        while !pieces.is_empty() {
            let piece = pieces.split_to(pieces.len().min(PAYLOAD_PIECE_BYTES));
            if bulk.blocking_send(ToWorker::Payload(piece)).is_err() {
                return Ok(());
            }
        }
    }
    let _worker_gone = bulk.blocking_send(ToWorker::PayloadEnd);
    Ok(())
}

async fn watch_process(
    mut child: Child,
    stderr: impl Future<Output = String> + Send + 'static,
    mut end_requests: mpsc::Receiver<String>,
    exited: watch::Sender<Option<Arc<str>>>,
    oom_kills_before: u64,
) {
    let last_line = tokio::spawn(stderr);
    let (status, asked) = tokio::select! {
        status = child.wait() => (status, None),
        reason = end_requests.recv() => {
            if reason.is_none() {
                // Its socket is closed: it wipes the weights and ends.
                let _still_runs = tokio::time::timeout(WIPE_TIMEOUT, child.wait()).await;
            }
            let _ended_already = child.start_kill();
            (child.wait().await, Some(reason.unwrap_or_else(|| "stopped, not needed any more".into())))
        }
    };
    let last_line = last_line.await.unwrap_or_default();
    let reason = exit::describe(Ending {
        status: status.ok(),
        asked: asked.as_deref(),
        last_line: &last_line,
        oom_kill_seen: memory::oom_kills() > oom_kills_before,
    });
    exited.send_replace(Some(reason.into()));
}

/// Logs what a worker writes to stderr and returns its last line.
async fn follow_stderr(stderr: ChildStderr, slot: String) -> String {
    let mut lines = BufReader::new(stderr);
    let mut kept = String::new();
    loop {
        let mut line = Vec::new();
        match (&mut lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        if !line.is_empty() {
            tracing::warn!(slot, line, "a model worker says");
            kept = line;
        }
    }
    kept
}
