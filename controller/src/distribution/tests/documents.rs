use bytes::Bytes;
use edgeformer_proto::artifact::{Digest, Expected, Manifest};
use edgeformer_proto::model_card::ModelCard;
use edgeformer_proto::publication::Publication;
use futures::stream;
use serde_json::Value;

use super::fixture::{Fixture, publish_in};
use crate::distribution::documents;
use crate::distribution::publish::{NewVersion, Published, publish};
use crate::distribution::testing::model_file;
use crate::error::AppError;
use crate::store::versions::StoredVersion;

const CARD: &str = r#"{"license":"Apache-2.0","base_models":[{"name":"base"}],
    "evaluations":[{"name":"accuracy","value":0.61,"dataset":"quiz","interval":[0.59,0.63]}]}"#;

async fn publish_with(
    fixture: &Fixture,
    version: &str,
    card: &str,
    file: &[u8],
) -> Result<Published, AppError> {
    let publication = Publication { card: ModelCard::from_json(card.as_bytes()).unwrap() };
    let body = [&publication.to_head().unwrap(), file].concat();
    let parts: Vec<Result<Bytes, std::io::Error>> =
        body.chunks(70_001).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    let new = NewVersion::parse("smollm2", version, None)?.with_head(true);
    publish(&fixture.app, &fixture.scope(fixture.ours), new, stream::iter(parts)).await
}

async fn manifest(fixture: &Fixture, version: &StoredVersion) -> Manifest {
    let expected = Expected {
        tenant: fixture.ours,
        model: version.model.clone(),
        version: version.version.clone(),
        version_id: version.id,
    };
    let (envelope, pinned) = (&version.manifest_envelope, &version.manifest_sha256);
    Manifest::verify(envelope, pinned, &fixture.release_public().await, &expected).unwrap()
}

#[tokio::test]
async fn the_manifest_names_the_documents_that_are_served() {
    let fixture = Fixture::new().await;
    let scope = fixture.scope(fixture.ours);
    let Published::New(version) =
        publish_with(&fixture, "1.0.0", CARD, &model_file(1, 1)).await.unwrap()
    else {
        panic!("it was there before");
    };
    let manifest = manifest(&fixture, &version).await;
    let bom = documents::bom(&fixture.app, &scope, "smollm2", "1.0.0").await.unwrap();
    let card = documents::card(&fixture.app, &scope, "smollm2", "1.0.0").await.unwrap();
    assert_eq!(manifest.documents["bom"].sha256, Digest::of(&bom));
    assert_eq!(manifest.documents["card"].sha256, Digest::of(&card));
    assert_eq!(manifest.documents.len(), 2);
    let bom: Value = serde_json::from_slice(&bom).unwrap();
    let model = &bom["metadata"]["component"];
    assert_eq!(model["hashes"][0]["content"], version.payload_sha256.to_string());
    assert_eq!(model["licenses"][0]["license"]["id"], "Apache-2.0");
    assert_eq!(bom["metadata"]["timestamp"], version.created_at.rfc3339());
    let said: Value = serde_json::from_slice(&card).unwrap();
    assert_eq!(said, serde_json::from_str::<Value>(CARD).unwrap());
    // Nothing is said of the next one, and nothing is made up.
    publish_in(&fixture.app, &scope, "1.1.0", &model_file(2, 1)).await.unwrap();
    let card = documents::card(&fixture.app, &scope, "smollm2", "1.1.0").await.unwrap();
    assert_eq!(card, b"{}");
}

#[tokio::test]
async fn what_was_said_of_a_version_never_changes() {
    let fixture = Fixture::new().await;
    let file = model_file(1, 1);
    publish_with(&fixture, "1.0.0", CARD, &file).await.unwrap();
    let again = publish_with(&fixture, "1.0.0", CARD, &file).await.unwrap();
    assert!(matches!(again, Published::Same(_)), "{again:?}");
    let silent = fixture.publish("1.0.0", &file).await.unwrap();
    assert!(matches!(silent, Published::Same(_)), "{silent:?}");
    let other = publish_with(&fixture, "1.0.0", r#"{"license":"MIT"}"#, &file).await.unwrap_err();
    assert!(other.to_string().contains("something else was said of it"), "{other}");
    // Also where nothing was said.
    fixture.published("1.1.0", &model_file(2, 1)).await;
    let late = publish_with(&fixture, "1.1.0", CARD, &model_file(2, 1)).await.unwrap_err();
    assert!(late.to_string().contains("something else was said of it"), "{late}");
    assert_eq!(fixture.staged_files(), 0);
}

#[tokio::test]
async fn documents_that_somebody_exchanged_in_the_store_are_not_served() {
    let fixture = Fixture::new().await;
    let scope = fixture.scope(fixture.ours);
    publish_with(&fixture, "1.0.0", CARD, &model_file(1, 1)).await.unwrap();
    let bom = || documents::bom(&fixture.app, &scope, "smollm2", "1.0.0");
    let card = || documents::card(&fixture.app, &scope, "smollm2", "1.0.0");
    bom().await.unwrap();
    fixture.sql("UPDATE version_documents SET body = CAST('{}' AS BLOB)", &[]).await;
    for refused in [bom().await.unwrap_err(), card().await.unwrap_err()] {
        assert!(refused.to_string().contains("not the one that its manifest names"), "{refused}");
    }
    fixture.sql("DELETE FROM version_documents", &[]).await;
    for refused in [bom().await.unwrap_err(), card().await.unwrap_err()] {
        assert!(refused.to_string().contains("not the one that its manifest names"), "{refused}");
    }
}

#[tokio::test]
async fn a_head_beyond_bounds_stores_nothing() {
    let fixture = Fixture::new().await;
    let scope = fixture.scope(fixture.ours);
    let file = model_file(1, 1);
    for head in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02[]", b"\0\0\0\x08{\"a\":1}", b"\0\0"] {
        let parts: Vec<Result<Bytes, std::io::Error>> =
            vec![Ok(Bytes::copy_from_slice(head)), Ok(Bytes::copy_from_slice(&file[..9]))];
        let new = NewVersion::parse("smollm2", "1.0.0", None).unwrap().with_head(true);
        let refused = publish(&fixture.app, &scope, new, stream::iter(parts)).await.unwrap_err();
        let AppError::Invalid(fields) = refused else { panic!("{refused}") };
        assert_eq!(fields[0].field, "publication");
    }
    assert_eq!((fixture.staged_files(), fixture.chunk_files()), (0, 0));
}
