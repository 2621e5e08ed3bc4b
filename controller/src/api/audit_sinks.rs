//! Sinks of the audit log over REST.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use edgeformer_proto::ids::SinkId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InPath};
use super::route::Routes;
use crate::admin::audit_sinks as use_case;
use crate::admin::audit_sinks::{NewSink, NewTarget, SYSLOG_TLS_PORT, Shown, SinkEdit};
use crate::app::App;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::audit_sinks::Target;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::AuditSinkRead, routes!(list))
        .add(Action::AuditSinkRead, routes!(show))
        .add(Action::AuditSinkCreate, routes!(create))
        .add(Action::AuditSinkUpdate, routes!(update))
        .add(Action::AuditSinkDelete, routes!(remove))
}

/// Where the log is streamed to, and how far it has come.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditSink {
    id: String,
    name: String,
    /// "syslog" (RFC 5425) or "webhook".
    kind: &'static str,
    /// `host:port`, or the URL.
    address: String,
    /// "rfc5424", "jsonl", "ocsf" or "cef".
    format: &'static str,
    enabled: bool,
    /// Of syslog: the client certificate that is shown, PEM.
    client_cert_pem: Option<String>,
    /// Of a webhook whose batches are signed: base64 of the Ed25519 key that verifies them.
    public_key: Option<String>,
    /// First record that was not delivered yet.
    next_sequence: u64,
    /// Records of the log that were not delivered yet.
    lag_records: u64,
    delivered_at: Option<String>,
    /// Why nothing was delivered the last time; empty if something was.
    last_error: String,
    /// When it is tried again at the earliest.
    next_try_at: String,
    created_at: String,
}

impl From<Shown> for AuditSink {
    fn from(Shown { sink, log_size }: Shown) -> Self {
        let address = use_case::address(&sink.target);
        let (kind, client_cert_pem, public_key) = match sink.target {
            Target::Syslog { client_cert_pem, .. } => ("syslog", client_cert_pem, None),
            Target::Webhook { public_key, .. } => ("webhook", None, public_key),
        };
        Self {
            id: sink.id.to_string(),
            name: sink.name,
            kind,
            address,
            format: sink.format.as_str(),
            enabled: sink.enabled,
            client_cert_pem,
            public_key,
            next_sequence: sink.next_sequence,
            lag_records: log_size.saturating_sub(sink.next_sequence),
            delivered_at: sink.delivered_at.map(|at| at.rfc3339()),
            last_error: sink.last_error,
            next_try_at: sink.next_try_at.rfc3339(),
            created_at: sink.created_at.rfc3339(),
        }
    }
}

/// All of them.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditSinkList {
    items: Vec<AuditSink>,
}

/// A syslog receiver.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyslogTarget {
    /// Name or address; its certificate must be for it.
    host: String,
    /// 6514 unless given.
    port: Option<u16>,
    /// PEM of the only authorities to trust.
    ca_pem: String,
    /// PEM of a certificate to show.
    client_cert_pem: Option<String>,
    /// PEM of its private key; kept wrapped and never shown.
    client_key_pem: Option<String>,
}

/// A webhook.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookTarget {
    /// https, unless the installation allows its address.
    url: String,
    /// Whether batches are signed with a key of the sink's own; true unless given.
    signed: Option<bool>,
}

/// A sink to make: `syslog` or `webhook`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditSinkRequest {
    name: String,
    /// "rfc5424", "jsonl", "ocsf" or "cef"; webhooks take "jsonl" and "ocsf".
    format: String,
    syslog: Option<SyslogTarget>,
    webhook: Option<WebhookTarget>,
    /// First record; the next one to come unless given.
    from: Option<u64>,
}

/// What to change of a sink.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditSinkEdit {
    /// False stops it; it goes on where it was.
    enabled: Option<bool>,
    format: Option<String>,
    /// `host:port`, or the URL.
    address: Option<String>,
    /// Of syslog: PEM of the only authorities to trust.
    ca_pem: Option<String>,
}

fn parse(body: AuditSinkRequest) -> Result<NewSink, AppError> {
    let target = match (body.syslog, body.webhook) {
        (Some(syslog), None) => {
            let client = match (syslog.client_cert_pem, syslog.client_key_pem) {
                (None, None) => None,
                (Some(cert), Some(key)) => Some((cert, key)),
                _ => {
                    let message = "a client certificate and its key go together";
                    return Err(AppError::invalid("syslog.client_cert_pem", message));
                }
            };
            let port = syslog.port.unwrap_or(SYSLOG_TLS_PORT);
            NewTarget::Syslog { host: syslog.host, port, ca_pem: syslog.ca_pem, client }
        }
        (None, Some(webhook)) => {
            NewTarget::Webhook { url: webhook.url, signed: webhook.signed.unwrap_or(true) }
        }
        _ => return Err(AppError::invalid("syslog", "give either syslog or webhook")),
    };
    Ok(NewSink { name: body.name, target, format: body.format, from: body.from })
}

/// Lists the sinks of the log.
#[utoipa::path(get, path = "/audit/sinks", tag = "audit",
    responses((status = 200, body = AuditSinkList)))]
async fn list(State(app): State<App>, scope: TenantScope) -> Result<Json<AuditSinkList>, Problem> {
    let items = use_case::list(&app, &scope).await?.into_iter().map(AuditSink::from).collect();
    Ok(Json(AuditSinkList { items }))
}

/// Shows a sink.
#[utoipa::path(get, path = "/audit/sinks/{id}", tag = "audit", params(("id" = String, Path)),
    responses((status = 200, body = AuditSink)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<SinkId>,
) -> Result<Json<AuditSink>, Problem> {
    Ok(Json(use_case::get(&app, &scope, id).await?.into()))
}

/// Streams the log to a sink from now on.
#[utoipa::path(post, path = "/audit/sinks", tag = "audit", request_body = AuditSinkRequest,
    responses((status = 201, body = AuditSink)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<AuditSinkRequest>,
) -> Result<(StatusCode, Json<AuditSink>), Problem> {
    let made = use_case::create(&app, &scope, parse(body)?).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Changes a sink, stops it or lets it go on. Its position stays.
#[utoipa::path(patch, path = "/audit/sinks/{id}", tag = "audit", params(("id" = String, Path)),
    request_body = AuditSinkEdit, responses((status = 200, body = AuditSink)))]
async fn update(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<SinkId>,
    Body(body): Body<AuditSinkEdit>,
) -> Result<Json<AuditSink>, Problem> {
    let AuditSinkEdit { enabled, format, address, ca_pem } = body;
    let edit = SinkEdit { enabled, format, address, ca_pem };
    Ok(Json(use_case::update(&app, &scope, id, edit).await?.into()))
}

/// Removes a sink with its key and its position.
#[utoipa::path(delete, path = "/audit/sinks/{id}", tag = "audit", params(("id" = String, Path)),
    responses((status = 204)))]
async fn remove(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<SinkId>,
) -> Result<StatusCode, Problem> {
    use_case::delete(&app, &scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
