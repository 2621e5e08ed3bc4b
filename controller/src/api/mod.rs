//! The REST API on the admin listener. Handlers extract, call one use-case and convert; every route
//! is registered with the action that policy decides on (see [`route::Routes`]).

mod access;
mod admission;
mod approvals;
mod arrival;
pub mod audit;
mod audit_export;
mod audit_proofs;
mod audit_retention;
mod audit_sinks;
mod audit_status;
mod audit_witnesses;
pub mod auth;
mod authorities;
mod browser;
mod bundles;
mod claim_cas;
mod compliance;
mod consent;
mod device_life;
mod device_login;
pub mod devices;
mod enrolment_requests;
pub mod enrolment_tokens;
mod erasures;
pub mod etag;
pub mod extract;
mod federation;
mod groups;
mod health;
mod html;
mod idempotency;
mod identity_providers;
mod installation_audit;
mod login;
pub mod models;
pub mod page;
mod policies;
mod privacy;
pub mod request;
pub mod rollouts;
pub mod route;
mod scim;
mod service_accounts;
mod sso;
pub mod telemetry;
mod tenant_lifecycle;
pub mod tenants;
pub mod tokens;
mod trust;
mod users;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::{Extension, Json, Router, middleware};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::app::App;
use crate::error::FieldError;
use crate::problem::{Problem, ProblemBody};
use request::RequestInfo;
use route::Routes;

/// Largest JSON body: the longest list of device ids in a selector fits several times.
pub const MAX_JSON_BYTES: usize = 1024 * 1024;
/// Where the API lives.
pub const PREFIX: &str = "/api/v1";

#[derive(OpenApi)]
#[openapi(
    components(schemas(ProblemBody, FieldError, scim::ErrorBody)),
    info(
        title = "EdgeFormer Fleet",
        description = "Models, rollouts, devices and the audit log of one tenant. Errors are \
                   application/problem+json. Each operation's x-action is what policy decides on."
    )
)]
struct Document;

/// Every authenticated route. A part of the API plugs in here.
fn routes() -> Routes {
    Routes::new()
        .merge(tokens::routes())
        .merge(enrolment_tokens::routes())
        .merge(telemetry::routes())
        .merge(tenants::routes())
        .merge(tenant_lifecycle::routes())
        .merge(devices::routes())
        .merge(device_life::routes())
        .merge(enrolment_requests::routes())
        .merge(claim_cas::routes())
        .merge(authorities::routes())
        .merge(rollouts::routes())
        .merge(audit::routes())
        .merge(compliance::routes())
        .merge(privacy::routes())
        .merge(installation_audit::routes())
        .merge(models::routes())
        .merge(bundles::routes())
        .merge(trust::routes())
        .merge(policies::routes())
        .merge(access::routes())
        .merge(approvals::routes())
        .merge(login::routes())
        .merge(users::routes())
        .merge(groups::routes())
        .merge(scim::routes())
        .merge(service_accounts::routes())
        .merge(identity_providers::routes())
        .merge(sso::routes())
        .merge(device_login::routes())
        .merge(federation::routes())
}

fn parts() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut paths) = routes().into_parts();
    paths.components.get_or_insert_default().add_security_scheme(
        route::SECURITY,
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some("An API token, efp_…, or the access token of a log-in"))
                .build(),
        ),
    );
    (router, Document::openapi().nest(PREFIX, paths))
}

/// The OpenAPI document, as served and as committed in `controller/openapi.json`.
pub fn document() -> utoipa::openapi::OpenApi {
    parts().1
}

/// The whole service of the admin listener.
pub fn router(app: App) -> Router {
    let (routes, document) = parts();
    let document = Json(document);
    let api = routes
        .route("/openapi.json", axum::routing::get(move || async move { document }))
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method);
    Router::new()
        .nest(PREFIX, api)
        .route("/healthz", axum::routing::get(health::alive))
        .route("/readyz", axum::routing::get(health::ready))
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES))
        .layer(Extension(app.clone()))
        .layer(middleware::from_fn_with_state(app.clone(), request::settle))
        .layer(middleware::from_fn(request::identify))
        .with_state(app)
}

async fn no_such_route(Extension(request): Extension<RequestInfo>) -> Problem {
    if let Some(problem) = scim::not_implemented(&request.path) {
        return problem;
    }
    let detail = format!("nothing answers {}", request.path);
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", detail)
}

async fn wrong_method(Extension(request): Extension<RequestInfo>) -> Problem {
    let detail = format!("{} has the wrong method: see the Allow header", request.path);
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
