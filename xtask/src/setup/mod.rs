//! Brings a fresh machine to where the demo and the tests can run. Every part is idempotent: it
//! looks first, does only what is missing, and says which part failed and where its log is.

mod debian;
mod deny;
mod model;
mod node;
mod python;

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::paths::cache_dir;
use crate::progress::waiting;

pub use debian::delta_tools;
pub use deny::cargo_deny;
pub(crate) use model::sha256_file;
pub use model::{MODEL_BYTES, MODEL_SHA256, model};
pub use python::{pip_install, python};

/// What a finished setup offers to the demo, the tests and the benches.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Interpreter of a virtual environment that has the `openai` client.
    pub python: PathBuf,
    /// SmolLM2-135M-Instruct, GGUF Q4_1.
    pub model: PathBuf,
    /// Folder with the OpenID provider that tests log in at; only for tests.
    pub oidc: Option<PathBuf>,
    /// Folder with a TUF client that tests read our repositories with; only for tests.
    pub tuf_js: Option<PathBuf>,
    /// Program of a TPM 2.0 in software; only for tests.
    pub swtpm: Option<PathBuf>,
    /// Directory of `initdb`, `postgres` and `pg_ctl`; only looked for when asked.
    pub postgres_bin: Option<PathBuf>,
}

/// Which parts a command needs; the demo runs without PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Python with the client, and the model.
    Demo,
    /// All of it.
    Tests,
}

/// Makes sure everything in `needs` is there and returns where it is.
pub fn run(needs: Needs) -> Result<Tools> {
    let _lock = lock()?;
    let postgres_bin = match needs {
        Needs::Demo => None,
        Needs::Tests => Some(
            waiting("Debian packages", debian::postgres)
                .context("setup: PostgreSQL for the store tests")?,
        ),
    };
    if needs == Needs::Tests {
        waiting("Go, which verifies the audit log", debian::go)
            .context("setup: Go for the audit log's tests")?;
    }
    let oidc = match needs {
        Needs::Demo => None,
        Needs::Tests => Some(
            waiting("Node.js packages: an OpenID provider", node::oidc)
                .context("setup: the OpenID provider for the log-in's tests")?,
        ),
    };
    let tuf_js = match needs {
        Needs::Demo => None,
        Needs::Tests => Some(
            waiting("Node.js packages: a TUF client", node::tuf)
                .context("setup: the TUF client for the trust's tests")?,
        ),
    };
    let swtpm = match needs {
        Needs::Demo => None,
        Needs::Tests => Some(
            waiting("a TPM 2.0 in software", debian::swtpm)
                .context("setup: swtpm for the tests of device keys")?,
        ),
    };
    let python = waiting("Python environment with the openai client", python::python)
        .context("setup: Python environment")?;
    let model = waiting("model SmolLM2-135M-Instruct (98 MB)", model::model)
        .context("setup: demonstration model")?;
    Ok(Tools { python, model, oidc, tuf_js, swtpm, postgres_bin })
}

/// Two setups at once would write the same files; the second waits for the first.
fn lock() -> Result<File> {
    let dir = cache_dir();
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join("setup.lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
