//! Making an installation, and opening what was made.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use edgeformer_controller::backup;
use edgeformer_controller::clock::{Clock, SystemClock};
use edgeformer_controller::config::DataDir;
use edgeformer_controller::init::{self, InitError, NewInstallation};
use edgeformer_controller::outbound::OutboundRules;
use edgeformer_controller::serve::{self, ServeError};
use edgeformer_controller::store::Store;

use crate::support::db::PostgresDatabase;

fn new(dir: &Path, database_url: Option<&str>) -> NewInstallation {
    NewInstallation {
        dir: DataDir::new(dir).unwrap(),
        database_url: database_url.map(str::to_owned),
        trust_domain: "test.local".into(),
        server_names: vec!["localhost".into(), "127.0.0.1".into()],
    }
}

async fn make(new: &NewInstallation) -> Result<Vec<std::path::PathBuf>, InitError> {
    init::init(new, SystemClock.now()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_private_and_a_second_init_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let new = new(&dir.path().join("data"), None);
    make(&new).await.unwrap();
    for (path, mode) in [
        (new.dir.path().to_owned(), 0o700),
        (new.dir.kek(), 0o600),
        (new.dir.server_key(), 0o600),
        (new.dir.admin_token(), 0o600),
        (new.dir.root_cert(), 0o644),
    ] {
        let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
    let before = std::fs::read(new.dir.kek()).unwrap();
    let error = make(&new).await.unwrap_err();
    assert!(
        matches!(error, InitError::File(_)) && error.to_string().contains("not empty"),
        "{error}"
    );
    assert_eq!(std::fs::read(new.dir.kek()).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_of_another_installation_is_noticed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let new = new(&dir.path().join("data"), None);
    make(&new).await.unwrap();
    assert!(serve::open(&new.dir, None, OutboundRules::default()).await.is_ok());
    std::fs::write(new.dir.kek(), [7; 32]).unwrap();
    let Err(error) = serve::open(&new.dir, None, OutboundRules::default()).await else {
        panic!("it opened")
    };
    assert!(matches!(error, ServeError::Vault(_)), "{error}");
    assert!(error.to_string().contains("does not belong to this database"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_trust_domain_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for wrong in ["", "Edge", "a/b", &"x".repeat(256)] {
        let new = NewInstallation { trust_domain: wrong.to_owned(), ..new(&data, None) };
        assert!(matches!(make(&new).await, Err(InitError::TrustDomain(_))), "{wrong:?}");
    }
    assert!(!data.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_holds_one_installation() {
    let database = PostgresDatabase::create().await;
    let dir = tempfile::tempdir().unwrap();
    let first = new(&dir.path().join("first"), Some(&database.url));
    make(&first).await.unwrap();
    assert!(serve::open(&first.dir, Some(&database.url), OutboundRules::default()).await.is_ok());
    let second = new(&dir.path().join("second"), Some(&database.url));
    let error = make(&second).await.unwrap_err();
    assert!(matches!(error, InitError::Exists(_)), "{error}");
    let store = Store::connect(&database.url).await.unwrap();
    store.check_schema().await.unwrap();
    store.close().await;
    database.drop_it().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_moves_an_installation_between_databases_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = new(&dir.path().join("first"), None);
    make(&first).await.unwrap();
    let database = PostgresDatabase::create().await;
    let on = |name: &str| DataDir::new(&dir.path().join(name)).unwrap();
    let save = async |from: &DataDir, url: Option<&str>, name: &str| {
        let store = Store::connect(&from.database_url(url, false)).await.unwrap();
        let out = dir.path().join(name);
        let saved = backup::save(&store, from, &out, SystemClock.now()).await.unwrap();
        store.close().await;
        (out, saved.rows)
    };
    let bring_back = async |archive: &Path, to: &DataDir, url: Option<&str>| {
        backup::restore(archive, to, url, SystemClock.now()).await.unwrap().epoch
    };

    let (archive, rows) = save(&first.dir, None, "one.tar").await;
    let second = on("second");
    let epoch = bring_back(&archive, &second, Some(&database.url)).await;
    // The keys in the folder still open what is in the other database.
    let (app, row) =
        serve::open(&second, Some(&database.url), OutboundRules::default()).await.unwrap();
    assert_eq!(row.epoch, epoch);
    app.store.close().await;

    let (archive, more) = save(&second, Some(&database.url), "two.tar").await;
    assert_eq!(more, rows + 1, "the record of the restore");
    let third = on("third");
    let later = bring_back(&archive, &third, None).await;
    let (app, row) = serve::open(&third, None, OutboundRules::default()).await.unwrap();
    assert_eq!((row.epoch, row.epoch > epoch), (later, true));
    assert_eq!(row.trust_domain, "test.local");
    app.store.close().await;
    database.drop_it().await;
}
