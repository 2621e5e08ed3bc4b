//! The audit log as a stream of lines, from a place in the log on, in the formats that other systems
//! read. What is streamed is the sequenced log; a record that still waits comes a moment later.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;
use utoipa_axum::routes;

use super::extract::InQuery;
use super::route::Routes;
use crate::app::App;
use crate::audit::export::{Format, Log, line};
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::store::{audit_log, installation};

/// Records read at a time: about a MiB of text.
const PAGE: i64 = 500;
/// How often a follower looks for new records; the sequencer takes as long.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// The routes.
pub fn routes() -> Routes {
    Routes::new().add(Action::AuditExport, routes!(export))
}

/// Which part, and how.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// "jsonl" (the default), "ocsf", "cef" or "rfc5424".
    #[param(inline)]
    format: Option<String>,
    /// Sequence of the first record; 0 unless given.
    from: Option<u64>,
    /// Stay, and send new records as they come.
    follow: Option<bool>,
}

/// Streams the audit log, one record a line.
#[utoipa::path(get, path = "/audit/export", tag = "audit", params(ExportQuery),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
async fn export(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<ExportQuery>,
) -> Result<Response, Problem> {
    export_of(app, scope, &query).await
}

pub(super) async fn export_of<S: Scope>(
    app: App,
    scope: S,
    query: &ExportQuery,
) -> Result<Response, Problem> {
    let name = query.format.as_deref().unwrap_or("jsonl");
    let format = Format::parse(name).ok_or_else(|| {
        AppError::invalid("format", "it must be \"jsonl\", \"ocsf\", \"cef\" or \"rfc5424\"")
    })?;
    let mut read =
        app.store.read(&InstallationScope::system("audit export")).await.map_err(AppError::from)?;
    let row = installation::get(&mut read).await.map_err(AppError::from)?;
    drop(read);
    let trust_domain = row.map(|row| row.trust_domain).unwrap_or_default();
    let log = Log { trust_domain, tenant: scope.key() };
    let reader = Reader {
        app,
        scope,
        log,
        format,
        next: query.from.unwrap_or(0),
        follow: query.follow.unwrap_or(false),
    };
    let body = Body::from_stream(stream::try_unfold(reader, Reader::page));
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
}

struct Reader<S> {
    app: App,
    scope: S,
    log: Log,
    format: Format,
    next: u64,
    follow: bool,
}

impl<S: Scope> Reader<S> {
    /// The next records as text. An error cuts the stream, so that half a log never looks whole.
    async fn page(mut self) -> Result<Option<(Bytes, Self)>, AppError> {
        loop {
            let mut read = self.app.store.read(&self.scope).await?;
            let events = audit_log::from(&mut read, self.next, PAGE).await?;
            drop(read);
            if let Some(last) = events.last().and_then(|event| event.sequence) {
                self.next = last + 1;
                let text: String =
                    events.into_iter().map(|e| line(e, &self.log, self.format)).collect();
                return Ok(Some((Bytes::from(text), self)));
            }
            if !self.follow {
                return Ok(None);
            }
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }
}
