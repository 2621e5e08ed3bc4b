use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use edgeformer_proto::Generation;
use edgeformer_proto::artifact::{
    ChunkIndex, DataKey, Expected, MAX_FETCH_CHUNKS, Manifest, Opener, ReleasePublic,
};
use edgeformer_proto::ids::VersionId;
use edgeformer_proto::keywrap::{self, KeyContext, WrappedKey};
use edgeformer_proto::v1;
use edgeformer_proto::v1::artifacts_server::Artifacts;
use edgeformer_proto::v1::keys_server::Keys;
use futures::{StreamExt, TryStreamExt};
use tonic::{Code, Request, Status};

use super::fixture::{Device, Fixture, call};
use crate::distribution::artifacts::ArtifactService;
use crate::distribution::keys::KeyService;
use crate::distribution::testing::model_file;
use crate::store::tenants;
use crate::store::versions::StoredVersion;

async fn version(
    fixture: &Fixture,
    device: &Device,
    id: VersionId,
) -> Result<v1::GetVersionResponse, Status> {
    let service = ArtifactService::new(fixture.app.clone());
    let request = v1::GetVersionRequest { version_id: id.to_string() };
    service.get_version(call(device, request)).await.map(tonic::Response::into_inner)
}

async fn fetch(
    fixture: &Fixture,
    device: &Device,
    chunk_ids: Vec<Bytes>,
) -> Result<Vec<v1::SealedChunk>, Status> {
    let service = ArtifactService::new(fixture.app.clone());
    let request = v1::FetchChunksRequest { chunk_ids, ..Default::default() };
    let stream = service.fetch_chunks(call(device, request)).await?;
    stream.into_inner().try_collect().await
}

async fn key(fixture: &Fixture, device: &Device, id: VersionId) -> Result<DataKey, Status> {
    let service = KeyService::new(fixture.app.clone());
    let request = v1::WrapDataKeyRequest { version_id: id.to_string() };
    let answer = service.wrap_data_key(call(device, request)).await?.into_inner();
    let generation = answer.generation.map(Generation::from);
    let wrapped =
        WrappedKey::from_parts(generation, &answer.encapsulated, &answer.ciphertext).unwrap();
    let context = KeyContext {
        tenant: device.identity.tenant_id,
        device: device.identity.device_id,
        version: id,
    };
    Ok(keywrap::unwrap(&device.private, &wrapped, &context).unwrap())
}

/// What a device does to verify what it fetched.
async fn index(
    fixture: &Fixture,
    fetched: &v1::GetVersionResponse,
    published: &StoredVersion,
    key: &DataKey,
) -> ChunkIndex {
    let mut read = fixture.app.store.read(&fixture.scope(fixture.ours)).await.unwrap();
    let tenant = tenants::own(&mut read).await.unwrap().unwrap();
    let release = ReleasePublic::try_from(tenant.release_public.as_slice()).unwrap();
    let expected = Expected {
        tenant: fixture.ours,
        model: published.model.clone(),
        version: published.version.clone(),
        version_id: published.id,
    };
    let pin = published.manifest_sha256;
    let manifest = Manifest::verify(&fetched.manifest_envelope, &pin, &release, &expected).unwrap();
    manifest.open_index(key, &fetched.sealed_index).unwrap()
}

#[tokio::test]
async fn a_device_opens_exactly_what_was_published() {
    let fixture = Fixture::new().await;
    let file = model_file(1, 5);
    let published = fixture.published("1.0.0", &file).await;
    let device = fixture.device(fixture.ours).await;
    fixture.assign(&device, published.id).await;

    let fetched = version(&fixture, &device, published.id).await.unwrap();
    let key = key(&fixture, &device, published.id).await.unwrap();
    let index = index(&fixture, &fetched, &published, &key).await;
    let ids: BTreeSet<_> = index.entries().iter().map(|entry| entry.id).collect();
    let asked: Vec<Bytes> = ids.iter().map(|id| id.as_bytes().to_vec().into()).collect();
    let chunks = fetch(&fixture, &device, asked.clone()).await.unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.id.clone()).collect::<Vec<_>>(), asked);

    let chunks: HashMap<Bytes, Bytes> =
        chunks.into_iter().map(|chunk| (chunk.id, chunk.sealed)).collect();
    let mut opener = Opener::new(&index);
    let mut opened = Vec::new();
    while let Some(entry) = opener.wanted() {
        opened.extend_from_slice(&opener.open(&chunks[entry.id.as_bytes().as_slice()]).unwrap());
    }
    opener.finish().unwrap();
    assert!(opened == file, "the opened payload differs");
    let release = ["data_key:release", "\"success\"", "smollm2@1.0.0", "line-3"];
    assert_eq!(fixture.audited(fixture.ours, &release).await, 1);
}

#[tokio::test]
async fn other_tenants_versions_chunks_and_keys_do_not_exist() {
    let fixture = Fixture::new().await;
    let published = fixture.published("1.0.0", &model_file(1, 2)).await;
    let ours = fixture.device(fixture.ours).await;
    fixture.assign(&ours, published.id).await;
    let data_key = key(&fixture, &ours, published.id).await.unwrap();
    let fetched = version(&fixture, &ours, published.id).await.unwrap();
    let index = index(&fixture, &fetched, &published, &data_key).await;
    let chunk: Bytes = index.entries()[0].id.as_bytes().to_vec().into();
    assert!(fetch(&fixture, &ours, vec![chunk.clone()]).await.is_ok());

    let stranger = fixture.device(fixture.theirs).await;
    fixture.assign(&stranger, published.id).await;
    let code = |answer: Result<(), Status>| answer.unwrap_err().code();
    let found = version(&fixture, &stranger, published.id).await.map(drop);
    assert_eq!(code(found), Code::NotFound);
    assert_eq!(code(fetch(&fixture, &stranger, vec![chunk]).await.map(drop)), Code::NotFound);
    assert!(key(&fixture, &stranger, published.id).await.is_err());
}

#[tokio::test]
async fn a_key_is_only_for_what_a_rollout_gave_the_device() {
    let fixture = Fixture::new().await;
    let published = fixture.published("1.0.0", &model_file(1, 2)).await;
    let device = fixture.device(fixture.ours).await;
    let refused = async |why: &str| {
        let status = key(&fixture, &device, published.id).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{why}: {status}");
    };
    refused("not assigned").await;
    fixture.claims_to_serve(&device, published.id).await;
    refused("only the device itself says that it serves it").await;
    fixture.will_be_given(&device, published.id).await;
    refused("a rollout that did not get to it yet gives nothing").await;
    fixture.was_given(&device, published.id).await;
    key(&fixture, &device, published.id).await.expect("it serves what a rollout gave it");
    fixture.assign(&device, published.id).await;
    key(&fixture, &device, published.id).await.expect("assigned");
    fixture.revoke(&device).await;
    refused("revoked").await;
    let denied = ["data_key:release", "\"denied\""];
    assert_eq!(fixture.audited(fixture.ours, &denied).await, 4);
}

#[tokio::test]
async fn an_assignment_that_ended_ends_the_right_to_the_key() {
    let fixture = Fixture::new().await;
    let published = fixture.published("1.0.0", &model_file(1, 2)).await;
    let device = fixture.device(fixture.ours).await;
    fixture.assign(&device, published.id).await;
    key(&fixture, &device, published.id).await.unwrap();
    fixture.unassign(&device).await;
    fixture.was_given(&device, published.id).await;
    assert!(key(&fixture, &device, published.id).await.is_err());
}

#[tokio::test]
async fn calls_are_bounded_and_need_an_identity() {
    let fixture = Fixture::new().await;
    let device = fixture.device(fixture.ours).await;
    let code = async |ids: Vec<Bytes>| fetch(&fixture, &device, ids).await.unwrap_err().code();
    let id = Bytes::from_static(&[7; 32]);
    assert_eq!(code(vec![id.clone(); MAX_FETCH_CHUNKS + 1]).await, Code::InvalidArgument);
    assert_eq!(code(vec![Bytes::from_static(&[7; 31])]).await, Code::InvalidArgument);
    assert_eq!(code(vec![id]).await, Code::NotFound);

    let service = ArtifactService::new(fixture.app.clone());
    let request = v1::GetVersionRequest { version_id: "1.0.0".to_owned() };
    let status = service.get_version(call(&device, request.clone())).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = service.get_version(Request::new(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_damaged_chunk_is_reported_as_the_controllers_and_stops_the_stream() {
    let fixture = Fixture::new().await;
    fixture.published("1.0.0", &model_file(1, 1)).await;
    let device = fixture.device(fixture.ours).await;
    let folder = fixture.dir.objects().join(format!("tenants/{}/chunks", fixture.ours));
    let group = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let path = std::fs::read_dir(group).unwrap().next().unwrap().unwrap().path();
    let id = data_encoding::HEXLOWER.decode(path.file_name().unwrap().as_encoded_bytes()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let service = ArtifactService::new(fixture.app.clone());
    let request = v1::FetchChunksRequest { chunk_ids: vec![id.into()], ..Default::default() };
    let mut stream = service.fetch_chunks(call(&device, request)).await.unwrap().into_inner();
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
}
