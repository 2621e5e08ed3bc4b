//! A device that does by hand what the agent does by itself.

use std::time::Duration;

use edgeformer_controller::clock::Clock;
use edgeformer_proto::protocol::PROTOCOL;
use edgeformer_proto::v1::agent_message::Kind as Say;
use edgeformer_proto::v1::controller_message::Kind as Heard;
use edgeformer_proto::v1::enrolment_client::EnrolmentClient;
use edgeformer_proto::v1::session_client::SessionClient;
use edgeformer_proto::{Generation, v1};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use ring::rand::SystemRandom;
use ring::{digest, signature};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Identity;
use tonic::{Status, Streaming};

use super::Controller;

/// For what must come; nothing in a passing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Keys, before enrolment.
pub(crate) struct Keys {
    pub(crate) key: KeyPair,
    hpke: KeyPair,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self { key: key(), hpke: key() }
    }

    pub(crate) fn csr(&self) -> Vec<u8> {
        CertificateParams::default().serialize_request(&self.key).unwrap().der().to_vec()
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    pub(crate) fn request(&self, token: &str, name: &str) -> v1::EnrolRequest {
        v1::EnrolRequest {
            token: token.to_owned(),
            csr_der: self.csr().into(),
            hpke_public: self.hpke.public_key_raw().to_vec().into(),
            name: name.to_owned(),
            labels: Default::default(),
            facts: Some(v1::DeviceFacts { memory_bytes: 1 << 30, ..Default::default() }),
            protocol: PROTOCOL,
        }
    }
}

/// An enrolled device.
pub(crate) struct Device {
    pub(crate) keys: Keys,
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) chain: Vec<Vec<u8>>,
}

pub(crate) async fn enrol(
    controller: &Controller,
    request: v1::EnrolRequest,
) -> Result<v1::EnrolResponse, Status> {
    let channel = controller.connect(None).await.unwrap();
    let answer = EnrolmentClient::new(channel).enrol(request).await?;
    Ok(answer.into_inner())
}

impl Device {
    /// Enrolled with a token of its own.
    pub(crate) async fn enrolled(controller: &Controller, name: &str) -> Self {
        let token = controller.token(1).await;
        Self::with_token(controller, &token, name).await
    }

    pub(crate) async fn with_token(controller: &Controller, token: &str, name: &str) -> Self {
        let keys = Keys::new();
        let answer = enrol(controller, keys.request(token, name)).await.unwrap();
        Self {
            keys,
            id: answer.device_id,
            tenant: answer.tenant_id,
            chain: answer.certificate_chain_der.iter().map(|der| der.to_vec()).collect(),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        let pem = |label: &str, der: &[u8]| {
            let text = data_encoding::BASE64.encode(der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        let chain: String = self.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        Identity::from_pem(chain, pem("PRIVATE KEY", self.keys.key.serialized_der()))
    }

    pub(crate) async fn renew(&mut self, controller: &Controller) -> Result<(), Status> {
        let csr = self.keys.csr();
        self.chain = self.renew_with(controller, csr, &self.keys).await?;
        Ok(())
    }

    /// Renews with a request and a proof that need not be by the same key.
    pub(crate) async fn renew_with(
        &self,
        controller: &Controller,
        csr: Vec<u8>,
        prover: &Keys,
    ) -> Result<Vec<Vec<u8>>, Status> {
        let channel = controller.connect(None).await.unwrap();
        let mut client = EnrolmentClient::new(channel);
        let device_id = self.id.clone();
        let nonce = client.challenge(v1::ChallengeRequest { device_id }).await?.into_inner().nonce;
        let hash = digest::digest(&digest::SHA256, &csr);
        let signed = [b"edgeformer renew v1\0".as_slice(), &nonce, hash.as_ref()].concat();
        let random = SystemRandom::new();
        let key = signature::EcdsaKeyPair::from_pkcs8(
            &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            prover.key.serialized_der(),
            &random,
        )
        .unwrap();
        let request = v1::RenewRequest {
            device_id: self.id.clone(),
            tenant_id: self.tenant.clone(),
            nonce,
            csr_der: csr.into(),
            proof: key.sign(&random, &signed).unwrap().as_ref().to_vec().into(),
            protocol: PROTOCOL,
        };
        let answer = client.renew(request).await?.into_inner();
        Ok(answer.certificate_chain_der.iter().map(|der| der.to_vec()).collect())
    }

    /// Opens a session without a word.
    pub(crate) async fn dial(&self, controller: &Controller) -> Result<Talk, Status> {
        let channel = controller.connect(Some(self.identity())).await.unwrap();
        let (say, said) = mpsc::channel(16);
        let answer = SessionClient::new(channel).open(ReceiverStream::new(said)).await?;
        Ok(Talk { say, hear: answer.into_inner() })
    }

    /// Opens a session, says Hello and hears Welcome.
    pub(crate) async fn session(&self, controller: &Controller) -> Talk {
        self.session_holding(controller, None).await
    }

    pub(crate) async fn session_holding(
        &self,
        controller: &Controller,
        held: Option<Generation>,
    ) -> Talk {
        let mut talk = self.dial(controller).await.unwrap();
        talk.say(Say::Hello(hello(held))).await;
        let Heard::Welcome(welcome) = talk.hear().await else { panic!("no welcome") };
        assert_eq!(welcome.protocol, PROTOCOL);
        assert!((welcome.now_unix_us - controller.clock.now().0).abs() < 60_000_000);
        talk
    }
}

pub(crate) fn hello(held: Option<Generation>) -> v1::Hello {
    v1::Hello {
        protocol: PROTOCOL,
        boot_id: "boot".to_owned(),
        facts: Some(v1::DeviceFacts {
            agent_version: "0.1.0".to_owned(),
            memory_bytes: 1 << 30,
            ..Default::default()
        }),
        held: held.map(Into::into),
        slots: Vec::new(),
        instance: None,
    }
}

/// Both directions of a session.
pub(crate) struct Talk {
    say: mpsc::Sender<v1::AgentMessage>,
    hear: Streaming<v1::ControllerMessage>,
}

impl Talk {
    pub(crate) async fn say(&self, kind: Say) {
        self.say.send(v1::AgentMessage { kind: Some(kind) }).await.unwrap();
    }

    /// A kind of message that only a newer build knows: it decodes to none.
    pub(crate) async fn say_unknown(&self) {
        self.say.send(v1::AgentMessage { kind: None }).await.unwrap();
    }

    /// The next message; panics when the stream ends instead.
    pub(crate) async fn hear(&mut self) -> Heard {
        self.next().await.unwrap().expect("the stream ended").kind.expect("an empty message")
    }

    /// The next message, the error or the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::ControllerMessage>, Status> {
        timeout(PATIENCE, self.hear.message()).await.expect("nothing was heard")
    }

    pub(crate) async fn desired(&mut self) -> v1::DesiredState {
        match self.hear().await {
            Heard::Desired(desired) => desired,
            other => panic!("expected a desired state, heard {other:?}"),
        }
    }

    pub(crate) async fn refusal(&mut self) -> v1::Refusal {
        match self.hear().await {
            Heard::Refusal(refusal) => refusal,
            other => panic!("expected a refusal, heard {other:?}"),
        }
    }

    /// Says that a desired state is durable and its one slot in this phase.
    pub(crate) async fn answer(&self, desired: &v1::DesiredState, phase: v1::SlotPhase) {
        self.say(Say::Accepted(v1::Accepted { generation: desired.generation })).await;
        let slot = desired.slots.first().cloned().unwrap_or_default();
        let serves = phase == v1::SlotPhase::Confirmed;
        self.say(Say::SlotStatus(v1::SlotStatus {
            slot: if slot.slot.is_empty() { "chat".to_owned() } else { slot.slot },
            generation: desired.generation,
            phase: phase.into(),
            target_version_id: slot.version_id.clone(),
            serving_version_id: if serves { slot.version_id } else { String::new() },
            rollout_id: slot.rollout_id,
            reason: if serves { String::new() } else { "memory".to_owned() },
            message: if serves { String::new() } else { "the model does not fit".to_owned() },
            ..Default::default()
        }))
        .await;
    }
}
