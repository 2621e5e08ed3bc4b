//! Retention, holds and status of the audit log from the command line, and the installation's own log.

use std::time::{Duration, Instant};

use super::{Controller, START_TIMEOUT};

#[test]
fn an_owner_keeps_holds_and_lifts() {
    let controller = Controller::start_with(&["--audit-min-retention-days", "90"]).with_tenant();
    assert!(controller.ok(&["audit", "retention", "show"]).contains("for ever"));
    let set = ["audit", "retention", "set"];
    controller.fails(&set, 2, "--days");
    controller.fails(&[&set[..], &["--days", "30", "--yes"]].concat(), 1, "90 to 36500 days");
    controller.fails(&[&set[..], &["--days", "365"]].concat(), 2, "0 records are older than 365");
    assert!(controller.ok(&[&set[..], &["--days", "365", "--yes"]].concat()).contains("365 days"));
    assert!(controller.ok(&["audit", "hold", "set", "case 7"]).contains("case 7"));
    controller.fails(&["audit", "hold", "set", "case 8"], 1, "under hold already (case 7)");
    let status = controller.json(&["audit", "status"]);
    assert_eq!((&status["held"], &status["sinks"]), (&true.into(), &0.into()));
    assert!(controller.ok(&["audit", "status"]).contains("Capacity"));
    controller.fails(&["audit", "hold", "lift"], 2, "case 7");
    assert!(controller.ok(&["audit", "hold", "lift", "--yes"]).contains("none"));
    assert!(controller.ok(&[&set[..], &["--for-ever"]].concat()).contains("for ever"));
}

#[test]
fn the_installation_verifies_its_own_log() {
    let controller = Controller::start().with_tenant();
    let top = std::fs::read_to_string(controller.path("data/admin.token")).unwrap();
    let top = ["audit", "--installation", "--token", top.trim()];
    let own = |arguments: &[&str]| controller.ok(&[&top[..], arguments].concat());
    let began = Instant::now();
    while controller.json(&[&top[..], &["status"]].concat())["signed"].as_u64() < Some(2) {
        assert!(began.elapsed() < START_TIMEOUT);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(own(&["list"]).contains("tenant:create"));
    let (key, bundle) = (controller.path("top.key"), controller.path("top.bundle"));
    std::fs::write(&key, own(&["key"])).unwrap();
    own(&["bundle", &bundle]);
    let verified = controller.ok(&["audit", "verify", &bundle, "--key", &key]);
    assert!(verified.contains("edgeformer.local/audit"), "{verified}");
    assert!(own(&["proof", "0", "--key", &key]).contains("Record 0 is in"));
    controller.fails(&["audit", "--installation", "list"], 3, "not allowed");
    controller.fails(
        &[&top[..], &["hold", "set", "x"]].concat(),
        2,
        "not to be had of the installation's own log",
    );
}
