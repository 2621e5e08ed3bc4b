//! The tenants' policies, read and kept. A change holds at once on the controller that made it and
//! within [`FRESH_FOR`] on the others; a database that cannot be asked is an error, never an old answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edgeformer_proto::ids::TenantId;
use jiff::tz::TimeZone;

use super::engine::{Policies, Source};
use crate::clock::Timestamp;
use crate::scope::TenantScope;
use crate::store::{Store, StoreError, policies};

/// How long a tenant's policies are believed without asking the store whether they changed.
pub const FRESH_FOR: Duration = Duration::from_secs(1);
/// Tenants kept at most; beyond, all are read again.
const MAX_KEPT: usize = 4096;

#[derive(Debug, Clone)]
struct Kept {
    revision: u64,
    checked: Timestamp,
    policies: Arc<Policies>,
}

/// Policies by tenant.
#[derive(Debug, Default)]
pub struct PolicyBook {
    kept: Mutex<HashMap<TenantId, Kept>>,
}

impl PolicyBook {
    /// The tenant's policies.
    pub async fn of(
        &self,
        store: &Store,
        tenant: TenantId,
        now: Timestamp,
    ) -> Result<Arc<Policies>, StoreError> {
        let known = self.lock().get(&tenant).cloned();
        if let Some(kept) = &known
            && kept.checked <= now
            && now < kept.checked.plus(FRESH_FOR)
        {
            return Ok(Arc::clone(&kept.policies));
        }
        let mut read = store.read(&TenantScope::system(tenant, "policy")).await?;
        let settings = policies::settings(&mut read).await?;
        let policies = match known {
            Some(kept) if kept.revision == settings.revision => kept.policies,
            _ if settings.revision == 0 => Policies::roles(),
            _ => {
                let sources = policies::all(&mut read).await?.into_iter();
                let own: Vec<Source> =
                    sources.map(|one| Source { name: one.name, text: one.text }).collect();
                Arc::new(compile(&own, &settings.time_zone)?)
            }
        };
        let kept =
            Kept { revision: settings.revision, checked: now, policies: Arc::clone(&policies) };
        let mut all = self.lock();
        if all.len() >= MAX_KEPT {
            all.clear();
        }
        all.insert(tenant, kept);
        Ok(policies)
    }

    /// The tenant's policies changed here.
    pub fn forget(&self, tenant: TenantId) {
        self.lock().remove(&tenant);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Kept>> {
        // Nothing panics while it is held, and a map of whole entries has no half state.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was checked when it was saved, and may not pass an older or newer program's schema: then the
/// tenant's people are told so, and nobody is let through.
fn compile(own: &[Source], zone: &str) -> Result<Policies, StoreError> {
    let damaged =
        |id: &str, what: String| StoreError::Damaged { table: "policies", id: id.to_owned(), what };
    let zone = TimeZone::get(zone).map_err(|error| damaged(zone, error.to_string()))?;
    Policies::new(own, zone).map_err(|error| damaged(&error.name, error.what))
}
