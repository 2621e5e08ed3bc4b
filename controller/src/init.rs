//! Making an installation: keys, certificates, database, first admin token. It refuses to touch one
//! that exists; the row in the database is written last, so that an interrupted `init` never looks
//! like a finished one.

use std::path::PathBuf;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::audit::{Intent, Resource};
use crate::ca::{self, CaError, KeyAndCert};
use crate::clock::Timestamp;
use crate::config::{DataDir, pem};
use crate::files::{self, Access, FileError};
use crate::policy::{Action, Role};
use crate::scope::InstallationScope;
use crate::store::api_tokens::ApiToken;
use crate::store::installation::Installation;
use crate::store::{Store, StoreError, api_tokens, installation};
use crate::vault::{SecretKind, Vault, VaultError};
use edgeformer_proto::token::{Kind, Token};

/// Row id that the root key is bound to.
pub const ROOT_KEY_ID: &str = "1";
/// Generations start here; restoring a backup raises it.
const FIRST_EPOCH: u64 = 1;

/// Why an installation could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A certificate.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A key could not be wrapped.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// There is one already.
    #[error(
        "the database {0} holds an installation already: use another database, or serve with the \
         data folder that belongs to it"
    )]
    Exists(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes: try again")]
    Random,
    /// The trust domain is not one.
    #[error(
        "{0:?} is not a trust domain: use 1 to 255 of the characters a-z 0-9 . - _, as in a host name"
    )]
    TrustDomain(String),
}

/// What is to be made.
#[derive(Debug, Clone)]
pub struct NewInstallation {
    /// Where.
    pub dir: DataDir,
    /// Database, or the SQLite file in `dir`.
    pub database_url: Option<String>,
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// Names and addresses of the server certificate.
    pub server_names: Vec<String>,
}

/// Makes it; returns the files that were written, for the operator.
pub async fn init(new: &NewInstallation, now: Timestamp) -> Result<Vec<PathBuf>, InitError> {
    check_trust_domain(&new.trust_domain)?;
    let dir = &new.dir;
    files::create_private_dir(dir.path())?;
    let url = dir.database_url(new.database_url.as_deref(), true);
    let store = Store::connect(&url).await?;
    store.migrate().await?;
    let scope = InstallationScope::system("init");
    if installation::get(&mut *store.read(&scope).await?).await?.is_some() {
        return Err(InitError::Exists(crate::store::connect::without_password(&url)));
    }
    let mut kek = Zeroizing::new([0_u8; 32]);
    SystemRandom::new().fill(kek.as_mut_slice()).map_err(|_| InitError::Random)?;
    let vault = Vault::new(&kek);
    let root = ca::create_root(&new.trust_domain, now.0)?;
    let server = ca::create_server(&root, &new.server_names, now.0)?;
    let secret = Token::mint(Kind::Api);

    files::create_private_dir(&dir.objects())?;
    let written = write_files(dir, kek.as_slice(), &root, &server, &secret)?;
    let row = Installation {
        trust_domain: new.trust_domain.clone(),
        epoch: FIRST_EPOCH,
        wrapped_root_key: vault.wrap(SecretKind::RootCaKey, ROOT_KEY_ID, &root.key_pkcs8)?,
        root_cert_der: root.cert_der,
        created_at: now,
    };
    insert(&store, &scope, &row, &secret, now).await?;
    store.close().await;
    Ok(written)
}

fn write_files(
    dir: &DataDir,
    kek: &[u8],
    root: &KeyAndCert,
    server: &KeyAndCert,
    secret: &Token,
) -> Result<Vec<PathBuf>, FileError> {
    let key = Zeroizing::new(pem("PRIVATE KEY", &server.key_pkcs8));
    let token = Zeroizing::new(format!("{}\n", secret.reveal()));
    let root = pem("CERTIFICATE", &root.cert_der);
    let server = pem("CERTIFICATE", &server.cert_der);
    let all: [(PathBuf, &[u8], Access); 5] = [
        (dir.kek(), kek, Access::Owner),
        (dir.root_cert(), root.as_bytes(), Access::Everyone),
        (dir.server_cert(), server.as_bytes(), Access::Everyone),
        (dir.server_key(), key.as_bytes(), Access::Owner),
        (dir.admin_token(), token.as_bytes(), Access::Owner),
    ];
    for (path, content, access) in &all {
        files::write(path, content, *access)?;
    }
    Ok(all.into_iter().map(|(path, _, _)| path).collect())
}

async fn insert(
    store: &Store,
    scope: &InstallationScope,
    row: &Installation,
    secret: &Token,
    now: Timestamp,
) -> Result<(), StoreError> {
    let token = ApiToken::plain("first admin of the installation", Role::Installation, now);
    let resource = Resource::new("installation", &row.trust_domain);
    let after = serde_json::json!({"trust_domain": row.trust_domain, "token_id": token.id});
    let intent =
        Intent::new(Action::InstallationInit, resource).changes(serde_json::Value::Null, after);
    let mut write = store.write(scope, intent).await?;
    installation::insert(&mut write, row).await?;
    api_tokens::insert(&mut write, &token, &secret.sha256()).await?;
    write.commit(now).await
}

fn check_trust_domain(text: &str) -> Result<(), InitError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if text.is_empty() || text.len() > 255 || !text.chars().all(allowed) {
        return Err(InitError::TrustDomain(text.chars().take(300).collect()));
    }
    Ok(())
}
