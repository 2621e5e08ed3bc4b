//! The manifest: what a version is, signed by the tenant's release key. Read it only through
//! [`Manifest::verify`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    ArtifactError, ChunkIndex, DataKey, Digest, MAX_CHUNKS, MAX_SEALED_INDEX_BYTES, ReleaseKey,
    ReleasePublic, envelope,
};
use crate::ids::{TenantId, VersionId};

/// DSSE payload type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.edgeformer.manifest.v1+json";

/// Media type of a GGUF payload.
pub const MEDIA_TYPE_GGUF: &str = "application/vnd.edgeformer.gguf";

const FORMAT: u32 = 1;

/// Longest free text in a manifest (architecture, quantization, dates), in bytes: no real one comes
/// near it.
const MAX_TEXT_BYTES: usize = 256;

/// Most documents that a manifest names: there are three kinds.
const MAX_DOCUMENTS: usize = 16;

/// Text that is not a model's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a model name: 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
)]
pub struct ModelNameError(String);

/// Name of a model: `[a-z0-9][a-z0-9._-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

impl ModelName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = ModelNameError;
    fn from_str(text: &str) -> Result<Self, ModelNameError> {
        let letter_or_digit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let good = (1..=63).contains(&text.len())
            && letter_or_digit(text.as_bytes()[0])
            && text.bytes().all(|b| letter_or_digit(b) || matches!(b, b'.' | b'_' | b'-'));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(ModelNameError(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for ModelName {
    type Error = ModelNameError;
    fn try_from(text: String) -> Result<Self, ModelNameError> {
        text.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> String {
        name.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was asked for; a manifest and its index must be of exactly this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The tenant.
    pub tenant: TenantId,
    /// The model's name.
    pub model: ModelName,
    /// The version, for people.
    pub version: Version,
    /// The version, for machines.
    pub version_id: VersionId,
}

/// What a version is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this text: 1.
    format: u32,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// The model's name.
    pub model: ModelName,
    /// Semantic version.
    pub version: Version,
    /// Identity of the version.
    pub version_id: VersionId,
    /// When it was published, RFC 3339.
    pub created: String,
    /// Kind of the payload, see [`MEDIA_TYPE_GGUF`].
    pub media_type: String,
    /// The payload.
    pub payload: PayloadRef,
    /// The sealed chunk index.
    pub index: IndexRef,
    /// What the file says about the model.
    pub details: Details,
    /// What the model needs.
    pub memory: Memory,
    /// What goes with the version for people and their programs, by kind; devices do not fetch it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub documents: BTreeMap<String, DocumentRef>,
}

/// Names a document that goes with a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRef {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

impl DocumentRef {
    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { size_bytes: bytes.len() as u64, sha256: Digest::of(bytes) }
    }

    /// Whether it names these bytes.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        *self == Self::of(bytes)
    }
}

/// Names the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadRef {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// Names the sealed chunk index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRef {
    /// Length of the sealed index in bytes.
    pub sealed_bytes: u64,
    /// SHA-256 of the sealed index.
    pub sha256: Digest,
    /// Chunks in it.
    pub chunks: u32,
}

/// What the file says about the model, for people and for choosing devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// As in `general.architecture`, e.g. `llama`.
    pub architecture: String,
    /// The type of most weights, e.g. `Q4_1`.
    pub quantization: String,
    /// Number of weights.
    pub parameters: u64,
    /// Longest context in tokens that the model was made for; 0 if the file does not say.
    pub context_length: u64,
}

/// What a device needs to run it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Weights as stored, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weight_bytes: Option<u64>,
}

impl Manifest {
    /// The manifest of the version that `subject` names.
    pub fn new(
        subject: Expected,
        created: String,
        payload: PayloadRef,
        index: IndexRef,
        details: Details,
        memory: Memory,
    ) -> Self {
        Self {
            format: FORMAT,
            tenant: subject.tenant,
            model: subject.model,
            version: subject.version,
            version_id: subject.version_id,
            created,
            media_type: MEDIA_TYPE_GGUF.to_owned(),
            payload,
            index,
            details,
            memory,
            documents: BTreeMap::new(),
        }
    }

    /// The signed envelope; its SHA-256 is what a desired state pins.
    pub fn sign(&self, key: &ReleaseKey) -> Vec<u8> {
        let body = serde_json::to_vec(self).expect("a manifest has only text keys");
        envelope::sign(MANIFEST_TYPE, &body, key)
    }

    /// Reads an envelope: its hash is the pinned one, the release key signed it, it parses within
    /// the caps, and it is the manifest of `expected` — in this order.
    pub fn verify(
        envelope: &[u8],
        pinned: &Digest,
        key: &ReleasePublic,
        expected: &Expected,
    ) -> Result<Self, ArtifactError> {
        let found = Digest::of(envelope);
        if found != *pinned {
            return Err(ArtifactError::ManifestPin { found, pinned: *pinned });
        }
        let body = envelope::verify(MANIFEST_TYPE, envelope, key)?;
        let manifest = Self::parse(&body)?;
        manifest.check_subject(expected)?;
        Ok(manifest)
    }

    /// What it is the manifest of.
    pub fn subject(&self) -> Expected {
        Expected {
            tenant: self.tenant,
            model: self.model.clone(),
            version: self.version.clone(),
            version_id: self.version_id,
        }
    }

    /// Opens the sealed index that this manifest names, and checks that both say the same.
    pub fn open_index(&self, key: &DataKey, sealed: &[u8]) -> Result<ChunkIndex, ArtifactError> {
        self.check_sealed_index(sealed)?;
        let index = ChunkIndex::open(key, &self.subject(), sealed)?;
        if index.payload_bytes() != self.payload.size_bytes {
            return Err(ArtifactError::IndexDisagrees("payload's length"));
        }
        if index.payload_sha256() != self.payload.sha256 {
            return Err(ArtifactError::IndexDisagrees("payload's SHA-256"));
        }
        if index.entries().len() != self.index.chunks as usize {
            return Err(ArtifactError::IndexDisagrees("number of chunks"));
        }
        Ok(index)
    }

    /// Whether these are the sealed bytes that the publisher signed. Needs no key.
    pub fn check_sealed_index(&self, sealed: &[u8]) -> Result<(), ArtifactError> {
        let (bytes, found) = (sealed.len(), Digest::of(sealed));
        if bytes as u64 != self.index.sealed_bytes || found != self.index.sha256 {
            return Err(ArtifactError::IndexHash { bytes, found });
        }
        Ok(())
    }

    fn parse(body: &[u8]) -> Result<Self, ArtifactError> {
        /// Read first, so that a manifest of another format is refused as such.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let unreadable = |e: serde_json::Error| ArtifactError::Manifest(e.to_string());
        let Format { format } = serde_json::from_slice(body).map_err(unreadable)?;
        if format != FORMAT {
            let what = format!("its format is {format}, this build reads {FORMAT}: update it");
            return Err(ArtifactError::Manifest(what));
        }
        let manifest: Self = serde_json::from_slice(body).map_err(unreadable)?;
        manifest.check_caps()?;
        Ok(manifest)
    }

    fn check_caps(&self) -> Result<(), ArtifactError> {
        let texts = [
            &self.created,
            &self.media_type,
            &self.details.architecture,
            &self.details.quantization,
        ];
        if texts.iter().any(|text| text.len() > MAX_TEXT_BYTES) {
            let what = format!("a text in it is longer than {MAX_TEXT_BYTES} bytes");
            return Err(ArtifactError::Manifest(what));
        }
        let long_kind = self.documents.keys().any(|kind| kind.len() > MAX_TEXT_BYTES);
        if self.documents.len() > MAX_DOCUMENTS || long_kind {
            let what = format!("it names more than {MAX_DOCUMENTS} documents, or one too long");
            return Err(ArtifactError::Manifest(what));
        }
        if self.index.sealed_bytes > MAX_SEALED_INDEX_BYTES as u64
            || self.index.chunks as usize > MAX_CHUNKS
        {
            return Err(ArtifactError::Manifest("its chunk index is too large".to_owned()));
        }
        Ok(())
    }

    fn check_subject(&self, expected: &Expected) -> Result<(), ArtifactError> {
        let pairs: [(&'static str, String, String); 4] = [
            ("tenant", self.tenant.to_string(), expected.tenant.to_string()),
            ("model", self.model.to_string(), expected.model.to_string()),
            ("version", self.version.to_string(), expected.version.to_string()),
            ("version id", self.version_id.to_string(), expected.version_id.to_string()),
        ];
        for (field, found, expected) in pairs {
            if found != expected {
                return Err(ArtifactError::WrongSubject { field, found, expected });
            }
        }
        Ok(())
    }
}
