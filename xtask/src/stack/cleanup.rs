//! What must go when this process is told to go: process groups and temporary directories.
//!
//! `Drop` covers returns and panics; this covers SIGINT, SIGTERM and SIGHUP, after which no
//! destructor runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::process::{group_is_alive, signal_group};

/// Time for the groups to end by themselves before they are killed.
const GRACE: Duration = Duration::from_secs(5);
/// Exit code of a process ended by Ctrl-C, as shells report it.
const INTERRUPTED_CODE: i32 = 130;

#[derive(Default)]
struct Registered {
    groups: BTreeSet<i32>,
    dirs: BTreeSet<PathBuf>,
}

static REGISTERED: Mutex<Registered> =
    Mutex::new(Registered { groups: BTreeSet::new(), dirs: BTreeSet::new() });
static HANDLER: Once = Once::new();
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Installs the signal handler; later calls do nothing.
pub fn clean_up_on_signals() {
    HANDLER.call_once(|| {
        // Another handler in this process keeps its place: then only `Drop` cleans up.
        let _ = ctrlc::set_handler(|| {
            INTERRUPTED.store(true, Ordering::SeqCst);
            eprintln!("\ninterrupted: stopping what was started");
            clean_up();
            std::process::exit(INTERRUPTED_CODE);
        });
    });
}

/// Never returns once a signal has come: what fails then fails because everything is being stopped,
/// and the handler ends this process when it is done.
pub fn wait_if_interrupted() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        thread::sleep(GRACE);
    }
}

pub(super) fn protect_group(group: i32) {
    clean_up_on_signals();
    registered().groups.insert(group);
}

pub(super) fn release_group(group: i32) {
    registered().groups.remove(&group);
}

/// Removes `dir` when a signal ends this process.
pub fn protect_dir(dir: &Path) {
    clean_up_on_signals();
    registered().dirs.insert(dir.to_path_buf());
}

/// `dir` stays, or has been removed by its owner.
pub fn release_dir(dir: &Path) {
    registered().dirs.remove(dir);
}

fn clean_up() {
    let (groups, dirs) = {
        let mut all = registered();
        (std::mem::take(&mut all.groups), std::mem::take(&mut all.dirs))
    };
    for group in &groups {
        signal_group(*group, Signal::TERM);
    }
    let started = Instant::now();
    while started.elapsed() < GRACE && groups.iter().any(|g| is_running(*g)) {
        thread::sleep(Duration::from_millis(50));
    }
    for group in &groups {
        signal_group(*group, Signal::KILL);
    }
    for dir in &dirs {
        // Fails with EINVAL on the many that are no mount points.
        let _ = rustix::mount::unmount(dir, rustix::mount::UnmountFlags::DETACH);
        // The process ends here; what cannot be removed is in the system's temporary directory.
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// A group whose processes have ended exists until its leader is waited for, which nobody else does
/// any more.
fn is_running(group: i32) -> bool {
    if let Some(leader) = Pid::from_raw(group) {
        let _ = waitpid(Some(leader), WaitOptions::NOHANG);
    }
    group_is_alive(group)
}

fn registered() -> MutexGuard<'static, Registered> {
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}
