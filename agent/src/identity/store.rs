//! Who this device is, as the controller said at enrolment: kept in one file, replaced as a whole.

use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::artifact::ReleasePublic;
use edgeformer_proto::ids::{DeviceId, TenantId};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::dial::ControllerUrl;
use super::roots::{self, Said};
use crate::clock::UnixMicros;
use crate::durable::Folder;

const FILE: &str = "identity.json";
const FORMAT: u32 = 1;

/// A chain of two, a few roots and some text: far below this.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The device was never enrolled here.
    #[error("{0}: this device is not enrolled: run `edgeformer-agent enroll --state-dir {0} …`")]
    NotEnrolled(PathBuf),
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path}: {what}: restore it, or remove the state directory and enrol again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A certificate chain, leaf first, and when it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Leaf, then the tenant's issuing CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// Start of validity of the leaf.
    pub not_before_us: UnixMicros,
    /// End of validity of the leaf.
    pub not_after_us: UnixMicros,
    /// When this device got it. Validity begins earlier, to forgive clocks that are behind.
    pub obtained_us: UnixMicros,
}

impl Certificate {
    /// Reads the validity of the leaf of a chain that was obtained at `obtained_us`.
    pub fn parse(
        chain: Vec<CertificateDer<'static>>,
        obtained_us: UnixMicros,
    ) -> Result<Self, String> {
        let leaf = chain.first().ok_or("the certificate chain is empty")?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf)
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let us = |seconds: i64| seconds.saturating_mul(1_000_000);
        let not_before_us = us(parsed.validity().not_before.timestamp());
        let not_after_us = us(parsed.validity().not_after.timestamp());
        Ok(Self { chain, not_before_us, not_after_us, obtained_us })
    }
}

/// Who this device is and whom it trusts.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Where the controller is.
    pub controller: ControllerUrl,
    /// The device.
    pub device_id: DeviceId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Trust domain of the installation.
    pub trust_domain: String,
    /// Name in the fleet at enrolment.
    pub name: String,
    /// What the device shows in TLS.
    pub certificate: Certificate,
    /// What the controller's certificate must chain to.
    pub roots: Vec<CertificateDer<'static>>,
    /// Signs the manifests of the tenant; pinned at enrolment.
    pub release_public: ReleasePublic,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    controller: String,
    device_id: DeviceId,
    tenant_id: TenantId,
    trust_domain: String,
    name: String,
    certificate_chain: Vec<String>,
    certificate_obtained_us: UnixMicros,
    roots: Vec<String>,
    release_public: String,
}

impl Identity {
    /// Reads the identity in `state_dir`.
    pub fn load(state_dir: impl Into<Folder>) -> Result<Self, IdentityError> {
        let folder = state_dir.into();
        let path = folder.join(FILE);
        let bytes = match folder.read(FILE, MAX_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::NotEnrolled(folder.path().to_owned()));
            }
            Err(source) => return Err(IdentityError::File { path, source }),
        };
        serde_json::from_slice::<Stored>(&bytes)
            .map_err(|error| error.to_string())
            .and_then(parse)
            .map_err(|what| IdentityError::Malformed { path, what })
    }

    /// Replaces the identity in `state_dir`, durably.
    pub fn save(&self, state_dir: impl Into<Folder>) -> Result<(), IdentityError> {
        let encode = |certificates: &[CertificateDer<'static>]| {
            certificates.iter().map(|der| BASE64.encode(der)).collect::<Vec<_>>()
        };
        let stored = Stored {
            format: FORMAT,
            controller: self.controller.to_string(),
            device_id: self.device_id,
            tenant_id: self.tenant_id,
            trust_domain: self.trust_domain.clone(),
            name: self.name.clone(),
            certificate_chain: encode(&self.certificate.chain),
            certificate_obtained_us: self.certificate.obtained_us,
            roots: encode(&self.roots),
            release_public: BASE64.encode(self.release_public.as_bytes()),
        };
        let folder = state_dir.into();
        let text = serde_json::to_vec_pretty(&stored).map_err(io::Error::other);
        text.and_then(|bytes| folder.write(FILE, &bytes))
            .map_err(|source| IdentityError::File { path: folder.join(FILE), source })
    }

    /// This identity after a renewal, at which the controller said this of roots.
    pub fn renewed(&self, certificate: Certificate, said: &Said) -> Self {
        Self { certificate, roots: roots::next(&self.roots, said), ..self.clone() }
    }
}

fn parse(stored: Stored) -> Result<Identity, String> {
    if stored.format != FORMAT {
        return Err(format!("format {} is not known to this agent", stored.format));
    }
    let decode = |texts: &[String]| {
        let one = |text| BASE64.decode(text).map(CertificateDer::from);
        texts.iter().map(one).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
    };
    let release = BASE64.decode(&stored.release_public).map_err(|error| error.to_string())?;
    Ok(Identity {
        controller: stored.controller.parse().map_err(|error| format!("{error}"))?,
        device_id: stored.device_id,
        tenant_id: stored.tenant_id,
        trust_domain: stored.trust_domain,
        name: stored.name,
        certificate: Certificate::parse(
            decode(&stored.certificate_chain)?,
            stored.certificate_obtained_us,
        )?,
        roots: decode(&stored.roots)?,
        release_public: ReleasePublic::try_from(release.as_slice())
            .map_err(|error| error.to_string())?,
    })
}
