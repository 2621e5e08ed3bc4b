//! `cargo xtask demo`: the whole product on this machine, step by step, as real processes.

mod kept;
mod show;
mod steps;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::repo_root;
use crate::progress::Progress;
use crate::setup::{self, Needs};
use crate::shell;
use crate::stack::{self, Binaries};

/// Numbered steps of one run that keeps its processes; stopping them is one more.
const STEPS: usize = 16;

/// What the command line asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    keep: bool,
    no_build: bool,
}

/// Runs, or stops, the demonstration.
pub fn command(words: &[&str]) -> Result<()> {
    if words == ["--stop"] {
        return kept::stop();
    }
    run(&parse(words)?)
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options = Options::default();
    for word in words {
        match *word {
            "--keep" => options.keep = true,
            "--no-build" => options.no_build = true,
            other => bail!(
                "unknown option `{other}`\nusage: cargo xtask demo [--keep] [--no-build] | --stop"
            ),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<()> {
    kept::refuse_if_running()?;
    stack::clean_up_on_signals();
    let mut progress = Progress::new(STEPS + usize::from(!options.keep));
    progress.talking_step("Build the workspace", || {
        if options.no_build {
            println!("skipped: --no-build");
            return Ok(());
        }
        let mut cargo = Command::new("cargo");
        shell::run_shown(cargo.current_dir(repo_root()).args(["build", "--workspace", "--locked"]))
    })?;
    let tools = progress.talking_step("Set up Python and the model", || setup::run(Needs::Demo))?;
    let binaries = Binaries::built()?;
    let dir = tempfile::Builder::new().prefix("ef-demo-").tempdir()?.keep();
    let place = Place::new(dir);
    let outcome = steps::run(&mut progress, &binaries, &tools, &place.dir);
    match outcome {
        Ok(scene) if options.keep => {
            place.keep();
            kept::keep(scene)?;
        }
        Ok(scene) => {
            progress.step("Stop everything", || scene.stop())?;
            place.remove()?;
        }
        Err(error) => {
            let dir = place.keep();
            return Err(error.context(format!("state and logs are in {}", dir.display())));
        }
    }
    println!("\nThe demo took {}.", progress.elapsed());
    Ok(())
}

/// The directory of one run: removed when all went well or on Ctrl-C, kept when a step failed.
struct Place {
    dir: PathBuf,
}

impl Place {
    fn new(dir: PathBuf) -> Self {
        stack::protect_dir(&dir);
        Self { dir }
    }

    fn keep(self) -> PathBuf {
        stack::release_dir(&self.dir);
        self.dir
    }

    fn remove(self) -> Result<()> {
        let dir = self.keep();
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_typing_errors_refused() {
        assert_eq!(parse(&["--keep"]).unwrap(), Options { keep: true, no_build: false });
        assert!(parse(&["--kep"]).unwrap_err().to_string().contains("--kep"));
    }
}
