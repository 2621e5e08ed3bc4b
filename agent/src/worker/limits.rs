//! What a worker process gives up before it sees a model: dumps of its memory, its rank when memory
//! is short, and memory beyond its share.

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::CapabilitySet;

use crate::slots::Paging;

/// Inference yields to the rest of the device, the agent included.
const NICE: i32 = 5;

/// Raised so that the kernel ends a worker, which is started again, before anything else. Any process
/// may raise its own; -1000 to 1000, see proc_pid_oom_score_adj(5).
const OOM_SCORE_ADJUSTMENT: &str = "800";

/// Before anything is received. What fails is reported and goes on: a worker without a rank serves.
pub fn give_up_privileges() {
    report(
        "rank for memory shortage",
        std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT),
    );
    report("core dumps", rustix::process::setrlimit(Resource::Core, exactly(0)));
    report("priority", rustix::process::nice(NICE).map(drop));
    // Last: afterwards the files in /proc/self belong to root.
    let hidden = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    report("reading of its memory by others", hidden);
}

/// Caps private memory, so that a leak or a hostile model ends this process and not the device.
/// 0 sets no limit.
pub fn limit_memory(bytes: u64) {
    if bytes > 0 {
        report("memory limit", rustix::process::setrlimit(Resource::Data, exactly(bytes)));
    }
}

/// Keeps everything that this process holds from now on out of swap, page by page as it is used. Where
/// the process may not lock all that it could map, it locks nothing: a later allocation would fail.
pub fn lock_memory() -> Paging {
    let limit = rustix::process::getrlimit(Resource::Memlock).maximum;
    let may_lock = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if let (Some(limit), false) = (limit, may_lock) {
        return Paging::Swappable(format!(
            "the agent may lock {} KiB only: set LimitMEMLOCK=infinity for its service",
            limit / 1024
        ));
    }
    let unlimited = Rlimit { current: limit, maximum: limit };
    let raised = rustix::process::setrlimit(Resource::Memlock, unlimited);
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    match raised.and_then(|()| rustix::mm::mlockall(flags)) {
        Ok(()) => Paging::Locked,
        Err(errno) => Paging::Swappable(format!("locking it failed: {errno}")),
    }
}

/// For a process that holds keys and opened pieces: no dump of it is written or read by others.
pub fn hide_memory() -> std::io::Result<()> {
    rustix::process::setrlimit(Resource::Core, exactly(0))?;
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

fn exactly(value: u64) -> Rlimit {
    Rlimit { current: Some(value), maximum: Some(value) }
}

fn report<E: std::fmt::Display>(what: &str, result: Result<(), E>) {
    if let Err(error) = result {
        eprintln!("could not set its {what}: {error}");
    }
}
