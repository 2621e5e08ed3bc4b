use std::io::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use edgeformer_agent::fetch::bundle::BundleFile;
use edgeformer_agent::fetch::origin::Origin as _;
use edgeformer_agent::fetch::versions::Opening;
use edgeformer_agent::identity::FileKeys;
use edgeformer_proto::bundle::MEDIA_TYPE;
use edgeformer_proto::ids::DeviceId;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::fixture::{Device, Fixture};
use crate::api;
use crate::distribution::testing::model_file;

/// What the API answers: status, type and length as it says, and the body.
async fn export(
    fixture: &Fixture,
    token: &str,
    devices: &[DeviceId],
) -> (StatusCode, Option<String>, Option<usize>, Vec<u8>) {
    let query: Vec<_> = devices.iter().map(|id| format!("device={id}")).collect();
    let uri = format!("/api/v1/models/smollm2/versions/1.0.0/bundle?{}", query.join("&"));
    let request = Request::builder()
        .method(Method::GET)
        .uri(uri)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    let answer = api::router(fixture.app.clone()).oneshot(request).await.unwrap();
    let text = |name| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
    let (kind, length) = (text(header::CONTENT_TYPE), text(header::CONTENT_LENGTH));
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, kind, length.map(|text| text.parse().unwrap()), bytes.to_vec())
}

async fn refused(fixture: &Fixture, token: &str, devices: &[DeviceId]) -> (u16, String) {
    let (status, _, _, body) = export(fixture, token, devices).await;
    (status.as_u16(), String::from_utf8(body).unwrap())
}

fn open(bytes: &[u8], opening: &Opening) -> (BundleFile, edgeformer_proto::bundle::Assignment) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    BundleFile::open(file, opening).unwrap()
}

#[tokio::test]
async fn a_bundle_holds_what_each_of_its_devices_needs_and_opens_for_no_other() {
    let fixture = Fixture::new().await;
    let version = fixture.published("1.0.0", &model_file(1, 3)).await;
    crate::trust::reconcile_all(&fixture.app).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(FileKeys::open_or_create(folder.path()).unwrap());
    let device = fixture.device_with(fixture.ours, keys.as_ref()).await;
    let other = fixture.device(fixture.ours).await;
    for one in [&device, &other] {
        fixture.assign(one, version.id).await;
    }
    let ids = [device.identity.device_id, other.identity.device_id];
    let (status, kind, length, bytes) = export(&fixture, &fixture.our_token, &ids).await;
    assert_eq!((status, kind.as_deref()), (StatusCode::OK, Some(MEDIA_TYPE)));
    assert_eq!(length, Some(bytes.len()));
    assert_eq!(fixture.audited(fixture.ours, &["bundle:export", "\"success\""]).await, 1);

    let opening = Opening {
        tenant_id: fixture.ours,
        device_id: ids[0],
        release_public: fixture.release_public().await,
        keys: keys.clone(),
    };
    let (bundle, told) = open(&bytes, &opening);
    assert_eq!(told.desired.slots[0].version_id, version.id.to_string());
    // What the trust repository serves goes along.
    for name in ["1.root.json", "root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    {
        assert!(bundle.trust_metadata(name, 1 << 20).await.unwrap().is_some(), "{name}");
    }
    assert_eq!(bundle.order().len() as u64, version.chunk_count);
    let context = edgeformer_proto::keywrap::KeyContext {
        tenant: fixture.ours,
        device: ids[0],
        version: version.id,
    };
    let unwrap = |key| edgeformer_proto::keywrap::unwrap(keys.as_ref(), key, &context);
    unwrap(&told.key).unwrap();
    // The other device's key is in the same file.
    let (_, others) = open(&bytes, &Opening { device_id: ids[1], ..opening });
    assert!(unwrap(&others.key).is_err());
}

#[tokio::test]
async fn a_bundle_is_made_only_for_devices_that_are_to_run_the_version() {
    let fixture = Fixture::new().await;
    let version = fixture.published("1.0.0", &model_file(1, 2)).await;
    let (device, theirs) =
        (fixture.device(fixture.ours).await, fixture.device(fixture.theirs).await);
    let id = |device: &Device| device.identity.device_id;
    let token = fixture.our_token.clone();
    let says = |answer: (u16, String), status: u16, part: &str| {
        assert!(answer.0 == status && answer.1.contains(part), "{answer:?}");
    };
    says(refused(&fixture, &token, &[]).await, 422, "at least one device");
    says(refused(&fixture, &token, &[id(&device)]).await, 409, "not to run smollm2 1.0.0 now");
    fixture.assign(&device, version.id).await;
    says(refused(&fixture, &token, &[id(&device), id(&theirs)]).await, 404, "no device");
    says(refused(&fixture, &token, &[id(&device), DeviceId::new()]).await, 404, "no device");
    let many: Vec<_> = (0..=200).map(|_| DeviceId::new()).collect();
    says(refused(&fixture, &token, &many).await, 422, "at most 200");
    let others = fixture.their_token.clone();
    says(refused(&fixture, &others, &[id(&theirs)]).await, 404, "smollm2@1.0.0");
    assert_eq!(fixture.audited(fixture.ours, &["bundle:export", "\"success\""]).await, 0);
    fixture.revoke(&device).await;
    says(refused(&fixture, &token, &[id(&device)]).await, 409, "is revoked");
}

#[tokio::test]
async fn a_chunk_that_is_gone_breaks_a_bundle_off() {
    let fixture = Fixture::new().await;
    let version = fixture.published("1.0.0", &model_file(1, 3)).await;
    let device = fixture.device(fixture.ours).await;
    fixture.assign(&device, version.id).await;
    let chunks = fixture.dir.objects().join(format!("tenants/{}/chunks", fixture.ours));
    std::fs::remove_dir_all(chunks).unwrap();
    let uri = format!(
        "/api/v1/models/smollm2/versions/1.0.0/bundle?device={}",
        device.identity.device_id
    );
    let request = Request::builder()
        .uri(uri)
        .header(header::AUTHORIZATION, format!("Bearer {}", fixture.our_token))
        .body(Body::empty())
        .unwrap();
    let answer = api::router(fixture.app.clone()).oneshot(request).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
}
