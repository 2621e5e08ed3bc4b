//! How long data is kept, and everything that is held about one person or device, over REST.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InQuery};
use super::route::Routes;
use super::tenant_lifecycle::Reader;
use crate::admin::{erasures, privacy as use_case};
use crate::app::App;
use crate::policy::Action;
use crate::privacy::Settings;
use crate::problem::Problem;
use crate::scope::TenantScope;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::PrivacySettingsRead, routes!(show))
        .add(Action::PrivacySettingsUpdate, routes!(set))
        .add(Action::PrivacyExport, routes!(export))
}

/// How long data is kept, and what applications may send.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrivacySettings {
    /// Days that telemetry is kept, 1 to 3650.
    telemetry_days: u32,
    /// Hours that answers are kept for those who repeat a request, 1 to 24.
    answers_hours: u32,
    /// Days that log-ins are kept that are over, 7 to 365.
    log_ins_days: u32,
    /// Days that facts of revoked devices are kept since they were seen last, 1 to 3650.
    device_facts_days: u32,
    /// Metrics and attributes that are taken although they are not declared; at most 64.
    telemetry_names: BTreeSet<String>,
}

impl From<Settings> for PrivacySettings {
    fn from(settings: Settings) -> Self {
        let Settings {
            telemetry_days,
            answers_hours,
            log_ins_days,
            device_facts_days,
            telemetry_names,
        } = settings;
        Self { telemetry_days, answers_hours, log_ins_days, device_facts_days, telemetry_names }
    }
}

impl From<PrivacySettings> for Settings {
    fn from(body: PrivacySettings) -> Self {
        let PrivacySettings {
            telemetry_days,
            answers_hours,
            log_ins_days,
            device_facts_days,
            telemetry_names,
        } = body;
        Self { telemetry_days, answers_hours, log_ins_days, device_facts_days, telemetry_names }
    }
}

/// Shows how long data is kept.
#[utoipa::path(get, path = "/privacy/settings", tag = "privacy",
    responses((status = 200, body = PrivacySettings)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
) -> Result<Json<PrivacySettings>, Problem> {
    Ok(Json(use_case::settings(&app, &scope).await?.into()))
}

/// Changes how long data is kept.
#[utoipa::path(put, path = "/privacy/settings", tag = "privacy", request_body = PrivacySettings,
    responses((status = 200, body = PrivacySettings)))]
async fn set(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<PrivacySettings>,
) -> Result<Json<PrivacySettings>, Problem> {
    Ok(Json(use_case::set_settings(&app, &scope, body.into()).await?.into()))
}

/// About whom.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SubjectQuery {
    /// `user:<id>`, `token:<id>`, `service_account:<id>` or `device:<id>`.
    subject: String,
}

/// Streams everything that is held about one person or device: one JSON object a line, with table and
/// row, and a last line with the number of rows and the hash of all lines before it.
#[utoipa::path(get, path = "/privacy/export", tag = "privacy", params(SubjectQuery),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
async fn export(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<SubjectQuery>,
) -> Result<Response, Problem> {
    let subject = erasures::parse(&query.subject)?;
    let scratch = use_case::export(&app, &scope, subject).await?;
    let body = Stream::from_stream(stream::try_unfold(Reader::new(scratch)?, Reader::next));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
}
