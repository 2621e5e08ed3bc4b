//! Too little disk, too little memory, a port that someone else has.

use std::net::TcpListener;

use xtask::stack::{AgentOptions, SmallDisk, slot_of, wait_for};

use super::{
    ANSWER, LIMIT, MODEL, answer_soon, assert_mentions, fleet, model_file, rollout_device,
    wait_online,
};

/// Room for the sealed model of 98 MB and what belongs to it.
const DISK_BYTES: u64 = 220 << 20;
/// Leaves less than the model needs.
const BALLAST_BYTES: usize = 170 << 20;

#[test]
fn a_full_disk_fails_the_update_and_not_the_agent() {
    let fleet = fleet();
    fleet.publish(MODEL, "1.0.0", &model_file()).unwrap();
    let disk = SmallDisk::mount(&fleet.path().join("small"), DISK_BYTES).unwrap();
    let state_dir = fleet.path().join("small/state");
    let options = AgentOptions { state_dir: Some(state_dir), ..AgentOptions::default() };
    let mut agent = fleet.agent("edge", options).unwrap();
    disk.fill(BALLAST_BYTES).unwrap();
    let rollout = fleet.rollout(MODEL, "1.0.0", &["--all"]).unwrap();
    let told = wait_for("the device to say that its disk is full", LIMIT, || {
        let view = slot_of(&fleet.device("edge")?, MODEL);
        let told = view["message"].as_str().unwrap_or_default().to_lowercase();
        Ok((told.contains("space") || told.contains("disk")).then_some(told))
    })
    .unwrap();
    assert_mentions(&told, &["free"]);
    assert!(agent.is_running());
    wait_online(&fleet, "edge", true);

    disk.free().unwrap();
    let row = rollout_device(&fleet, &rollout, "edge");
    if row["state"] == "failed" {
        fleet.rollout(MODEL, "1.0.0", &["--all"]).unwrap();
    }
    fleet.wait_confirmed("edge", MODEL, "1.0.0", LIMIT).unwrap();
    assert_mentions(&answer_soon(&agent).text, &[ANSWER]);
    agent.stop().unwrap();
}

#[test]
fn a_model_too_large_for_the_memory_is_refused_by_name_and_number() {
    let fleet = fleet();
    fleet.publish(MODEL, "1.0.0", &model_file()).unwrap();
    let options = AgentOptions { memory_limit_mb: Some(48), ..AgentOptions::default() };
    let mut agent = fleet.agent("tiny", options).unwrap();
    wait_online(&fleet, "tiny", true);
    let rollout = fleet.rollout(MODEL, "1.0.0", &["--all"]).unwrap();
    let ended = fleet.rollout_end(&rollout, LIMIT).unwrap();
    assert_eq!(ended["state"], "failed", "{ended}");
    let row = rollout_device(&fleet, &rollout, "tiny");
    assert_eq!(row["reason"], "memory", "{row}");
    assert_mentions(row["message"].as_str().unwrap(), &["memory", "--memory-limit-mb"]);
    assert!(agent.is_running());
    let error = agent.chat().answer(MODEL, "Hello", 4).unwrap_err();
    assert_mentions(&format!("{error:#}"), &[MODEL]);
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let mut fleet = fleet();
    let mut agent = fleet.agent("edge", AgentOptions::default()).unwrap();
    agent.stop().unwrap();
    let taken_by_us = TcpListener::bind(agent.http_url().strip_prefix("http://").unwrap()).unwrap();
    let error = format!("{:#}", agent.run().expect_err("the port is taken"));
    let address = taken_by_us.local_addr().unwrap().to_string();
    assert_mentions(&error, &[&address, "--listen"]);

    fleet.controller.stop().unwrap();
    let log = fleet.controller.serve_expecting_failure(&address, "127.0.0.1:0").unwrap();
    assert_mentions(&log, &[&address, "--admin-listen"]);
    let log = fleet.controller.serve_expecting_failure("127.0.0.1:0", &address).unwrap();
    assert_mentions(&log, &[&address, "--device-listen"]);
}
