//! A real installation in a temporary folder, with two tenants.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use edgeformer_proto::artifact::{Digest, ReleaseKey, ReleasePublic};
use edgeformer_proto::ids::{DeviceId, RolloutId, TenantId, TokenId, VersionId};
use edgeformer_proto::keywrap::{HpkePrivate, KeyAgreement};
use futures::stream;
use serde_json::json;
use sqlx::AnyPool;
use tempfile::TempDir;
use tonic::Request;

use crate::admin::tenants;
use crate::app::App;
use crate::config::DataDir;
use crate::device_listener::DeviceIdentity;
use crate::distribution::publish::{NewVersion, Published, publish};
use crate::distribution::staging::Staging;
use crate::error::AppError;
use crate::init::{NewInstallation, init};
use crate::scope::{InstallationScope, TenantScope};
use crate::store::enrolments::{self, NewDevice};
use crate::store::tenants as tenants_rows;
use crate::store::versions::StoredVersion;
use crate::vault::SecretKind;
use crate::{clock::Clock, clock::SystemClock, serve};

pub(super) struct Fixture {
    pub(super) app: App,
    pub(super) dir: DataDir,
    pub(super) ours: TenantId,
    pub(super) theirs: TenantId,
    pub(super) our_token: String,
    pub(super) their_token: String,
    database: AnyPool,
    _folder: TempDir,
}

pub(super) struct Device {
    pub(super) identity: DeviceIdentity,
    pub(super) private: HpkePrivate,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(&folder.path().join("data")).unwrap();
        let new = NewInstallation {
            dir: dir.clone(),
            database_url: None,
            trust_domain: "edgeformer.test".to_owned(),
            server_names: vec!["localhost".to_owned()],
        };
        init(&new, SystemClock.now()).await.unwrap();
        let (app, _) =
            serve::open(&dir, None, crate::outbound::OutboundRules::default()).await.unwrap();
        let scope = InstallationScope::system("test");
        let (ours, our_token) = tenants::create(&app, &scope, "ours").await.unwrap();
        let (theirs, their_token) = tenants::create(&app, &scope, "theirs").await.unwrap();
        let database = AnyPool::connect(&dir.database_url(None, false)).await.unwrap();
        Self {
            app,
            dir,
            ours: ours.id,
            theirs: theirs.id,
            our_token: our_token.reveal().to_owned(),
            their_token: their_token.reveal().to_owned(),
            database,
            _folder: folder,
        }
    }

    /// The same installation with another limit on uploads.
    pub(super) async fn app_with_limit(&self, max_bytes: u64) -> App {
        let (opened, _) =
            serve::open(&self.dir, None, crate::outbound::OutboundRules::default()).await.unwrap();
        App::new(crate::app::Parts {
            store: opened.store.clone(),
            vault: opened.vault.clone(),
            objects: opened.objects.clone(),
            staging: Staging::open(&self.dir.staging(), max_bytes).unwrap(),
            clock: opened.clock.clone(),
            nudges: crate::app::Nudges::default(),
            outbound: opened.outbound.clone(),
        })
    }

    pub(super) fn scope(&self, tenant: TenantId) -> TenantScope {
        TenantScope::system(tenant, "test")
    }

    pub(super) async fn publish(
        &self,
        version: &str,
        payload: &[u8],
    ) -> Result<Published, AppError> {
        publish_in(&self.app, &self.scope(self.ours), version, payload).await
    }

    pub(super) async fn published(&self, version: &str, payload: &[u8]) -> StoredVersion {
        match self.publish(version, payload).await.unwrap() {
            Published::New(version) => version,
            Published::Same(_) => panic!("{version} was there before"),
        }
    }

    pub(super) async fn device(&self, tenant: TenantId) -> Device {
        let private = HpkePrivate::generate();
        let device = self.device_with(tenant, &private).await;
        Device { private, ..device }
    }

    /// A device whose keys are somewhere else.
    pub(super) async fn device_with<K: KeyAgreement>(&self, tenant: TenantId, keys: &K) -> Device {
        let private = HpkePrivate::generate();
        let id = DeviceId::new();
        let new = NewDevice {
            id,
            name: "line-3".to_owned(),
            labels: BTreeMap::new(),
            facts: json!({}),
            public_key: id.as_bytes().to_vec(),
            hpke_public: keys.hpke_public().to_vec(),
            credential: TokenId::new().to_string(),
            cert_expires_at_us: 0,
            ca_id: String::new(),
        };
        let mut write = self.app.store.write_observation(&self.scope(tenant)).await.unwrap();
        enrolments::insert_device(&mut write, &new, self.app.now()).await.unwrap();
        write.commit(self.app.now()).await.unwrap();
        let identity = DeviceIdentity {
            tenant_id: tenant,
            device_id: id,
            device_name: new.name,
            cert_expires_at_us: 0,
            source: "test".to_owned(),
        };
        Device { identity, private }
    }

    pub(super) async fn sql(&self, text: &'static str, values: &[String]) {
        let mut query = sqlx::query(text);
        for value in values {
            query = query.bind(value.clone());
        }
        query.execute(&self.database).await.unwrap();
    }

    pub(super) async fn assign(&self, device: &Device, version: VersionId) {
        let (tenant, device) = (device.identity.tenant_id, device.identity.device_id);
        self.sql(
            "INSERT INTO assignments (tenant_id, device_id, slot, version_id, rollout_id, settings) \
             VALUES ($1, $2, 'smollm2', $3, $4, '{}')",
            &[
                tenant.to_string(),
                device.to_string(),
                version.to_string(),
                RolloutId::new().to_string(),
            ],
        )
        .await;
    }

    pub(super) async fn unassign(&self, device: &Device) {
        let device = device.identity.device_id.to_string();
        self.sql("DELETE FROM assignments WHERE device_id = $1", &[device]).await;
    }

    /// Somebody who can write to the store alone exchanges all that it says of versions' contents.
    pub(super) async fn exchange_contents(&self, payload_sha256: &str, envelope: &[u8]) {
        let sha256 = Digest::of(envelope).to_string();
        let text = format!(
            "UPDATE versions SET payload_sha256 = x'{payload_sha256}', \
             manifest_sha256 = x'{sha256}', manifest_envelope = x'{}'",
            data_encoding::HEXLOWER.encode(envelope)
        );
        sqlx::query(sqlx::AssertSqlSafe(text)).execute(&self.database).await.unwrap();
    }

    pub(super) async fn revoke(&self, device: &Device) {
        let device = device.identity.device_id.to_string();
        self.sql("UPDATE devices SET state = 'revoked' WHERE id = $1", &[device]).await;
    }

    /// The device says that it serves a version.
    pub(super) async fn claims_to_serve(&self, device: &Device, version: VersionId) {
        let (tenant, device) = (device.identity.tenant_id, device.identity.device_id);
        self.sql(
            "INSERT INTO slot_status (tenant_id, device_id, slot, generation_epoch, \
             generation_counter, phase, target_version_id, serving_version_id, rollout_id, reason, \
             message, bytes_total, bytes_done, device_time_us, updated_at_us) VALUES \
             ($1, $2, 'smollm2', 1, 1, 'confirmed', $3, $3, '', '', '', 0, 0, 0, 0)",
            &[tenant.to_string(), device.to_string(), version.to_string()],
        )
        .await;
    }

    /// A rollout gave the device this version once.
    pub(super) async fn was_given(&self, device: &Device, version: VersionId) {
        self.is_in_a_rollout(device, version, 1, "confirmed").await;
    }

    /// A rollout means to give the device this version, and has not yet.
    pub(super) async fn will_be_given(&self, device: &Device, version: VersionId) {
        self.is_in_a_rollout(device, version, 0, "pending").await;
    }

    async fn is_in_a_rollout(
        &self,
        device: &Device,
        version: VersionId,
        assigned: u8,
        state: &str,
    ) {
        let (tenant, device) = (device.identity.tenant_id, device.identity.device_id);
        self.sql(
            "INSERT INTO rollout_devices (tenant_id, rollout_id, device_id, version_id, settings, \
             previous_version_id, previous_settings, assigned_epoch, assigned_counter, state, \
             reason, message, updated_at_us) \
             VALUES ($1, $2, $3, $4, '{}', '', '{}', CAST($5 AS BIGINT), CAST($5 AS BIGINT), $6, \
             '', '', 0)",
            &[
                tenant.to_string(),
                RolloutId::new().to_string(),
                device.to_string(),
                version.to_string(),
                assigned.to_string(),
                state.to_owned(),
            ],
        )
        .await;
    }

    /// How many audit records of a tenant say all of this.
    pub(super) async fn audited(&self, tenant: TenantId, words: &[&str]) -> usize {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT record FROM audit_outbox WHERE tenant_id = $1")
                .bind(tenant.to_string())
                .fetch_all(&self.database)
                .await
                .unwrap();
        rows.iter().filter(|(record,)| words.iter().all(|word| record.contains(word))).count()
    }

    /// What devices of our tenant pin.
    pub(super) async fn release_public(&self) -> ReleasePublic {
        let mut read = self.app.store.read(&self.scope(self.ours)).await.unwrap();
        let tenant = tenants_rows::own(&mut read).await.unwrap().unwrap();
        let wrapped = &tenant.wrapped_release_key;
        let kind = SecretKind::ReleaseKey;
        let der = self.app.vault.unwrap(kind, &tenant.id.to_string(), wrapped).unwrap();
        ReleaseKey::from_pkcs8(&der).unwrap().public()
    }

    pub(super) fn staged_files(&self) -> usize {
        std::fs::read_dir(self.dir.staging()).unwrap().count()
    }

    pub(super) fn chunk_files(&self) -> usize {
        count_files(&self.dir.objects().join(format!("tenants/{}/chunks", self.ours)))
    }
}

pub(super) async fn publish_in(
    app: &App,
    scope: &TenantScope,
    version: &str,
    payload: &[u8],
) -> Result<Published, AppError> {
    let parts: Vec<Result<Bytes, std::io::Error>> =
        payload.chunks(70_001).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    let new = NewVersion::parse("smollm2", version, None)?;
    publish(app, scope, new, stream::iter(parts)).await
}

/// A call by this device, as the guard lets it through.
pub(super) fn call<T>(device: &Device, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(device.identity.clone());
    request
}

fn count_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { count_files(&path) } else { 1 })
        .sum()
}
