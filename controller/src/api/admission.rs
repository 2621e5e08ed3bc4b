//! Whether a tenant's people and programs are let in at all, whoever they are: not while it is
//! suspended or deleted. Runs after authentication, so that strangers learn nothing of a tenant.

use axum::http::StatusCode;

use super::request::RequestInfo;
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::policy::{Action, Principal};
use crate::problem::Problem;
use crate::scope::{Context, TenantScope};
use crate::tenancy::Closed;
use crate::tenancy::book::Refused;

/// Refuses principals of a tenant that is closed, and records it in the tenant's log.
pub(super) async fn admit(
    app: &App,
    action: Action,
    principal: &Principal,
    info: &RequestInfo,
) -> Result<(), Problem> {
    let Some(tenant) = principal.tenant else { return Ok(()) };
    let standing = match app.tenants().of(&app.store, tenant, app.now()).await {
        Ok(standing) => standing,
        Err(Refused::Closed(closed)) => return Err(refused(&closed)),
        Err(Refused::Store(error)) => return Err(Problem::internal(&error)),
    };
    let Err(closed) = standing.open() else { return Ok(()) };
    if !standing.lifecycle.is_purging() {
        let context = Context::principal(principal, "tenant lifecycle".into(), info.origin());
        let scope = TenantScope::authorised(tenant, context);
        let intent =
            Intent::new(action, Resource::new("route", &info.path)).because(closed.to_string());
        let recorded = app.store.record(&scope, intent, Outcome::Denied, app.now()).await;
        recorded.map_err(|error| Problem::internal(&error))?;
        app.nudges.audit.notify_one();
    }
    Err(refused(&closed))
}

fn refused(closed: &Closed) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, closed.code(), closed.to_string())
}
