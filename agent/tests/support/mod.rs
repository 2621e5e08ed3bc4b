//! A controller for tests of the agent: the real services over real TLS, with faults that a test can
//! order. It keeps no store and decides nothing.

pub mod full_disk;
// The tests of the disk ask more of it.
#[allow(dead_code)]
pub mod publish;
#[path = "../../../proto/tests/tuf/repo.rs"]
pub mod repo;
pub mod workers;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeformer_proto::artifact::target_path;
use edgeformer_proto::ids::{DeviceId, TenantId};
use edgeformer_proto::keywrap::{HpkePublic, KeyContext, wrap};
use edgeformer_proto::protocol::PROTOCOL;
use edgeformer_proto::v1;
use edgeformer_proto::v1::controller_message::Kind;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use publish::{Publisher, Version};
use repo::Repo;

pub type Answer<T> = Result<Response<T>, Status>;

/// Where the chunk with this id is.
pub type Locate = Box<dyn Fn(&[u8]) -> v1::ChunkLocation + Send>;

/// Faults and what was seen.
pub struct Inner {
    issuer: Issuer<'static, KeyPair>,
    pub root_pem: String,
    root_der: Vec<u8>,
    pub publisher: Publisher,
    pub device_id: DeviceId,
    pub versions: Mutex<HashMap<String, Version>>,
    hpke: Mutex<Option<Vec<u8>>>,
    pub desired: watch::Sender<Option<v1::DesiredState>>,
    pub heard: Mutex<Vec<v1::agent_message::Kind>>,
    /// Every request of every call: the name of its message, and its bytes.
    pub asked: Mutex<Vec<(&'static str, Vec<u8>)>>,
    /// Telemetry that was exported.
    pub measured: Mutex<Vec<ExportMetricsServiceRequest>>,
    /// Sealed chunks that were handed out.
    pub chunks_sent: AtomicU32,
    /// The stream of chunks breaks once, after so many; 0 never.
    pub cut_after: AtomicU32,
    /// The first byte of every chunk is changed.
    pub tamper_chunks: AtomicU32,
    /// Says where chunks are, to a device that accepts it, in the place of their bytes.
    pub locate: Mutex<Option<Locate>>,
    /// Says that a chunk waits, to a device that accepts it, so often before each.
    pub waits: AtomicU32,
    /// Life of the certificates that are issued, in seconds.
    pub lifetime_s: AtomicU64,
    pub renewals: AtomicU32,
    pub enrolments: AtomicU32,
    /// What its tenant's owner signed; none for a controller of before there was such a thing.
    pub trust: Mutex<Option<Repo>>,
    /// Files of metadata that it serves in the place of the right ones.
    pub forged: Mutex<HashMap<String, Vec<u8>>>,
    /// What it says it speaks. A newer one also says things that this agent does not know.
    pub protocol: AtomicU32,
}

#[derive(Clone)]
pub struct Controller {
    pub inner: Arc<Inner>,
    pub url: String,
}

impl Controller {
    pub async fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        let (root_pem, root_der) = (root.pem(), root.der().to_vec());
        let issuer = Issuer::new(params, key);
        let server_key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server =
            CertificateParams::new(names).unwrap().signed_by(&server_key, &issuer).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(root_der.clone())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        )
        .allow_unauthenticated()
        .build()
        .unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![server.der().clone()],
                PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let inner = Arc::new(Inner {
            issuer,
            root_pem,
            root_der,
            publisher: Publisher::new(TenantId::new()),
            device_id: DeviceId::new(),
            versions: Mutex::default(),
            hpke: Mutex::default(),
            desired: watch::channel(None).0,
            heard: Mutex::default(),
            asked: Mutex::default(),
            measured: Mutex::default(),
            chunks_sent: AtomicU32::new(0),
            cut_after: AtomicU32::new(0),
            tamper_chunks: AtomicU32::new(0),
            locate: Mutex::default(),
            waits: AtomicU32::new(0),
            lifetime_s: AtomicU64::new(3600),
            renewals: AtomicU32::new(0),
            enrolments: AtomicU32::new(0),
            trust: Mutex::new(Some(Repo::valid_from(now_s()))),
            forged: Mutex::default(),
            protocol: AtomicU32::new(PROTOCOL),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let controller = Self { inner, url };
        tokio::spawn(controller.clone().serve(listener, TlsAcceptor::from(Arc::new(tls))));
        controller
    }

    async fn serve(self, listener: TcpListener, acceptor: TlsAcceptor) {
        let incoming = TcpListenerStream::new(listener)
            .then(move |stream| {
                let acceptor = acceptor.clone();
                async move { acceptor.accept(stream.ok()?).await.ok() }
            })
            .filter_map(|stream| stream.map(Ok::<_, std::io::Error>));
        tonic::transport::Server::builder()
            .add_service(v1::enrolment_server::EnrolmentServer::new(self.clone()))
            .add_service(v1::session_server::SessionServer::new(self.clone()))
            .add_service(v1::artifacts_server::ArtifactsServer::new(self.clone()))
            .add_service(v1::keys_server::KeysServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self))
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    }

    fn issue(&self, csr_der: &[u8]) -> Vec<bytes::Bytes> {
        let lifetime = Duration::from_secs(self.inner.lifetime_s.load(Ordering::Relaxed));
        let mut csr = CertificateSigningRequestParams::from_der(&csr_der.to_vec().into()).unwrap();
        let now = time::OffsetDateTime::now_utc();
        // As the real one: begins earlier, to forgive clocks that are behind.
        csr.params.not_before = now - time::Duration::hours(1);
        csr.params.not_after = now + lifetime;
        let leaf = csr.signed_by(&self.inner.issuer).unwrap();
        vec![leaf.der().to_vec().into()]
    }

    /// Kinds of messages that the agent sent so far and that `pick` takes.
    pub fn heard<T>(&self, pick: impl FnMut(&v1::agent_message::Kind) -> Option<T>) -> Vec<T> {
        self.inner.heard.lock().unwrap().iter().filter_map(pick).collect()
    }

    fn keep<T: Message>(&self, name: &'static str, message: &T) {
        self.inner.asked.lock().unwrap().push((name, message.encode_to_vec()));
    }

    /// The newest status of a slot.
    pub fn status(&self, slot: &str) -> Option<v1::SlotStatus> {
        self.heard(|kind| match kind {
            v1::agent_message::Kind::SlotStatus(status) if status.slot == slot => {
                Some(status.clone())
            }
            v1::agent_message::Kind::Hello(hello) => {
                hello.slots.iter().find(|status| status.slot == slot).cloned()
            }
            _ => None,
        })
        .pop()
    }

    /// Has a version signed by its tenant's owner, if there is one.
    pub fn release(&self, version: &Version, manifest: &[u8]) {
        if let Some(repo) = &mut *self.inner.trust.lock().unwrap() {
            let path = target_path("m", &version.subject.version.to_string());
            repo.bump_targets();
            repo.add_target("targets", &path, manifest);
            repo.publish();
        }
    }

    /// The newest root; empty without one.
    fn trusted_root(&self) -> bytes::Bytes {
        let trust = self.inner.trust.lock().unwrap();
        let newest = |repo: &Repo| {
            repo.files[&format!("{}.root.json", repo.root.common.version - 1)].clone()
        };
        trust.as_ref().map(newest).unwrap_or_default().into()
    }

    /// Releases a version and assigns it to slot "m" at generation `counter`.
    pub fn assign(&self, counter: u64, version: &Version) {
        self.release(version, &version.envelope);
        self.assign_only(counter, version);
    }

    /// Assigns a version to slot "m" at generation `counter`, whatever its owner says.
    pub fn assign_only(&self, counter: u64, version: &Version) {
        let version_id = version.subject.version_id.to_string();
        self.inner.versions.lock().unwrap().insert(version_id.clone(), version.clone());
        self.inner.desired.send_replace(Some(v1::DesiredState {
            generation: Some(v1::Generation { epoch: 1, counter }),
            slots: vec![v1::DesiredSlot {
                slot: "m".to_owned(),
                model: "m".to_owned(),
                version: version.subject.version.to_string(),
                version_id,
                manifest_sha256: version.manifest_sha256().as_bytes().to_vec().into(),
                rollout_id: format!("rollout-{counter}"),
                settings: None,
            }],
        }));
    }

    fn version(&self, id: &str) -> Result<Version, Status> {
        let found = self.inner.versions.lock().unwrap().get(id).cloned();
        found.ok_or_else(|| Status::not_found(format!("no version {id}")))
    }
}

/// The time, in seconds since the Unix epoch.
pub fn now_s() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// Looks again and again until `check` holds. Ends the test with what it waited for.
pub async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(found) = check() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never happened: {what}");
}

#[tonic::async_trait]
impl v1::enrolment_server::Enrolment for Controller {
    async fn apply(
        &self,
        _: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        Err(Status::unimplemented("devices have tokens here"))
    }

    async fn claim(
        &self,
        _: Request<v1::ClaimRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        Err(Status::unimplemented("devices have tokens here"))
    }

    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Answer<v1::EnrolResponse> {
        let request = request.into_inner();
        self.keep("EnrolRequest", &request);
        if !request.token.ends_with('0') {
            return Err(Status::failed_precondition("this enrolment token is used up"));
        }
        self.inner.enrolments.fetch_add(1, Ordering::Relaxed);
        *self.inner.hpke.lock().unwrap() = Some(request.hpke_public.to_vec());
        Ok(Response::new(v1::EnrolResponse {
            device_id: self.inner.device_id.to_string(),
            tenant_id: self.inner.publisher.tenant.to_string(),
            certificate_chain_der: self.issue(&request.csr_der),
            root_der: self.inner.root_der.clone().into(),
            release_public: self.inner.publisher.release.public().as_bytes().to_vec().into(),
            trust_domain: "test".to_owned(),
            trusted_root: self.trusted_root(),
            cross_der: Vec::new(),
            retired_root_sha256: Vec::new(),
        }))
    }

    async fn challenge(
        &self,
        request: Request<v1::ChallengeRequest>,
    ) -> Answer<v1::ChallengeResponse> {
        self.keep("ChallengeRequest", request.get_ref());
        Ok(Response::new(v1::ChallengeResponse { nonce: b"nonce".to_vec().into() }))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Answer<v1::RenewResponse> {
        use x509_parser::prelude::{FromDer, X509CertificationRequest};
        let request = request.into_inner();
        self.keep("RenewRequest", &request);
        let (_, csr) = X509CertificationRequest::from_der(&request.csr_der).unwrap();
        let key = csr.certification_request_info.subject_pki.subject_public_key.data.to_vec();
        let hash = ring::digest::digest(&ring::digest::SHA256, &request.csr_der);
        let message = [b"edgeformer renew v1\0", &request.nonce[..], hash.as_ref()].concat();
        let algorithm = &ring::signature::ECDSA_P256_SHA256_ASN1;
        ring::signature::UnparsedPublicKey::new(algorithm, key)
            .verify(&message, &request.proof)
            .map_err(|_| Status::unauthenticated("the proof is wrong"))?;
        self.inner.renewals.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(v1::RenewResponse {
            certificate_chain_der: self.issue(&request.csr_der),
            root_der: self.inner.root_der.clone().into(),
            trusted_root: self.trusted_root(),
            cross_der: Vec::new(),
            retired_root_sha256: Vec::new(),
        }))
    }
}

#[tonic::async_trait]
impl v1::session_server::Session for Controller {
    type OpenStream = ReceiverStream<Result<v1::ControllerMessage, Status>>;

    async fn open(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Answer<Self::OpenStream> {
        let mut inbox = request.into_inner();
        let (outbox, answers) = mpsc::channel(16);
        let controller = self.clone();
        tokio::spawn(async move {
            let protocol = controller.inner.protocol.load(Ordering::Relaxed);
            let say = |kind| outbox.send(Ok(v1::ControllerMessage { kind: Some(kind) }));
            let welcome = v1::Welcome {
                protocol,
                controller_version: "test".to_owned(),
                heartbeat_interval_s: 1,
                now_unix_us: 0,
            };
            say(Kind::Welcome(welcome)).await.ok();
            if protocol > PROTOCOL {
                // A kind that this build does not know decodes to none.
                outbox.send(Ok(v1::ControllerMessage { kind: None })).await.ok();
            }
            let mut desired = controller.inner.desired.subscribe();
            desired.mark_changed();
            loop {
                tokio::select! {
                    message = inbox.message() => {
                        let Ok(Some(message)) = message else { return };
                        controller.keep("AgentMessage", &message);
                        let Some(kind) = message.kind else { continue };
                        if let v1::agent_message::Kind::Heartbeat(beat) = &kind {
                            let ack = v1::HeartbeatAck { sequence: beat.sequence, now_unix_us: 0 };
                            say(Kind::HeartbeatAck(ack)).await.ok();
                        }
                        controller.inner.heard.lock().unwrap().push(kind);
                    }
                    _ = desired.changed() => {
                        let next = desired.borrow_and_update().clone();
                        if let Some(next) = next {
                            say(Kind::Desired(next)).await.ok();
                        }
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

#[tonic::async_trait]
impl v1::artifacts_server::Artifacts for Controller {
    type FetchChunksStream = ReceiverStream<Result<v1::SealedChunk, Status>>;

    async fn get_version(
        &self,
        request: Request<v1::GetVersionRequest>,
    ) -> Answer<v1::GetVersionResponse> {
        self.keep("GetVersionRequest", request.get_ref());
        let version = self.version(&request.into_inner().version_id)?;
        Ok(Response::new(v1::GetVersionResponse {
            manifest_envelope: version.envelope.into(),
            sealed_index: version.sealed_index.into(),
        }))
    }

    async fn get_trust_metadata(
        &self,
        request: Request<v1::GetTrustMetadataRequest>,
    ) -> Answer<v1::GetTrustMetadataResponse> {
        self.keep("GetTrustMetadataRequest", request.get_ref());
        let name = request.into_inner().name;
        let forged = self.inner.forged.lock().unwrap().get(&name).cloned();
        let newest = self.trusted_root();
        let trust = self.inner.trust.lock().unwrap();
        let repo = trust.as_ref().ok_or_else(|| Status::unimplemented("no such call"))?;
        let file = match name.as_str() {
            "root.json" => Some(newest.to_vec()),
            name => forged.or_else(|| repo.files.get(name).cloned()),
        };
        let file = file.ok_or_else(|| Status::not_found(name))?;
        Ok(Response::new(v1::GetTrustMetadataResponse { file: file.into() }))
    }

    async fn fetch_chunks(
        &self,
        request: Request<v1::FetchChunksRequest>,
    ) -> Answer<Self::FetchChunksStream> {
        self.keep("FetchChunksRequest", request.get_ref());
        let ask = request.into_inner();
        assert!(ask.chunk_ids.len() <= 256);
        let (outbox, answers) = mpsc::channel(4);
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            for id in ask.chunk_ids {
                let cut = inner.cut_after.load(Ordering::SeqCst);
                if cut > 0 && inner.chunks_sent.load(Ordering::SeqCst) >= cut {
                    inner.cut_after.store(0, Ordering::SeqCst);
                    outbox.send(Err(Status::unavailable("cut"))).await.ok();
                    return;
                }
                while ask.accepts_waiting && inner.waits.load(Ordering::SeqCst) > 0 {
                    let wait = v1::BandwidthWait { bytes_per_s: 1_000_000, devices: 3 };
                    let chunk = v1::SealedChunk { waiting: Some(wait), ..Default::default() };
                    outbox.send(Ok(chunk)).await.ok();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                let location = match &*inner.locate.lock().unwrap() {
                    Some(locate) if ask.accepts_locations => Some(locate(&id)),
                    _ => None,
                };
                if location.is_some() {
                    let chunk = v1::SealedChunk { id, location, ..Default::default() };
                    outbox.send(Ok(chunk)).await.ok();
                    continue;
                }
                let mut sealed = inner.publisher.chunk(&id);
                if inner.tamper_chunks.load(Ordering::SeqCst) > 0 {
                    sealed[0] ^= 1;
                }
                inner.chunks_sent.fetch_add(1, Ordering::SeqCst);
                let chunk = v1::SealedChunk { id, sealed: sealed.into(), ..Default::default() };
                if outbox.send(Ok(chunk)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

#[tonic::async_trait]
impl v1::keys_server::Keys for Controller {
    async fn wrap_data_key(
        &self,
        request: Request<v1::WrapDataKeyRequest>,
    ) -> Answer<v1::WrapDataKeyResponse> {
        self.keep("WrapDataKeyRequest", request.get_ref());
        let version = self.version(&request.into_inner().version_id)?;
        let hpke = self.inner.hpke.lock().unwrap().clone().unwrap();
        let to = HpkePublic::try_from(&hpke[..]).unwrap();
        let context = KeyContext {
            tenant: self.inner.publisher.tenant,
            device: self.inner.device_id,
            version: version.wrap_for,
        };
        let generation = self.inner.desired.borrow().as_ref().unwrap().generation.unwrap();
        let wrapped = wrap(&to, &version.data_key, &context, generation.into()).unwrap();
        Ok(Response::new(v1::WrapDataKeyResponse {
            encapsulated: wrapped.encapsulated.to_vec().into(),
            ciphertext: wrapped.ciphertext.to_vec().into(),
            generation: Some(wrapped.generation.into()),
        }))
    }
}

#[tonic::async_trait]
impl MetricsService for Controller {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Answer<ExportMetricsServiceResponse> {
        self.inner.measured.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
