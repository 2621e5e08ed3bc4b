//! Power cuts of agents and controllers. Whatever is cut off, a device serves a confirmed version.
//!
//! A cut here is SIGKILL to the whole process group: what the system's page cache loses in a real
//! one is not tested here.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use xtask::stack::wait_for;

use super::{
    ANSWER, LIMIT, MODEL, answer_soon, assert_mentions, fleet_serving_first_version,
    rollout_device, second_model_file, wait_online,
};

/// Power cuts per run; each at another random point of the update.
const CUTS: u64 = 8;

/// Milliseconds of progress after which the power goes, spread over the update.
fn cut_points() -> Vec<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = std::env::var("EDGEFORMER_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed: u64 = seed.unwrap_or(u64::from(now.subsec_nanos()) | 1);
    println!("EDGEFORMER_TEST_SEED={seed}");
    let mut state = seed;
    (0..CUTS)
        .map(|cut| {
            // xorshift64: good enough to choose moments.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            40 + cut * cut * 25 + state % 120
        })
        .collect()
}

#[test]
fn an_agent_that_loses_power_during_an_update_serves_a_confirmed_version() {
    let (fleet, mut agent) = fleet_serving_first_version("edge");
    let second = second_model_file(fleet.path());
    fleet.publish(MODEL, "1.1.0", &second).unwrap();
    let rollout = fleet.rollout(MODEL, "1.1.0", &["--all"]).unwrap();
    for cut in cut_points() {
        sleep(Duration::from_millis(cut));
        let phase = xtask::stack::slot_of(&fleet.device("edge").unwrap(), MODEL)["phase"].clone();
        println!("power cut after {cut} ms, the controller last heard: {phase}");
        agent.kill();
        // Frozen, so that the update stands still while the device is looked at.
        fleet.controller.freeze();
        agent.run().unwrap();
        let answer = answer_soon(&agent);
        assert_mentions(&answer.text, &[ANSWER]);
        fleet.controller.thaw();
    }
    // Undisturbed, the update ends: in success, or given up after too many interrupted trials.
    let ended = fleet.rollout_end(&rollout, LIMIT).unwrap();
    let row = rollout_device(&fleet, &rollout, "edge");
    match row["state"].as_str().unwrap() {
        "confirmed" => {
            fleet.wait_confirmed("edge", MODEL, "1.1.0", LIMIT).unwrap();
        }
        "failed" | "reverted" => {
            assert!(!row["reason"].as_str().unwrap().is_empty(), "{row}");
            let view = xtask::stack::slot_of(&fleet.device("edge").unwrap(), MODEL);
            assert_eq!(view["serving_version"], "1.0.0", "{view}");
        }
        other => panic!("the update ended as {other}: {row}\n{ended}"),
    }
    assert_mentions(&answer_soon(&agent).text, &[ANSWER]);
}

#[test]
fn an_agent_that_loses_power_in_the_middle_of_activation_ends_confirmed() {
    let (fleet, mut agent) = fleet_serving_first_version("edge");
    fleet.publish(MODEL, "1.1.0", &second_model_file(fleet.path())).unwrap();
    let rollout = fleet.rollout(MODEL, "1.1.0", &["--all"]).unwrap();
    // Seen from outside: the trial has passed and the version serves without being confirmed.
    wait_for("the new version to be activated", LIMIT, || {
        let view = xtask::stack::slot_of(&fleet.device("edge")?, MODEL);
        Ok(["trial", "active"].contains(&view["phase"].as_str().unwrap_or("")).then_some(()))
    })
    .unwrap();
    agent.kill();
    agent.run().unwrap();
    assert_mentions(&answer_soon(&agent).text, &[ANSWER]);
    let ended = fleet.rollout_end(&rollout, LIMIT).unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    fleet.wait_confirmed("edge", MODEL, "1.1.0", LIMIT).unwrap();
}

#[test]
fn devices_serve_without_a_controller_and_reconnect_to_it() {
    let (mut fleet, mut agent) = fleet_serving_first_version("edge");
    fleet.controller.kill();
    assert_mentions(&answer_soon(&agent).text, &[ANSWER]);
    agent.kill();
    agent.run().unwrap();
    let started = Instant::now();
    assert_mentions(&answer_soon(&agent).text, &[ANSWER]);
    println!(
        "served again {:.1} s after a start without a controller",
        started.elapsed().as_secs_f64()
    );
    fleet.controller.serve().unwrap();
    wait_online(&fleet, "edge", true);
    fleet.wait_confirmed("edge", MODEL, "1.0.0", LIMIT).unwrap();
    // What happened while the controller was away arrives afterwards.
    wait_for("the requests to be reported", LIMIT, || {
        let rows = fleet.tenant.items(&["telemetry", "summary", "--device", "edge"])?;
        Ok(rows.iter().any(|row| row["requests"].as_u64() >= Some(1)).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_controller_ends_in_order_while_devices_are_connected() {
    let (mut fleet, agent) = fleet_serving_first_version("edge");
    fleet.controller.stop().unwrap();
    assert_mentions(&answer_soon(&agent).text, &[ANSWER]);
    fleet.controller.serve().unwrap();
    wait_online(&fleet, "edge", true);
}
