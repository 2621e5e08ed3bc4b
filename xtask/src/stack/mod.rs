//! Real controllers, agents and databases as child processes, for the demo, the end-to-end tests
//! and the benches. Whatever is started here is stopped again: on drop, on panic, on Ctrl-C.

mod agent;
mod chat;
mod cleanup;
mod cli;
mod controller;
mod fleet;
mod limits;
mod ports;
mod postgres;
mod process;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::paths;

pub use agent::{Agent, AgentOptions};
pub use chat::{Answer, Chat};
pub use cleanup::{clean_up_on_signals, protect_dir, release_dir, wait_if_interrupted};
pub use cli::{Cli, Refusal};
pub use controller::{Controller, ControllerOptions};
pub use fleet::{Fleet, slot_of};
pub use limits::SmallDisk;
pub use postgres::Postgres;
pub use process::{Process, group_is_alive, signal_group};

/// How long a process may take until it says that it is ready. Debug builds on a loaded machine
/// need seconds; a process that needs longer than this hangs.
pub const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(50);

/// The three programs of the product, as built by `cargo build --workspace`.
#[derive(Debug, Clone)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// Binaries in `dir`; says which one is missing.
    pub fn in_dir(dir: &Path) -> Result<Self> {
        let found = Self { dir: dir.to_path_buf() };
        for program in [found.controller(), found.agent(), found.cli()] {
            if !program.is_file() {
                bail!("{} is missing: run `cargo build --workspace`", program.display());
            }
        }
        Ok(found)
    }

    /// Binaries where the build leaves them, or in `$EDGEFORMER_BIN_DIR`.
    pub fn built() -> Result<Self> {
        Self::in_dir(&paths::bin_dir())
    }

    /// `edgeformer-controller`
    pub fn controller(&self) -> PathBuf {
        self.dir.join("edgeformer-controller")
    }

    /// `edgeformer-agent`
    pub fn agent(&self) -> PathBuf {
        self.dir.join("edgeformer-agent")
    }

    /// `edgeformer`, the operators' command line.
    pub fn cli(&self) -> PathBuf {
        self.dir.join("edgeformer")
    }
}

/// Looks at `condition` until it gives a value; after `limit` the error names `what`.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let seen = condition().with_context(|| format!("while waiting for {what}"))?;
        if let Some(value) = seen {
            return Ok(value);
        }
        if started.elapsed() > limit {
            bail!("gave up waiting for {what} after {} s", limit.as_secs());
        }
        std::thread::sleep(POLL);
    }
}
