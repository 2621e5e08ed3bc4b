//! The command line against the real controller, as an operator uses it: exit codes, what goes to
//! standard output and what to standard error. Needs `cargo build --workspace` before.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "operator/bom.rs"]
mod bom;
#[path = "operator/evidence.rs"]
mod evidence;
// Shared with the controller's tests, which use more of it.
#[allow(dead_code)]
#[path = "../../tests/suite/support/provider.rs"]
mod provider;
#[path = "operator/retention.rs"]
mod retention;
#[path = "operator/signature.rs"]
mod signature;
#[path = "operator/sink.rs"]
mod sink;
#[path = "operator/sso.rs"]
mod sso;
#[path = "operator/witness.rs"]
mod witness;

/// A cold start on a busy machine, with room to spare.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A controller of its own in a folder of its own, gone with the value.
struct Controller {
    process: Child,
    folder: tempfile::TempDir,
    url: String,
    device_url: String,
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Beside this test's folder: `target/<profile>/edgeformer-controller`.
fn controller_program() -> PathBuf {
    let program =
        Path::new(env!("CARGO_BIN_EXE_edgeformer")).with_file_name("edgeformer-controller");
    assert!(
        program.is_file(),
        "{} is not there: `cargo build --workspace` makes it",
        program.display()
    );
    program
}

impl Controller {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let init =
            Command::new(controller_program()).arg("init").arg("--data-dir").arg(&data).output();
        let init = init.unwrap();
        assert!(init.status.success(), "init: {}", String::from_utf8_lossy(&init.stderr));
        let ready = folder.path().join("ready.json");
        let mut process = Command::new(controller_program())
            .args(["serve", "--admin-listen", "127.0.0.1:0", "--device-listen", "127.0.0.1:0"])
            .args(arguments)
            .arg("--data-dir")
            .arg(&data)
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !ready.is_file() {
            let ended = process.try_wait().unwrap();
            let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "the controller ended: {}", log());
            assert!(began.elapsed() < START_TIMEOUT, "the controller does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        let ready: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { process, url: text("admin_url"), device_url: text("device_url"), folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs the command line with its own saved login and nothing from this test's environment.
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_edgeformer"))
            .args(arguments)
            .env_clear()
            .env("EDGEFORMER_CONFIG", self.path("config.json"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Standard output of a command that must succeed.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
    }

    /// Exit code and message of a command that must fail, without anything on standard output.
    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, message: &str) {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(message), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?} wrote to standard output");
    }

    /// Logs in as the administrator of a new tenant.
    fn with_tenant(self) -> Self {
        let (ca, admin) = (self.path("data/ca.pem"), self.path("data/admin.token"));
        self.ok(&["login", "--url", &self.url, "--ca", &ca, "--token-file", &admin]);
        let tenant = self.path("tenant.token");
        self.ok(&["tenant", "create", "acme", "--token-file", &tenant]);
        self.ok(&["login", "--token-file", &tenant]);
        self
    }
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let controller = Controller::start().with_tenant();
    assert_eq!(controller.json(&["whoami"])["tenant_name"], "acme");

    let made =
        controller.json(&["token", "create", "ci", "--role", "viewer", "--expires-in", "30d"]);
    let (id, secret) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let as_viewer = |arguments: &[&str], code, message| {
        controller.fails(&[arguments, &["--token", secret]].concat(), code, message);
    };
    as_viewer(&["token", "create", "more", "--role", "admin"], 3, "could not create the token");
    assert_eq!(controller.json(&["whoami", "--token", secret])["role"], "viewer");

    controller.fails(&["token", "revoke", id], 2, "add --yes");
    assert!(controller.ok(&["token", "revoke", id, "--yes"]).contains("Revoked"));
    as_viewer(&["whoami"], 3, "unknown, expired or revoked");
    controller.fails(&["token", "revoke", "x", "--yes"], 2, "is not an id");
    let absent = "0192d3a4-7b1c-7c3e-9f00-3a52c0de0001";
    controller.fails(&["token", "revoke", absent, "--yes"], 3, "there is no token");
    let listed = controller.json(&["token", "list"]);
    let revoked = listed.as_array().unwrap().iter().find(|t| t["id"] == id).unwrap();
    assert!(revoked["revoked_at"].is_string());
}

#[test]
fn lists_are_followed_over_pages_up_to_the_limit() {
    let controller = Controller::start().with_tenant();
    for _ in 0..5 {
        controller.ok(&["enrolment-token", "create", "--label", "site=berlin", "--uses", "2"]);
    }
    assert_eq!(controller.json(&["enrolment-token", "list"]).as_array().unwrap().len(), 5);
    let first = controller.run(&["enrolment-token", "list", "--limit", "3", "-o", "json"]);
    let items: Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(items.as_array().unwrap().len(), 3);
    assert!(String::from_utf8_lossy(&first.stderr).contains("--limit N shows more"));
    // Five tokens, the tenant itself and its trust repository; records are sequenced a moment later.
    assert!(controller.json(&["audit", "list", "--limit", "200"]).as_array().unwrap().len() <= 7);
    assert!(controller.json(&["audit", "head"])["root_sha256"].is_string());
}

#[test]
fn the_audit_log_is_exported_and_a_person_erased_after_a_preview() {
    let controller = Controller::start().with_tenant();
    let made = controller.json(&["token", "create", "Ada", "--role", "viewer"]);
    let token = made["token"].as_str().unwrap();
    controller.fails(
        &["token", "create", "x", "--role", "viewer", "--token", token],
        3,
        "role viewer does not permit it",
    );
    let began = Instant::now();
    let count = loop {
        // Records are sequenced a moment later.
        let text = controller.ok(&["audit", "export"]);
        if text.contains("denied") {
            break text.lines().count();
        }
        assert!(began.elapsed() < START_TIMEOUT, "{text}");
    };
    for format in ["ocsf", "cef", "rfc5424"] {
        let text = controller.ok(&["audit", "export", "--format", format, "--from", "1"]);
        assert_eq!(text.lines().count(), count - 1, "{format}");
    }
    let file = controller.path("audit.jsonl");
    controller.ok(&["audit", "export", "--file", &file]);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), count);
    controller.fails(&["audit", "export", "--file", &file], 2, "choose a new file name");

    let subject = format!("token:{}", made["id"].as_str().unwrap());
    controller.fails(&["audit", "erase", &subject], 2, "2 audit records");
    assert!(controller.ok(&["audit", "list"]).contains("Ada"));
    controller.ok(&["audit", "erase", &subject, "--yes"]);
    let listed = controller.ok(&["audit", "list"]);
    assert!(listed.contains("(erased)") && !listed.contains("Ada"), "{listed}");
    controller.fails(&["audit", "erase", "nobody", "--yes"], 1, "kind and an id");
}

#[test]
fn the_audit_log_is_verified_without_the_controller() {
    let controller = Controller::start().with_tenant();
    controller.ok(&["token", "create", "ci", "--role", "viewer"]);
    let (key, bundle) = (controller.path("audit.key"), controller.path("audit.bundle"));
    let kept = controller.path("kept.checkpoint");
    let began = Instant::now();
    // Records are sequenced and signed a moment later.
    while !controller.run(&["audit", "checkpoint"]).status.success() {
        assert!(began.elapsed() < START_TIMEOUT);
    }
    std::fs::write(&key, controller.ok(&["audit", "key"])).unwrap();
    let watch = ["audit", "watch", &kept, "--key", &key];
    assert!(controller.ok(&watch).contains("First look"));
    controller.ok(&["token", "create", "ci2", "--role", "viewer"]);
    // The tenant itself, its trust repository, and the two tokens above.
    let began = Instant::now();
    while !controller.ok(&watch).contains("4 now") {
        assert!(began.elapsed() < START_TIMEOUT, "{}", controller.ok(&watch));
    }
    assert!(controller.ok(&["audit", "proof", "0", "--key", &key]).contains("Record 0 is in"));
    controller.ok(&["audit", "bundle", &bundle]);
    controller.ok(&["logout"]);

    // From here on there is no controller to ask.
    let verify = ["audit", "verify", &bundle, "--key", &key, "--since", &kept];
    let text = controller.ok(&verify);
    assert!(text.contains("4 records") && text.contains("agrees with 1 checkpoint"), "{text}");
    let whole = std::fs::read_to_string(&bundle).unwrap();
    std::fs::write(&bundle, whole.replacen("token:create", "token:revoke", 1)).unwrap();
    controller.fails(&verify, 1, " was changed");
    std::fs::write(&bundle, &whole[..whole.len() - 2]).unwrap();
    controller.fails(&verify, 1, "NOT VERIFIED");
    std::fs::write(&bundle, whole.lines().next().unwrap()).unwrap();
    controller.fails(&verify, 1, "ends before record 0");
    controller.fails(&["audit", "verify", &bundle, "--key", "absent"], 2, "neither a key nor");
}

#[test]
fn policies_are_tested_saved_explained_and_removed() {
    let controller = Controller::start().with_tenant();
    let (policy, tests) = (controller.path("limit.cedar"), controller.path("tests.json"));
    let text = r#"@description("large rollouts need a second person")
forbid (principal, action == Action::"rollout:create", resource)
when { resource.devices > 1000 && context.approvals < 1 };"#;
    std::fs::write(&policy, text).unwrap();
    let case = |devices: u32, expect: &str| {
        format!(
            r#"{{"name": "{devices} devices", "expect": "{expect}", "question": {{
                "as": {{"roles": ["admin"]}}, "action": "rollout:create",
                "on": {{"model": "m", "devices": {devices}}}}}}}"#
        )
    };
    let both = [case(1000, "allow"), case(1001, "approval_required")].join(",");
    std::fs::write(&tests, format!(r#"{{"cases": [{both}]}}"#)).unwrap();
    assert!(controller.ok(&["access", "policy", "list"]).contains("the roles decide"));
    let run = controller.ok(&["access", "test", &tests, "--policy", &policy]);
    assert!(run.contains("2 passed, 0 failed"), "{run}");
    // Without the policy the second case fails.
    let output = controller.run(&["access", "test", &tests]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("allow, expected approval_required"));

    controller.ok(&["access", "policy", "set", "limit", &policy]);
    let again = controller.ok(&["access", "policy", "set", "limit", &policy]);
    assert!(again.contains("revision 2"), "{again}");
    assert_eq!(controller.ok(&["access", "policy", "show", "limit"]).trim(), text);
    let explain =
        ["access", "explain", "rollout:create", "--as-role", "admin", "--devices", "5000"];
    let answer = controller.ok(&explain);
    for part in ["with approval", "tenant/limit", "large rollouts need a second person"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert!(controller.ok(&["access", "who", "token:create"]).contains("first owner"));
    assert!(controller.ok(&["access", "roles"]).contains("version:publish"));
    assert!(controller.ok(&["access", "schema"]).contains("entity Device"));
    controller.ok(&["access", "time-zone", "Europe/Berlin"]);
    assert_eq!(controller.ok(&["access", "time-zone"]).trim(), "Europe/Berlin");
    controller.fails(&["access", "explain", "device:fly"], 1, "no action");
    std::fs::write(&policy, "forbid (principal, action").unwrap();
    controller.fails(&["access", "policy", "set", "limit", &policy], 1, "line 1");

    controller.fails(&["access", "policy", "delete", "limit"], 2, "needs a confirmation");
    controller.ok(&["access", "policy", "delete", "limit", "--yes"]);
    controller.fails(&["access", "policy", "show", "limit"], 3, "policy \"limit\"");
}

#[test]
fn a_second_person_signs_what_a_policy_holds_back() {
    let controller = Controller::start().with_tenant();
    let policy = controller.path("two.cedar");
    let text = r#"forbid (principal, action == Action::"enrolment_token:create", resource)
when { resource.uses > 10 && context.approvals < 1 };"#;
    std::fs::write(&policy, text).unwrap();
    controller.ok(&["access", "policy", "set", "two", &policy]);
    let made = controller.json(&["token", "create", "Grace", "--role", "admin"]);
    let ada = controller.json(&["token", "create", "Ada", "--role", "admin"]);
    let (grace, ada) = (made["token"].as_str().unwrap(), ada["token"].as_str().unwrap());
    assert!(controller.ok(&["approval", "list"]).contains("No approvals"));
    let ask = ["enrolment-token", "create", "--uses", "50", "--because", "ticket 4711"];
    let as_ada = [&ask[..], &["--token", ada]].concat();
    controller.fails(&as_ada, 3, "edgeformer approval sign");
    let open = controller.json(&["approval", "list", "--open"]);
    let id = open[0]["id"].as_str().unwrap();
    let shown = controller.ok(&["approval", "show", id]);
    assert!(shown.contains("ticket 4711") && shown.contains("Ada"), "{shown}");
    controller.fails(&["approval", "sign", id, "--token", ada, "--yes"], 3, "another person");
    controller.fails(&["approval", "sign", id, "--token", grace], 2, "needs a confirmation");
    let signed = controller.ok(&["approval", "sign", id, "--token", grace, "--yes"]);
    assert!(signed.contains(&format!("--approval {id}")), "{signed}");
    let again = [&as_ada[..], &["--approval", id]].concat();
    assert!(controller.ok(&again).contains("50 devices"));
    controller.fails(&again, 1, "was used");
    assert!(controller.ok(&["approval", "list"]).contains("1 of 1"));
}

#[test]
fn a_person_is_invited_logs_in_goes_on_and_logs_out() {
    let controller = Controller::start().with_tenant();
    assert!(controller.ok(&["user", "list"]).contains("No users"));
    let made = controller.json(&["user", "create", "Ada", "--role", "operator"]);
    let (invitation, password) = (controller.path("invitation"), controller.path("password"));
    std::fs::write(&invitation, made["invitation"].as_str().unwrap()).unwrap();
    std::fs::write(&password, "correct horse battery\n").unwrap();
    assert!(controller.ok(&["user", "list"]).contains("invited"));
    let ca = controller.path("data/ca.pem");
    let owner = std::fs::read_to_string(controller.path("tenant.token")).unwrap();
    let owner = owner.trim();
    let tenant = controller.json(&["whoami"])["tenant_name"].as_str().unwrap().to_owned();
    controller.ok(&["logout"]);

    let at = ["--url", &controller.url, "--ca", &ca];
    let set = ["account", "set-password", "--tenant", &tenant, "--invitation-file", &invitation];
    let set = [&set[..], &["--password-file", &password], &at].concat();
    assert!(controller.ok(&set).contains("edgeformer login"));
    controller.fails(&set, 3, "used or expired");
    let login = ["login", "--tenant", &tenant, "--user", "ada", "--password-file", &password];
    let login = [&login[..], &at].concat();
    let wrong = [&["login", "--tenant", &tenant, "--user", "eve"], &login[5..]].concat();
    controller.fails(&wrong, 3, "is wrong, or the account is locked");
    assert!(controller.ok(&login).contains("operator"));
    assert!(controller.ok(&["account", "log-ins"]).contains("this one"));
    controller.fails(&["token", "list"], 3, "role operator does not permit it");

    // The access token is old: the next command goes on by itself, and many at once do not trip.
    let path = controller.path("config.json");
    let age = || {
        let mut config: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let before = config["session"]["refresh_token"].clone();
        config["session"]["access_until"] = 0.into();
        std::fs::write(&path, config.to_string()).unwrap();
        before
    };
    let before = age();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| controller.ok(&["device", "list"]));
        }
    });
    let config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_ne!(config["session"]["refresh_token"], before);

    // Signed out by the owner: the next command says what to do.
    let as_owner = ["--token", owner];
    controller.fails(&[&["user", "sign-out", "ada"][..], &as_owner].concat(), 2, "confirmation");
    let out = [&["user", "sign-out", "ada", "--yes"][..], &as_owner].concat();
    assert!(controller.ok(&out).contains("1 log-ins ended"));
    controller.fails(&["device", "list"], 3, "log in again");
    age();
    controller.fails(&["device", "list"], 3, "your login is over");
    controller.ok(&login);
    controller.ok(&[&["user", "roles", "ada", "auditor"][..], &as_owner].concat());
    assert!(controller.ok(&["audit", "list"]).contains("user:update"));
    assert!(controller.ok(&["logout"]).contains("at the controller too"));
    controller.fails(&["device", "list"], 3, "you are not logged in");
}

#[test]
fn an_empty_fleet_says_what_to_do_next() {
    let controller = Controller::start().with_tenant();
    let check = |arguments: &[&str], expected: &str| {
        let text = controller.ok(arguments);
        assert!(text.contains(expected), "{arguments:?}: {text}");
        assert_eq!(controller.json(arguments), Value::Array(Vec::new()), "{arguments:?}");
    };
    check(&["device", "list"], "edgeformer enrolment-token create");
    check(&["device", "list", "--label", "site=x"], "No device has these labels");
    check(&["model", "list"], "edgeformer model publish");
    check(&["rollout", "list"], "edgeformer rollout preview");
    check(&["rollout", "list", "--state", "running"], "No rollout is in this state");
    check(&["telemetry", "summary"], "No telemetry yet");
    check(&["telemetry", "summary", "--since", "1h"], "No telemetry yet");
    check(&["telemetry", "points"], "No data points");
    controller.fails(&["device", "show", "press-7"], 3, "there is no device");
    controller.fails(&["model", "versions", "absent"], 3, "model \"absent\"");
    let plan = ["--model", "m", "--version", "1.0.0", "--all"];
    controller.fails(&[&["rollout", "preview"], &plan[..]].concat(), 3, "no version");
    controller.fails(&[&["rollout", "create"], &plan[..4]].concat(), 2, "--all");
}

#[test]
fn what_stands_between_is_told_apart() {
    let controller = Controller::start().with_tenant();
    let token = std::fs::read_to_string(controller.path("tenant.token")).unwrap();
    let ca = controller.path("data/ca.pem");
    let at = |url: &str, ca: &str, code, message: &str| {
        let arguments = ["whoami", "--url", url, "--ca", ca, "--token", token.trim()];
        controller.fails(&arguments, code, message);
    };
    // Nobody listens where somebody just listened.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    at(&format!("https://{free}"), &ca, 4, "connection refused");
    at(&controller.device_url, &ca, 1, "not the one for devices");
    at(&controller.url.replace("https", "http"), &ca, 2, "must start with https://");
    at(&controller.url, &controller.path("tenant.token"), 2, "CA file");

    let other = Controller::start();
    at(&controller.url, &other.path("data/ca.pem"), 4, "not issued by the given");
    let elsewhere = ["whoami", "--url", &other.url];
    controller.fails(&elsewhere, 3, "there is no token for");
    // By position: the same letter may stand in the prefix, and that is another mistake.
    let mut typo = token.trim().to_owned();
    typo.replace_range(4..5, if &token[4..5] == "a" { "b" } else { "a" });
    controller.fails(&["whoami", "--token", &typo], 2, "mistyped");
}

#[test]
fn a_file_that_is_no_model_is_refused_with_the_reason() {
    let controller = Controller::start().with_tenant();
    let file = controller.path("config.json");
    controller.fails(&["model", "publish", "assistant", "1.0.0", &file], 1, "not a GGUF model");
    let absent = controller.path("absent.gguf");
    controller.fails(&["model", "publish", "assistant", "1.0.0", &absent], 2, "absent.gguf");
    controller.ok(&["logout"]);
    controller.fails(&["model", "list"], 3, "you are not logged in");
}

#[test]
fn programs_have_accounts_and_tokens_that_are_narrowed_and_rotated() {
    let controller = Controller::start().with_tenant();
    let shown = controller.ok(&["service-account", "create", "builder", "--role", "viewer"]);
    assert!(shown.contains("token create NAME --service-account builder"), "{shown}");
    let arguments = ["token", "create", "ci", "--service-account", "builder", "--scope", "read"];
    let made = controller.json(&arguments);
    let (id, secret) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    controller.ok(&["device", "list", "--token", secret]);
    let both = ["token", "create", "x", "--role", "viewer", "--service-account", "builder"];
    controller.fails(&both, 2, "cannot be used with");
    let odd = ["token", "create", "x", "--role", "viewer", "--scope", "device:fly"];
    controller.fails(&odd, 1, "edgeformer access roles");
    controller.fails(&["service-account", "disable", "nobody", "--yes"], 3, "no service account");

    let rotated = controller.json(&["token", "rotate", id, "--overlap", "1h"]);
    let next = rotated["token"]["token"].as_str().unwrap();
    controller.fails(&["token", "rotate", id], 1, "was rotated already");
    let own = controller.json(&["token", "rotate", "self", "--overlap", "1s", "--token", next]);
    let last = own["token"]["token"].as_str().unwrap();
    controller.ok(&["device", "list", "--token", last]);

    controller.ok(&["service-account", "roles", "builder", "operator"]);
    controller.ok(&["service-account", "disable", "builder", "--yes"]);
    controller.fails(&["device", "list", "--token", last], 3, "unknown, expired or revoked");
    controller.ok(&["service-account", "enable", "builder"]);
    controller.ok(&["device", "list", "--token", last]);
    assert!(controller.ok(&["service-account", "list"]).contains("operator"));

    controller.ok(&["user", "create", "ada"]);
    controller.ok(&["group", "create", "berlin", "--role", "operator"]);
    controller.ok(&["group", "add", "berlin", "ada"]);
    assert!(controller.ok(&["group", "members", "berlin"]).contains("ada"));
    assert!(controller.ok(&["access", "who", "device:update"]).contains("ada"));
    controller.ok(&["group", "roles", "berlin"]);
    controller.ok(&["group", "remove", "berlin", "ada"]);
    assert!(controller.ok(&["group", "members", "berlin"]).contains("Nobody is in it"));
    controller.ok(&["group", "delete", "berlin", "--yes"]);
    assert!(controller.ok(&["group", "list"]).contains("No groups"));
}

#[test]
fn a_tenant_is_bounded_suspended_exported_deleted_and_restored() {
    let controller = Controller::start().with_tenant();
    let as_operator = |arguments: &[&str]| {
        let token = std::fs::read_to_string(controller.path("data/admin.token")).unwrap();
        let token = token.trim().to_owned();
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        [arguments, vec!["--token".to_owned(), token]].concat()
    };
    let ok = |arguments: &[&str]| {
        let arguments = as_operator(arguments);
        controller.ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let shown = ok(&["tenant", "quota", "acme", "--devices", "1", "--stored", "20GiB"]);
    assert!(shown.contains("0 of 1"), "{shown}");
    let shown = ok(&["tenant", "quota", "acme", "--requests-per-second", "500"]);
    assert!(shown.contains("0 of 1") && shown.contains("500 per second"), "{shown}");
    ok(&["tenant", "quota", "acme", "--devices", "none", "--requests-per-second", "none"]);

    ok(&["tenant", "suspend", "acme", "--reason", "invoice 4711 is open", "--yes"]);
    controller.fails(&["device", "list"], 3, "invoice 4711 is open");
    assert!(ok(&["tenant", "list"]).contains("suspended"));
    ok(&["tenant", "resume", "acme"]);
    controller.ok(&["device", "list"]);

    let file = controller.path("acme.jsonl");
    ok(&["tenant", "export", "acme", "--file", &file]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().count() > 3 && text.contains("acme"), "{text}");

    assert!(ok(&["tenant", "delete", "acme", "--yes"]).contains("gone for good in"));
    assert_ne!(controller.run(&["device", "list"]).status.code(), Some(0));
    ok(&["tenant", "restore", "acme"]);
    controller.ok(&["device", "list"]);
}
