//! The tenants' policies, read and kept for a moment.

use std::sync::Arc;

use edgeformer_proto::ids::TenantId;
use jiff::tz::TimeZone;

use super::engine::{Policies, Source};
use crate::clock::Timestamp;
use crate::kept::Kept;
use crate::scope::TenantScope;
use crate::store::{Store, StoreError, policies};

/// Policies by tenant, with the revision that they are of.
#[derive(Debug, Default)]
pub struct PolicyBook(Kept<TenantId, (u64, Arc<Policies>)>);

impl PolicyBook {
    /// The tenant's policies.
    pub async fn of(
        &self,
        store: &Store,
        tenant: TenantId,
        now: Timestamp,
    ) -> Result<Arc<Policies>, StoreError> {
        let asking = match self.0.fresh(&tenant, now) {
            Ok((_, policies)) => return Ok(policies),
            Err(asking) => asking,
        };
        let mut read = store.read(&TenantScope::system(tenant, "policy")).await?;
        let settings = policies::settings(&mut read).await?;
        let policies = match self.0.stale(&tenant) {
            Some((revision, policies)) if revision == settings.revision => policies,
            _ if settings.revision == 0 => Policies::roles(),
            _ => {
                let sources = policies::all(&mut read).await?.into_iter();
                let own: Vec<Source> =
                    sources.map(|one| Source { name: one.name, text: one.text }).collect();
                Arc::new(compile(&own, &settings.time_zone)?)
            }
        };
        self.0.put(asking, tenant, (settings.revision, Arc::clone(&policies)), now);
        Ok(policies)
    }

    /// The tenant's policies changed here.
    pub fn forget(&self, tenant: TenantId) {
        self.0.forget(&tenant);
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
