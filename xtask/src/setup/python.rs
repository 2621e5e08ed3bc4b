//! A virtual environment in the cache, with packages at pinned versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::debian;
use crate::paths::{cache_dir, on_path};
use crate::shell;

/// The client that applications on the device use; the tests drive the agent with it.
const OPENAI: &str = "openai==3.54.0";
/// The published OCSF schema and a validator: the tests check exported audit events with them.
const OCSF: [&str; 2] = ["ocsf-json-schema==1.2.0", "jsonschema==4.26.0"];
/// A SCIM client that tries everything: the tests let it loose on the controller.
const SCIM: [&str; 3] = ["scim2-tester==0.5.2", "scim2-client==0.13.2", "httpx2==2.16.2"];
/// Makes requests out of an OpenAPI document and looks at the answers.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// The reference implementation of The Update Framework: reads our repositories and writes some that
/// we read.
const TUF: [&str; 2] = ["tuf==7.0.1", "securesystemslib[crypto]==1.6.0"];
/// An implementation of HPKE: opens what we seal, and seals what we open.
const HPKE: &str = "pyhpke==0.6.5";
/// The reference implementation of OpenSSF Model Signing: verifies what we sign.
const MODEL_SIGNING: [&str; 2] = ["model-signing==1.1.1", "pyOpenSSL==26.4.0"];
/// The official library of CycloneDX with its schemas: judges our bills of materials.
const CYCLONEDX: &str = "cyclonedx-python-lib[validation]==11.12.0";
/// One word per package that the environment holds; what is listed is not installed again.
const INSTALLED: &str = "installed.txt";

/// Interpreter of the environment, with what the tests use installed.
pub fn python() -> Result<PathBuf> {
    let python = environment()?;
    let single = [OPENAI, SCHEMATHESIS, HPKE, CYCLONEDX];
    pip_install(&[&single, &OCSF[..], &SCIM[..], &TUF[..], &MODEL_SIGNING].concat(), &[])?;
    Ok(python)
}

/// Installs pinned packages (`name==version`) that are not there yet; `env` reaches their builds.
pub fn pip_install(packages: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let python = environment()?;
    let record = venv_dir().join(INSTALLED);
    let had = fs::read_to_string(&record).unwrap_or_default();
    let missing: Vec<&str> =
        packages.iter().copied().filter(|p| !had.lines().any(|line| line == *p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(&missing);
    pip.envs(env.iter().copied());
    shell::run_logged("pip-install", &mut pip)
        .with_context(|| format!("pip could not install {}", missing.join(", ")))?;
    let now: String = had.lines().chain(missing).map(|line| format!("{line}\n")).collect();
    fs::write(&record, now).with_context(|| format!("cannot write {}", record.display()))
}

/// A system interpreter for steps that need no packages.
pub(super) fn system_python() -> Result<PathBuf> {
    match on_path("python3") {
        Some(python) => Ok(python),
        None => {
            debian::install("python3-venv")?;
            on_path("python3").context("python3 is installed but not on PATH")
        }
    }
}

fn venv_dir() -> PathBuf {
    cache_dir().join("venv")
}

fn environment() -> Result<PathBuf> {
    let python = venv_dir().join("bin/python");
    if works(&python) {
        return Ok(python);
    }
    let system = system_python()?;
    if !has_venv(&system) {
        debian::install("python3-venv")?;
        if !has_venv(&system) {
            bail!("{} has no working venv module: install python3-venv for it", system.display());
        }
    }
    fs::create_dir_all(cache_dir())
        .with_context(|| format!("cannot create the cache {}", cache_dir().display()))?;
    let mut create = Command::new(&system);
    create.args(["-m", "venv", "--clear"]).arg(venv_dir());
    shell::run_logged("python-venv", &mut create)?;
    Ok(python)
}

/// Debian's python3 has the module `venv` without `ensurepip`, which creating one needs.
fn has_venv(python: &Path) -> bool {
    shell::output(Command::new(python).args(["-c", "import venv, ensurepip"])).is_ok()
}

fn works(python: &Path) -> bool {
    python.exists() && shell::output(Command::new(python).args(["-m", "pip", "--version"])).is_ok()
}
