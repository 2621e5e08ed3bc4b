use super::fixture::{Fixture, publish_in};
use crate::distribution::publish::Published;
use crate::distribution::testing::model_file;
use crate::error::AppError;

#[tokio::test]
async fn versions_share_the_chunks_of_equal_tensors() {
    let fixture = Fixture::new().await;
    let first = fixture.published("1.0.0", &model_file(1, 6)).await;
    assert!(first.stored_bytes > 6 * 512 * 1024, "weights do not compress");
    let before = fixture.chunk_files();
    assert!(before as u64 <= first.chunk_count);

    let second = fixture.published("1.1.0", &model_file(2, 6)).await;
    assert_eq!(second.chunk_count, first.chunk_count);
    assert!(
        second.stored_bytes * 2 < first.stored_bytes,
        "{} of {} bytes are new, one tensor of six changed",
        second.stored_bytes,
        first.stored_bytes
    );
    assert!(fixture.chunk_files() > before);
    assert_ne!(second.id, first.id);
    assert_eq!(fixture.staged_files(), 0);
}

#[tokio::test]
async fn publishing_again_is_idempotent_and_another_file_is_a_conflict() {
    let fixture = Fixture::new().await;
    let file = model_file(1, 2);
    let first = fixture.published("1.0.0", &file).await;
    match fixture.publish("1.0.0", &file).await.unwrap() {
        Published::Same(same) => assert_eq!(same.id, first.id),
        Published::New(_) => panic!("published twice"),
    }
    let error = fixture.publish("1.0.0", &model_file(2, 2)).await.unwrap_err();
    match &error {
        AppError::Conflict { code: "version_exists", detail } => {
            assert!(detail.contains("publish this file under a new version"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    let ours = fixture.ours;
    assert_eq!(fixture.audited(ours, &["version:publish", "\"success\""]).await, 1);
    assert_eq!(fixture.audited(ours, &["version:publish", "\"failure\""]).await, 1);
    assert_eq!(fixture.staged_files(), 0);
}

#[tokio::test]
async fn two_who_publish_the_same_at_once_make_one_version() {
    let fixture = Fixture::new().await;
    let file = model_file(1, 2);
    let (one, two) = tokio::join!(fixture.publish("1.0.0", &file), fixture.publish("1.0.0", &file));
    let id = |published| match published {
        Ok(Published::New(version) | Published::Same(version)) => version.id,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(id(one), id(two));
    assert_eq!(fixture.audited(fixture.ours, &["version:publish", "\"success\""]).await, 1);
}

#[tokio::test]
async fn what_is_no_whole_model_is_refused_and_leaves_nothing() {
    let fixture = Fixture::new().await;
    let file = model_file(1, 2);
    let check = async |payload: &[u8], says: &str| {
        match fixture.publish("1.0.0", payload).await.unwrap_err() {
            AppError::Invalid(fields) => {
                assert!(fields[0].message.contains(says), "{}", fields[0].message);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(fixture.staged_files(), 0);
        assert_eq!(fixture.chunk_files(), 0);
    };
    check(&file[..file.len() - 1000], "half a model file").await;
    check(&file[..60], "inside the GGUF header").await;
    check(b"\x7fELF and so on", "not a GGUF model").await;
    check(b"", "0 bytes").await;
    let failures = fixture.audited(fixture.ours, &["version:publish", "\"failure\""]).await;
    assert_eq!(failures, 4);
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused() {
    let fixture = Fixture::new().await;
    let file = model_file(1, 2);
    let app = fixture.app_with_limit(file.len() as u64 - 1).await;
    let scope = fixture.scope(fixture.ours);
    let error = publish_in(&app, &scope, "1.0.0", &file).await.unwrap_err();
    assert!(matches!(error, AppError::TooLarge(_)), "{error}");
    assert_eq!(fixture.staged_files(), 0);
    let app = fixture.app_with_limit(file.len() as u64).await;
    assert!(publish_in(&app, &scope, "1.0.0", &file).await.is_ok());
}
