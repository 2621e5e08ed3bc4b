//! The life of a device's identity with real agents: decommissioned, copied, replaced.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use xtask::stack::{Agent, AgentOptions, ControllerOptions, Fleet, slot_of, wait_for};

use super::{LIMIT, MODEL, binaries, fleet, fleet_serving_first_version, wait_online};

fn wait_state(fleet: &Fleet, device: &str, state: &str) -> Value {
    wait_for(&format!("{device} to be {state}"), LIMIT, || {
        let shown = fleet.device(device)?;
        Ok((shown["state"] == state).then_some(shown))
    })
    .unwrap()
}

/// Names in the state folder, but for what stays for good.
fn left(state_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(state_dir).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| !["agent.lock", "time", "logs"].contains(&name.as_str())).collect()
}

/// Records of this action in the audit log.
fn recorded(fleet: &Fleet, action: &str) -> Vec<Value> {
    let all = fleet.tenant.items(&["audit", "list", "--limit", "200"]).unwrap();
    all.into_iter().filter(|record| record["action"] == action).collect()
}

#[test]
fn a_decommissioned_device_erases_models_keys_and_itself_and_says_so() {
    let (fleet, mut agent) = fleet_serving_first_version("edge");
    assert!(agent.state_dir().join("chunks").is_dir());
    let preview = fleet.tenant.refused(&["device", "decommission", "edge"]).unwrap();
    assert!(preview.message.contains("told at once"), "{}", preview.message);
    fleet.tenant.run(&["device", "decommission", "edge", "--yes"]).unwrap();
    let shown = wait_state(&fleet, "edge", "erased");
    assert!(shown["decommission"]["erased"]["chunks"].as_u64() > Some(0), "{shown}");
    assert_eq!(shown["decommission"]["state"], "erased");
    agent.wait_end(LIMIT).unwrap();
    assert_eq!(left(agent.state_dir()), Vec::<String>::new());
    let said = recorded(&fleet, "device:erase");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["actor"]["kind"], "device");
    let table = fleet.tenant.run(&["device", "list"]).unwrap();
    assert!(table.contains("erased"), "{table}");
}

#[test]
fn a_device_that_was_off_erases_itself_when_it_comes_back_also_if_it_is_cut_off_meanwhile() {
    let (mut fleet, mut agent) = fleet_serving_first_version("edge");
    agent.stop().unwrap();
    fleet.tenant.run(&["device", "decommission", "edge", "--wait", "1d", "--yes"]).unwrap();
    let shown = fleet.device("edge").unwrap();
    assert_eq!(shown["decommission"]["state"], "waiting", "{shown}");
    let table = fleet.tenant.run(&["device", "list"]).unwrap();
    assert!(table.contains("waiting to erase"), "{table}");
    agent.run().unwrap();
    // It noted the order; from here on the power may go at any moment.
    let note = agent.state_dir().join("erase.json");
    let chunks = agent.state_dir().join("chunks");
    wait_for(
        "the device to begin",
        LIMIT,
        || Ok((note.exists() || !chunks.exists()).then_some(())),
    )
    .unwrap();
    fleet.controller.kill();
    agent.kill();
    fleet.controller.serve().unwrap();
    // Erasing is all it does now: it serves nothing and says that it is ready to nobody.
    agent.run_unready().unwrap();
    wait_state(&fleet, "edge", "erased");
    agent.wait_end(LIMIT).unwrap();
    assert_eq!(left(agent.state_dir()), Vec::<String>::new());
}

#[test]
fn a_copied_disk_is_noticed_and_both_machines_get_nothing_until_somebody_looked() {
    let fleet = fleet();
    let mut agent = fleet.agent("press", AgentOptions::default()).unwrap();
    wait_online(&fleet, "press", true);
    // Restarts and power cuts are no copies.
    for _ in 0..3 {
        agent.kill();
        agent.run().unwrap();
        wait_for("a new session", LIMIT, || {
            Ok((agent.status()?["connection"]["connected"] == true).then_some(()))
        })
        .unwrap();
    }
    assert_eq!(fleet.device("press").unwrap()["state"], "enrolled");
    agent.kill();
    let mut copy = agent.copy("copy").unwrap();
    agent.run().unwrap();
    wait_for("the original to be back", LIMIT, || {
        Ok((agent.status()?["connection"]["connected"] == true).then_some(()))
    })
    .unwrap();
    copy.run().unwrap();
    let shown = wait_state(&fleet, "press", "quarantined");
    assert!(shown["state_reason"].as_str().unwrap().contains("machine"), "{shown}");
    assert_eq!(recorded(&fleet, "device:quarantine").len(), 1);
    wait_for("the original to be told", LIMIT, || {
        let link = agent.status()?["connection"].clone();
        let told = link["quarantined"].is_string() || link["error"].is_string();
        Ok(told.then_some(()))
    })
    .unwrap();
    copy.stop().unwrap();
    agent.stop().unwrap();
    fleet.tenant.run(&["device", "release", "press", "--yes"]).unwrap();
    agent.run().unwrap();
    wait_online(&fleet, "press", true);
    assert_eq!(fleet.device("press").unwrap()["state"], "enrolled");
}

#[test]
fn new_hardware_takes_the_place_of_a_broken_device() {
    let (fleet, mut agent) = fleet_serving_first_version("press-7");
    fleet.tenant.run(&["device", "label", "press-7", "site=berlin"]).unwrap();
    let broken = fleet.device("press-7").unwrap()["id"].as_str().unwrap().to_owned();
    agent.kill();
    let made = fleet.tenant.json(&["device", "replace", "press-7"]).unwrap();
    let token = made["token"].as_str().unwrap();
    let (programs, dir) = (fleet.binaries(), fleet.path());
    let options = AgentOptions::default();
    let mut new = Agent::enroll(programs, dir, &fleet.controller, token, "spare", options).unwrap();
    new.run().unwrap();
    let all = fleet.tenant.items(&["device", "list"]).unwrap();
    let taken = all.iter().find(|device| device["replaces"] == *broken).expect("no replacement");
    assert_eq!((&taken["name"], &taken["labels"]["site"]), (&"press-7".into(), &"berlin".into()));
    let id = taken["id"].as_str().unwrap();
    fleet.wait_confirmed(id, MODEL, "1.0.0", LIMIT).unwrap();
    let old = fleet.device(&broken).unwrap();
    assert_eq!((&old["state"], &old["replaced_by"]), (&"revoked".into(), &taken["id"]));
    assert_eq!(slot_of(&fleet.device(id).unwrap(), MODEL)["serving_version"], "1.0.0");
}

#[test]
fn a_device_without_a_token_shows_its_key_and_waits_for_an_operator() {
    let fleet = fleet();
    let door = fleet.tenant.json(&["enrolment", "open"]).unwrap();
    let state_dir = fleet.path().join("asker");
    let mut ask = Command::new(fleet.binaries().agent());
    ask.args(["enroll", "--controller", fleet.controller.device_url(), "--ca"]);
    ask.arg(fleet.controller.ca()).args(["--request", "--name", "asker", "--enrolment-id"]);
    ask.arg(door["enrolment_id"].as_str().unwrap()).arg("--state-dir").arg(&state_dir);
    let asking = std::thread::spawn(move || xtask::shell::output(&mut ask));
    let request = wait_for("the device to ask", LIMIT, || {
        Ok(fleet.tenant.items(&["enrolment", "requests"])?.into_iter().next())
    })
    .unwrap();
    let id = request["id"].as_str().unwrap();
    fleet.tenant.run(&["enrolment", "approve", id, "--label", "site=oslo", "--yes"]).unwrap();
    let said = asking.join().unwrap().unwrap();
    let shown = format!("key {}", request["fingerprint"].as_str().unwrap());
    assert!(said.contains(&shown), "{shown} is not in: {said}");
    let device = fleet.device("asker").unwrap();
    assert_eq!((&device["state"], &device["labels"]["site"]), (&"enrolled".into(), &"oslo".into()));
}

/// What the agent keeps of who it is and whom it trusts.
fn identity_file(agent: &Agent) -> Value {
    let text = fs::read(agent.state_dir().join("identity.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn root_and_issuing_ca_are_replaced_under_a_running_agent_and_one_that_is_off() {
    let options = ControllerOptions { cert_lifetime_s: Some(20), ..ControllerOptions::default() };
    let fleet = Fleet::start(&binaries(), options).unwrap();
    let agent = fleet.agent("awake", AgentOptions::default()).unwrap();
    let mut sleeper = fleet.agent("asleep", AgentOptions::default()).unwrap();
    wait_online(&fleet, "awake", true);
    wait_online(&fleet, "asleep", true);
    sleeper.stop().unwrap();
    let before = identity_file(&agent);
    let admin = fleet.controller.installation_cli().unwrap();
    let old = fleet.tenant.items(&["ca", "show"]).unwrap();
    admin.run(&["ca", "rotate", "--installation", "--yes"]).unwrap();
    // The tenant's CA follows its root, and devices follow both when they renew; then nobody needs the
    // old ones, and they are retired. The sleeper's certificate is over meanwhile.
    wait_for("the old authorities to be retired", LIMIT, || {
        let issuing = fleet.tenant.items(&["ca", "show"])?;
        let roots = admin.items(&["ca", "show", "--installation"])?;
        let done = |all: &[Value]| all.len() == 2 && all[1]["state"] == "retired";
        Ok((done(&issuing) && done(&roots)).then_some(()))
    })
    .unwrap();
    wait_for("the device to trust the new root alone", LIMIT, || {
        let now = identity_file(&agent);
        let roots = now["roots"].as_array().unwrap();
        Ok((roots.len() == 1 && roots[0] != before["roots"][0]).then_some(()))
    })
    .unwrap();
    assert_ne!(identity_file(&agent)["certificate_chain"][1], before["certificate_chain"][1]);
    let log = fs::read_to_string(agent.log()).unwrap();
    assert!(!log.contains("no session with the controller"), "{log}");
    sleeper.run().unwrap();
    wait_online(&fleet, "asleep", true);
    assert_ne!(identity_file(&sleeper)["roots"][0], before["roots"][0]);
    // What was handed out before, `ca.pem` with the first root alone, is good to come in with.
    let now = fleet.tenant.items(&["ca", "show"]).unwrap();
    assert_eq!((&now[1]["id"], now[0]["devices"].as_u64()), (&old[0]["id"], Some(2)));
    assert_eq!(recorded(&fleet, "tenant_ca:rotate").len(), 1);
}
