//! What one device is told in a bundle: its desired state and the wrapped data key, signed by the
//! release key. Without the signature, whoever holds the file could have a device drop its models, or
//! put it at a generation that no controller reaches any more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::artifact::{
    ArtifactError, Digest, ReleaseKey, ReleasePublic, sign_envelope, verify_exact_envelope,
};
use crate::generation::Generation;
use crate::ids::{DeviceId, TenantId, VersionId};
use crate::keywrap::{KeyWrapError, WrappedKey};
use crate::v1;

/// DSSE payload type of an assignment.
pub const ASSIGNMENT_TYPE: &str = "application/vnd.edgeformer.assignment.v1+json";

const FORMAT: u32 = 1;

/// Why an assignment is not for this device.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    /// Not signed by the release key, or unreadable.
    #[error("it was not signed by the tenant of this device, or was changed: {0}")]
    Signature(#[from] ArtifactError),
    /// Signed, and says something that no assignment says.
    #[error("the assignment in it cannot be read: {0}")]
    Malformed(String),
    /// It is for somebody else.
    #[error("it is for the {what} {found}, this is {expected}")]
    WrongSubject {
        /// "tenant" or "device".
        what: &'static str,
        /// What it names.
        found: String,
        /// What it must name.
        expected: String,
    },
    /// The wrapped key is none.
    #[error(transparent)]
    Key(#[from] KeyWrapError),
}

/// What one device is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The device's tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// When it was exported, RFC 3339, for people.
    pub created: String,
    /// All that the device is to run, as a session would say it.
    pub desired: v1::DesiredState,
    /// The version that the bundle brings.
    pub version: VersionId,
    /// Its data key, for this device at the generation of `desired`.
    pub key: WrappedKey,
    /// SHA-256 over the bundle's entries of metadata, as they are in the file, one after the other.
    pub metadata_sha256: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    format: u32,
    tenant: TenantId,
    device: DeviceId,
    created: String,
    /// Base64 of the protobuf message `DesiredState`: what a session adds to it, a bundle carries too.
    desired_state: String,
    version: VersionId,
    /// Base64 of the form that devices store.
    key: String,
    metadata_sha256: Digest,
}

impl Assignment {
    /// The signed envelope.
    pub fn sign(&self, key: &ReleaseKey) -> Vec<u8> {
        let body = Body {
            format: FORMAT,
            tenant: self.tenant,
            device: self.device,
            created: self.created.clone(),
            desired_state: STANDARD.encode(self.desired.encode_to_vec()),
            version: self.version,
            key: STANDARD.encode(self.key.to_bytes()),
            metadata_sha256: self.metadata_sha256,
        };
        let body = serde_json::to_vec(&body).expect("an assignment has only text keys");
        sign_envelope(ASSIGNMENT_TYPE, &body, key)
    }

    /// Reads an envelope: the release key signed it, it is for this device, and its parts agree.
    pub fn verify(
        envelope: &[u8],
        key: &ReleasePublic,
        tenant: TenantId,
        device: DeviceId,
    ) -> Result<Self, AssignmentError> {
        let body = verify_exact_envelope(ASSIGNMENT_TYPE, envelope, key)?;
        let malformed = |what: &dyn std::fmt::Display| AssignmentError::Malformed(what.to_string());
        let body: Body = serde_json::from_slice(&body).map_err(|error| malformed(&error))?;
        if body.format != FORMAT {
            let what = format!("its format is {}, this program reads {FORMAT}", body.format);
            return Err(malformed(&what));
        }
        same("tenant", body.tenant, tenant)?;
        same("device", body.device, device)?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|error| malformed(&error));
        let desired = v1::DesiredState::decode(&decode(&body.desired_state)?[..])
            .map_err(|error| malformed(&error))?;
        let key = WrappedKey::from_bytes(&decode(&body.key)?)?;
        if desired.generation.map(Generation::from) != Some(key.generation) {
            return Err(malformed(&"its key is of another generation than its desired state"));
        }
        let id = body.version.to_string();
        if !desired.slots.iter().any(|slot| slot.version_id == id) {
            return Err(malformed(&"its desired state does not name the version"));
        }
        let Body { tenant, device, created, version, metadata_sha256, .. } = body;
        Ok(Self { tenant, device, created, desired, version, key, metadata_sha256 })
    }
}

fn same<T: PartialEq + std::fmt::Display>(
    what: &'static str,
    found: T,
    expected: T,
) -> Result<(), AssignmentError> {
    match found == expected {
        true => Ok(()),
        false => Err(AssignmentError::WrongSubject {
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keywrap::{CIPHERTEXT_BYTES, ENCAPSULATED_BYTES};
    use ring::rand::SystemRandom;

    fn release() -> ReleaseKey {
        let der = ReleaseKey::generate_pkcs8(&SystemRandom::new()).unwrap();
        ReleaseKey::from_pkcs8(&der).unwrap()
    }

    fn assignment() -> Assignment {
        let (version, generation) = (VersionId::new(), Generation { epoch: 1, counter: 7 });
        let slot = v1::DesiredSlot {
            slot: "s".to_owned(),
            version_id: version.to_string(),
            ..Default::default()
        };
        Assignment {
            tenant: TenantId::new(),
            device: DeviceId::new(),
            created: "2026-11-22T00:00:00Z".to_owned(),
            desired: v1::DesiredState { generation: Some(generation.into()), slots: vec![slot] },
            version,
            key: WrappedKey {
                generation,
                encapsulated: [4; ENCAPSULATED_BYTES],
                ciphertext: [5; CIPHERTEXT_BYTES],
            },
            metadata_sha256: Digest::of(b""),
        }
    }

    #[test]
    fn it_is_read_as_it_was_signed_and_by_its_device_alone() {
        let (key, one) = (release(), assignment());
        let envelope = one.sign(&key);
        let read = |key: &ReleaseKey, tenant, device| {
            Assignment::verify(&envelope, &key.public(), tenant, device)
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(&key, one.tenant, one.device), Ok(one.clone()));
        let said = |found: Result<Assignment, String>, part: &str| {
            let error = found.unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        said(read(&release(), one.tenant, one.device), "not signed by the tenant");
        said(read(&key, TenantId::new(), one.device), "for the tenant");
        said(read(&key, one.tenant, DeviceId::new()), "for the device");
    }

    #[test]
    fn what_was_signed_and_does_not_agree_with_itself_is_refused() {
        let check = |change: &dyn Fn(&mut Assignment), said: &str| {
            let (key, mut one) = (release(), assignment());
            change(&mut one);
            let read = Assignment::verify(&one.sign(&key), &key.public(), one.tenant, one.device);
            let error = read.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        };
        check(&|one| one.key.generation.counter += 1, "another generation");
        check(&|one| one.desired.generation = None, "another generation");
        check(&|one| one.version = VersionId::new(), "does not name the version");
    }
}
