//! Keys of root and targets go from the controller to people, step by step as `docs/security.md` has
//! them, and a device follows: what is published then waits until they signed it.

use xtask::stack::wait_for;

use super::{LIMIT, MODEL, answer_soon, fleet_serving_first_version, second_model_file};

#[test]
fn a_tenant_takes_its_keys_and_devices_run_what_they_sign() {
    let (fleet, agent) = fleet_serving_first_version("a");
    let second = second_model_file(fleet.path());
    let path = |name: &str| fleet.path().join(name).display().to_string();
    let trust = |arguments: &[&str]| {
        let arguments = [&["trust"], arguments].concat();
        fleet.tenant.run(&arguments).unwrap()
    };
    let (folder, secret) = (path("ceremony"), path("secret"));
    std::fs::write(&secret, "correct horse\n").unwrap();
    for holder in ["anna.pem", "ben.pem", "release.pem"] {
        trust(&["key", &path(holder), "--passphrase-file", &secret]);
    }
    trust(&["online-key", &path("online")]);
    let said = trust(&["download", &folder]);
    assert!(said.contains("The controller signs targets itself."), "{said}");
    let (anna, ben, release) = (path("anna.pem.pub"), path("ben.pem.pub"), path("release.pem.pub"));
    let (snapshot, timestamp) = (path("online/snapshot.pub"), path("online/timestamp.pub"));
    let keys = ["--root-key", &anna, "--root-key", &ben, "--root-threshold", "2"];
    let more = ["--targets-key", &release, "--online-key", &snapshot, "--online-key", &timestamp];
    trust(&[&["init", &folder, "--follow"], &keys[..], &more].concat());
    let sign = |holder: &str| {
        trust(&["sign", &folder, "--key", &path(holder), "--passphrase-file", &secret, "--yes"])
    };
    sign("anna.pem");
    let early = fleet.tenant.run(&["trust", "upload", &folder, "--yes"]).unwrap();
    assert!(early.contains("The controller has all that is signed."), "{early}");
    sign("ben.pem");
    sign("release.pem");
    trust(&["upload", &folder, "--yes"]);
    let roles = fleet.tenant.json(&["trust", "show"]).unwrap();
    let managed: Vec<&str> = roles["roles"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|role| role["managed"] == true)
        .map(|role| role["role"].as_str().unwrap())
        .collect();
    assert_eq!(managed, ["snapshot", "timestamp"], "{roles}");
    assert!(trust(&["status", &folder]).contains("Nothing waits for signatures."));

    fleet.publish(MODEL, "1.1.0", &second).unwrap();
    let pending = fleet.tenant.json(&["trust", "pending"]).unwrap();
    assert_eq!(pending["items"][0]["version"], "1.1.0", "{pending}");
    let rollout = fleet.rollout(MODEL, "1.1.0", &["--all"]).unwrap();
    wait_for("the rollout to say what it waits for", LIMIT, || {
        let shown = fleet.tenant.json(&["rollout", "show", &rollout])?.to_string();
        Ok(shown.contains("its version waits to be signed").then_some(()))
    })
    .unwrap();
    fleet.wait_confirmed("a", MODEL, "1.0.0", LIMIT).unwrap();
    answer_soon(&agent);

    trust(&["download", &folder]);
    let signed = sign("release.pem");
    assert!(signed.contains("has enough signatures and is the newest"), "{signed}");
    trust(&["upload", &folder]);
    assert_eq!(
        fleet.tenant.json(&["trust", "pending"]).unwrap()["items"][0],
        serde_json::Value::Null
    );
    let ended = fleet.rollout_end(&rollout, LIMIT).unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    fleet.wait_confirmed("a", MODEL, "1.1.0", LIMIT).unwrap();
}
