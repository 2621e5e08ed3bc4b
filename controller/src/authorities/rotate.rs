//! Replacing a certificate authority, and ending what the old one signed. Each is one transaction: the
//! new one signs from the moment of the commit, and the old one's key is gone with it. What the old one
//! signed goes on counting until it is retired.

use serde_json::json;

use super::roots::{Roots, RootsError};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::ca::{self, CaError};
use crate::clock::Timestamp;
use crate::init::ROOT_KEY_ID;
use crate::policy::Action;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::past_cas::{self, Holders};
use crate::store::{StoreError, installation, tenants};
use crate::vault::{SecretKind, VaultError};

/// CAs before the present one whose certificates count; each is one more to try at a device's request.
const MAX_UNRETIRED: usize = 3;

/// Why a CA is not replaced or retired.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The roots.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// A key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A certificate.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Somebody else was faster.
    #[error(
        "another rotation was faster: look at `edgeformer ca show`, and repeat it if it is still to be done"
    )]
    Raced,
    /// Too many are under way.
    #[error(
        "{MAX_UNRETIRED} authorities before this one still count: wait until they are retired, or retire \
         them (`edgeformer ca show`)"
    )]
    TooMany,
    /// There is none of this id that was replaced.
    #[error("{0:?} is none that was replaced")]
    Unknown(String),
    /// Devices need it.
    #[error("{}", in_use(.0))]
    InUse(Holders),
    /// Tenants' CAs under it are not replaced yet.
    #[error(
        "{0} tenants still sign with an authority under it: they are replaced within a minute, \
         try again then"
    )]
    NotReplaced(u64),
}

fn in_use(holders: &Holders) -> String {
    let names = holders.names.join(", ");
    let more = if holders.devices > holders.names.len() as u64 { ", …" } else { "" };
    let until = holders.until.map(Timestamp::rfc3339).unwrap_or_default();
    format!(
        "{} devices hold certificates from it that are valid ({names}{more}), the last until {until}: \
         it is retired by itself when they renewed; forced, they have to renew before anything else",
        holders.devices
    )
}

/// Replaces the installation's root.
pub async fn root(app: &App, scope: &InstallationScope) -> Result<(), RotateError> {
    let now = app.now();
    let roots = Roots::read(&mut *app.store.read(scope).await?).await?;
    if roots.trusted().len() > MAX_UNRETIRED {
        return Err(RotateError::TooMany);
    }
    let old = roots.signing(&app.vault)?;
    let next = ca::create_next_root(&old, &roots.trust_domain, now.0)?;
    let wrapped = app.vault.wrap(SecretKind::RootCaKey, ROOT_KEY_ID, &next.root.key_pkcs8)?;
    let id = ca::id_of(&next.root.cert_der);
    let intent = Intent::new(Action::InstallationCaRotate, Resource::new("root_ca", &id))
        .changes(json!({"root": ca::id_of(&old.cert_der)}), json!({"root": id}));
    let mut write = app.store.write(scope, intent).await?;
    let (cert, cross) = (&next.root.cert_der, &next.cross_der);
    if !installation::replace_root(&mut write, &old.cert_der, cert, &wrapped).await? {
        return Err(RotateError::Raced);
    }
    past_cas::insert(&mut write, &old.cert_der, cross, now).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    app.nudges.authorities.notify_one();
    tracing::warn!(root = id, "the installation's root was replaced");
    Ok(())
}

/// Replaces a tenant's issuing CA.
pub async fn tenant(app: &App, scope: &TenantScope, reason: &str) -> Result<(), RotateError> {
    let now = app.now();
    let roots = Roots::load(app, "certificate authorities").await?;
    let mut read = app.store.read(scope).await?;
    let tenant = tenants::own(&mut read).await?.ok_or(RotateError::Raced)?;
    let past = past_cas::list(&mut read).await?;
    drop(read);
    if past.iter().filter(|ca| ca.retired_at.is_none()).count() >= MAX_UNRETIRED {
        return Err(RotateError::TooMany);
    }
    let made = ca::create_issuing(&roots.signing(&app.vault)?, tenant.id, now.0)?;
    let row = tenant.id.to_string();
    let wrapped = app.vault.wrap(SecretKind::TenantCaKey, &row, &made.key_pkcs8)?;
    let (old, id) = (ca::id_of(&tenant.ca_cert_der), ca::id_of(&made.cert_der));
    let intent = Intent::new(Action::TenantCaRotate, Resource::new("tenant_ca", &id))
        .because(reason)
        .changes(json!({"issuing_ca": old}), json!({"issuing_ca": id}));
    let mut write = app.store.write(scope, intent).await?;
    let replaced =
        tenants::replace_ca(&mut write, &tenant.ca_cert_der, &made.cert_der, &wrapped).await?;
    if !replaced {
        return Err(RotateError::Raced);
    }
    past_cas::insert(&mut write, &tenant.ca_cert_der, &[], now).await?;
    past_cas::note_holders(&mut write, &old).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

/// Ends what one of a tenant's past CAs signed. Refused while devices need it, unless `force`.
pub async fn retire_tenant(
    app: &App,
    scope: &TenantScope,
    id: &str,
    force: bool,
    reason: &str,
) -> Result<(), RotateError> {
    let now = app.now();
    let intent = Intent::new(Action::TenantCaRetire, Resource::new("tenant_ca", id));
    let mut write = app.store.write(scope, intent.because(reason)).await?;
    let known = past_cas::list(&mut write).await?;
    let Some(ca) = known.into_iter().find(|ca| ca.id == id) else {
        return Err(RotateError::Unknown(id.to_owned()));
    };
    let holders = past_cas::holders(&mut write, id, now).await?;
    if holders.devices > 0 && !force {
        return Err(RotateError::InUse(holders));
    }
    if ca.retired_at.is_some() || !past_cas::retire(&mut write, id, now).await? {
        return Ok(());
    }
    write.changes(json!(null), json!({"devices_that_must_renew": holders.devices}));
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

/// Ends the trust in one of the past roots. Refused while tenants or devices need it, unless `force`; a
/// tenant's CAs under it are retired with it.
pub async fn retire_root(
    app: &App,
    scope: &InstallationScope,
    id: &str,
    force: bool,
    reason: &str,
) -> Result<(), RotateError> {
    let now = app.now();
    let roots = Roots::read(&mut *app.store.read(scope).await?).await?;
    let Some(root) = roots.past.iter().find(|root| root.id == id) else {
        return Err(RotateError::Unknown(id.to_owned()));
    };
    if root.retired_at.is_some() {
        return Ok(());
    }
    let needs = super::needs_of_root(app, &roots, Some(id)).await?;
    match needs {
        _ if force => {}
        super::Needs { signing: tenants @ 1.., .. } => {
            return Err(RotateError::NotReplaced(tenants));
        }
        super::Needs { ref holders, .. } if holders.devices > 0 => {
            return Err(RotateError::InUse(needs.holders));
        }
        _ => {}
    }
    let intent = Intent::new(Action::InstallationCaRetire, Resource::new("root_ca", id))
        .because(reason)
        .changes(json!(null), json!({"devices_that_must_renew": needs.holders.devices}));
    let mut write = app.store.write(scope, intent).await?;
    if past_cas::retire(&mut write, id, now).await? {
        write.commit(now).await?;
        app.nudges.audit.notify_one();
        app.nudges.authorities.notify_one();
    }
    Ok(())
}
