//! Makes bundles as a controller does, and lets tests change each part of them.

use std::sync::Mutex;

use edgeformer_agent::fetch::versions::Opening;
use edgeformer_proto::Generation;
use edgeformer_proto::artifact::{ChunkId, Digest, ReleaseKey, target_path};
use edgeformer_proto::bundle::{Assignment, Kind, entry, preamble};
use edgeformer_proto::ids::{DeviceId, TenantId};
use edgeformer_proto::keywrap::{HpkePublic, KeyContext, wrap};
use edgeformer_proto::v1;

use crate::publish::{Publisher, Version};
use crate::repo::Repo;

/// The time of all devices.
pub const NOW_US: i64 = 1_700_000_000_000_000;

/// The parts of a bundle, before they are put together.
#[derive(Clone)]
pub struct Parts {
    pub manifest: Vec<u8>,
    pub index: Vec<u8>,
    pub metadata: Vec<(String, Vec<u8>)>,
    pub assignments: Vec<(DeviceId, Vec<u8>)>,
    pub chunks: Vec<(ChunkId, Vec<u8>)>,
}

impl Parts {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = preamble().to_vec();
        bytes.extend(entry(Kind::Manifest, b"", &self.manifest));
        bytes.extend(entry(Kind::Index, b"", &self.index));
        bytes.extend(metadata(&self.metadata));
        for (device, body) in &self.assignments {
            bytes.extend(entry(Kind::Assignment, device.as_bytes(), body));
        }
        for (id, sealed) in &self.chunks {
            bytes.extend(entry(Kind::Chunk, id.as_bytes(), sealed));
        }
        bytes.extend(entry(Kind::End, b"", b""));
        bytes
    }
}

pub fn metadata(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    files.iter().flat_map(|(name, file)| entry(Kind::Metadata, name.as_bytes(), file)).collect()
}

/// What a device is told to run.
pub fn desired(version: &Version, generation: Generation) -> v1::DesiredState {
    let slot = v1::DesiredSlot {
        slot: "m".to_owned(),
        model: version.subject.model.to_string(),
        version: version.subject.version.to_string(),
        version_id: version.subject.version_id.to_string(),
        manifest_sha256: version.manifest_sha256().as_bytes().to_vec().into(),
        rollout_id: "rollout".to_owned(),
        settings: None,
    };
    v1::DesiredState { generation: Some(generation.into()), slots: vec![slot] }
}

/// What one device is told, and the key for it; without metadata.
pub fn assignment(device: &Opening, version: &Version, generation: Generation) -> Assignment {
    let context = KeyContext {
        tenant: device.tenant_id,
        device: device.device_id,
        version: version.subject.version_id,
    };
    let public = HpkePublic::try_from(&device.keys.hpke_public()[..]).unwrap();
    Assignment {
        tenant: device.tenant_id,
        device: device.device_id,
        created: "2026-11-22T00:00:00Z".to_owned(),
        desired: desired(version, generation),
        version: version.subject.version_id,
        key: wrap(&public, &version.data_key, &context, generation).unwrap(),
        metadata_sha256: Digest::of(b""),
    }
}

/// A tenant whose owner releases what is put into bundles.
pub struct Tenant {
    publisher: Publisher,
    repo: Mutex<Repo>,
}

impl std::ops::Deref for Tenant {
    type Target = Publisher;

    fn deref(&self) -> &Publisher {
        &self.publisher
    }
}

impl Tenant {
    pub fn new() -> Self {
        let repo = Mutex::new(Repo::valid_from(NOW_US / 1_000_000));
        Self { publisher: Publisher::new(TenantId::new()), repo }
    }

    /// Signs manifests and assignments.
    pub fn key(&self) -> &ReleaseKey {
        &self.publisher.release
    }

    /// Has a version signed by the owner.
    pub fn release(&self, version: &Version) {
        let path = target_path("m", &version.subject.version.to_string());
        let mut repo = self.repo.lock().unwrap();
        if repo.contents.get(&path) != Some(&version.envelope) {
            repo.bump_targets();
            repo.add_target("targets", &path, &version.envelope);
            repo.publish();
        }
    }

    /// What the repository serves: every root, and the newest of the rest.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let repo = self.repo.lock().unwrap();
        let snapshot = repo.snapshot.as_ref().unwrap().common.version;
        let newest = [
            "timestamp.json".to_owned(),
            format!("{snapshot}.snapshot.json"),
            format!("{}.targets.json", repo.targets.common.version),
        ];
        let wanted = |name: &String| name.ends_with(".root.json") || newest.contains(name);
        let files = repo.files.iter().filter(|(name, _)| wanted(name));
        files.map(|(name, file)| (name.clone(), file.clone())).collect()
    }
}

/// A bundle of a version for these devices.
pub fn site(
    tenant: &Tenant,
    devices: &[&Opening],
    version: &Version,
    generation: Generation,
) -> Parts {
    tenant.release(version);
    unreleased(tenant, devices, version, generation)
}

/// The same, whatever the owner says of the version.
pub fn unreleased(
    tenant: &Tenant,
    devices: &[&Opening],
    version: &Version,
    generation: Generation,
) -> Parts {
    let metadata_sha256 = Digest::of(&metadata(&tenant.files()));
    let mut seen = std::collections::HashSet::new();
    let ids = version.chunk_ids.iter().filter(|id| seen.insert(*id));
    let chunk = |id: &String| {
        let id: ChunkId = id.parse().unwrap();
        (id, tenant.chunk(id.as_bytes()))
    };
    let told = |device: &&Opening| {
        let one = assignment(device, version, generation);
        let one = Assignment { metadata_sha256, ..one };
        (device.device_id, one.sign(tenant.key()))
    };
    Parts {
        manifest: version.envelope.clone(),
        index: version.sealed_index.clone(),
        metadata: tenant.files(),
        assignments: devices.iter().map(told).collect(),
        chunks: ids.map(chunk).collect(),
    }
}
