//! The steps of the demonstration, in order. Each is one thing an operator would do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::show;
use crate::progress::Progress;
use crate::setup::Tools;
use crate::shell;
use crate::stack::{Agent, AgentOptions, Binaries, Cli, Controller, ControllerOptions};

/// The devices: a name and where they stand.
const DEVICES: [(&str, &str); 3] =
    [("berlin-1", "berlin"), ("bergen-2", "bergen"), ("lisbon-3", "lisbon")];
/// Name under which the model is published, which is also the slot that applications ask.
pub(super) const MODEL: &str = "assistant";
/// The version that all devices get.
const FIRST: &str = "1.0.0";
/// The version that one device tries and gives back.
const SECOND: &str = "1.1.0";
/// The device that tries the second version.
const CANARY: &str = "berlin-1";
/// Limit for one rollout on three local devices.
const ROLLOUT_TIMEOUT: &str = "3m";

/// What runs at the end of the steps.
pub(super) struct Scene {
    pub(super) dir: PathBuf,
    pub(super) controller: Controller,
    pub(super) agents: Vec<Agent>,
    pub(super) cli: Cli,
    pub(super) config: PathBuf,
}

impl Scene {
    /// Stops the agents, then the controller, each in the orderly way.
    pub(super) fn stop(mut self) -> Result<()> {
        for agent in &mut self.agents {
            agent.stop()?;
        }
        self.controller.stop()
    }
}

/// Runs all steps; the processes end with the returned scene, or with the error.
pub(super) fn run(
    progress: &mut Progress,
    binaries: &Binaries,
    tools: &Tools,
    dir: &Path,
) -> Result<Scene> {
    let options = ControllerOptions::default();
    let mut controller = progress
        .step("Install a controller: keys, CA, SQLite, objects", || {
            Controller::init(binaries, dir, options)
        })?;
    progress.step("Serve it over TLS", || controller.serve())?;
    let config = dir.join("operator.json");
    let cli = Cli::with_config(binaries, &config);
    progress.step("Create the tenant `acme` and log in as its admin", || {
        create_tenant(&controller, &cli, dir)
    })?;
    let agents = progress.step("Enrol three devices by token and start their agents", || {
        enrol(binaries, dir, &controller, &cli)
    })?;
    publish_both(progress, binaries, tools, dir, &cli)?;
    progress.talking_step("Roll 1.0.0 out to all devices", || roll_out(&cli, FIRST, &["--all"]))?;
    progress.talking_step("Ask each device a question over its local API", || {
        agents.iter().try_for_each(|agent| show::ask(agent, "Why is the sky blue?"))
    })?;
    progress.talking_step("Roll 1.1.0 out to berlin-1 alone", || {
        roll_out(&cli, SECOND, &["--device", CANARY])
    })?;
    let canary = agents.first().context("no agents")?;
    progress.talking_step("Ask berlin-1, now on 1.1.0", || {
        show::ask(canary, "Name three primary colours.")
    })?;
    progress.talking_step("Roll berlin-1 back", || roll_back(&cli))?;
    progress.talking_step("Ask berlin-1, back on 1.0.0", || {
        show::ask(canary, "Name three primary colours.")
    })?;
    let scene = Scene { dir: dir.to_path_buf(), controller, agents, cli, config };
    progress.talking_step("Look at it as an operator does", || show::operator_view(&scene))?;
    Ok(scene)
}

fn create_tenant(controller: &Controller, cli: &Cli, dir: &Path) -> Result<()> {
    let token_file = dir.join("acme-admin.token");
    let token_path = token_file.to_string_lossy();
    controller.installation_cli()?.run(&[
        "tenant",
        "create",
        "acme",
        "--token-file",
        &token_path,
    ])?;
    let ca = controller.ca();
    cli.run(&[
        "login",
        "--url",
        controller.admin_url(),
        "--ca",
        &ca.to_string_lossy(),
        "--token-file",
        &token_path,
    ])?;
    fs::remove_file(&token_file).context("cannot remove the token file after login")?;
    Ok(())
}

fn enrol(
    binaries: &Binaries,
    dir: &Path,
    controller: &Controller,
    cli: &Cli,
) -> Result<Vec<Agent>> {
    let uses = DEVICES.len().to_string();
    let answer =
        cli.json(&["enrolment-token", "create", "--uses", &uses, "--label", "site=demo"])?;
    let token = answer["token"].as_str().context("the answer has no enrolment token")?;
    let mut agents = Vec::new();
    for (name, city) in DEVICES {
        let labels = vec![("city".to_string(), city.to_string())];
        let options = AgentOptions { labels, ..AgentOptions::default() };
        let mut agent = Agent::enroll(binaries, dir, controller, token, name, options)?;
        agent.run()?;
        agents.push(agent);
    }
    Ok(agents)
}

fn publish_both(
    progress: &mut Progress,
    binaries: &Binaries,
    tools: &Tools,
    dir: &Path,
    cli: &Cli,
) -> Result<()> {
    progress.talking_step("Publish assistant 1.0.0 (SmolLM2-135M, Q4_1): seal and sign", || {
        cli.show(&["model", "publish", MODEL, FIRST, &tools.model.to_string_lossy()])
    })?;
    let requantized = dir.join("assistant-q8_0.gguf");
    progress.step("Requantize it to Q8_0 with edgeformer-agent", || {
        let mut quantize = Command::new(binaries.agent());
        quantize.arg("quantize").arg(&tools.model).arg(&requantized).args(["--type", "q8_0"]);
        shell::output(&mut quantize)
    })?;
    progress.talking_step("Publish that as assistant 1.1.0", || {
        cli.show(&["model", "publish", MODEL, SECOND, &requantized.to_string_lossy()])
    })?;
    fs::remove_file(&requantized).context("cannot remove the published file")
}

fn roll_out(cli: &Cli, version: &str, target: &[&str]) -> Result<()> {
    let mut words = vec!["rollout", "create", "--model", MODEL, "--version", version];
    words.extend(target);
    words.extend(["--wait", "--timeout", ROLLOUT_TIMEOUT]);
    cli.show(&words)
}

fn roll_back(cli: &Cli) -> Result<()> {
    let rollouts = cli.items(&["rollout", "list"])?;
    let newest = rollouts.iter().find(|r| r["version"] == SECOND);
    let id = newest.and_then(|r| r["id"].as_str()).context("no rollout of 1.1.0 in the list")?;
    cli.show(&["rollout", "rollback", id, "--yes", "--wait", "--timeout", ROLLOUT_TIMEOUT])
}
