//! Devices that come in without a token.

use edgeformer_controller::admin::claim_cas::{self, NewClaimCa};
use edgeformer_controller::admin::enrolment_requests::{self as requests, Approval};
use edgeformer_controller::clock::Clock;
use edgeformer_controller::config::pem;
use edgeformer_controller::store::devices::DeviceState;
use edgeformer_proto::fingerprint::fingerprint;
use edgeformer_proto::ids::EnrolmentRequestId;
use edgeformer_proto::v1;
use edgeformer_proto::v1::apply_response::Outcome;
use edgeformer_proto::v1::enrolment_client::EnrolmentClient;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, SerialNumber,
};
use ring::rand::SystemRandom;
use ring::{digest, signature};
use tonic::{Code, Status};

use super::{records, shown};
use crate::support::device::{Device, Keys};
use crate::support::{Controller, DAY};

fn application(keys: &Keys, enrolment_id: &str, name: &str) -> v1::ApplyRequest {
    let v1::EnrolRequest { csr_der, hpke_public, name, labels, facts, protocol, .. } =
        keys.request("", name);
    let enrolment_id = enrolment_id.to_owned();
    v1::ApplyRequest { enrolment_id, csr_der, hpke_public, name, labels, facts, protocol }
}

async fn apply(controller: &Controller, message: v1::ApplyRequest) -> Result<Outcome, Status> {
    let channel = controller.connect(None).await.unwrap();
    let answer = EnrolmentClient::new(channel).apply(message).await?;
    Ok(answer.into_inner().outcome.expect("an answer"))
}

fn waiting(outcome: Outcome) -> EnrolmentRequestId {
    match outcome {
        Outcome::Waiting(waiting) => waiting.request_id.parse().unwrap(),
        other => panic!("expected to wait, heard {other:?}"),
    }
}

#[tokio::test]
async fn a_device_without_a_token_waits_until_an_operator_let_it_in() {
    let controller = Controller::start().await;
    let (app, scope) = (&controller.app, &controller.scope);
    let id = requests::open(app, scope).await.unwrap();
    assert_eq!(requests::open(app, scope).await.unwrap(), id, "opening again changes nothing");
    let keys = Keys::new();
    let first = waiting(apply(&controller, application(&keys, &id, "press")).await.unwrap());
    let again = waiting(apply(&controller, application(&keys, &id, "press")).await.unwrap());
    assert_eq!(first, again, "asking again is one request");
    let all = requests::list(app, scope, None, 10).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(
        all[0].fingerprint,
        fingerprint(keys.key.public_key_raw()),
        "as the device shows it"
    );
    let labels = [("site".to_owned(), "bergen".to_owned())].into();
    let approval = Approval::parse(Some("press-7"), labels).unwrap();
    requests::approve(app, scope, first, approval.clone()).await.unwrap();
    let error = requests::approve(app, scope, first, approval).await.unwrap_err();
    assert!(error.to_string().contains("approved already"), "{error}");

    // Another key gets nothing of that.
    let stranger = Keys::new();
    waiting(apply(&controller, application(&stranger, &id, "press")).await.unwrap());
    let Outcome::Enrolled(answer) =
        apply(&controller, application(&keys, &id, "press")).await.unwrap()
    else {
        panic!("not let in")
    };
    let Outcome::Enrolled(lost) =
        apply(&controller, application(&keys, &id, "press")).await.unwrap()
    else {
        panic!("a lost answer cost the place")
    };
    assert_eq!(answer.device_id, lost.device_id);
    let chain = answer.certificate_chain_der.iter().map(|der| der.to_vec()).collect();
    let device = Device { keys, id: answer.device_id, tenant: answer.tenant_id, chain };
    device.session(&controller).await;
    let found = shown(&controller, &device).await;
    assert_eq!((found.name.as_str(), found.labels["site"].as_str()), ("press-7", "bergen"));
    assert!(records(&controller, "device:enrol").await[0].reason.contains("approved request"));
    assert_eq!(records(&controller, "enrolment_request:create").await.len(), 2);
    controller.stop().await;
}

#[tokio::test]
async fn what_is_rejected_unknown_or_over_is_said_and_what_waits_is_bounded() {
    let controller = Controller::start().await;
    let (app, scope) = (&controller.app, &controller.scope);
    let none = apply(&controller, application(&Keys::new(), "abcd-efgh", "x")).await;
    assert_eq!(none.unwrap_err().code(), Code::Unauthenticated);
    let id = requests::open(app, scope).await.unwrap();
    let keys = Keys::new();
    let asked = waiting(apply(&controller, application(&keys, &id, "x")).await.unwrap());
    requests::reject(app, scope, asked, Some("not ours")).await.unwrap();
    let Outcome::Rejected(why) = apply(&controller, application(&keys, &id, "x")).await.unwrap()
    else {
        panic!("not rejected")
    };
    assert_eq!(why, "not ours");
    // One address does not fill what others need.
    let mut last = None;
    for _ in 0..21 {
        last = Some(apply(&controller, application(&Keys::new(), &id, "x")).await);
    }
    let full = last.unwrap().unwrap_err();
    assert_eq!(full.code(), Code::Unavailable);
    assert!(full.message().contains("too many devices ask"), "{full:?}");
    // After a day they are forgotten; the approval of a device that never came, after a week.
    let all = requests::list(app, scope, None, 100).await.unwrap();
    let approved = all.iter().find(|request| request.state.as_str() == "waiting").unwrap().id;
    requests::approve(app, scope, approved, Approval::default()).await.unwrap();
    controller.clock.shift(2 * DAY.as_micros() as i64);
    waiting(apply(&controller, application(&Keys::new(), &id, "x")).await.unwrap());
    assert_eq!(requests::list(app, scope, None, 100).await.unwrap().len(), 2);
    requests::close(app, scope).await.unwrap();
    let closed = apply(&controller, application(&Keys::new(), &id, "x")).await;
    assert_eq!(closed.unwrap_err().code(), Code::Unauthenticated);
    controller.stop().await;
}

/// A manufacturer.
struct Factory {
    key: KeyPair,
    cert_der: Vec<u8>,
}

impl Factory {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "maker");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        let cert_der = params.self_signed(&key).unwrap().der().to_vec();
        Self { key, cert_der }
    }

    fn pem(&self) -> String {
        pem("CERTIFICATE", &self.cert_der)
    }

    fn certificate(&self, name: &str, serial: u8, until: i32) -> (KeyPair, Vec<u8>) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(&[0x40, serial]));
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let der = rustls::pki_types::CertificateDer::from(self.cert_der.as_slice());
        let issuer = Issuer::from_ca_cert_der(&der, &self.key).unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap();
        (key, cert.der().to_vec())
    }
}

/// Claims with a certificate, and a proof by `prover`.
async fn claim(
    controller: &Controller,
    enrolment_id: &str,
    keys: &Keys,
    certificate: &[u8],
    prover: &KeyPair,
) -> Result<v1::EnrolResponse, Status> {
    let channel = controller.connect(None).await.unwrap();
    let mut client = EnrolmentClient::new(channel);
    let challenge_id = uuid::Uuid::new_v4().to_string();
    let device_id = challenge_id.clone();
    let nonce = client.challenge(v1::ChallengeRequest { device_id }).await?.into_inner().nonce;
    let v1::EnrolRequest { csr_der, hpke_public, name, labels, facts, protocol, .. } =
        keys.request("", "board");
    let hash = digest::digest(&digest::SHA256, &csr_der);
    let signed = [b"edgeformer claim v1\0".as_slice(), &nonce, hash.as_ref()].concat();
    let random = SystemRandom::new();
    let kind = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let prover =
        signature::EcdsaKeyPair::from_pkcs8(kind, prover.serialized_der(), &random).unwrap();
    let message = v1::ClaimRequest {
        enrolment_id: enrolment_id.to_owned(),
        csr_der,
        hpke_public,
        name,
        labels,
        facts,
        protocol,
        factory_chain_der: vec![certificate.to_vec().into()],
        challenge_id,
        nonce,
        proof: prover.sign(&random, &signed).unwrap().as_ref().to_vec().into(),
        scheme: 0x0403,
    };
    Ok(client.claim(message).await?.into_inner())
}

#[tokio::test]
async fn a_manufacturers_certificate_lets_one_device_in_and_only_what_was_said() {
    let controller = Controller::start().await;
    let (app, scope) = (&controller.app, &controller.scope);
    let id = requests::open(app, scope).await.unwrap();
    let factory = Factory::new();
    let (key, certificate) = factory.certificate("press-7", 7, 2100);
    let unknown = claim(&controller, &id, &Keys::new(), &certificate, &key).await.unwrap_err();
    assert!(unknown.message().contains("no manufacturer"), "{unknown:?}");

    let labels = [("line".to_owned(), "2".to_owned())].into();
    let new = NewClaimCa::parse("maker", &factory.pem(), labels, vec!["press-*".to_owned()]);
    let ca = claim_cas::add(app, scope, new.unwrap()).await.unwrap();
    let keys = Keys::new();
    let overheard = claim(&controller, &id, &keys, &certificate, &keys.key).await.unwrap_err();
    assert!(overheard.message().contains("not by the key"), "{overheard:?}");
    let answer = claim(&controller, &id, &keys, &certificate, &key).await.unwrap();
    let again = claim(&controller, &id, &keys, &certificate, &key).await.unwrap();
    assert_eq!(answer.device_id, again.device_id, "a lost answer costs nothing");
    let chain = answer.certificate_chain_der.iter().map(|der| der.to_vec()).collect();
    let device = Device { keys, id: answer.device_id, tenant: answer.tenant_id, chain };
    device.session(&controller).await;
    assert_eq!(shown(&controller, &device).await.labels["line"], "2");

    let refused = async |certificate: &[u8], key: &KeyPair, words: &str| {
        let status = claim(&controller, &id, &Keys::new(), certificate, key).await.unwrap_err();
        assert!(status.message().contains(words), "{words}: {status:?}");
    };
    refused(&certificate, &key, "let a device in before").await;
    claim_cas::release(app, scope, ca.id, "40:07").await.unwrap();
    claim(&controller, &id, &Keys::new(), &certificate, &key).await.unwrap();
    let (other, lathe) = factory.certificate("lathe-1", 8, 2100);
    refused(&lathe, &other, "not let in for").await;
    let (other, old) = factory.certificate("press-8", 9, 2020);
    refused(&old, &other, "not valid now").await;
    let (other, stolen) = factory.certificate("press-9", 10, 2100);
    claim_cas::revoke(app, scope, ca.id, "0x400A").await.unwrap();
    refused(&stolen, &other, "is revoked").await;
    let (other, foreign) = Factory::new().certificate("press-9", 11, 2100);
    refused(&foreign, &other, "no manufacturer").await;
    claim_cas::remove(app, scope, ca.id).await.unwrap();
    let (other, late) = factory.certificate("press-10", 12, 2100);
    refused(&late, &other, "no manufacturer").await;
    assert_eq!(shown(&controller, &device).await.state, DeviceState::Enrolled, "it stays");
    let _ = controller.clock.now();
    controller.stop().await;
}

#[tokio::test]
async fn only_a_ca_is_registered_and_once() {
    let controller = Controller::start().await;
    let (app, scope) = (&controller.app, &controller.scope);
    let factory = Factory::new();
    let (_, leaf) = factory.certificate("press-7", 7, 2100);
    let parse = |pem: &str| NewClaimCa::parse("maker", pem, Default::default(), Vec::new());
    let error = claim_cas::add(app, scope, parse(&pem("CERTIFICATE", &leaf)).unwrap()).await;
    assert!(format!("{:?}", error.unwrap_err()).contains("not a CA's"));
    assert!(parse("rubbish").is_err() && parse(&factory.pem().repeat(2)).is_err());
    let two_stars = vec!["a*b*".to_owned()];
    assert!(NewClaimCa::parse("m", &factory.pem(), Default::default(), two_stars).is_err());
    claim_cas::add(app, scope, parse(&factory.pem()).unwrap()).await.unwrap();
    let error = claim_cas::add(app, scope, parse(&factory.pem()).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("registered as maker already"), "{error}");
    controller.stop().await;
}
