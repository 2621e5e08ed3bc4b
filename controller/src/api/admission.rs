//! Whether a request is let in at all, whoever sends it and whatever it asks: not beyond its tenant's
//! rate and its share of the places, and not while its tenant is suspended or deleted. What it says of
//! a tenant it says after authentication, so that strangers learn nothing.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use edgeformer_proto::ids::TenantId;
use ring::digest::{SHA256, digest};

use super::arrival;
use super::request::RequestInfo;
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::error::AppError;
use crate::policy::{Action, Principal};
use crate::problem::Problem;
use crate::quota::gate::{Key, NoPlace, Place};
use crate::quota::{Credential, TooFast};
use crate::scope::{Context, TenantScope};
use crate::tenancy::Closed;
use crate::tenancy::book::Refused;

/// A request that has a place.
#[derive(Debug)]
pub(super) struct Knock {
    credential: Option<Credential>,
    place: Place,
}

/// Waits for a place. Whose it is, is known from earlier requests with the same credential; the
/// database is not asked.
pub(super) async fn knock(
    app: &App,
    action: Action,
    headers: &HeaderMap,
    info: &RequestInfo,
) -> Result<Knock, Problem> {
    let credential = credential(headers);
    let key = app.quota().whose(credential.as_ref(), info.address);
    match (app.quota().peek(key, app.now()), key) {
        (Ok(()), _) => {}
        (Err(Some(over)), Key::Tenant(tenant)) => {
            return Err(too_fast(app, action, tenant, info, over).await);
        }
        (Err(_), _) => return Err(stranger()),
    }
    let place = app.quota().api.enter(key).await.map_err(no_place)?;
    Ok(Knock { credential, place })
}

impl Knock {
    /// Learns from what authentication says. The place is kept while the request runs.
    pub(super) fn authenticated(
        self,
        app: &App,
        info: &RequestInfo,
        outcome: Result<Principal, Problem>,
    ) -> Result<(Principal, Place), Problem> {
        let Self { credential, place } = self;
        match (&outcome, credential) {
            (Ok(principal), Some(credential)) => app.quota().learn(credential, principal.tenant),
            (Err(problem), credential) if problem.status == StatusCode::UNAUTHORIZED => {
                app.quota().unlearn(credential.as_ref(), info.address, app.now());
            }
            _ => {}
        }
        outcome.map(|principal| (principal, place))
    }
}

/// The request with its whole body, and a place: another one if the body had to be waited for.
pub(super) async fn arrived(
    app: &App,
    principal: &Principal,
    request: Request,
    place: Place,
) -> Result<(Request, Option<Place>), Problem> {
    let (request, place) = arrival::whole(request, place).await?;
    let place = match place {
        Some(place) => place,
        None => {
            let key = principal.tenant.map_or(Key::Installation, Key::Tenant);
            app.quota().api.enter(key).await.map_err(no_place)?
        }
    };
    Ok((request, Some(place)))
}

/// In front of routes that anybody may call: counted by address.
pub(super) async fn public(request: Request, next: Next) -> Result<Response, Problem> {
    let app = request
        .extensions()
        .get::<App>()
        .cloned()
        .ok_or_else(|| Problem::internal(&"a route is not mounted under the API"))?;
    let info = request.extensions().get::<RequestInfo>().cloned().unwrap_or_default();
    if !app.quota().count_stranger(info.address, app.now()) {
        return Err(stranger());
    }
    // No place yet: none is held while the body comes.
    let (request, _) = arrival::whole(request, ()).await?;
    let key = Key::Stranger(info.address.map(Into::into));
    let _place = app.quota().api.enter(key).await.map_err(no_place)?;
    Ok(next.run(request).await)
}

/// Refuses principals of a tenant that is closed, and requests beyond its rate.
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
        Err(Refused::Store(error)) => return Err(AppError::from(error).into()),
    };
    if let Err(over) = app.quota().count(tenant, standing.limits, app.now()) {
        return Err(too_fast(app, action, tenant, info, over).await);
    }
    let Err(closed) = standing.open() else { return Ok(()) };
    if !standing.lifecycle.is_purging() {
        let context = Context::principal(principal, "tenant lifecycle".into(), info.origin());
        let scope = TenantScope::authorised(tenant, context);
        let intent =
            Intent::new(action, Resource::new("route", &info.path)).because(closed.to_string());
        record(app, &scope, intent).await?;
    }
    Err(refused(&closed))
}

async fn record(app: &App, scope: &TenantScope, intent: Intent) -> Result<(), Problem> {
    let recorded = app.store.record(scope, intent, Outcome::Denied, app.now()).await;
    recorded.map_err(AppError::from)?;
    app.nudges.audit.notify_one();
    Ok(())
}

/// What tells one caller from another before it is known who they are. Its hash: credentials are not
/// kept.
fn credential(headers: &HeaderMap) -> Option<Credential> {
    let value = headers.get(header::AUTHORIZATION).or_else(|| headers.get(header::COOKIE))?;
    digest(&SHA256, value.as_bytes()).as_ref().try_into().ok()
}

async fn too_fast(
    app: &App,
    action: Action,
    tenant: TenantId,
    info: &RequestInfo,
    over: TooFast,
) -> Problem {
    let detail = format!(
        "the tenant may make {} requests per second: send fewer, or ask the operator of the \
         installation for more",
        over.per_second
    );
    if over.report {
        let intent =
            Intent::new(action, Resource::new("route", &info.path)).because(detail.clone());
        if let Err(problem) = record(app, &TenantScope::system(tenant, "quota"), intent).await {
            return problem;
        }
    }
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).header("retry-after", "1")
}

fn stranger() -> Problem {
    let detail = "too many requests from this address without a credential that works: try again \
                  in a while";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).header("retry-after", "10")
}

fn no_place(error: NoPlace) -> Problem {
    let (status, code) = match error {
        NoPlace::Full => (StatusCode::TOO_MANY_REQUESTS, "too_many_waiting"),
        NoPlace::Late => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
    };
    Problem::new(status, code, error.to_string()).header("retry-after", "1")
}

fn refused(closed: &Closed) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, closed.code(), closed.to_string())
}
