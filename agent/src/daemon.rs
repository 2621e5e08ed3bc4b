//! The running agent: puts the parts together, and takes them apart again on SIGTERM. The local
//! listener comes up first and goes down last but the workers, whether a controller is there or not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

use crate::cli::RunArgs;
use crate::clock::{Clock, rfc3339};
use crate::durable::Folder;
use crate::fetch::budget::Budget;
use crate::fetch::direct::Direct;
use crate::fetch::remote::Remote;
use crate::fetch::trust::Trust;
use crate::fetch::versions::Opening;
use crate::fetch::{Limits, Store};
use crate::identity::enroll::open_keys;
use crate::identity::instance::InstanceStore;
use crate::identity::key_place::Missing;
use crate::identity::{DeviceKeys, Identity, IdentityError, erase};
use crate::import::{self, Importer};
use crate::privacy::Gate;
use crate::reconcile::Handle;
use crate::reconcile::ledger::{LedgerStore, Source};
use crate::reconcile::report::{Board, SlotReport};
use crate::reconcile::retention::Retention;
use crate::serve::{self, ServeConfig};
use crate::session::{self, Connection, Links, Parts, farewell};
use crate::slots::{RequestMeasurement, SlotName, Workers};
use crate::status::document::{Device, Keep, Link, Slot, Status};
use crate::supervisor::{Supervisor, SupervisorConfig};
use crate::telemetry::{Exporter, Settings, Spool};
use crate::worker::limits;
use crate::{durable, facts, lock, logging, status};

/// Measurements that wait to be aggregated; more are dropped, never waited for.
const MEASUREMENTS: usize = 1024;

/// Workers have this long to end when the agent stops.
const WORKERS_STOP: Duration = Duration::from_secs(10);

/// The parts other than the local API have this long to end.
const TASKS_STOP: Duration = Duration::from_secs(5);

/// What the status document is made from.
struct Observed {
    started_at: String,
    clock: Clock,
    identity: watch::Receiver<Identity>,
    connection: watch::Receiver<Connection>,
    reconcile: Handle,
    board: watch::Receiver<Board>,
    supervisor: Supervisor,
    local_url: String,
    memory_limit_bytes: Option<u64>,
    policy: Retention,
    state_dir: PathBuf,
    keys: String,
}

/// What every part is built on.
struct Base {
    args: RunArgs,
    state_dir: PathBuf,
    identity: Identity,
    keys: Arc<dyn DeviceKeys>,
    clock: Clock,
    reconcile: Handle,
    supervisor: Supervisor,
    local_url: String,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let state_dir = std::path::absolute(&args.state_dir)?;
    let is_over = erase::under_way(&state_dir).is_some();
    let identity = match Identity::load(&state_dir) {
        // It was erased but for the rest.
        Err(IdentityError::NotEnrolled(_)) if is_over => {
            return Ok(erase::remove_self(&state_dir)?);
        }
        found => found?,
    };
    let _alone = lock::acquire(&state_dir)?;
    logging::start(&state_dir, args.log_format).context("the log file cannot be opened")?;
    let folder = Folder::from(&state_dir);
    begin_clean(&folder);
    let clock = Clock::open(&state_dir);
    // What is being erased needs a key to say so, and its model key may be gone already.
    let missing = if is_over { Missing::Make } else { Missing::Refuse };
    let keys = open_keys(&state_dir, args.keys.clone(), missing).await?;
    let stop = CancellationToken::new();
    if is_over {
        return retire(&state_dir, identity, keys, &clock, stop).await;
    }
    let reconcile = Handle::new(
        Arc::new(open_ledger(&state_dir, &clock)?),
        clock.clone(),
        retention(&args, &folder),
    );
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = serve::bind(args.listen, args.allow_remote).await?;
    let local_url = format!("http://{}", listener.local_addr()?);
    let supervisor = Supervisor::start(SupervisorConfig {
        memory_limit_bytes: memory_limit_bytes(&args),
        ..Default::default()
    });
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), device = %identity.device_id, name = identity.name,
        controller = %identity.controller, local_api = local_url, "the agent is up"
    );
    let ready_file = args.ready_file.clone();
    let base = Base { args, state_dir, identity, keys, clock, reconcile, supervisor, local_url };
    let ready = serde_json::json!({ "pid": std::process::id(), "http_url": base.local_url });
    let retired = (base.state_dir.clone(), base.identity.clone(), base.keys.clone());
    let (clock, ordered) = (base.clock.clone(), CancellationToken::new());
    let running = Running::start(base, listener, ordered.clone())?;
    if let Some(path) = ready_file {
        write_ready(&path, &ready);
    }
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        () = ordered.cancelled() => tracing::warn!("decommissioned: stopping, then erasing"),
    }
    running.stop().await;
    if ordered.is_cancelled() {
        let (state_dir, identity, keys) = retired;
        return retire(&state_dir, identity, keys, &clock, stop).await;
    }
    Ok(())
}

/// Erases this device and tells the controller. Goes on at the next start if it is stopped.
async fn retire(
    state_dir: &Path,
    identity: Identity,
    keys: Arc<dyn DeviceKeys>,
    clock: &Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
    });
    // A renewal since the start is in the file.
    let identity = Identity::load(state_dir).unwrap_or(identity);
    let gate = Gate::new(state_dir);
    let remove = || erase::remove_content(state_dir);
    if farewell::tell(identity, keys, clock, &gate, remove, &stop).await {
        erase::remove_self(state_dir)?;
        tracing::warn!("this device was decommissioned: its models, keys and identity are erased");
    }
    Ok(())
}

/// Without dumps of this process, and without what one before it left half written.
fn begin_clean(folder: &Folder) {
    if let Err(error) = limits::hide_memory() {
        tracing::warn!(%error, "dumps of the agent's memory cannot be switched off");
    }
    match folder.remove_leftovers() {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed what interrupted writes had left"),
        Err(error) => tracing::warn!(%error, "what interrupted writes left stays for now"),
    }
}

/// What older versions may take, by the flags or a tenth of the disk.
fn retention(args: &RunArgs, folder: &Folder) -> Retention {
    let tenth = || folder.space().map_or(u64::MAX, |space| space.total / 10);
    let bytes = args.keep_mb.map_or_else(tenth, |mib| mib.saturating_mul(1 << 20));
    Retention { versions: args.keep_versions.into(), bytes }
}

fn memory_limit_bytes(args: &RunArgs) -> Option<u64> {
    args.memory_limit_mb.map(|mib| mib.saturating_mul(1 << 20))
}

/// The parts of a running agent.
struct Running {
    tasks: TaskTracker,
    stop: CancellationToken,
    api: JoinHandle<()>,
    api_stop: CancellationToken,
    supervisor: Supervisor,
}

impl Running {
    fn start(base: Base, listener: TcpListener, retire: CancellationToken) -> anyhow::Result<Self> {
        let instance = Arc::new(InstanceStore::open(&base.state_dir)?);
        let links = links(base.identity.clone(), &base.clock);
        let socket = status::bind(&base.state_dir).context("the status socket cannot be made")?;
        let bundles = import::bind(&base.state_dir).context("the import socket cannot be made")?;
        let observed = observed(&base, &links);
        let trust = Trust::open(&base.state_dir, base.clock.clone(), &base.identity.name);
        let opening = opening(&base);
        let store = store(&base, opening.clone(), trust.clone(), links.channel.subscribe());
        let importer =
            Importer::new(store.clone(), base.reconcile.clone(), opening, links.sessions.clone());
        let (measurements, measured) = mpsc::channel(MEASUREMENTS);
        let exporter = exporter(&base, measured, links.channel.subscribe())?;
        let sessions = links.sessions.subscribe();
        let Base { args, state_dir, keys, clock, reconcile, supervisor, .. } = base;

        let (stop, api_stop) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        tasks.spawn(exporter.run(SystemTime::now, stop.clone()));
        tasks.spawn(status::serve(socket, move || observed.status(), stop.clone()));
        tasks.spawn(import::serve(bundles, importer, stop.clone()));
        tasks.spawn(tell_applications(reconcile.board(), supervisor.clone(), stop.clone()));
        let (slots, workers, until) = (reconcile.clone(), supervisor.clone(), stop.clone());
        tasks.spawn(async move { slots.run(workers, store, sessions, until).await });
        let config = ServeConfig {
            state_dir: state_dir.clone(),
            allow_remote: args.allow_remote,
            allowed_origins: args.allowed_origins,
        };
        let boot_id = uuid::Uuid::new_v4().to_string();
        let parts =
            Parts { state_dir, keys, clock, boot_id, instance, retire, trust, reconcile, links };
        tasks.spawn(session::run(parts, stop.clone()));
        let api = serve::run(listener, config, supervisor.clone(), measurements, api_stop.clone());
        Ok(Self { tasks, stop, api: tokio::spawn(api), api_stop, supervisor })
    }

    /// Applications first: their open requests still need the workers.
    async fn stop(self) {
        self.api_stop.cancel();
        if let Err(error) = self.api.await {
            tracing::error!(%error, "the local API ended with an error");
        }
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(TASKS_STOP, self.tasks.wait()).await.is_err() {
            tracing::warn!("some parts of the agent did not end in time");
        }
        stop_workers(&self.supervisor).await;
        tracing::info!("stopped");
    }
}

fn opening(base: &Base) -> Opening {
    Opening {
        tenant_id: base.identity.tenant_id,
        device_id: base.identity.device_id,
        release_public: base.identity.release_public,
        keys: Arc::clone(&base.keys),
    }
}

fn store(
    base: &Base,
    opening: Opening,
    trust: Trust,
    channel: watch::Receiver<Option<Channel>>,
) -> Store {
    let limits = Limits { memory_bytes: memory_limit_bytes(&base.args) };
    let rate = base.args.bandwidth.map(|kib| u64::from(kib) << 10);
    let budget = rate.map_or_else(Budget::default, Budget::of);
    let near = base.identity.controller.is_local();
    let direct = Direct::new(base.clock.clone(), near, budget.clone());
    let origin = Remote::new(channel).within(budget).reading(direct);
    Store::new(&base.state_dir, opening, Arc::new(origin), trust, limits)
}

fn observed(base: &Base, links: &Links) -> Observed {
    Observed {
        started_at: rfc3339(base.clock.now_us()),
        clock: base.clock.clone(),
        identity: links.identity.subscribe(),
        connection: links.connection.subscribe(),
        reconcile: base.reconcile.clone(),
        board: base.reconcile.board(),
        supervisor: base.supervisor.clone(),
        local_url: base.local_url.clone(),
        memory_limit_bytes: memory_limit_bytes(&base.args),
        policy: retention(&base.args, &Folder::from(&base.state_dir)),
        state_dir: base.state_dir.clone(),
        keys: base.keys.kept_in(),
    }
}

fn open_ledger(state_dir: &Path, clock: &Clock) -> anyhow::Result<LedgerStore> {
    let (ledger, source) = LedgerStore::open(state_dir)?;
    if let Source::Previous(what) = source {
        tracing::error!(
            what,
            "the ledger was damaged; going on with the copy before it, which may lack the \
                   newest desired state until the controller sends it again"
        );
    }
    ledger.recover(clock.now_us());
    Ok(ledger)
}

fn links(identity: Identity, clock: &Clock) -> Links {
    let away = Connection::Away {
        since_unix_us: clock.now_us(),
        failures: 0,
        error: "not tried yet".to_owned(),
        next_attempt_unix_us: clock.now_us(),
    };
    Links {
        channel: watch::channel(None).0,
        sessions: watch::channel(0).0,
        connection: watch::channel(away).0,
        identity: watch::channel(identity).0,
    }
}

fn exporter(
    base: &Base,
    measured: mpsc::Receiver<RequestMeasurement>,
    channel: watch::Receiver<Option<Channel>>,
) -> anyhow::Result<Exporter> {
    let spool = Spool::open(&base.state_dir.join("telemetry"))?;
    let settings = Settings {
        device_id: base.identity.device_id.to_string(),
        gate: Gate::new(&base.state_dir),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        interval: Duration::from_secs(base.args.telemetry_interval_s.into()),
    };
    Ok(Exporter::new(settings, spool, measured, channel))
}

/// Applications that ask for a model that is not there yet are told what it waits for.
async fn tell_applications(
    mut board: watch::Receiver<Board>,
    supervisor: Supervisor,
    stop: CancellationToken,
) {
    let mut told: Vec<SlotName> = Vec::new();
    loop {
        let now = board.borrow_and_update().clone();
        for slot in told.drain(..).filter(|slot| !now.contains_key(slot)) {
            supervisor.set_waiting(&slot, None);
        }
        for (slot, report) in &now {
            supervisor.set_waiting(slot, waits_for(report));
            told.push(slot.clone());
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = board.changed() => if changed.is_err() { return },
        }
    }
}

fn waits_for(report: &SlotReport) -> Option<String> {
    if report.serving_version_id.is_some() || report.model.is_empty() {
        return None;
    }
    let stage = report.stage.name();
    Some(match (report.message.is_empty(), report.bytes_total) {
        (false, _) => format!("{stage}: {}", report.message),
        (true, 0) => stage.to_owned(),
        (true, total) => format!(
            "{stage}: {} of {}",
            facts::human_bytes(report.bytes_done),
            facts::human_bytes(total)
        ),
    })
}

async fn stop_workers(supervisor: &Supervisor) {
    let slots: Vec<SlotName> = supervisor.serving().into_iter().map(|one| one.slot).collect();
    let all = futures::future::join_all(slots.iter().map(|slot| supervisor.stop(slot)));
    if tokio::time::timeout(WORKERS_STOP, all).await.is_err() {
        tracing::warn!("some model workers did not end in time; they end with the agent");
    }
}

/// Without it, whoever waits for the file waits in vain; the models serve all the same.
fn write_ready(path: &Path, ready: &serde_json::Value) {
    let written = std::path::absolute(path).and_then(|path| {
        let text = serde_json::to_vec(ready)?;
        durable::write(&path, &text)
    });
    if let Err(error) = written {
        tracing::error!(path = %path.display(), %error, "the ready file cannot be written");
    }
}

impl Observed {
    fn status(&self) -> Status {
        let identity = self.identity.borrow().clone();
        let serving = self.supervisor.serving();
        let board = self.board.borrow().clone();
        let kept = self.reconcile.kept();
        let slots = board.iter().map(|(name, report)| {
            let worker = serving.iter().find(|one| one.slot == *name);
            Slot {
                slot: name.to_string(),
                report: serde_json::to_value(report).unwrap_or_default(),
                worker_pid: worker.map(|one| one.pid),
                worker_rss_bytes: worker.map(|one| one.rss_bytes),
                worker_memory: worker.map(|one| one.paging.to_string()),
            }
        });
        Status {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at.clone(),
            now: rfc3339(self.clock.now_us()),
            device: Device {
                id: identity.device_id.to_string(),
                tenant_id: identity.tenant_id.to_string(),
                name: identity.name,
                controller: identity.controller.to_string(),
                certificate_expires_at: rfc3339(identity.certificate.not_after_us),
                keys: self.keys.clone(),
            },
            connection: link(&self.connection.borrow()),
            generation: self.reconcile.held().map(|generation| generation.to_string()),
            local_url: self.local_url.clone(),
            slots: slots.collect(),
            memory_available_bytes: facts::memory().available_bytes,
            memory_limit_bytes: self.memory_limit_bytes,
            disk_free_bytes: facts::disk_free_bytes(&self.state_dir).unwrap_or(0),
            older_versions: kept.versions,
            older_versions_bytes: kept.bytes,
            keep: Keep { versions: self.policy.versions, bytes: self.policy.bytes },
        }
    }
}

fn link(connection: &Connection) -> Link {
    match connection {
        Connection::Connected { since_unix_us, controller_version, quarantined } => Link {
            connected: true,
            since: rfc3339(*since_unix_us),
            controller_version: Some(controller_version.clone()),
            quarantined: quarantined.clone(),
            error: None,
            next_attempt_at: None,
        },
        Connection::Away { since_unix_us, error, next_attempt_unix_us, .. } => Link {
            connected: false,
            since: rfc3339(*since_unix_us),
            controller_version: None,
            quarantined: None,
            error: Some(error.clone()),
            next_attempt_at: Some(rfc3339(*next_attempt_unix_us)),
        },
    }
}
