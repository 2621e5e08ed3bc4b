//! A bench of the controller's crate, which is a program that prints a JSON object for each measurement.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::paths::repo_root;
use crate::shell;

/// Builds it, and shows how that goes.
pub(super) fn build(name: &str) -> Result<()> {
    shell::run_shown(cargo_bench(name).arg("--no-run"))
}

/// Runs it with these arguments.
pub(super) fn run(name: &str, arguments: &[&str]) -> Command {
    let mut bench = cargo_bench(name);
    bench.args(["--quiet", "--"]).args(arguments);
    bench
}

fn cargo_bench(name: &str) -> Command {
    let mut bench = Command::new("cargo");
    bench.current_dir(repo_root()).args(["bench", "--locked"]);
    bench.args(["-p", "edgeformer-controller", "--bench", name]);
    bench
}

/// The lines that a run prints.
pub(super) fn measure(bench: &mut Command) -> Result<Vec<Value>> {
    let text = shell::output(bench)?;
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

/// A number of a line.
pub(super) fn number(value: &Value, name: &str) -> Result<f64> {
    value[name].as_f64().with_context(|| format!("the bench gave no {name}: {value}"))
}
