//! The operators' command line, run as an operator or a script would.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Binaries, cleanup};
use crate::shell;

/// `edgeformer` with a connection: explicit, or saved by `edgeformer login`.
#[derive(Debug, Clone)]
pub struct Cli {
    program: std::path::PathBuf,
    env: Vec<(String, String)>,
}

/// What a command that was refused said and how it ended.
#[derive(Debug)]
pub struct Refusal {
    /// Standard error.
    pub message: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
}

impl Cli {
    /// Connection given in the environment.
    pub fn with_token(binaries: &Binaries, url: &str, ca: &Path, token: &str) -> Self {
        let env = [
            ("EDGEFORMER_URL", url.to_string()),
            ("EDGEFORMER_CA", ca.display().to_string()),
            ("EDGEFORMER_TOKEN", token.to_string()),
            // Never the configuration of the person who runs the tests.
            ("EDGEFORMER_CONFIG", ca.with_file_name("no-config.json").display().to_string()),
        ];
        let env = env.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        Self { program: binaries.cli(), env }
    }

    /// Connection saved in `config` by `login`.
    pub fn with_config(binaries: &Binaries, config: &Path) -> Self {
        let env = vec![("EDGEFORMER_CONFIG".to_string(), config.display().to_string())];
        Self { program: binaries.cli(), env }
    }

    /// The API token of a connection that was given one.
    pub fn token(&self) -> Option<&str> {
        self.env
            .iter()
            .find(|(name, _)| name == "EDGEFORMER_TOKEN")
            .map(|(_, value)| value.as_str())
    }

    /// Runs a command and returns what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        shell::output(&mut self.command(arguments))
    }

    /// Runs a command with `--output json` and returns its answer.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let with_json: Vec<&str> = ["--output", "json"].iter().chain(arguments).copied().collect();
        let text = self.run(&with_json)?;
        serde_json::from_str(&text).with_context(|| {
            format!("`edgeformer {}` printed no JSON: {text}", arguments.join(" "))
        })
    }

    /// Runs a list command with `--output json` and returns its items.
    pub fn items(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let answer = self.json(arguments)?;
        let items = answer.get("items").unwrap_or(&answer);
        items.as_array().cloned().with_context(|| format!("not a list: {answer}"))
    }

    /// Runs a command that must be refused; succeeding is the error here.
    pub fn refused(&self, arguments: &[&str]) -> Result<Refusal> {
        let out = self.command(arguments).stdin(Stdio::null()).output()?;
        if out.status.success() {
            bail!("`edgeformer {}` was expected to be refused", arguments.join(" "));
        }
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        Ok(Refusal { message, code: out.status.code().unwrap_or(-1) })
    }

    /// Runs a command with its output on the caller's terminal. It ends with this program, also
    /// when only this program is told to go.
    pub fn show(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(arguments);
        let shown = shell::describe(&command);
        let mut child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let group = child.id().cast_signed();
        cleanup::protect_group(group);
        let status = child.wait();
        cleanup::release_group(group);
        let status = status?;
        if !status.success() {
            bail!("`{shown}` failed ({status})");
        }
        Ok(())
    }

    /// The command itself, for callers that run it beside something else.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for name in ["EDGEFORMER_URL", "EDGEFORMER_CA", "EDGEFORMER_TOKEN"] {
            command.env_remove(name);
        }
        command.envs(self.env.iter().cloned()).args(arguments);
        command
    }
}
