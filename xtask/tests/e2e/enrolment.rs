//! Who may become a device, and how a device that was away for long comes back.

use std::time::Duration;

use xtask::stack::{Agent, AgentOptions, ControllerOptions, Fleet};

use super::{assert_mentions, binaries, fleet, wait_online};

fn refused(fleet: &Fleet, token: &str, name: &str) -> String {
    let options = AgentOptions::default();
    let answer =
        Agent::enroll(fleet.binaries(), fleet.path(), &fleet.controller, token, name, options);
    format!("{:#}", answer.expect_err("the enrolment was expected to be refused"))
}

#[test]
fn wrong_used_and_revoked_tokens_are_refused_with_the_reason() {
    let fleet = fleet();
    let token = fleet.enrolment_token(1).unwrap();
    let mut typo: Vec<char> = token.chars().collect();
    typo.swap(5, 6);
    if typo[5] == typo[6] {
        typo[5] = if typo[5] == 'a' { 'b' } else { 'a' };
    }
    let typo: String = typo.into_iter().collect();
    assert_mentions(&refused(&fleet, &typo, "typist"), &["token", "typ"]);

    let device = fleet.agent("first", AgentOptions::default()).unwrap();
    wait_online(&fleet, "first", true);
    drop(device);

    let options = AgentOptions::default();
    let (programs, dir) = (fleet.binaries(), fleet.path());
    Agent::enroll(programs, dir, &fleet.controller, &token, "second", options).unwrap();
    assert_mentions(&refused(&fleet, &token, "third"), &["token", "used"]);

    let made = fleet.tenant.json(&["enrolment-token", "create"]).unwrap();
    fleet.tenant.run(&["enrolment-token", "revoke", made["id"].as_str().unwrap()]).unwrap();
    assert_mentions(&refused(&fleet, made["token"].as_str().unwrap(), "fourth"), &["revoked"]);
    let devices = fleet.tenant.items(&["device", "list"]).unwrap();
    assert_eq!(devices.len(), 2, "{devices:?}");
}

#[test]
fn a_device_whose_certificate_expired_while_it_was_off_comes_back() {
    let options = ControllerOptions { cert_lifetime_s: Some(6), ..ControllerOptions::default() };
    let fleet = Fleet::start(&binaries(), options).unwrap();
    let mut agent = fleet.agent("sleeper", AgentOptions::default()).unwrap();
    wait_online(&fleet, "sleeper", true);
    agent.stop().unwrap();
    wait_online(&fleet, "sleeper", false);
    let before = fleet.device("sleeper").unwrap()["cert_expires_at"].clone();
    // Real time is what runs out here: six seconds of lifetime and the tolerance for clocks.
    std::thread::sleep(Duration::from_secs(10));
    agent.run().unwrap();
    wait_online(&fleet, "sleeper", true);
    let after = fleet.device("sleeper").unwrap()["cert_expires_at"].clone();
    assert_ne!(before, after, "it came back without a new certificate");
}

#[test]
fn a_revoked_device_is_cut_off_and_stays_out() {
    let fleet = fleet();
    let mut agent = fleet.agent("stolen", AgentOptions::default()).unwrap();
    wait_online(&fleet, "stolen", true);
    fleet.tenant.run(&["device", "revoke", "stolen", "--yes"]).unwrap();
    wait_online(&fleet, "stolen", false);
    agent.stop().unwrap();
    agent.run().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let device = fleet.device("stolen").unwrap();
    assert_eq!(
        (device["online"].as_bool(), device["state"].as_str()),
        (Some(false), Some("revoked"))
    );
}
