//! Open Cybersecurity Schema Framework 1.5.0 (<https://schema.ocsf.io/1.5.0>): log-ins are
//! Authentication (3002), changes of accounts are Account Change (3001), everything else is API
//! Activity (6003). What the schema has no place for stands under `unmapped`.

use serde_json::{Map, Value, json};

use super::{Log, PRODUCT, PRODUCT_VERSION, VENDOR, host_and_port, loudness, sentence, verb, who};
use crate::audit::Outcome;
use crate::audit::event::Event;

/// Of the schema.
const VERSION: &str = "1.5.0";
/// `severity_id` and `severity` by loudness.
const SEVERITY: [(u32, &str); 3] = [(1, "Informational"), (2, "Low"), (3, "Medium")];

/// The three classes that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    AccountChange,
    Authentication,
    ApiActivity,
}

impl Class {
    fn of(event: &Event) -> Self {
        let kind = event.record.action.split(':').next().unwrap_or_default();
        match kind {
            "login" | "session" => Self::Authentication,
            "user" | "group" | "totp" | "recovery_code" if event.record.resource.kind == "user" => {
                Self::AccountChange
            }
            _ => Self::ApiActivity,
        }
    }

    /// Class and category.
    fn uids(self) -> (u32, u32) {
        match self {
            Self::AccountChange => (3001, 3),
            Self::Authentication => (3002, 3),
            Self::ApiActivity => (6003, 6),
        }
    }

    /// `activity_id` of a verb; 99 is "other".
    fn activity(self, verb: &str) -> u32 {
        match (self, verb) {
            (Self::Authentication, "create" | "password" | "login" | "refresh") => 1,
            (Self::Authentication, "revoke" | "logout" | "end") => 2,
            (Self::AccountChange, "create") => 1,
            (Self::AccountChange, "enable") => 2,
            (Self::AccountChange, "password") => 3,
            (Self::AccountChange, "reset") => 4,
            (Self::AccountChange, "disable") => 5,
            (Self::AccountChange, "delete") => 6,
            (Self::AccountChange, "lock") => 9,
            (Self::ApiActivity, "create" | "publish" | "enrol") => 1,
            (Self::ApiActivity, "read" | "list" | "show" | "preview" | "export") => 2,
            (Self::ApiActivity, "update" | "renew" | "assign" | "abort" | "rollback") => 3,
            (Self::ApiActivity, "delete" | "revoke") => 4,
            _ => 99,
        }
    }
}

/// The event as an OCSF object.
pub fn event(event: &Event, log: &Log) -> Value {
    let class = Class::of(event);
    let (class_uid, category_uid) = class.uids();
    let activity = class.activity(verb(event));
    let (severity_id, severity) = SEVERITY[loudness(event)];
    let mut out = json!({
        "class_uid": class_uid,
        "category_uid": category_uid,
        "activity_id": activity,
        "type_uid": class_uid * 100 + activity,
        "time": event.at().0 / 1000,
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status(event),
        "status_detail": event.record.reason,
        "message": sentence(event),
        "metadata": metadata(event, log),
        "actor": actor(event),
        "unmapped": unmapped(event),
    });
    let fields = out.as_object_mut().expect("it was written as an object");
    if activity == 99 {
        fields.insert("activity_name".into(), json!(verb(event)));
    }
    let endpoint = endpoint(event);
    if class == Class::ApiActivity {
        fields.insert("api".into(), api(event));
        fields.insert("resources".into(), json!([resource(event)]));
        fields.insert("src_endpoint".into(), endpoint);
    } else {
        fields.insert("user".into(), user(event));
        fields.insert("src_endpoint".into(), endpoint);
        if class == Class::Authentication {
            fields.insert("service".into(), json!({"name": format!("{VENDOR} {PRODUCT}")}));
        }
    }
    out
}

fn status(event: &Event) -> u32 {
    match event.record.outcome {
        Outcome::Success => 1,
        Outcome::Denied | Outcome::Failure => 2,
    }
}

fn metadata(event: &Event, log: &Log) -> Value {
    let mut out = json!({
        "version": VERSION,
        "uid": event.id().to_string(),
        "log_name": "audit",
        "log_provider": log.trust_domain,
        "product": {"vendor_name": VENDOR, "name": PRODUCT, "version": PRODUCT_VERSION},
        "event_code": event.record.action,
    });
    if !log.tenant.is_empty() {
        out["tenant_uid"] = json!(log.tenant);
    }
    if let Some(sequence) = event.sequence {
        out["sequence"] = json!(sequence);
    }
    if !event.record.request_id.is_empty() {
        out["correlation_uid"] = json!(event.record.request_id);
    }
    out
}

fn actor(event: &Event) -> Value {
    let record = &event.record;
    let mut out = json!({
        "user": {"uid": record.actor.id, "name": who(event)},
        "authorizations": [{
            "decision": if record.outcome == Outcome::Denied { "Denied" } else { "Allowed" },
            "policy": policy(event),
        }],
    });
    if let Some(session) = record.authentication.as_ref().and_then(|proof| proof.session.as_ref()) {
        out["session"] = json!({"uid": session});
    }
    out
}

fn policy(event: &Event) -> Value {
    let mut out = json!({"name": event.record.reason});
    if let Some(version) = &event.record.policy_version {
        out["version"] = json!(version);
    }
    out
}

fn api(event: &Event) -> Value {
    let mut out = json!({"operation": event.record.action, "service": {"name": "admin API"}});
    if !event.record.request_id.is_empty() {
        out["request"] = json!({"uid": event.record.request_id});
    }
    out
}

fn resource(event: &Event) -> Value {
    let resource = &event.record.resource;
    let id = if resource.id.is_empty() { "none" } else { &resource.id };
    let mut out = json!({"type": resource.kind, "uid": id});
    if let Some(name) = event.resource_name() {
        out["name"] = json!(name);
    }
    if let Some(version) = &resource.version {
        out["version"] = json!(version);
    }
    out
}

/// The account that was logged in or changed.
fn user(event: &Event) -> Value {
    let resource = &event.record.resource;
    if resource.kind == "user" {
        let id = if resource.id.is_empty() { "unidentified" } else { &resource.id };
        let mut out = json!({"uid": id});
        if let Some(name) = event.resource_name() {
            out["name"] = json!(name);
        }
        return out;
    }
    json!({"uid": event.record.actor.id, "name": who(event)})
}

fn endpoint(event: &Event) -> Value {
    match event.source() {
        Some(source) => match host_and_port(source) {
            Some((ip, Some(port))) => json!({"ip": ip.to_string(), "port": port}),
            Some((ip, None)) => json!({"ip": ip.to_string()}),
            None if source.is_empty() => json!({"name": "controller"}),
            None => json!({"name": source}),
        },
        None => json!({"name": "erased"}),
    }
}

fn unmapped(event: &Event) -> Value {
    let record = &event.record;
    let mut out = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    put("actor_kind", Some(json!(record.actor.kind)));
    put("authentication", record.authentication.as_ref().map(|proof| json!(proof)));
    put("on_behalf_of", record.on_behalf_of.as_ref().map(|who| json!(who)));
    put("approval", record.approval.map(|id| json!(id.to_string())));
    put("trace_id", record.trace_id.as_ref().map(|id| json!(id)));
    put("justification", event.justification().map(|text| json!(text)));
    put("changes", event.changes().map(|changes| json!(changes)));
    put("commitments", (!record.sealed.is_empty()).then(|| json!(record.sealed)));
    put("clock", record.clock.as_ref().map(|clock| json!(clock)));
    Value::Object(out)
}
