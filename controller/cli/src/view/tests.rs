//! Snapshots of the views over sample answers. The samples are JSON as the API gives it, so that
//! reading them is tested too.

use serde::de::DeserializeOwned;
use serde_json::json;
use time::macros::datetime;

use super::*;
use crate::client::types::*;

const DEVICE: &str = "0192d3a4-7b1c-7c3e-9f00-3a52c0de0001";
const ROLLOUT: &str = "0192d3a4-7b1c-7c3e-9f00-3a52c0de0003";

fn from<T: DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).expect("the sample fits the type")
}

/// At the sample moment, in a terminal of 100 columns.
fn style() -> Style {
    Style { now: datetime!(2026-11-22 22:00:00 UTC), width: Some(100) }
}

/// Views must fit into what they were made for.
fn check(name: &str, text: String) {
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{name} is wider than 100 columns: {line}");
    }
    insta::assert_snapshot!(name, text);
}

fn device(name: &str, online: bool, slots: serde_json::Value) -> Device {
    from(json!({
        "id": DEVICE, "name": name, "state": "enrolled", "labels": {"line": "2", "site": "berlin"},
        "facts": {"agent_version": "0.1.0", "os": "linux", "arch": "aarch64", "cpus": 4,
            "memory_bytes": 4_294_967_296_u64, "disk_free_bytes": 21_474_836_480_u64,
            "cpu_features": ["neon", "dotprod"], "hostname": "pi-17"},
        "online": online, "last_seen_at": "2026-11-22T21:59:52Z",
        "cert_expires_at": "2026-11-23T20:00:00Z", "desired_generation": "1.7",
        "accepted_generation": "1.6", "slots": slots, "revision": 3,
        "created_at": "2026-11-01T10:00:00Z"
    }))
}

fn slot(serving: Option<&str>, phase: &str, message: &str) -> serde_json::Value {
    json!({
        "slot": "assistant", "phase": phase, "desired_model": "assistant",
        "desired_version": "1.1.0", "desired_version_id": "x", "serving_model": "assistant",
        "serving_version": serving, "serving_version_id": null, "reason": "", "message": message,
        "bytes_done": 41_943_040, "bytes_total": if phase == "fetching" { 98_000_000 } else { 0 },
        "updated_at": "2026-11-22T21:58:00Z"
    })
}

#[test]
fn devices() {
    let fetching = slot(Some("1.0.0"), "fetching", "");
    let list = [
        device("press-7", true, json!([slot(Some("1.1.0"), "serving", "")])),
        device("press-8", false, json!([fetching.clone()])),
        device("press-9", true, json!([])),
    ];
    check("device_list", device::devices(&list, false, style()));
    check("device_list_empty", device::devices(&[], false, style()));
    check("device_list_no_match", device::devices(&[], true, style()));
    check("device_show", device::device(&list[1], style()));
    check("device_show_idle", device::device(&list[2], style()));
    let long = "the model needs 5.1 GiB, this device may use 3.5 GiB; choose a smaller model or \
                quantization, or raise the limit";
    let failed = device("press-7", true, json!([slot(None, "failed", long)]));
    check("device_show_failed", device::device(&failed, style()));
    check("device_revocation", device::revocation(&list[1], style()));
}

#[test]
fn access() {
    let me = json!({"tenant_id": DEVICE, "tenant_name": "acme", "principal_id": ROLLOUT,
        "principal_name": "ci", "role": "admin"});
    check("whoami", access::whoami(&from(me), "https://fleet.example:8443"));
    let root = json!({"principal_id": "i", "principal_name": "installation", "role": "admin"});
    check("whoami_installation", access::whoami(&from(root), "https://fleet.example:8443"));
    let tenant: TenantCreated =
        from(json!({"id": DEVICE, "name": "acme", "admin_token": "efp_secret"}));
    let url = "https://fleet.example:8443";
    check("tenant_created", tenant::created(&tenant, None, url));
    check("tenant_created_file", tenant::created(&tenant, Some("acme.token"), url));
    let acme = json!({"id": DEVICE, "name": "acme", "state": "active",
        "quota": {"devices": 500, "stored_bytes": 21_474_836_480_u64},
        "created_at": "2026-11-01T10:00:00Z"});
    check("tenants", tenant::tenants(&[from(acme.clone())], style()));
    let usage = json!({"devices": 12, "stored_bytes": 93_000_000});
    let shown = json!({"tenant": acme.clone(), "usage": usage.clone()});
    check("tenant_show", tenant::details(&from(shown), style()));
    let loss = json!({"tenant": acme, "usage": usage, "rows": {"devices": 12, "users": 3}});
    check("tenant_loss", tenant::loss(&from(loss), 30));
    let token = |name: &str, expires: Option<&str>, revoked: Option<&str>, used: Option<&str>| {
        from::<ApiToken>(json!({"id": DEVICE, "name": name, "role": "viewer",
            "created_at": "2026-11-01T10:00:00Z", "expires_at": expires,
            "revoked_at": revoked, "last_used_at": used}))
    };
    let tokens = [
        token("ci", Some("2026-12-22T22:00:00Z"), None, Some("2026-11-22T21:50:00Z")),
        token("old", Some("2026-11-20T22:00:00Z"), None, None),
        token("lost", None, Some("2026-11-22T20:00:00Z"), None),
        token("forever", None, None, None),
    ];
    check("tokens", program::tokens(&tokens, style()));
    check("token_revocation", program::token_revocation(&tokens[0], false, style()));
    check("token_revocation_own", program::token_revocation(&tokens[0], true, style()));
    let created = json!({"id": DEVICE, "name": "ci", "role": "admin", "token": "efp_secret",
        "expires_at": "2026-12-22T22:00:00Z"});
    check("token_created", program::token_created(&from(created), style()));
    let enrolment = |left: u32, expires: &str| {
        from::<EnrolmentToken>(
            json!({"id": DEVICE, "uses_left": left, "labels": {"site": "berlin"},
            "created_at": "2026-11-01T10:00:00Z", "expires_at": expires}),
        )
    };
    let tokens = [
        enrolment(3, "2026-11-23T22:00:00Z"),
        enrolment(0, "2026-11-23T22:00:00Z"),
        enrolment(1, "2026-11-21T22:00:00Z"),
    ];
    check("enrolment_tokens", access::enrolment_tokens(&tokens, style()));
    let created = json!({"id": DEVICE, "token": "efe_secret", "uses_left": 10,
        "expires_at": "2026-11-23T22:00:00Z", "labels": {"site": "berlin"}});
    check("enrolment_token_created", access::enrolment_token_created(&from(created), style()));
    let empty = [
        tenant::tenants(&[], style()),
        program::tokens(&[], style()),
        access::enrolment_tokens(&[], style()),
    ];
    check("access_empty", empty.join("\n\n"));
}

#[test]
fn models() {
    let models = [from(json!({"id": DEVICE, "name": "assistant", "latest_version": "1.1.0",
        "version_count": 2, "created_at": "2026-11-20T22:00:00Z"}))];
    check("models", model::models(&models, style()));
    let version: Version = from(json!({
        "id": DEVICE, "model": "assistant", "version": "1.1.0", "payload_bytes": 102_760_448,
        "stored_bytes": 93_323_264, "chunk_count": 98, "manifest_sha256": "ab".repeat(32),
        "payload_sha256": "cd".repeat(32), "created_at": "2026-11-22T21:00:00Z",
        "details": {"architecture": "llama", "quantization": "q4_1", "parameters": 134_515_008,
            "context_length": 8192}
    }));
    check("versions", model::versions("assistant", std::slice::from_ref(&version), style()));
    check("version", model::version(&version, style()));
    check("published", model::published(&version, true));
    check("published_before", model::published(&version, false));
    let empty = [model::models(&[], style()), model::versions("assistant", &[], style())];
    check("models_empty", empty.join("\n\n"));
}

/// A rollout with trouble in it; also used by the tests of following.
pub fn sample_rollout(state: RolloutState) -> Rollout {
    Rollout {
        state,
        ..from(json!({
            "id": ROLLOUT, "slot": "assistant", "model": "assistant", "version": "1.1.0",
            "version_id": DEVICE, "selector": {"labels": {"site": "berlin"}},
            "settings": {"context_tokens": 4096, "parallel": null}, "state": "running",
            "reason": "1 device failed", "waiting_for": "2 devices to confirm",
            "counts": {"total": 5, "pending": 1, "assigned": 0, "accepted": 1, "confirmed": 2,
                "reverted": 0, "failed": 1, "superseded": 0},
            "rolls_back": null, "revision": 4, "created_at": "2026-11-22T21:55:00Z",
            "ended_at": null
        }))
    }
}

/// The devices of [`sample_rollout`].
pub fn sample_rollout_devices() -> Vec<RolloutDevice> {
    let device = |name: &str, state: &str, before: Option<&str>, reason: &str, message: &str| {
        from(json!({"device_id": format!("id of {name}"), "device_name": name, "version": "1.1.0",
            "previous_version": before, "state": state, "reason": reason, "message": message,
            "updated_at": "2026-11-22T21:56:00Z"}))
    };
    vec![
        device("press-7", "confirmed", Some("1.0.0"), "", ""),
        device("press-8", "accepted", None, "fetching", ""),
        device("press-10", "pending", Some("1.0.0"), "", ""),
        device("press-9", "failed", Some("1.0.0"), "memory", "needs 5.1 GiB, may use 3.5 GiB"),
    ]
}

#[test]
fn rollouts() {
    let running = sample_rollout(RolloutState::Running);
    check("rollouts", rollout::rollouts(std::slice::from_ref(&running), false, style()));
    check("rollout_running", rollout::rollout(&running, style()));
    check("rollout_failed", rollout::rollout(&sample_rollout(RolloutState::Failed), style()));
    check("rollout_devices", rollout::devices(&sample_rollout_devices(), style()));
    check("rollout_abortion", rollout::abortion(&running));
    check("rollout_rollback", rollout::rollback(&running, &sample_rollout_devices()));
    let preview = json!({"devices": [
        {"id": DEVICE, "name": "press-7", "from_version": "1.0.0", "to_version": "1.1.0",
            "online": true, "fits": true, "why_not": null},
        {"id": DEVICE, "name": "press-9", "from_version": null, "to_version": "1.1.0",
            "online": false, "fits": false, "why_not": "needs 5.1 GiB of memory, has 4.0 GiB"}],
        "bytes_to_move": 102_760_448, "conflicts": ["rollout 0192 of slot assistant is running"]});
    check("rollout_preview", rollout::preview(&from(preview), style()));
    let none = json!({"devices": [], "bytes_to_move": 0, "conflicts": []});
    let empty = [
        rollout::preview(&from(none), style()),
        rollout::rollouts(&[], false, style()),
        rollout::rollouts(&[], true, style()),
        rollout::devices(&[], style()),
    ];
    check("rollouts_empty", empty.join("\n\n"));
    let odd: RolloutState = from(json!("paused"));
    assert_eq!(odd, RolloutState::Unknown);
}

#[test]
fn reports() {
    let record = |outcome: &str, reason: &str| {
        from::<AuditRecord>(json!({"id": DEVICE, "sequence": 41, "at": "2026-11-22T21:30:05Z",
            "actor": {"kind": "token", "id": DEVICE, "name": "ci"}, "action": "rollout:create",
            "resource": {"kind": "rollout", "id": ROLLOUT, "name": "assistant 1.1.0"},
            "outcome": outcome, "reason": reason, "request_id": "r", "source": "127.0.0.1"}))
    };
    let mut waiting = record("denied", "role viewer may not create rollouts");
    waiting.sequence = None;
    check("audit", report::audit(&[waiting, record("success", "")], style()));
    let head = json!({"size": 42, "root_sha256": "ef".repeat(32)});
    check("audit_head", report::head(&from(head)));
    let summary = json!({"device_id": DEVICE, "device_name": "press-7", "slot": "assistant",
        "version": "1.1.0", "version_id": DEVICE, "requests": 1234, "errors": 2,
        "ttft_mean_s": 0.1, "ttft_p50_s": 0.085, "ttft_p95_s": 1.24, "tokens_per_second": 31.4,
        "prompt_tokens": 56_789, "completion_tokens": 98_765, "memory_bytes": 203_423_744_u64,
        "last_at": "2026-11-22T21:59:55Z"});
    check("telemetry_summary", report::summary(&[from(summary)], style()));
    let point = json!({"device_id": DEVICE, "metric": "gen_ai.server.time_to_first_token",
        "slot": "assistant", "at": "2026-11-22T21:59:55Z", "count": 4, "sum": 0.5});
    check("telemetry_points", report::points(&[from(point)], style()));
    let empty =
        [report::audit(&[], style()), report::summary(&[], style()), report::points(&[], style())];
    check("reports_empty", empty.join("\n\n"));
}

#[test]
fn progress() {
    let mib = 1 << 20;
    let lines = [
        progress_line("uploading", 0, 98 * mib, 0.0),
        progress_line("uploading", 49 * mib, 98 * mib, 4.0),
        progress_line("uploading", 98 * mib, 98 * mib, 8.0),
        progress_line("uploading", 0, 0, 1.0),
    ];
    check("progress", lines.join("\n"));
}
