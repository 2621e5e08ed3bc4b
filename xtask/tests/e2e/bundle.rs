//! A site without a network: what the controller exports, the real programs import, and it serves.

use std::path::Path;

use serde_json::Value;
use xtask::stack::{Agent, wait_for};

use super::{
    ANSWER, LIMIT, MODEL, answer_soon, assert_mentions, fleet_serving_first_version,
    second_model_file,
};

/// What `edgeformer-agent import` says.
fn import(agent: &Agent, bundle: &Path) -> anyhow::Result<String> {
    agent.command("import", &[bundle.to_str().unwrap()])
}

fn serving(agent: &Agent) -> anyhow::Result<Option<String>> {
    let slot = agent.status()?["slots"][0].clone();
    Ok(slot["serving_version"].as_str().map(str::to_owned).filter(|_| slot["stage"] == "confirmed"))
}

#[test]
fn a_device_without_a_network_takes_versions_from_files() {
    let (mut fleet, mut agent) = fleet_serving_first_version("press-7");
    let second = second_model_file(fleet.path());
    fleet.publish(MODEL, "1.1.0", &second).unwrap();
    agent.stop().unwrap();
    // The device is off: the version is assigned to it all the same.
    let export = |version: &str, name: &str| {
        let file = fleet.path().join(name);
        let path = file.to_str().unwrap();
        let words = ["bundle", "export", MODEL, version, "--device", "press-7", "--file", path];
        wait_for("the version to be assigned", LIMIT, || Ok(fleet.tenant.run(&words).ok()))
            .unwrap();
        file
    };
    let early =
        ["bundle", "export", MODEL, "1.1.0", "--device", "press-7", "--file", "/dev/null/x"];
    assert!(fleet.tenant.refused(&early).unwrap().message.contains("cannot be made"));
    let rollout = fleet.rollout(MODEL, "1.1.0", &["--all"]).unwrap();
    let bundle = export("1.1.0", "usb.bundle");
    let back = fleet.tenant.json(&["rollout", "abort", &rollout, "--yes"]).unwrap();
    assert_eq!(back["state"], "aborted", "{back}");
    fleet.rollout(MODEL, "1.0.0", &["--all"]).unwrap();
    let newer = export("1.0.0", "newer.bundle");
    fleet.controller.kill();

    // No agent runs.
    let cut = fleet.path().join("cut.bundle");
    let bytes = std::fs::read(&bundle).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let refused = import(&agent, &cut).unwrap_err().to_string();
    assert!(refused.contains("not copied whole"), "{refused}");
    let said = import(&agent, &bundle).unwrap();
    assert!(said.contains("imported assistant 1.1.0") && said.contains("when it starts"), "{said}");
    agent.run().unwrap();
    wait_for("1.1.0 to serve", LIMIT, || Ok(serving(&agent)?.filter(|version| version == "1.1.0")))
        .unwrap();
    assert_mentions(&answer_soon(&agent).text, &[ANSWER]);

    // The agent runs.
    let said = import(&agent, &newer).unwrap();
    assert!(
        said.contains("imported assistant 1.0.0") && said.contains("takes it up now"),
        "{said}"
    );
    wait_for("1.0.0 to serve", LIMIT, || Ok(serving(&agent)?.filter(|version| version == "1.0.0")))
        .unwrap();
    let refused = import(&agent, &bundle).unwrap_err().to_string();
    assert!(refused.contains("is older than"), "{refused}");

    // Back in reach, the controller hears what became of it, and has who took the keys on record.
    fleet.controller.serve().unwrap();
    fleet.wait_confirmed("press-7", MODEL, "1.0.0", LIMIT).unwrap();
    let records = fleet.tenant.items(&["audit", "list", "--limit", "200"]).unwrap();
    let id = fleet.device("press-7").unwrap()["id"].as_str().unwrap().to_owned();
    let exported = |record: &&Value| {
        record["action"] == "bundle:export" && record["changes"].to_string().contains(&id)
    };
    assert_eq!(records.iter().filter(exported).count(), 2, "{records:?}");
}
