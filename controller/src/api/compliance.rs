//! Evidence of which version ran where, over REST.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::stream;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::InQuery;
use super::route::Routes;
use crate::admin::compliance as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::ComplianceReport, routes!(report))
        .add(Action::AuditRead, routes!(release_key))
}

/// Which period.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PeriodQuery {
    /// Begin, RFC 3339.
    from: String,
    /// End, RFC 3339; the moment itself is not part of the period.
    to: String,
    /// How many records of the audit log to look at; all that are signed unless given.
    size: Option<u64>,
}

/// The key that signs the tenant's versions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReleaseKey {
    /// SHA-256 of the key, hex: the `keyid` of envelopes.
    key_id: String,
    /// Ed25519, 32 bytes, base64.
    public_key: String,
}

/// Streams which version ran on which device and when, who published and approved it, and the signed
/// envelopes: one JSON object a line, a header first and a line of the kind `end` last.
#[utoipa::path(get, path = "/compliance/report", tag = "compliance", params(PeriodQuery),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
async fn report(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(period): InQuery<PeriodQuery>,
) -> Result<Response, Problem> {
    let reader = use_case::report(&app, &scope, &period.from, &period.to, period.size).await?;
    let body = Body::from_stream(stream::try_unfold(reader, use_case::Reader::page));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
}

/// Shows the public key that signs the tenant's versions.
#[utoipa::path(get, path = "/compliance/release-key", tag = "compliance",
    responses((status = 200, body = ReleaseKey)))]
async fn release_key(
    State(app): State<App>,
    scope: TenantScope,
) -> Result<Json<ReleaseKey>, Problem> {
    let key = use_case::release_key(&app, &scope).await?;
    Ok(Json(ReleaseKey { key_id: key.key_id(), public_key: BASE64.encode(key.as_bytes()) }))
}
