//! A controller that is lost and restored from a backup on another machine's disk.

use xtask::stack::wait_for;

use super::{
    ANSWER, LIMIT, MODEL, answer_soon, assert_mentions, fleet_serving_first_version,
    second_model_file, wait_online,
};

/// The epoch of `"epoch.counter"`.
fn epoch(generation: &serde_json::Value) -> u64 {
    let text = generation.as_str().unwrap_or_else(|| panic!("no generation: {generation}"));
    text.split('.').next().unwrap().parse().unwrap()
}

#[test]
fn devices_carry_on_with_a_restored_controller() {
    let (mut fleet, agent) = fleet_serving_first_version("edge");
    let before = fleet.device("edge").unwrap();
    let backup = fleet.path().join("backup.tar");
    fleet.controller.backup(&backup).unwrap();

    // Later than the backup: the restored controller does not know of it, and the device does.
    fleet.publish(MODEL, "1.1.0", &second_model_file(fleet.path())).unwrap();
    let rollout = fleet.rollout(MODEL, "1.1.0", &["--all"]).unwrap();
    fleet.rollout_end(&rollout, LIMIT).unwrap();

    fleet.controller.kill();
    std::fs::remove_dir_all(fleet.controller.data_dir()).unwrap();
    let mut restored = fleet.controller.restore(fleet.path(), "restored", &backup).unwrap();
    restored.serve().unwrap();
    fleet.controller = restored;
    // Same token, same CA: they were in the backup. Only the CA's file has moved.
    let token = fleet.tenant.token().unwrap().to_string();
    fleet.tenant = fleet.controller.cli(&token);

    // What the restored database says of the device is old until it has come back.
    let newer = wait_for("the device to accept a generation of a new epoch", LIMIT, || {
        let device = fleet.device("edge")?;
        let newer = epoch(&device["accepted_generation"]) > epoch(&before["accepted_generation"]);
        Ok(newer.then_some(device))
    })
    .unwrap();
    assert_eq!(newer["accepted_generation"], newer["desired_generation"], "{newer}");
    let view = fleet.wait_confirmed("edge", MODEL, "1.0.0", LIMIT).unwrap();
    assert_eq!(view["desired_version"], "1.0.0", "{view}");
    wait_online(&fleet, "edge", true);
    assert_mentions(&answer_soon(&agent).text, &[ANSWER]);

    // The object store came along: a new device gets the model from it.
    let newcomer = fleet.agent("newcomer", xtask::stack::AgentOptions::default()).unwrap();
    let rollout = fleet.rollout(MODEL, "1.0.0", &["--device", "newcomer"]).unwrap();
    let ended = fleet.rollout_end(&rollout, LIMIT).unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_mentions(&answer_soon(&newcomer).text, &[ANSWER]);
}
