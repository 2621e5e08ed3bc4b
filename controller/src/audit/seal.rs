//! Keeps what may have to be forgotten out of the leaves. A leaf holds a commitment to each such
//! value; the value stands beside the log, and for a person's data the salt does too. Without the
//! salt a commitment says nothing, so erasing a person is deleting two rows, and the tree stays
//! what it was. This module is pure; it must never keep a clear value in what becomes a leaf.

use std::collections::BTreeMap;

pub use edgeformer_proto::audit::opening::{SALT_BYTES, Salt, commit};
use serde::{Deserialize, Serialize};

/// Whose data it is: "user:<id>", "token:<id>", …; empty for what is nobody's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(String);

impl Subject {
    /// What belongs to no person, e.g. a device's labels: its commitment has no salt.
    pub const NOBODY: Self = Self(String::new());

    /// A person or a program that stands for one.
    pub fn of(kind: &str, id: &str) -> Self {
        Self(format!("{kind}:{id}"))
    }

    /// As stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From a row or a request.
    pub fn parse(text: &str) -> Option<Self> {
        let known = |(kind, id): (&str, &str)| {
            !kind.is_empty()
                && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                && id.len() <= 64
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        (text.is_empty() || text.split_once(':').is_some_and(known)).then(|| Self(text.to_owned()))
    }

    /// Whether it is nobody.
    pub fn is_nobody(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a leaf says about a value that stands beside the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// Whose it is; absent for what is nobody's.
    #[serde(default = "nobody", skip_serializing_if = "Subject::is_nobody")]
    pub subject: Subject,
    /// Lower-case hexadecimal: HMAC-SHA-256 under the subject's salt, SHA-256 for nobody's.
    pub hash: String,
}

fn nobody() -> Subject {
    Subject::NOBODY
}

/// The commitments of a leaf, by field.
pub type Commitments = BTreeMap<String, Commitment>;

/// Clear values beside a leaf, by field, of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// Whose they are.
    pub subject: Subject,
    /// The exact text that the leaf commits to.
    pub values: BTreeMap<String, String>,
}

/// Collects values on their way out of a record.
#[derive(Debug, Default)]
pub struct Sealer {
    values: BTreeMap<Subject, BTreeMap<String, String>>,
}

impl Sealer {
    /// Keeps `value` beside the record, as `subject`'s.
    pub fn put(&mut self, subject: Subject, field: &str, value: impl Into<String>) {
        self.values.entry(subject).or_default().insert(field.to_owned(), value.into());
    }

    /// The subjects whose salts [`Self::seal`] needs.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.values.keys().filter(|subject| !subject.is_nobody())
    }

    /// The commitments for the leaf and the values to keep beside it. A subject without a salt has
    /// been erased: its values are dropped, and the leaf says only whose they were.
    pub fn seal(self, salts: &BTreeMap<Subject, Salt>) -> (Commitments, Vec<Beside>) {
        let mut commitments = Commitments::new();
        let mut beside = Vec::new();
        for (subject, values) in self.values {
            let salt = salts.get(&subject);
            let erased = salt.is_none() && !subject.is_nobody();
            for (field, value) in &values {
                let hash = if erased { String::new() } else { commit(salt, field, value) };
                let commitment = Commitment { subject: subject.clone(), hash };
                commitments.insert(field.clone(), commitment);
            }
            if !erased {
                beside.push(Beside { subject, values });
            }
        }
        (commitments, beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "user:0198c0de-0000-7000-8000-000000000001";

    fn sealed(salt: Salt) -> (Commitments, Vec<Beside>) {
        let mut sealer = Sealer::default();
        let ada = Subject::parse(ADA).unwrap();
        sealer.put(ada.clone(), "actor.name", "Ada");
        sealer.put(Subject::NOBODY, "changes.after", "{\"site\":\"berlin\"}");
        assert_eq!(sealer.subjects().collect::<Vec<_>>(), [&ada]);
        sealer.seal(&BTreeMap::from([(ada, salt)]))
    }

    #[test]
    fn a_leaf_commits_to_values_that_stand_beside_it() {
        let (commitments, beside) = sealed([7; SALT_BYTES]);
        let leaf = serde_json::to_string(&commitments).unwrap();
        assert!(!leaf.contains("Ada") && !leaf.contains("berlin"), "{leaf}");
        assert_eq!(beside.len(), 2);
        assert_eq!(
            commitments["actor.name"].hash,
            commit(Some(&[7; SALT_BYTES]), "actor.name", "Ada")
        );
        assert_eq!(
            commitments["changes.after"].hash,
            commit(None, "changes.after", "{\"site\":\"berlin\"}")
        );
    }

    #[test]
    fn who_is_erased_leaves_no_value_behind() {
        let mut sealer = Sealer::default();
        sealer.put(Subject::parse(ADA).unwrap(), "source", "192.0.2.7:4711");
        let (commitments, beside) = sealer.seal(&BTreeMap::new());
        assert!(beside.is_empty());
        assert_eq!(commitments["source"].hash, "");
        assert_eq!(commitments["source"].subject.as_str(), ADA);
    }

    #[test]
    fn a_subject_is_a_kind_and_an_id() {
        for text in ["", ADA, "service_account:x1"] {
            assert_eq!(Subject::parse(text).unwrap().as_str(), text);
        }
        for text in [":", "user", "User:1", "user:a b", "user:%", ":id"] {
            assert!(Subject::parse(text).is_none(), "{text}");
        }
    }
}
