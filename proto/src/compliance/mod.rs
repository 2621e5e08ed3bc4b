//! Which version ran on which device and when, who published and approved it, and how sure that is:
//! read off the audit log and nothing else. [`Derive`] takes record after record and gives the same
//! lines to the controller that reports them and to whoever checks the report offline with [`check`].

mod check;
mod derive;
mod instant;
pub mod offline;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use check::{Finding, check};
pub use derive::{Derive, DeriveError, is_evidence};
pub use instant::micros;

/// First field of a report.
pub const FORMAT: &str = "edgeformer-compliance-report/1";

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// The tenant.
    pub tenant_id: String,
    /// Its name when the report was made.
    pub tenant: String,
    /// Begin of the period, RFC 3339.
    pub from: String,
    /// End of the period; the moment itself is not part of it.
    pub to: String,
    /// First record of the log that was looked at.
    pub first: u64,
    /// One after the last: the log had signed that many.
    pub size: u64,
    /// When the report was made.
    pub made_at: String,
}

/// How sure it is that a version ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// The device said so.
    Reported,
    /// It was assigned; the device has said nothing of it yet.
    Assigned,
    /// It ran when the device was cut off; what it does since then is not known.
    Unknown,
}

impl Certainty {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Assigned => "assigned",
            Self::Unknown => "unknown",
        }
    }
}

/// One version in one slot of one device for one stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deployment {
    /// The device.
    pub device_id: String,
    /// Its name, as the record has it.
    pub device_name: String,
    /// The slot.
    pub slot: String,
    /// Since when, by the controller's clock.
    pub since: String,
    /// Until when; none when it still was at the end of the period.
    pub until: Option<String>,
    /// Which version.
    pub version_id: String,
    /// How sure.
    pub certainty: Certainty,
    /// What the device said of the update, such as `confirmed`; none where it said nothing.
    pub phase: Option<String>,
    /// The rollout that assigned it.
    pub rollout_id: Option<String>,
    /// Numbers of the records that say so: of the begin, then of the end.
    pub records: Vec<u64>,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `user`, `token`, `device`, …
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its name; none if it was erased or withheld.
    pub name: Option<String>,
    /// How it proved who it is.
    pub method: Option<String>,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// When.
    pub at: String,
    /// By whom.
    pub by: Actor,
    /// The approval that it needed.
    pub approval_id: Option<String>,
    /// Number of its record.
    pub record: u64,
}

/// A version that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its id.
    pub version_id: String,
    /// `<model>@<version>`, as published.
    pub name: Option<String>,
    /// SHA-256 of the signed envelope, hex.
    pub manifest_sha256: Option<String>,
    /// SHA-256 of the model file, hex.
    pub payload_sha256: Option<String>,
    /// What the file says about the model.
    pub details: Value,
    /// Its evaluation, if its metadata carries one.
    pub evaluation: Option<Value>,
    /// Its publication; none if the log's part does not have it.
    pub published: Option<Act>,
}

/// A rollout that assigned a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its id.
    pub rollout_id: String,
    /// Its creation; none if the log's part does not have it.
    pub created: Option<Act>,
    /// The rollout that it undid.
    pub rolls_back: Option<String>,
    /// `succeeded`, `failed` or `aborted`, with the record that says so.
    pub ended: Option<Ended>,
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: String,
    /// How.
    pub state: String,
    /// Number of the record.
    pub record: u64,
}

/// An electronic signature (21 CFR 11.50).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Who signed, with how they proved it.
    pub by: Actor,
    /// Printed name at that time.
    pub printed_name: Option<String>,
    /// When.
    pub at: String,
    /// `approved`, `reviewed` or `rejected`.
    pub meaning: String,
    /// What the signer added.
    pub comment: String,
    /// Number of the record.
    pub record: u64,
}

/// Somebody else's consent that an act needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its id.
    pub approval_id: String,
    /// What was asked for; none if the log's part does not have it.
    pub requested: Option<Act>,
    /// The action.
    pub action: Option<String>,
    /// Method and path of the request.
    pub request: Option<String>,
    /// How many signatures it took.
    pub needed: Option<u64>,
    /// In their order.
    pub signatures: Vec<Signature>,
}

/// What deployments refer to, each sorted by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cited {
    /// Versions that ran.
    pub versions: Vec<Version>,
    /// Rollouts that assigned them.
    pub rollouts: Vec<Rollout>,
    /// Approvals of publications and rollouts.
    pub approvals: Vec<Approval>,
}

/// A whole report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it is about.
    pub header: Header,
    /// Sorted.
    pub deployments: Vec<Deployment>,
    /// What they refer to.
    #[serde(flatten)]
    pub cited: Cited,
}

/// One line of a report that is streamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// The first.
    Header(Header),
    /// A deployment.
    Deployment(Deployment),
    /// A version that deployments refer to.
    Version(Version),
    /// A rollout that deployments refer to.
    Rollout(Rollout),
    /// An approval that versions or rollouts refer to.
    Approval(Approval),
    /// The signed envelope of a version, byte for byte in base64.
    Envelope {
        /// The version.
        version_id: String,
        /// The envelope.
        envelope: String,
    },
    /// The last, so that a cut report does not look whole.
    End {
        /// Lines of every kind between the first and this one.
        lines: u64,
    },
}

/// JSON with sorted keys and no spaces (as RFC 8785 for what occurs here: no fractions, and keys of
/// ASCII), so that equal reports are equal bytes.
pub fn canonical<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).expect("reports have string keys only");
    sorted(value).to_string()
}

/// Whether a map keeps its order or sorts itself is decided by whoever builds the whole program.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(map) => {
            let mut fields: Vec<(String, Value)> = map.into_iter().collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(fields.into_iter().map(|(name, value)| (name, sorted(value))).collect())
        }
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_reports_are_equal_bytes() {
        let text = r#"{"b":[{"z":1,"a":null}],"a":"x"}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(canonical(&value), r#"{"a":"x","b":[{"a":null,"z":1}]}"#);
    }
}
