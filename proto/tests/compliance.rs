//! What ran, read off made-up audit records, and reports that say something else.

use std::collections::BTreeMap;

use edgeformer_proto::compliance::{
    Certainty, Cited, Deployment, Derive, FORMAT, Finding, Header, Report, check,
};
use serde_json::{Value, json};

const FROM: &str = "2026-07-01T00:00:00Z";
const TO: &str = "2026-10-01T00:00:00Z";

/// A log that is written down record by record.
#[derive(Default)]
struct Log(Vec<(String, BTreeMap<String, String>)>);

impl Log {
    fn record(&mut self, at: &str, action: &str, resource: Value, after: Value) -> &mut Self {
        self.by(at, action, resource, after, None)
    }

    fn by(
        &mut self,
        at: &str,
        action: &str,
        resource: Value,
        after: Value,
        approval: Option<&str>,
    ) -> &mut Self {
        let text = json!({
            "schema": 2, "id": self.0.len().to_string(), "at": at,
            "actor": {"kind": "user", "id": "u1"},
            "authentication": {"method": "password_totp", "at": at},
            "action": action, "resource": resource, "outcome": "success", "reason": "",
            "approval": approval, "request_id": "",
        });
        let beside = [("actor.name", "Ada".to_owned()), ("changes.after", after.to_string())];
        let beside = beside.map(|(field, value)| (field.to_owned(), value));
        self.0.push((text.to_string(), beside.into()));
        self
    }

    fn publish(&mut self, at: &str, version: &str) -> &mut Self {
        let resource = json!({"kind": "version", "id": version, "name": format!("chat@{version}")});
        let after = json!({"manifest_sha256": "ab", "payload_sha256": "cd", "details": {}});
        self.by(at, "version:publish", resource, after, Some("a1"))
    }

    fn assign(&mut self, at: &str, version: Option<&str>, rollout: &str) -> &mut Self {
        let after = json!({"slot": "chat", "version_id": version, "rollout_id": rollout});
        self.record(at, "desired_state:assign", device(), after)
    }

    fn report(&mut self, at: &str, phase: &str, serving: Option<&str>) -> &mut Self {
        let after = json!({"slot": "chat", "phase": phase, "serving_version_id": serving});
        self.record(at, "deployment:report", device(), after)
    }

    fn derive(&self) -> (Vec<Deployment>, Cited) {
        let mut derive = Derive::new(FROM, TO).unwrap();
        for (number, (text, beside)) in self.0.iter().enumerate() {
            derive.record(number as u64, text, beside).unwrap();
        }
        let (mut deployments, cited) = derive.finish();
        deployments.sort();
        (deployments, cited)
    }
}

fn device() -> Value {
    json!({"kind": "device", "id": "d1", "name": "press-7"})
}

/// Version, certainty, since and until by month and day.
type Told<'a> = (&'a str, Certainty, &'a str, Option<&'a str>);

#[track_caller]
fn tells(log: &Log, expected: &[Told<'_>]) {
    let (deployments, _) = log.derive();
    let told: Vec<Told<'_>> = deployments
        .iter()
        .map(|one| {
            let day = |text: &'_ str| text.get(5..10).map(str::to_owned);
            let (since, until) = (day(&one.since), one.until.as_deref().and_then(day));
            let since: &str = since.unwrap().leak();
            let until = until.map(|text| &*text.leak());
            (one.version_id.as_str(), one.certainty, since, until)
        })
        .collect();
    assert_eq!(told, expected);
}

fn day(month: u32, day: u32) -> String {
    format!("2026-{month:02}-{day:02}T12:00:00.5Z")
}

/// Published and assigned in June, confirmed in July, replaced in August, gone in November.
fn quarter() -> Log {
    let mut log = Log::default();
    let asked = json!({"action": "version:publish", "request": "PUT …", "needed": 1});
    let signed = json!({"meaning": "approved", "comment": "ok", "signer_name": "Grace"});
    let approval = json!({"kind": "approval", "id": "a1"});
    let rollout = |id: &str| json!({"kind": "rollout", "id": id});
    log.record(&day(6, 1), "approval:request", approval.clone(), asked)
        .record(&day(6, 2), "approval:sign", approval, signed)
        .publish(&day(6, 3), "v1")
        .record(&day(6, 3), "rollout:create", rollout("r1"), json!({"slot": "chat"}))
        .assign(&day(6, 4), Some("v1"), "r1")
        .report(&day(7, 5), "confirmed", Some("v1"))
        .record(&day(7, 5), "rollout:finish", rollout("r1"), json!({"state": "succeeded"}))
        .publish(&day(8, 1), "v2")
        .assign(&day(8, 2), Some("v2"), "r2")
        .report(&day(8, 3), "active", Some("v2"))
        .report(&day(11, 1), "removed", None);
    log
}

#[test]
fn what_a_device_says_stands_above_what_it_is_to_do() {
    use Certainty::{Assigned, Reported};
    tells(
        &quarter(),
        &[
            ("v1", Assigned, "06-04", Some("07-05")),
            ("v1", Reported, "07-05", Some("08-03")),
            // What comes after the period is not known to it.
            ("v2", Reported, "08-03", None),
        ],
    );
}

#[test]
fn a_revoked_device_is_unknown_from_then_on_and_an_old_stretch_is_not_told() {
    let mut log = Log::default();
    log.report(&day(5, 1), "confirmed", Some("v0")).report(&day(6, 1), "confirmed", Some("v1"));
    log.record(&day(9, 1), "device:revoke", device(), json!({"state": "revoked"}));
    let (reported, unknown) = (Certainty::Reported, Certainty::Unknown);
    tells(&log, &[("v1", reported, "06-01", Some("09-01")), ("v1", unknown, "09-01", None)]);
}

#[test]
fn who_published_and_approved_comes_with_it() {
    let (deployments, cited) = quarter().derive();
    let version = &cited.versions[0];
    let published = version.published.as_ref().unwrap();
    assert_eq!(
        (version.name.as_deref(), published.by.name.as_deref()),
        (Some("chat@v1"), Some("Ada"))
    );
    assert_eq!(published.by.method.as_deref(), Some("password_totp"));
    assert_eq!(version.evaluation, None);
    let signature = &cited.approvals[0].signatures[0];
    assert_eq!(published.approval_id.as_deref(), Some("a1"));
    assert_eq!(
        (signature.meaning.as_str(), signature.printed_name.as_deref()),
        ("approved", Some("Grace"))
    );
    assert_eq!(deployments[1].rollout_id.as_deref(), Some("r1"));
    let ended = cited.rollouts[0].ended.as_ref().unwrap();
    assert_eq!(ended.state, "succeeded");
    // r2 was assigned, and the log has no record of its creation: that is said, not hidden.
    assert_eq!((cited.rollouts[1].rollout_id.as_str(), &cited.rollouts[1].created), ("r2", &None));
}

fn report() -> Report {
    let (deployments, cited) = quarter().derive();
    let header = Header {
        format: FORMAT.to_owned(),
        tenant_id: "t".to_owned(),
        tenant: "acme".to_owned(),
        from: FROM.to_owned(),
        to: TO.to_owned(),
        first: 0,
        size: 11,
        made_at: TO.to_owned(),
    };
    Report { header, deployments, cited }
}

/// What a change of a report is found to be.
#[track_caller]
fn finds(change: impl FnOnce(&mut Report), expected: &[&str]) {
    let mut told = report();
    change(&mut told);
    let (deployments, cited) = quarter().derive();
    let found: Vec<String> =
        check(&told, &deployments, &cited).iter().map(Finding::words).collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for part in expected {
        assert!(found.iter().any(|words| words.contains(part)), "{part}: {found:?}");
    }
}

#[test]
fn a_report_that_says_something_else_is_named_line_by_line() {
    finds(|_| {}, &[]);
    finds(|r| r.deployments[0].until = None, &["not what the audit log says: version v1"]);
    finds(
        |r| r.deployments[1].version_id = "v9".to_owned(),
        &["not backed by the audit log: version v9", "left out, although"],
    );
    finds(
        |r| drop(r.deployments.remove(2)),
        &["left out, although the audit log has it: version v2"],
    );
    finds(
        |r| {
            let again = r.deployments[0].clone();
            r.deployments.push(again);
        },
        &["told twice"],
    );
    finds(|r| r.deployments[0].certainty = Certainty::Reported, &["version v1"]);
    finds(
        |r| r.cited.approvals[0].signatures[0].printed_name = Some("Mallory".to_owned()),
        &["not what the audit log says: approval a1"],
    );
    finds(|r| r.cited.versions[0].payload_sha256 = None, &["version v1"]);
    finds(|r| r.cited.rollouts.clear(), &["rollout r1", "rollout r2"]);
}

#[test]
fn what_is_withheld_or_dropped_from_the_log_backs_nothing() {
    let told = report();
    let mut log = quarter();
    log.0[5].1.clear();
    let (deployments, cited) = log.derive();
    let found = check(&told, &deployments, &cited);
    assert!(found.iter().any(|one| matches!(one, Finding::NotBacked(_))), "{found:?}");
}

#[test]
fn what_is_no_record_is_an_error_and_not_a_panic() {
    let mut derive = Derive::new(FROM, TO).unwrap();
    // What retention deleted says nothing, and is none.
    derive.record(0, "", &BTreeMap::new()).unwrap();
    for text in ["{", "{}", "[]", r#"{"at":1}"#] {
        assert!(derive.record(0, text, &BTreeMap::new()).is_err(), "{text}");
    }
    let bad = quarter().0[0].0.replace("2026-06-01T12:00:00.5Z", "yesterday");
    assert!(derive.record(0, &bad, &BTreeMap::new()).is_err());
    assert!(Derive::new("July", TO).is_err());
}
