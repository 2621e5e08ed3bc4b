//! What the demonstration prints: answers as they stream, and the operator's lists.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::Result;

use super::steps::{MODEL, Scene};
use crate::stack::{Agent, wait_for};

/// Length of an answer; a sentence shows that it streams.
const MAX_TOKENS: u32 = 48;
/// Agents of the demo send telemetry every second.
const TELEMETRY_LIMIT: Duration = Duration::from_secs(20);

/// Asks one device and prints the answer while it arrives.
pub(super) fn ask(agent: &Agent, question: &str) -> Result<()> {
    println!("  {} < {question}", agent.name());
    print!("  {} > ", agent.name());
    let answer = agent.chat().ask(MODEL, question, MAX_TOKENS, |piece| {
        print!("{}", piece.replace('\n', "\n           "));
        // Only the display suffers from a closed terminal.
        let _ = stdout().flush();
    })?;
    println!(
        "\n    first token after {:.2} s, all after {:.2} s",
        answer.first_token.as_secs_f64(),
        answer.total.as_secs_f64()
    );
    Ok(())
}

/// Devices, rollouts with the state of each device, telemetry and audit, through the CLI.
pub(super) fn operator_view(scene: &Scene) -> Result<()> {
    let cli = &scene.cli;
    let list = |title: &str, words: &[&str]| {
        println!("\n{title}\n$ edgeformer {}", words.join(" "));
        // Our own line must be out before the child writes.
        let _ = stdout().flush();
        cli.show(words)
    };
    list("Devices", &["device", "list"])?;
    list("Rollouts", &["rollout", "list"])?;
    for rollout in cli.items(&["rollout", "list"])?.iter().rev() {
        if let Some(id) = rollout["id"].as_str() {
            list("State per device", &["rollout", "devices", id])?;
        }
    }
    // One question each, and two more to the canary.
    let asked = scene.agents.len() as u64 + 2;
    wait_for("telemetry of all questions", TELEMETRY_LIMIT, || {
        let rows = cli.items(&["telemetry", "summary"])?;
        let reported: u64 = rows.iter().filter_map(|row| row["requests"].as_u64()).sum();
        Ok((reported >= asked).then_some(()))
    })?;
    list("Requests as the devices reported them", &["telemetry", "summary"])?;
    list("Audit log", &["audit", "list", "--limit", "25"])?;
    list("Head of the audit log", &["audit", "head"])
}
