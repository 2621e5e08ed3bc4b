//! Certificate authorities over time: the installation's root and each tenant's issuing CA are replaced
//! without touching a device. The new root is certified by the old one; devices learn of it, and get
//! certificates of the new issuing CAs, when they renew; what the old ones signed counts until nobody
//! needs it.
//!
//! [`run`] carries on what a rotation began: it takes the roots of the store into use on this controller,
//! replaces issuing CAs that another root signed, and retires what is not needed. Idempotent; several
//! controllers do it beside each other.

mod roots;
pub mod rotate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeformer_proto::ids::TenantId;

use crate::app::App;
use crate::clock::Timestamp;
use crate::device_listener::tls::DeviceVerifier;
use crate::scope::{InstallationScope, TenantScope};
use crate::server_identity::ServerIdentity;
use crate::store::past_cas::{self, Holders};
use crate::store::{Conn, StoreError, tenants};
pub use roots::{Roots, RootsError};
use rotate::RotateError;

/// How soon a rotation that another controller began is taken into use here.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often tenants are looked through when nothing changed.
const TENANTS_INTERVAL: Duration = Duration::from_secs(60);
/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;
const COMPONENT: &str = "certificate-authorities";

/// Runs until cancelled.
pub async fn run(app: App, identity: Arc<ServerIdentity>, verifier: Arc<DeviceVerifier>) {
    let (mut in_use, mut looked) = (String::new(), None::<Instant>);
    loop {
        match adopt(&app, &identity, &verifier, &in_use).await {
            Ok(Some(state)) => (in_use, looked) = (state, None),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the roots in use stay as they are"),
        }
        if looked.is_none_or(|at| at.elapsed() >= TENANTS_INTERVAL) {
            looked = Some(Instant::now());
            if let Err(error) = reconcile(&app).await {
                tracing::error!(%error, "certificate authorities are not looked after; trying again");
            }
        }
        tokio::select! {
            () = app.nudges.authorities.notified() => looked = None,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Takes the roots into use if they are not those of `in_use`. Returns what is in use now.
async fn adopt(
    app: &App,
    identity: &ServerIdentity,
    verifier: &DeviceVerifier,
    in_use: &str,
) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
    let roots = Roots::load(app, COMPONENT).await?;
    let state = roots.state();
    if state == in_use {
        return Ok(None);
    }
    // Devices first: whoever renews at another controller may come here with what it got.
    verifier.trust(&roots.all())?;
    identity.adopt(&roots, &app.vault, app.now())?;
    Ok(Some(state))
}

/// Who needs a root.
#[derive(Debug, Default)]
pub struct Needs {
    /// Tenants that sign with a CA under it.
    pub signing: u64,
    /// Devices with certificates from CAs under it.
    pub holders: Holders,
}

/// Every tenant that is not being purged, with its scope.
async fn all_tenants(app: &App) -> Result<Vec<TenantScope>, StoreError> {
    let top = InstallationScope::system(COMPONENT);
    let (mut all, mut after): (Vec<TenantScope>, Option<TenantId>) = (Vec::new(), None);
    loop {
        let page =
            tenants::list(&mut *app.store.read(&top).await?, after, TENANTS_PER_PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(last.id);
        let kept = page.iter().filter(|tenant| !tenant.standing.lifecycle.is_purging());
        all.extend(kept.map(|tenant| TenantScope::system(tenant.id, COMPONENT)));
    }
}

/// Who needs the past root `id`, or the present one.
pub async fn needs_of_root(
    app: &App,
    roots: &Roots,
    id: Option<&str>,
) -> Result<Needs, StoreError> {
    let mut needs = Needs::default();
    for scope in all_tenants(app).await? {
        let mut read = app.store.read(&scope).await?;
        let Some(tenant) = tenants::own(&mut read).await? else { continue };
        let is_under = |der: &[u8]| roots.past_issuer_of(der).map(|root| root.id.as_str()) == id;
        if is_under(&tenant.ca_cert_der) {
            needs.signing += 1;
            needs.holders.add(current_holders(&mut read, &tenant, app.now()).await?);
        }
        for ca in past_cas::list(&mut read).await? {
            if ca.retired_at.is_none() && is_under(&ca.cert_der) {
                needs.holders.add(past_cas::holders(&mut read, &ca.id, app.now()).await?);
            }
        }
    }
    Ok(needs)
}

/// Who has a certificate from the CA that signs now.
pub async fn current_holders(
    conn: &mut Conn<TenantScope>,
    tenant: &tenants::Tenant,
    now: Timestamp,
) -> Result<Holders, StoreError> {
    let id = crate::ca::id_of(&tenant.ca_cert_der);
    let mut holders = past_cas::holders(conn, &id, now).await?;
    // Enrolled before it was noted whose certificates devices have: there was one CA then.
    holders.add(past_cas::holders(conn, "", now).await?);
    Ok(holders)
}

/// Carries on what rotations began, for every tenant and the installation. One tenant's trouble does not
/// stop the others.
pub async fn reconcile(app: &App) -> Result<(), RotateError> {
    let roots = Roots::load(app, COMPONENT).await?;
    for scope in all_tenants(app).await? {
        if let Err(error) = reconcile_tenant(app, &roots, &scope).await {
            tracing::error!(%error, tenant = %scope.tenant(), "its certificate authorities stay as they are");
        }
    }
    let top = InstallationScope::system(COMPONENT);
    for root in roots.past.iter().filter(|root| root.retired_at.is_none()) {
        match rotate::retire_root(app, &top, &root.id, false, NOT_NEEDED).await {
            Err(RotateError::InUse(_) | RotateError::NotReplaced(_)) => {}
            done => done?,
        }
    }
    Ok(())
}

const NOT_NEEDED: &str = "no device holds a valid certificate from it";

async fn reconcile_tenant(
    app: &App,
    roots: &Roots,
    scope: &TenantScope,
) -> Result<(), RotateError> {
    let mut read = app.store.read(scope).await?;
    let Some(tenant) = tenants::own(&mut read).await? else { return Ok(()) };
    drop(read);
    if roots.past_issuer_of(&tenant.ca_cert_der).is_some() {
        match rotate::tenant(app, scope, "the installation's root was replaced").await {
            Err(RotateError::Raced | RotateError::TooMany) => {}
            done => done?,
        }
    }
    let mut read = app.store.read(scope).await?;
    let past = past_cas::list(&mut read).await?;
    let mut idle = Vec::new();
    for ca in past.into_iter().filter(|ca| ca.retired_at.is_none()) {
        let root = roots.past_issuer_of(&ca.cert_der);
        let is_cut = root.is_some_and(|root| root.retired_at.is_some());
        if is_cut || past_cas::holders(&mut read, &ca.id, app.now()).await?.devices == 0 {
            idle.push((ca.id, is_cut));
        }
    }
    drop(read);
    for (id, is_cut) in idle {
        let why = if is_cut { "its root was retired" } else { NOT_NEEDED };
        match rotate::retire_tenant(app, scope, &id, is_cut, why).await {
            Err(RotateError::InUse(_)) => {}
            done => done?,
        }
    }
    Ok(())
}
