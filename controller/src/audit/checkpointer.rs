//! Signs what the log has become, after each run of the sequencer. A checkpoint is signed once and
//! never taken back: a log that is later found to have another history contradicts its own signature.

use edgeformer_proto::audit::checkpoint::Checkpoint;
use edgeformer_proto::audit::note::{KeyKind, SignerKey, VerifierKey};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;

use crate::app::App;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::store::audit_tree::{self, LogKey};
use crate::store::{Conn, StoreError, audit_log, installation, tenants};
use crate::vault::{SecretKind, VaultError};

/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;
const COMPONENT: &str = "audit-checkpointer";

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log's key does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The log's key cannot be made or read.
    #[error("the key of the audit log {0:?} cannot be made or read")]
    Key(String),
}

/// Name of a log's key, and origin of its checkpoints.
pub fn origin<S: Scope>(trust_domain: &str, scope: &S) -> String {
    match scope.key().as_str() {
        "" => format!("{trust_domain}/audit"),
        tenant => format!("{trust_domain}/audit/{tenant}"),
    }
}

/// Signs the logs of the installation and of every tenant that grew. Returns how many.
pub async fn sign_all(app: &App) -> Result<u64, CheckpointerError> {
    let top = InstallationScope::system(COMPONENT);
    let row = installation::get(&mut *app.store.read(&top).await?).await?;
    let Some(row) = row else { return Ok(0) };
    let mut signed = u64::from(sign(app, &row.trust_domain, &top).await?);
    let mut after = None;
    loop {
        let mut read = app.store.read(&top).await?;
        let page = tenants::list(&mut read, after, TENANTS_PER_PAGE).await?;
        drop(read);
        let Some(last) = page.last() else { return Ok(signed) };
        after = Some(last.id);
        for tenant in page.iter().filter(|tenant| !tenant.standing.lifecycle.is_purging()) {
            let scope = TenantScope::system(tenant.id, COMPONENT);
            signed += u64::from(sign(app, &row.trust_domain, &scope).await?);
        }
    }
}

/// Signs one log if it grew since it was signed last.
pub async fn sign_one(app: &App, scope: &TenantScope) -> Result<bool, CheckpointerError> {
    let top = InstallationScope::system(COMPONENT);
    let row = installation::get(&mut *app.store.read(&top).await?).await?;
    match row {
        Some(row) => sign(app, &row.trust_domain, scope).await,
        None => Ok(false),
    }
}

async fn sign<S: Scope>(app: &App, domain: &str, scope: &S) -> Result<bool, CheckpointerError> {
    let mut read = app.store.read(scope).await?;
    let head = audit_log::head(&mut read).await?;
    let signed = audit_tree::checkpoint(&mut read).await?.map_or(0, |(size, _)| size);
    let whole = audit_tree::leaves(&mut read).await? >= head.size();
    drop(read);
    // Tiles behind the log catch up with its next record.
    if head.size() <= signed || !whole {
        return Ok(false);
    }
    let key = signer(app, domain, scope).await?;
    let checkpoint =
        Checkpoint { origin: origin(domain, scope), size: head.size(), root: head.root() };
    let now = app.now();
    let mut write = app.store.write_observation(scope).await?;
    audit_tree::insert_checkpoint(&mut write, head.size(), &checkpoint.sign(&key), now).await?;
    write.commit(now).await?;
    Ok(true)
}

/// The log's private key; made the first time it is needed.
async fn signer<S: Scope>(
    app: &App,
    domain: &str,
    scope: &S,
) -> Result<SignerKey, CheckpointerError> {
    let origin = origin(domain, scope);
    let wrong = || CheckpointerError::Key(origin.clone());
    let mut read = app.store.read(scope).await?;
    let mut found = audit_tree::key(&mut read).await?;
    drop(read);
    if found.is_none() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| wrong())?;
        let made =
            SignerKey::from_pkcs8(&origin, KeyKind::Note, pkcs8.as_ref()).ok_or_else(wrong)?;
        let wrapped = app.vault.wrap(SecretKind::AuditLogKey, &scope.key(), pkcs8.as_ref())?;
        let new = LogKey { public: *made.verifier().public(), wrapped };
        let mut write = app.store.write_observation(scope).await?;
        audit_tree::insert_key(&mut write, &new, app.now()).await?;
        // Another controller may have been faster: its key is the log's.
        found = audit_tree::key(&mut write).await?;
        write.commit(app.now()).await?;
    }
    let key = found.ok_or_else(wrong)?;
    let pkcs8 = app.vault.unwrap(SecretKind::AuditLogKey, &scope.key(), &key.wrapped)?;
    SignerKey::from_pkcs8(&origin, KeyKind::Note, &pkcs8).ok_or_else(wrong)
}

/// The log's public key; none before the first checkpoint.
pub async fn verifier<S: Scope>(
    conn: &mut Conn<S>,
    trust_domain: &str,
) -> Result<Option<VerifierKey>, StoreError> {
    let origin = origin(trust_domain, conn.scope());
    let key = audit_tree::key(conn).await?;
    Ok(key.and_then(|key| VerifierKey::new(&origin, KeyKind::Note, key.public)))
}
