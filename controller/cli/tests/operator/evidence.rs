//! Evidence that is taken out and checked without the controller.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Controller, START_TIMEOUT};

/// The bundle's file is replaced by what `change` makes of it.
fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).unwrap();
    let changed = change(text.clone());
    assert_ne!(changed, text, "{} was to be changed", path.display());
    std::fs::write(path, changed).unwrap();
}

#[test]
fn a_compliance_report_is_taken_out_and_verified_without_the_controller() {
    let controller = Controller::start().with_tenant();
    let period = ["compliance", "report", "--from", "2026-01-01", "--to", "2100-01-01T00:00:00Z"];
    // The first checkpoint is signed a moment after the tenant is made.
    let began = Instant::now();
    while !controller.run(&["audit", "checkpoint"]).status.success() {
        assert!(began.elapsed() < START_TIMEOUT, "there is no checkpoint");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (folder, tar, page) =
        (controller.path("q3"), controller.path("q3.tar"), controller.path("q3.html"));
    let told = controller.ok(&[&period[..], &["--bundle", &folder, "--html", &page]].concat());
    assert!(told.contains("Nothing ran from 2026-01-01 00:00:00Z"), "{told}");
    assert!(told.contains("every line follows from the audit log"), "{told}");
    controller.ok(&[&period[..], &["--bundle", &tar]].concat());
    controller.fails(&[&period[..], &["--bundle", &folder]].concat(), 2, "is there already");
    let json = controller.json(&period);
    assert_eq!(json["header"]["tenant"], "acme");
    assert!(std::fs::read_to_string(&page).unwrap().contains("What ran on the devices of acme"));

    let (key, release) = (controller.path("audit.key"), controller.path("release.key"));
    std::fs::write(&key, controller.ok(&["audit", "key"])).unwrap();
    std::fs::write(&release, controller.ok(&["compliance", "key"])).unwrap();
    let verify = |bundle: &str| -> Vec<String> {
        ["compliance", "verify", bundle, "--key", &key, "--release-key", &release]
            .map(str::to_owned)
            .to_vec()
    };
    let ok = |bundle: &str| {
        let arguments = verify(bundle);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let offline = [&arguments[..], &["--url", "https://127.0.0.1:1"]].concat();
        assert!(controller.ok(&offline).contains("every line follows from the audit log"));
    };
    ok(&folder);
    ok(&tar);
    let caught = |words: &str| {
        let arguments = verify(&folder);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = controller.run(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("NOT VERIFIED") && error.contains(words), "{words:?}: {error}");
    };
    let (report, log) =
        (Path::new(&folder).join("report.json"), Path::new(&folder).join("audit.jsonl"));
    let (good_report, good_log) =
        (std::fs::read_to_string(&report).unwrap(), std::fs::read_to_string(&log).unwrap());
    let made_up = r#"[{"certainty":"reported","device_id":"d","device_name":"n","phase":null,
        "records":[1],"rollout_id":null,"since":"2026-02-01T00:00:00Z","slot":"s","until":null,
        "version_id":"0192d3a4-7b1c-7c3e-9f00-3a52c0de0011"}]"#;
    edit(&report, |text| text.replace("\"deployments\":[]", &format!("\"deployments\":{made_up}")));
    caught("not backed by the audit log: version 0192d3a4");
    std::fs::write(&report, &good_report).unwrap();
    edit(&report, |text| text.replace("\"first\":0", "\"first\":1"));
    caught("the report is of records 1");
    std::fs::write(&report, &good_report).unwrap();
    edit(&log, |text| text.replacen("tenant:create", "tenant:delete", 1));
    caught("record 0 was changed");
    let without_last: String = good_log
        .lines()
        .take(good_log.lines().count() - 1)
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&log, without_last).unwrap();
    caught("it was cut");
    std::fs::write(&log, &good_log).unwrap();
    ok(&folder);
}

#[test]
fn retention_is_set_and_what_is_held_about_a_person_is_given_out_and_erased() {
    let controller = Controller::start().with_tenant();
    assert!(controller.ok(&["privacy", "settings"]).contains("30 days"));
    let set = ["privacy", "set", "--telemetry-days", "7", "--allow", "app.a", "--allow", "app.b"];
    assert_eq!(controller.json(&set)["telemetry_days"], 7);
    let left = controller.json(&["privacy", "set", "--disallow", "app.a"]);
    assert_eq!(left["telemetry_names"], serde_json::json!(["app.b"]));
    assert_eq!(left["telemetry_days"], 7, "what is not given stays as it is");
    controller.fails(&["privacy", "set", "--log-ins-days", "1"], 1, "it must be 7 to 365");

    let made = controller.json(&["user", "create", "lovelace", "--role", "viewer"]);
    let subject = format!("user:{}", made["id"].as_str().unwrap());
    let file = controller.path("lovelace.jsonl");
    controller.ok(&["privacy", "export", &subject, "--file", &file]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(r#""table":"users""#) && text.contains("lovelace"), "{text}");
    assert!(controller.ok(&["privacy", "export", &subject]).contains("edgeformer-subject-export"));
    controller.fails(&["privacy", "export", "user:x"], 1, "it must end in an id");
    let erased = controller.ok(&["audit", "erase", &subject, "--yes"]);
    assert!(erased.contains("1 in users"), "{erased}");
    assert!(!controller.ok(&["user", "list"]).contains("lovelace"));
}
