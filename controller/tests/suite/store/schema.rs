use edgeformer_controller::store::{Store, StoreError, connect};

use crate::on_both_databases;

on_both_databases! {
    async fn migrating_twice_changes_nothing_and_the_schema_fits(db: Db) {
        let version = db.store.schema_version().await.unwrap();
        assert!(version >= 1);
        db.store.migrate().await.unwrap();
        assert_eq!(db.store.schema_version().await.unwrap(), version);
        db.store.check_schema().await.unwrap();
    }
}

#[tokio::test]
async fn an_empty_database_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::connect(&connect::sqlite_url(&dir.path().join("a b.db"), true)).await.unwrap();
    let error = store.check_schema().await.unwrap_err();
    assert!(matches!(error, StoreError::Schema { found: 0, .. }), "{error}");
    assert!(error.to_string().contains("edgeformer-controller migrate"), "{error}");
    store.close().await;
}

#[tokio::test]
async fn a_missing_file_and_an_unknown_database_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let url = connect::sqlite_url(&dir.path().join("missing.db"), false);
    let error = Store::connect(&url).await.unwrap_err();
    assert!(error.to_string().contains("missing.db"), "{error}");
    assert!(matches!(Store::connect("mysql://x/y").await, Err(StoreError::Url(_))));
}

/// Both folders hold the same schema; only the type of bytes differs.
#[test]
fn the_migrations_come_in_pairs_with_the_same_text() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let read = |folder: &str| {
        let mut files: Vec<_> = std::fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let text = std::fs::read_to_string(entry.path()).unwrap();
                let words: Vec<String> =
                    text.split_whitespace().map(|word| word.replace("BYTEA", "BLOB")).collect();
                (entry.file_name(), words)
            })
            .collect();
        files.sort();
        files
    };
    let (sqlite, postgres) = (read("sqlite"), read("postgres"));
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite, postgres);
}
