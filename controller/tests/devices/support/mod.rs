//! A controller with its device listener, and devices that speak to it.

pub(crate) mod device;
pub(crate) mod postgres;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeformer_controller::admin::{enrolment_tokens, tenants};
use edgeformer_controller::app::{App, Nudges, Parts};
use edgeformer_controller::authorities::{self, Roots};
use edgeformer_controller::clock::{Clock, Timestamp};
use edgeformer_controller::config::DataDir;
use edgeformer_controller::device_listener::{self, tls};
use edgeformer_controller::distribution::artifacts::ArtifactService;
use edgeformer_controller::distribution::objects::Objects;
use edgeformer_controller::distribution::staging::Staging;
use edgeformer_controller::enrolment::Enroller;
use edgeformer_controller::init::{NewInstallation, init};
use edgeformer_controller::outbound::{Outbound, OutboundRules};
use edgeformer_controller::rollout::reconciler;
use edgeformer_controller::scope::{InstallationScope, TenantScope};
use edgeformer_controller::server_identity::ServerIdentity;
use edgeformer_controller::session::{self, hub::Hub};
use edgeformer_controller::store::Store;
use edgeformer_controller::store::versions::{self, StoredVersion};
use edgeformer_controller::telemetry::service::Metrics;
use edgeformer_controller::vault::Vault;
use edgeformer_proto::artifact::{Details, Digest};
use edgeformer_proto::ids::VersionId;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The machine's clock, moved by as much as a test wants: certificates are judged by both.
#[derive(Clone, Default)]
pub(crate) struct ShiftedClock(Arc<AtomicI64>);

impl ShiftedClock {
    pub(crate) fn shift(&self, by_us: i64) {
        self.0.fetch_add(by_us, Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
        Timestamp(real + self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct Controller {
    pub(crate) app: App,
    pub(crate) clock: ShiftedClock,
    /// Of the tenant that most tests need one of.
    pub(crate) scope: TenantScope,
    pub(crate) address: SocketAddr,
    pub(crate) root_pem: Vec<u8>,
    pub(crate) hub: Arc<Hub>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    dir: Arc<TempDir>,
    database_url: Option<String>,
}

impl Controller {
    pub(crate) async fn start() -> Self {
        Self::start_at(0).await
    }

    /// With a clock that is `shift_us` off the machine's.
    pub(crate) async fn start_at(shift_us: i64) -> Self {
        Self::install(shift_us, None).await
    }

    /// On an empty database.
    pub(crate) async fn start_on(database_url: &str) -> Self {
        Self::install(0, Some(database_url.to_owned())).await
    }

    async fn install(shift_us: i64, database_url: Option<String>) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let clock = ShiftedClock::default();
        clock.shift(shift_us);
        let new = NewInstallation {
            dir: DataDir::new(&dir.path().join("data")).unwrap(),
            database_url: database_url.clone(),
            trust_domain: "fleet.test".to_owned(),
            server_names: vec!["localhost".to_owned()],
        };
        // The server's certificate must be valid by the machine's clock as well.
        init(&new, clock.now()).await.unwrap();
        Self::open(dir, database_url, clock, None).await
    }

    /// A second controller of the same installation, as behind a load balancer.
    pub(crate) async fn beside(&self) -> Self {
        let (dir, url) = (self.dir.clone(), self.database_url.clone());
        Self::open(dir, url, self.clock.clone(), Some(self.scope.clone())).await
    }

    async fn open(
        temp: Arc<TempDir>,
        database_url: Option<String>,
        clock: ShiftedClock,
        scope: Option<TenantScope>,
    ) -> Self {
        let dir = DataDir::new(&temp.path().join("data")).unwrap();
        let url = dir.database_url(database_url.as_deref(), false);
        let app = App::new(Parts {
            store: Store::connect(&url).await.unwrap(),
            vault: Arc::new(Vault::from_file(&dir.kek()).unwrap()),
            objects: Objects::local(&dir.objects()).unwrap(),
            staging: Staging::open(&dir.staging(), 1 << 20).unwrap(),
            clock: Arc::new(clock.clone()),
            nudges: Nudges::default(),
            outbound: Outbound::new(OutboundRules::default()).unwrap(),
        });
        let scope = match scope {
            Some(scope) => scope,
            None => tenant(&app, "acme").await,
        };
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let hub = Hub::new(app.clone(), stop.clone());
        let address = serve(&app, &dir, &hub, &stop, &mut tasks).await;
        let root_pem = std::fs::read(dir.root_cert()).unwrap();
        Self { app, clock, scope, address, root_pem, hub, stop, tasks, dir: temp, database_url }
    }

    /// Ends every task; a test that forgets leaves them to the runtime.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.app.store.close().await;
    }

    /// Where the installation lies.
    pub(crate) fn data_dir(&self) -> DataDir {
        DataDir::new(&self.dir.path().join("data")).unwrap()
    }

    pub(crate) fn trust(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(&self.root_pem))
    }

    /// A connection, with a client certificate if one is given.
    pub(crate) async fn connect(
        &self,
        identity: Option<Identity>,
    ) -> Result<Channel, tonic::transport::Error> {
        let tls = identity.into_iter().fold(self.trust(), ClientTlsConfig::identity);
        let url = format!("https://localhost:{}", self.address.port());
        Endpoint::from_shared(url)?.tls_config(tls)?.connect().await
    }

    /// An enrolment token of the tenant.
    pub(crate) async fn token(&self, uses: u32) -> String {
        self.token_of(&self.scope, uses, &[]).await
    }

    pub(crate) async fn token_of(
        &self,
        scope: &TenantScope,
        uses: u32,
        labels: &[(&str, &str)],
    ) -> String {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let new = enrolment_tokens::NewEnrolmentToken::parse(Some(uses), None, labels).unwrap();
        let (_, secret) = enrolment_tokens::create(&self.app, scope, new).await.unwrap();
        secret.reveal().to_owned()
    }

    /// A row as publishing leaves it; no test here opens the payload.
    pub(crate) async fn version(
        &self,
        model: &str,
        version: &str,
        payload_bytes: u64,
    ) -> VersionId {
        let stored = StoredVersion {
            id: VersionId::new(),
            model: model.parse().unwrap(),
            version: version.parse().unwrap(),
            manifest_envelope: vec![0],
            manifest_sha256: Digest::of(version.as_bytes()),
            sealed_index_key: String::new(),
            wrapped_data_key: vec![0],
            payload_bytes,
            payload_sha256: Digest::of(b"payload"),
            stored_bytes: payload_bytes,
            chunk_count: 1,
            details: Details {
                architecture: "llama".to_owned(),
                quantization: "Q8_0".to_owned(),
                parameters: 1,
                context_length: 1,
            },
            created_at: self.clock.now(),
        };
        let mut write = self.app.store.write_observation(&self.scope).await.unwrap();
        let model = versions::ensure_model(&mut write, &stored.model, self.clock.now()).await;
        versions::insert(&mut write, model.unwrap(), &stored).await.unwrap();
        write.commit(self.clock.now()).await.unwrap();
        stored.id
    }
}

pub(crate) async fn tenant(app: &App, name: &str) -> TenantScope {
    let scope = InstallationScope::system("test");
    let (tenant, _) = tenants::create(app, &scope, name).await.unwrap();
    TenantScope::system(tenant.id, "test")
}

async fn serve(
    app: &App,
    dir: &DataDir,
    hub: &Arc<Hub>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> SocketAddr {
    let roots = Roots::load(app, "test").await.unwrap();
    let identity = ServerIdentity::open(dir, &app.vault, &roots, app.now()).unwrap();
    let verifier = tls::DeviceVerifier::new(&roots.all()).unwrap();
    let tls = tls::server_config(Arc::clone(&identity) as _, Arc::clone(&verifier)).unwrap();
    let enroller = Enroller::open(app.clone(), 30 * DAY).await.unwrap();
    let routes = Routes::new(enroller.into_service())
        .add_service(session::service(hub.clone()))
        .add_service(ArtifactService::server(app.clone()))
        .add_service(Metrics::server(app.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(hub.clone().run());
    tasks.spawn(reconciler::run(app.clone(), stop.clone()));
    let (looked_after, until) = (authorities::run(app.clone(), identity, verifier), stop.clone());
    tasks.spawn(async move { until.run_until_cancelled(looked_after).await.unwrap_or(()) });
    let (app, stop) = (app.clone(), stop.clone());
    tasks.spawn(async move {
        device_listener::serve(app, "fleet.test", listener, tls, routes, stop).await.unwrap();
    });
    address
}
