//! The page and the table over a sample report.

use edgeformer_proto::audit::bundle::Verified;
use edgeformer_proto::audit::checkpoint::Checkpoint;
use edgeformer_proto::compliance::Finding;
use serde_json::{Value, json};
use time::macros::datetime;

use super::*;

const V1: &str = "0192d3a4-7b1c-7c3e-9f00-3a52c0de0011";
const V2: &str = "0192d3a4-7b1c-7c3e-9f00-3a52c0de0012";

fn deployment(device: &str, version: &str, since: &str, until: Value, certainty: &str) -> Value {
    json!({
        "device_id": format!("id-{device}"), "device_name": device, "slot": "assistant",
        "since": since, "until": until, "version_id": version, "certainty": certainty,
        "phase": if certainty == "reported" { json!("confirmed") } else { Value::Null },
        "rollout_id": "r1", "records": [7, 12],
    })
}

fn sample() -> Report {
    let actor =
        json!({"kind": "user", "id": "u1", "name": "Ada <Admin>", "method": "password_totp"});
    let act = |record: u64, approval: Value| json!({"at": "2026-06-03T09:00:00Z", "by": actor, "approval_id": approval, "record": record});
    let report = json!({
        "header": {
            "format": "edgeformer-compliance-report/1", "tenant_id": "t1", "tenant": "acme & sons",
            "from": "2026-07-01T00:00:00Z", "to": "2026-10-01T00:00:00Z", "first": 0, "size": 40,
            "made_at": "2026-10-02T08:00:00Z",
        },
        "deployments": [
            deployment("press-7", V1, "2026-06-20T00:00:00Z", json!("2026-07-05T06:00:00Z"), "assigned"),
            deployment("press-7", V1, "2026-07-05T06:00:00Z", json!("2026-08-10T00:00:00Z"), "reported"),
            deployment("press-7", V2, "2026-08-10T00:00:00Z", Value::Null, "reported"),
            deployment("<script>alert(1)</script>", V1, "2026-07-20T00:00:00Z", Value::Null, "unknown"),
        ],
        "versions": [
            {"version_id": V1, "name": "assistant@1.0.0", "manifest_sha256": "ab12",
             "payload_sha256": "cd34", "details": {}, "evaluation": null,
             "published": act(3, json!("a1"))},
            {"version_id": V2, "name": null, "manifest_sha256": null, "payload_sha256": null,
             "details": null, "evaluation": {"suite": "mmlu", "score": 61}, "published": null},
        ],
        "rollouts": [{"rollout_id": "r1", "created": act(5, Value::Null), "rolls_back": null,
            "ended": {"at": "2026-07-05T06:00:01Z", "state": "succeeded", "record": 13}}],
        "approvals": [{"approval_id": "a1", "requested": act(1, Value::Null),
            "action": "version:publish", "request": "PUT /api/v1/models/assistant", "needed": 1,
            "signatures": [{"by": actor, "printed_name": "Grace \"G\" Hopper",
                "at": "2026-06-02T09:00:00Z", "meaning": "approved",
                "comment": "read <b>twice</b>", "record": 2}]}],
    });
    serde_json::from_value(report).expect("the sample is a report")
}

fn outcome(findings: Vec<Finding>) -> Outcome {
    let checkpoint = Checkpoint { origin: "fleet/audit/t1".to_owned(), size: 40, root: [7; 32] };
    let verified = Verified {
        checkpoint,
        from: 0,
        to: 40,
        opened: 9,
        withheld: 30,
        deleted: 0,
        times: None,
        witnesses: Vec::new(),
    };
    Outcome { verified, findings, signed: 2, first: 0 }
}

#[test]
fn the_table_tells_how_sure_each_line_is() {
    let style = Style { now: datetime!(2026-10-02 08:00:00 UTC), width: Some(120) };
    insta::assert_snapshot!("compliance_table", summary(&sample(), style));
    let empty = Report { deployments: Vec::new(), ..sample() };
    insta::assert_snapshot!("compliance_empty", summary(&empty, style));
}

#[test]
fn the_page_is_golden() {
    let page = html(&sample(), &outcome(Vec::new()));
    insta::assert_snapshot!("compliance_html", page);
}

/// Nothing is run, fetched or followed by whoever opens the page, whatever names are in it.
#[test]
fn the_page_needs_nothing_and_runs_nothing() {
    let findings = vec![Finding::NotBacked("<img src=x onerror=y>".to_owned())];
    for page in [html(&sample(), &outcome(findings)), html(&empty(), &outcome(Vec::new()))] {
        let lower = page.to_lowercase();
        let forbidden = [
            "<script",
            "<img",
            "<link",
            "<iframe",
            "<object",
            "<embed",
            "<a ",
            "@import",
            "http:",
            "https:",
            "javascript:",
            "src=",
            "href=",
            "onerror=\"",
            "<b>",
        ];
        for word in forbidden {
            let escaped = lower.replace("&lt;img src=x onerror=y&gt;", "");
            assert!(!escaped.contains(word), "{word} is in the page");
        }
        // The only references are to what is inside.
        for (at, _) in lower.match_indices("url(") {
            assert!(lower[at..].starts_with("url(#"), "{}", &lower[at..at + 40]);
        }
        assert_eq!(lower.matches('<').count(), lower.matches('>').count(), "tags are closed");
    }
}

fn empty() -> Report {
    Report { deployments: Vec::new(), cited: Default::default(), ..sample() }
}

#[test]
fn the_page_says_what_is_missing_and_what_is_wrong() {
    let page = html(&sample(), &outcome(Vec::new()));
    for part in [
        "none recorded",
        "not in this part of the log",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "Grace &quot;G&quot; Hopper",
        "acme &amp; sons",
        "read &lt;b&gt;twice&lt;/b&gt;",
        "every line of it was derived again",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let page = html(&empty(), &outcome(Vec::new()));
    for part in ["There is nothing to show", "Nothing ran in this period", "No version ran"] {
        assert!(page.contains(part), "{part}");
    }
    let wrong = html(&sample(), &outcome(vec![Finding::LeftOut("x".to_owned())]));
    assert!(wrong.contains("Not verified.") && !wrong.contains("derived again from the signed"));
}
