//! Authentication by bearer token, and the guard in front of every route: authenticate, authorise,
//! record a refusal, hand the scope to the handler.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::request::RequestInfo;
use super::{admission, browser, consent, idempotency};
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::error::AppError;
use crate::login_session;
use crate::policy::{
    self, Action, Approved, Asker, Circumstances, Granted, Policies, Principal, Refusal, Refused,
};
use crate::problem::Problem;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::store::api_tokens::{self, Found, StandsFor};
use crate::store::{StoreError, service_accounts};
use edgeformer_proto::ids::TokenId;
use edgeformer_proto::token::{Kind, Token};

/// Longest a request may take, but for publications. Half of the lease of an idempotency key.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// The one text for every token that does not work, so that nobody learns which of them exist.
const NOT_ACCEPTED: &str =
    "the token is not valid: it is unknown, expired or revoked; ask an admin for a new one";

/// The same for every access token that is not taken.
const NOT_LOGGED_IN: &str =
    "the access token is not valid: it is unknown, expired or its log-in is over; log in again";

/// Runs in front of a handler: only whom policy allows `action` gets through.
pub(super) async fn guard(
    action: Action,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let app = request
        .extensions()
        .get::<App>()
        .cloned()
        .ok_or_else(|| Problem::internal(&"a route is not mounted under the API"))?;
    let info = request.extensions().get::<RequestInfo>().cloned().unwrap_or_default();
    let knock = admission::knock(&app, action, request.headers(), &info).await?;
    let outcome = authenticate(&app, request.method(), request.headers()).await;
    let (principal, place) = knock.authenticated(&app, &info, outcome)?;
    tracing::Span::current().record("principal", principal.subject.to_string());
    admission::admit(&app, action, &principal, &info).await?;
    // What takes minutes does not take a place from what takes milliseconds.
    let (request, _place) = match is_long(action) {
        true => (request, None),
        false => admission::arrived(&app, &principal, request, place).await?,
    };
    let (mut request, identified) = consent::identify(action, request, &info).await?;
    let header = request.headers().get(consent::HEADER).cloned();
    let approval = consent::brought(&app, &principal, action, header, identified.as_ref()).await?;
    let asker = asker(&app, principal.clone(), &info, approval).await?;
    let granted = match policy::grant(asker, action, info.origin()) {
        Ok(granted) => granted,
        Err(refusal) => return Err(refuse(&app, action, &info, refusal).await),
    };
    request.extensions_mut().insert(principal.clone());
    // A refusal about the thing itself comes from the handler, and is recorded like any other.
    let recorder = granted.clone();
    let response = run(&app, action, granted, request, next).await?;
    let Some(refused) = refused_by(&response) else {
        if let Some(why) = denied_by(&response) {
            let intent = Intent::new(action, Resource::new("route", &info.path)).because(why);
            record(&app, &recorder, intent).await?;
        }
        return Ok(response);
    };
    record_refusal(&app, &recorder, &refused).await?;
    match (refused.needed, &recorder, identified) {
        (Some(_), Granted::Tenant(scope), Some(identified)) => {
            Err(consent::ask(&app, scope, &principal, &refused, &identified).await?)
        }
        (Some(_), Granted::Tenant(_), None) => Err(consent::unnamed(&refused)),
        _ => Ok(response),
    }
}

/// Whether it may take longer than [`REQUEST_LIMIT`]: as long as an upload, or as a tenant is large.
fn is_long(action: Action) -> bool {
    matches!(action, Action::VersionPublish | Action::TenantExport)
}

/// Runs the handler, within its time.
async fn run(
    app: &App,
    action: Action,
    granted: Granted,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    // Everything else is cut before its idempotency key's lease runs out. A cut request leaves nothing half
    // done: its transaction is undone.
    if is_long(action) {
        return Ok(granted.carry_on(request, next).await);
    }
    let answered = tokio::time::timeout(REQUEST_LIMIT, async {
        match granted {
            Granted::Tenant(scope) => idempotency::run(app, scope, request, next).await,
            Granted::Installation(scope) => idempotency::run(app, scope, request, next).await,
        }
    });
    answered.await.unwrap_or_else(|_| {
        Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            "the request took longer than a minute and was undone; repeat it",
        ))
    })
}

impl Granted {
    /// Runs the handler with the granted scope.
    async fn carry_on(self, mut request: Request, next: Next) -> Response {
        match self {
            Self::Tenant(scope) => request.extensions_mut().insert(scope).map(|_| ()),
            Self::Installation(scope) => request.extensions_mut().insert(scope).map(|_| ()),
        };
        next.run(request).await
    }
}

/// The principal with what its policies look at.
async fn asker(
    app: &App,
    principal: Principal,
    info: &RequestInfo,
    approval: Option<Approved>,
) -> Result<Asker, Problem> {
    let now = app.now();
    let policies = match principal.tenant {
        None => Policies::roles(),
        Some(tenant) => {
            let found = app.policies().of(&app.store, tenant, now).await;
            found.map_err(AppError::from)?
        }
    };
    let circumstances = Circumstances {
        at: now,
        source: info.address,
        approvals: approval.as_ref().map_or(0, |approval| approval.count),
        justified: info.justification.is_some(),
    };
    Ok(Asker { principal, policies, circumstances, approval })
}

/// What policies refused, if this is such an answer.
fn refused_by(response: &Response) -> Option<Arc<Refused>> {
    response.extensions().get::<Problem>().and_then(|problem| problem.refused.clone())
}

async fn record_refusal(app: &App, recorder: &Granted, refused: &Refused) -> Result<(), Problem> {
    let resource = Resource::new(refused.facts.kind(), refused.facts.id());
    let intent = Intent::new(refused.action, resource.named(refused.facts.describe()))
        .because(refused.why.clone());
    record(app, recorder, intent).await
}

/// Why a use-case refused for a reason of its own, such as giving more than one has. Such reasons name
/// roles and rules, and nobody.
fn denied_by(response: &Response) -> Option<String> {
    let problem = response.extensions().get::<Problem>()?;
    (problem.status == StatusCode::FORBIDDEN).then(|| problem.detail.clone())
}

/// Records a refusal in the log of whoever was refused.
async fn record(app: &App, recorder: &Granted, intent: Intent) -> Result<(), Problem> {
    let now = app.now();
    let recorded = match recorder {
        Granted::Tenant(scope) => app.store.record(scope, intent, Outcome::Denied, now).await,
        Granted::Installation(scope) => app.store.record(scope, intent, Outcome::Denied, now).await,
    };
    recorded.map_err(AppError::from)?;
    app.nudges.audit.notify_one();
    Ok(())
}

/// The principal that a request's token stands for, or a browser's cookie.
pub async fn authenticate(
    app: &App,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Principal, Problem> {
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        let found = browser::authenticate(app, method, headers).await?;
        let nothing = "send an API token: `Authorization: Bearer efp_…`";
        return found.ok_or_else(|| Problem::unauthenticated(nothing));
    };
    let text = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token)
        .ok_or_else(|| {
            Problem::unauthenticated("the Authorization header must be `Bearer efp_…`")
        })?;
    // A JWT has two dots; no token of ours has one.
    if text.contains('.') {
        let found = login_session::authenticate(app, text).await?;
        return found.ok_or_else(|| Problem::unauthenticated(NOT_LOGGED_IN));
    }
    let token = Token::parse(Kind::Api, text)
        .map_err(|error| Problem::unauthenticated(error.to_string()))?;
    let now = app.now();
    let found = look_up(app, &token).await.map_err(AppError::from)?;
    let works = found.and_then(|found| Some((found.clone().principal(now)?, found)));
    let (principal, found) = works.ok_or_else(|| Problem::unauthenticated(NOT_ACCEPTED))?;
    let stale = now.minus(api_tokens::LAST_USED_EVERY);
    if found.token.last_used_at.is_none_or(|at| at <= stale)
        && let Err(error) = touch(app, &found, &token.sha256()).await
    {
        // A token that cannot be marked as used still works.
        tracing::warn!(%error, token = %found.token.id, "last use of a token is not noted");
    }
    Ok(principal)
}

async fn look_up(app: &App, token: &Token) -> Result<Option<Found>, StoreError> {
    let (now, sha256) = (app.now(), token.sha256());
    let asking = match app.tokens().fresh(&sha256, now) {
        Ok(found) => return Ok(Some(found)),
        Err(asking) => asking,
    };
    let scope = InstallationScope::system("authentication");
    let mut read = app.store.read_presented(&scope, &sha256).await?;
    let mut found = api_tokens::find_by_secret(&mut read, &sha256).await?;
    drop(read);
    if let Some(Found { tenant: Some(tenant), token, account }) = &mut found
        && let StandsFor::Account(id) = token.stands_for
    {
        let scope = TenantScope::system(*tenant, "authentication");
        *account = service_accounts::get(&mut *app.store.read(&scope).await?, id).await?;
    }
    // Only what is there: a guess is asked for each time.
    if let Some(found) = &found {
        app.tokens().put(asking, sha256, found.clone(), now);
    }
    Ok(found)
}

async fn touch(app: &App, found: &Found, sha256: &[u8; 32]) -> Result<(), StoreError> {
    async fn mark<S: Scope>(app: &App, scope: &S, id: TokenId) -> Result<(), StoreError> {
        let mut write = app.store.write_observation(scope).await?;
        api_tokens::touch(&mut write, id, app.now()).await?;
        write.commit(app.now()).await
    }
    let id = found.token.id;
    // Read again the next time, with its new last use.
    app.tokens().forget(sha256);
    match found.tenant {
        Some(tenant) => mark(app, &TenantScope::system(tenant, "authentication"), id).await,
        None => mark(app, &InstallationScope::system("authentication"), id).await,
    }
}

/// Records the refusal in the principal's own log and says what to answer.
async fn refuse(app: &App, action: Action, info: &RequestInfo, refusal: Refusal) -> Problem {
    let intent =
        Intent::new(action, Resource::new("route", &info.path)).because(refusal.why.clone());
    if let Err(problem) = record(app, &refusal.recorder, intent).await {
        return problem;
    }
    if refusal.hidden {
        return Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such thing here");
    }
    Problem::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        format!("{} is not allowed for this token: {}", action.as_str(), refusal.why),
    )
}
