//! The tenants' states and limits, read and kept for a moment, since every request of people and of
//! devices asks. A change holds at once on the controller that made it and within [`FRESH_FOR`] on the
//! others; a database that cannot be asked is an error, never an old answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgeformer_proto::ids::TenantId;

use super::{Closed, Standing};
use crate::clock::Timestamp;
use crate::scope::TenantScope;
use crate::store::{Store, StoreError, tenants};

/// How long a tenant's standing is believed.
pub const FRESH_FOR: Duration = Duration::from_secs(1);
/// Tenants kept at most; beyond, all are read again.
const MAX_KEPT: usize = 4096;

/// Standing by tenant.
#[derive(Debug, Default)]
pub struct TenantBook {
    kept: Mutex<HashMap<TenantId, (Timestamp, Arc<Standing>)>>,
}

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
        if let Some((checked, standing)) = self.lock().get(&tenant)
            && *checked <= now
            && now < checked.plus(FRESH_FOR)
        {
            return Ok(Arc::clone(standing));
        }
        let mut read = store.read(&TenantScope::system(tenant, "tenant book")).await?;
        let found = tenants::standing(&mut read).await?.ok_or(Closed::Gone(tenant))?;
        let standing = Arc::new(found);
        let mut all = self.lock();
        if all.len() >= MAX_KEPT {
            all.clear();
        }
        all.insert(tenant, (now, Arc::clone(&standing)));
        Ok(standing)
    }

    /// It changed here.
    pub fn forget(&self, tenant: TenantId) {
        self.lock().remove(&tenant);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, (Timestamp, Arc<Standing>)>> {
        // Nothing panics while it is held, and a map of whole entries has no half state.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
