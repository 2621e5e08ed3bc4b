//! Certificate authorities as operators see and change them.

use crate::app::App;
use crate::authorities::rotate::{self, RotateError};
use crate::authorities::{self, Roots};
use crate::ca;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::past_cas::{self, Holders, PastCa};
use crate::store::tenants;

/// Where an authority is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It signs.
    Current,
    /// It was replaced; what it signed counts.
    Overlap,
    /// It was replaced; what it signed counts no more.
    Retired,
}

/// One certificate authority.
#[derive(Debug, Clone)]
pub struct Authority {
    /// SHA-256 of its certificate.
    pub id: String,
    /// Where it is in its life.
    pub state: State,
    /// Certificate, DER.
    pub cert_der: Vec<u8>,
    /// Since when another one signs.
    pub replaced_at: Option<Timestamp>,
    /// Since when what it signed counts no more.
    pub retired_at: Option<Timestamp>,
    /// Tenants that sign with a CA under it; for roots.
    pub tenants: Option<u64>,
    /// Devices that need it.
    pub holders: Holders,
}

impl Authority {
    fn current(cert_der: &[u8], tenants: Option<u64>, holders: Holders) -> Self {
        Self {
            id: ca::id_of(cert_der),
            state: State::Current,
            cert_der: cert_der.to_vec(),
            replaced_at: None,
            retired_at: None,
            tenants,
            holders,
        }
    }

    fn past(ca: PastCa, tenants: Option<u64>, holders: Holders) -> Self {
        Self {
            state: if ca.retired_at.is_some() { State::Retired } else { State::Overlap },
            id: ca.id,
            cert_der: ca.cert_der,
            replaced_at: Some(ca.replaced_at),
            retired_at: ca.retired_at,
            tenants,
            holders,
        }
    }
}

impl From<RotateError> for AppError {
    fn from(error: RotateError) -> Self {
        let detail = error.to_string();
        match error {
            RotateError::Store(error) => Self::Store(error),
            RotateError::Unknown(id) => Self::not_found("certificate_authority", id),
            RotateError::Raced => Self::conflict("rotation_raced", detail),
            RotateError::TooMany => Self::conflict("too_many_authorities", detail),
            RotateError::InUse(_) | RotateError::NotReplaced(_) => {
                Self::conflict("authority_in_use", detail)
            }
            RotateError::Roots(_) | RotateError::Vault(_) | RotateError::Ca(_) => {
                Self::Internal(detail)
            }
        }
    }
}

/// The installation's roots, the present one first.
pub async fn roots(app: &App, scope: &InstallationScope) -> Result<Vec<Authority>, AppError> {
    let roots = Roots::read(&mut *app.store.read(scope).await?).await.map_err(RotateError::from)?;
    let under = authorities::needs_of_root(app, &roots, None).await?;
    let mut all = vec![Authority::current(&roots.current_der, Some(under.signing), under.holders)];
    for root in roots.past.clone() {
        let needs = match root.retired_at {
            Some(_) => authorities::Needs::default(),
            None => authorities::needs_of_root(app, &roots, Some(&root.id)).await?,
        };
        all.push(Authority::past(root, Some(needs.signing), needs.holders));
    }
    Ok(all)
}

/// The CAs that make a tenant's device certificates, the present one first.
pub async fn issuing(app: &App, scope: &TenantScope) -> Result<Vec<Authority>, AppError> {
    let now = app.now();
    let mut read = app.store.read(scope).await?;
    let tenant = tenants::own(&mut read).await?;
    let tenant = tenant.ok_or_else(|| AppError::Internal("the tenant is gone".into()))?;
    let holders = authorities::current_holders(&mut read, &tenant, now).await?;
    let mut all = vec![Authority::current(&tenant.ca_cert_der, None, holders)];
    for ca in past_cas::list(&mut read).await? {
        let holders = match ca.retired_at {
            Some(_) => Holders::default(),
            None => past_cas::holders(&mut read, &ca.id, now).await?,
        };
        all.push(Authority::past(ca, None, holders));
    }
    Ok(all)
}

/// Replaces the root.
pub async fn rotate_root(app: &App, scope: &InstallationScope) -> Result<Vec<Authority>, AppError> {
    rotate::root(app, scope).await?;
    roots(app, scope).await
}

/// Replaces a tenant's issuing CA.
pub async fn rotate_issuing(app: &App, scope: &TenantScope) -> Result<Vec<Authority>, AppError> {
    rotate::tenant(app, scope, "").await?;
    issuing(app, scope).await
}

/// Ends the trust in a past root.
pub async fn retire_root(
    app: &App,
    scope: &InstallationScope,
    id: &str,
    force: bool,
) -> Result<Vec<Authority>, AppError> {
    rotate::retire_root(app, scope, id, force, said(force)).await?;
    roots(app, scope).await
}

/// Ends what a past issuing CA signed.
pub async fn retire_issuing(
    app: &App,
    scope: &TenantScope,
    id: &str,
    force: bool,
) -> Result<Vec<Authority>, AppError> {
    rotate::retire_tenant(app, scope, id, force, said(force)).await?;
    issuing(app, scope).await
}

fn said(force: bool) -> &'static str {
    if force { "forced" } else { "" }
}
