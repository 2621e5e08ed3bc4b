//! The tenants' states and limits, read and kept for a moment, since every request of people and of
//! devices asks.

use std::sync::Arc;

use edgeformer_proto::ids::TenantId;

use super::{Closed, Standing};
use crate::clock::Timestamp;
use crate::kept::Kept;
use crate::scope::TenantScope;
use crate::store::{Store, StoreError, tenants};

/// Standing by tenant.
#[derive(Debug, Default)]
pub struct TenantBook(Kept<TenantId, Arc<Standing>>);

/// Why a tenant is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// It is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TenantBook {
    /// The tenant's standing.
    pub async fn of(
        &self,
        store: &Store,
        tenant: TenantId,
        now: Timestamp,
    ) -> Result<Arc<Standing>, Refused> {
        let asking = match self.0.fresh(&tenant, now) {
            Ok(standing) => return Ok(standing),
            Err(asking) => asking,
        };
        let mut read = store.read(&TenantScope::system(tenant, "tenant book")).await?;
        let found = tenants::standing(&mut read).await?.ok_or(Closed::Gone(tenant))?;
        let standing = Arc::new(found);
        self.0.put(asking, tenant, Arc::clone(&standing), now);
        Ok(standing)
    }

    /// It changed here.
    pub fn forget(&self, tenant: TenantId) {
        self.0.forget(&tenant);
    }
}
