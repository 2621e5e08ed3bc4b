use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::artifact::{Digest, Manifest, ReleaseKey};
use ring::rand::SystemRandom;
use serde_json::Value;

use super::fixture::Fixture;
use crate::distribution::signatures;
use crate::distribution::testing::model_file;

/// The one file that a bundle is of: name and digest.
fn file(bundle: &[u8]) -> (String, String) {
    let bundle: Value = serde_json::from_slice(bundle).unwrap();
    let body = BASE64.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    let statement: Value = serde_json::from_slice(&body).unwrap();
    let files = statement["predicate"]["resources"].as_array().unwrap();
    assert_eq!(files.len(), 1);
    let text = |name: &str| files[0][name].as_str().unwrap().to_owned();
    (text("name"), text("digest"))
}

#[tokio::test]
async fn only_what_the_release_key_signed_is_signed_for_others() {
    let fixture = Fixture::new().await;
    let scope = fixture.scope(fixture.ours);
    let published = fixture.published("1.0.0", &model_file(1, 1)).await;
    let bundle = || signatures::bundle(&fixture.app, &scope, "smollm2", "1.0.0");
    let file_1 = ("smollm2-1.0.0.gguf".to_owned(), published.payload_sha256.to_string());
    assert_eq!(file(&bundle().await.unwrap()), file_1);

    // A row that says other content is not believed.
    let other = Digest::of(b"other content");
    fixture.exchange_contents(&other.to_string(), &published.manifest_envelope).await;
    assert_eq!(file(&bundle().await.unwrap()), file_1);

    // Nor is a manifest that another key signed.
    let key = ReleaseKey::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = ReleaseKey::from_pkcs8(&key).unwrap();
    let body: Value = serde_json::from_slice(&published.manifest_envelope).unwrap();
    let body = BASE64.decode(body["payload"].as_str().unwrap()).unwrap();
    let mut manifest: Manifest = serde_json::from_slice(&body).unwrap();
    manifest.payload.sha256 = other;
    fixture.exchange_contents(&other.to_string(), &manifest.sign(&key)).await;
    let refused = bundle().await.unwrap_err().to_string();
    assert!(refused.contains("smollm2@1.0.0 is not signed"), "{refused}");
}

#[tokio::test]
async fn those_who_ask_first_at_once_get_one_key_and_tenants_have_their_own() {
    let fixture = Fixture::new().await;
    let (ours, theirs) = (fixture.scope(fixture.ours), fixture.scope(fixture.theirs));
    let key = |scope| signatures::public_key(&fixture.app, scope);
    let (one, two, other) = tokio::join!(key(&ours), key(&ours), key(&theirs));
    let one = one.unwrap();
    assert_eq!(one, two.unwrap());
    assert_eq!(one, key(&ours).await.unwrap());
    assert_ne!(one, other.unwrap());
    let made = ["model_signing_key:create", "\"success\""];
    assert_eq!(fixture.audited(fixture.ours, &made).await, 1);
}
