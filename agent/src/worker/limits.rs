//! What a worker process gives up before it sees a model: dumps of its memory, its rank when memory
//! is short, and memory beyond its share.

use rustix::process::{DumpableBehavior, Resource, Rlimit};

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

fn exactly(value: u64) -> Rlimit {
    Rlimit { current: Some(value), maximum: Some(value) }
}

fn report<E: std::fmt::Display>(what: &str, result: Result<(), E>) {
    if let Err(error) = result {
        eprintln!("could not set its {what}: {error}");
    }
}
