//! Enrolment: trades a token for a certificate, once. Running it again with the same controller
//! changes nothing; a lost answer costs no second use of the token, because the keys are kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgeformer_proto::artifact::ReleasePublic;
use edgeformer_proto::fingerprint::fingerprint;
use edgeformer_proto::protocol::PROTOCOL;
use edgeformer_proto::v1;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tonic::Code;
use v1::enrolment_client::EnrolmentClient;

use super::csr::{self, CsrError};
use super::dial::{self, ControllerUrl, ControllerUrlError, DialError};
use super::key_place::{self, KeyPlace, Missing};
use super::keys::{DeviceKeys, KeyError, apart};
use super::renew::check_key;
use super::roots::{self, Said};
use super::store::{Certificate, Identity, IdentityError};
use super::tls::{ClientAuth, TlsError, client_config};
use super::ways::{self, FactoryFiles};
use crate::clock::Clock;
use crate::durable::Folder;
use crate::fetch::trust;
use crate::lock::{self, LockError};
use crate::privacy::Gate;
use crate::tuf::{Store, StoreError};
use crate::{durable, facts};

/// A few certificates.
const MAX_CA_BYTES: u64 = 64 * 1024;

const TOKEN_PREFIX: &str = "efe_";
const TOKEN_BYTES: usize = 40;

/// What to enrol with.
#[derive(Debug)]
pub struct Request {
    /// The controller's device listener.
    pub controller: String,
    /// PEM file with the installation root.
    pub ca: PathBuf,
    /// What lets this device in.
    pub way: Way,
    /// Name in the fleet; made of its key if none, or the host name if that may leave.
    pub name: Option<String>,
    /// Labels to add to those of the token.
    pub labels: HashMap<String, String>,
    /// Where the keys are to be made; none means where they are, else in files.
    pub keys: Option<KeyPlace>,
}

/// What lets a device in.
#[derive(Debug, Clone)]
pub enum Way {
    /// An enrolment token.
    Token(String),
    /// An operator, who is asked under the tenant's enrolment id.
    Ask(String),
    /// A manufacturer's certificate, at the tenant of this enrolment id.
    Claim(String, FactoryFiles),
}

/// What enrolment did.
#[derive(Debug)]
pub enum Enrolled {
    /// The device is new, or its answer had been lost.
    Now(Identity),
    /// Nothing was to be done.
    Already(Identity),
}

/// Why the device is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The token was mistyped.
    #[error("this is not a whole enrolment token: {0}: copy it again")]
    TokenForm(&'static str),
    /// The address is none.
    #[error(transparent)]
    Url(#[from] ControllerUrlError),
    /// The CA file is of no use.
    #[error("{path}: {what}: use the ca.pem that `edgeformer-controller init` made")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The device belongs to another controller.
    #[error(
        "this device is already enrolled at {at} as {device}: use another --state-dir, or remove this one to enrol anew"
    )]
    Elsewhere {
        /// That controller.
        at: String,
        /// Its id there.
        device: String,
    },
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Keys cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The request cannot be made.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The state directory cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The controller refuses: the token, or the device. Its words say what to do.
    #[error("the controller refuses to enrol this device: {0}")]
    Refused(String),
    /// The call did not get through, or the controller is in trouble.
    #[error("enrolment did not get through ({0}): run the same command again, nothing is lost")]
    Call(String),
    /// An operator said no.
    #[error("an operator keeps this device out: {0}")]
    Rejected(String),
    /// A factory certificate or key cannot be used.
    #[error("{path}: {what}")]
    Factory {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The root that the controller gave cannot be kept or believed.
    #[error(transparent)]
    Trust(#[from] StoreError),
    /// Another process works on the state directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The answer cannot be used.
    #[error("the controller's answer cannot be used: {0}")]
    Answer(String),
}

/// Enrols this device, or says that it is enrolled.
pub async fn enroll(
    state_dir: &Path,
    request: Request,
    clock: &Clock,
) -> Result<Enrolled, EnrolError> {
    enroll_telling(state_dir, request, clock, |_| {}).await
}

/// As [`enroll`], and tells the fingerprint of the device's key before anybody is asked.
pub async fn enroll_telling(
    state_dir: &Path,
    request: Request,
    clock: &Clock,
    tell: impl FnOnce(&str),
) -> Result<Enrolled, EnrolError> {
    if let Way::Token(token) = &request.way {
        check_token(token)?;
    }
    let controller: ControllerUrl = request.controller.parse()?;
    match Identity::load(state_dir) {
        Ok(held) if held.controller == controller => {
            if request.keys.is_some() {
                open_keys(state_dir, request.keys, Missing::Refuse).await?;
            }
            return Ok(Enrolled::Already(held));
        }
        Ok(held) => {
            let (at, device) = (held.controller.to_string(), held.device_id.to_string());
            return Err(EnrolError::Elsewhere { at, device });
        }
        Err(IdentityError::NotEnrolled(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let roots = read_roots(&request.ca)?;
    let tls = client_config(&roots, ClientAuth::Anonymous, clock)?;
    // Whether it is there at all, before anything is made.
    let channel = dial::connect(&controller, Arc::clone(&tls)).await?;
    let _alone = lock::acquire(state_dir)?;
    let keys = open_keys(state_dir, request.keys, Missing::Make).await?;
    tell(&fingerprint(keys.public_point()));
    let facts = Gate::new(state_dir).facts(facts::gather(state_dir));
    let name = request.name.clone().unwrap_or_else(|| default_name(&facts, &keys));
    let signer = Arc::clone(&keys);
    let message = v1::EnrolRequest {
        token: String::new(),
        csr_der: apart(move || csr::request(&signer)).await??.into(),
        hpke_public: keys.hpke_public().to_vec().into(),
        name: name.clone(),
        labels: request.labels,
        facts: Some(facts),
        protocol: PROTOCOL,
    };
    let answer = match request.way {
        Way::Token(token) => {
            let message = v1::EnrolRequest { token, ..message };
            EnrolmentClient::new(channel).enrol(message).await.map_err(classify)?.into_inner()
        }
        Way::Ask(enrolment_id) => {
            drop(channel);
            ways::ask(&controller, &tls, &ways::application(enrolment_id, message)).await?
        }
        Way::Claim(enrolment_id, files) => {
            drop(channel);
            let message = ways::claiming(enrolment_id, message);
            ways::claim(&controller, tls, &files, message).await?
        }
    };
    let trusted_root = answer.trusted_root.clone();
    let identity =
        accept(answer, controller, name, roots, &keys, clock).map_err(EnrolError::Answer)?;
    pin(state_dir, &trusted_root)?;
    // Last: with it, the device is enrolled.
    identity.save(state_dir)?;
    Ok(Enrolled::Now(identity))
}

/// Trusts what the tenant's owner signs from this root on, and nothing that was trusted here before.
fn pin(state_dir: &Path, root: &[u8]) -> Result<(), EnrolError> {
    let folder = Folder::from(state_dir).folder(trust::FOLDER);
    let path = folder.path().to_owned();
    match root.is_empty() {
        true => folder.remove_all().map_err(|source| IdentityError::File { path, source }.into()),
        false => Ok(Store::new(folder).begin_anew(root)?),
    }
}

/// The keys of `state_dir`: see [`key_place::open`].
pub async fn open_keys(
    state_dir: &Path,
    asked: Option<KeyPlace>,
    missing: Missing,
) -> Result<Arc<dyn DeviceKeys>, KeyError> {
    let folder = state_dir.join("keys");
    apart(move || key_place::open(folder, asked.as_ref(), missing)).await?
}

fn accept(
    answer: v1::EnrolResponse,
    controller: ControllerUrl,
    name: String,
    mut roots: Vec<CertificateDer<'static>>,
    keys: &Arc<dyn DeviceKeys>,
    clock: &Clock,
) -> Result<Identity, String> {
    let chain: Vec<_> =
        answer.certificate_chain_der.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    check_key(&chain, keys)?;
    let said = Said::new(&answer.root_der, &answer.cross_der, &answer.retired_root_sha256);
    // Whoever enrols a device vouches for its controller, also one with a certificate of their own.
    if let Some(root) = said.root.as_ref().filter(|root| !roots.contains(root)) {
        roots.insert(0, root.clone());
    }
    let roots = roots::next(&roots, &said);
    Ok(Identity {
        controller,
        device_id: answer.device_id.parse().map_err(|error| format!("{error}"))?,
        tenant_id: answer.tenant_id.parse().map_err(|error| format!("{error}"))?,
        trust_domain: answer.trust_domain,
        name,
        certificate: Certificate::parse(chain, clock.now_us())?,
        roots,
        release_public: ReleasePublic::try_from(&answer.release_public[..])
            .map_err(|error| error.to_string())?,
    })
}

pub(super) fn classify(status: tonic::Status) -> EnrolError {
    let text = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::NotFound => EnrolError::Refused(text),
        code => EnrolError::Call(format!("{code:?}: {text}")),
    }
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, EnrolError> {
    let wrong = |what: String| EnrolError::Ca { path: path.to_owned(), what };
    let pem =
        durable::read_limited(path, MAX_CA_BYTES).map_err(|error| wrong(error.to_string()))?;
    let roots = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    match roots.is_empty() {
        true => Err(wrong("holds no certificate".to_owned())),
        false => Ok(roots),
    }
}

/// The host name if it may leave; else eight digits of the key, which say nothing and stay the same.
fn default_name(facts: &v1::DeviceFacts, keys: &Arc<dyn DeviceKeys>) -> String {
    if !facts.hostname.is_empty() {
        return facts.hostname.clone();
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, keys.public_point());
    let digits: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("device-{digits}")
}

/// Recognises another kind of token and a partial copy before anything is sent. The checksum is the
/// controller's to check: it answers a typing error in words.
fn check_token(token: &str) -> Result<(), EnrolError> {
    match (token.starts_with(TOKEN_PREFIX), token.len() == TOKEN_BYTES) {
        (true, true) => Ok(()),
        (false, _) => Err(EnrolError::TokenForm("an enrolment token starts with efe_")),
        (true, false) => Err(EnrolError::TokenForm("an enrolment token has 40 characters")),
    }
}
