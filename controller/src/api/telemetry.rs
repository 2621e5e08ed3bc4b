//! Telemetry over REST.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use edgeformer_proto::ids::DeviceId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa_axum::routes;

use super::extract::InQuery;
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::admin::telemetry::{self as use_case, NamedSummary};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::telemetry::Filter;
use crate::telemetry::{Buckets, Point};

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::TelemetryRead, routes!(summary))
        .add(Action::TelemetryRead, routes!(points))
}

/// What one version did in one slot of one device.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TelemetrySummary {
    device_id: String,
    device_name: String,
    slot: String,
    version: String,
    version_id: String,
    /// Answered or failed.
    requests: u64,
    /// Failed.
    errors: u64,
    /// Mean time to first token, seconds.
    ttft_mean_s: Option<f64>,
    /// Median of it, from histogram buckets.
    ttft_p50_s: Option<f64>,
    /// 95th percentile of it, from histogram buckets.
    ttft_p95_s: Option<f64>,
    /// Decoding alone: tokens after the first over the time after the first.
    tokens_per_second: Option<f64>,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// Newest resident memory of the worker.
    memory_bytes: Option<u64>,
    /// Device time of the newest point.
    last_at: String,
}

impl From<NamedSummary> for TelemetrySummary {
    fn from(NamedSummary { summary, device_name, version }: NamedSummary) -> Self {
        Self {
            device_id: summary.device_id.to_string(),
            device_name,
            slot: summary.slot,
            version,
            version_id: summary.version_id,
            requests: summary.requests,
            errors: summary.errors,
            ttft_mean_s: summary.ttft_mean_s,
            ttft_p50_s: summary.ttft_p50_s,
            ttft_p95_s: summary.ttft_p95_s,
            tokens_per_second: summary.tokens_per_second,
            prompt_tokens: summary.prompt_tokens,
            completion_tokens: summary.completion_tokens,
            memory_bytes: summary.memory_bytes,
            last_at: summary.last_at.rfc3339(),
        }
    }
}

/// All summaries: there is one per device, slot and version.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TelemetrySummaries {
    items: Vec<TelemetrySummary>,
}

/// What to sum up.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SummaryQuery {
    /// One device; all unless given.
    device_id: Option<String>,
    /// RFC 3339; the last 24 hours unless given.
    since: Option<String>,
}

/// Sums up telemetry by device, slot and version.
#[utoipa::path(get, path = "/telemetry/summary", tag = "telemetry", params(SummaryQuery),
    responses((status = 200, body = TelemetrySummaries)))]
async fn summary(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<SummaryQuery>,
) -> Result<Json<TelemetrySummaries>, Problem> {
    let device_id = parse_device(query.device_id.as_deref())?;
    let since = query.since.as_deref().map(parse_time).transpose()?;
    let rows = use_case::summary(&app, &scope, device_id, since).await?;
    Ok(Json(TelemetrySummaries { items: rows.into_iter().map(TelemetrySummary::from).collect() }))
}

/// Counts per bucket: one more count than bounds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TelemetryBuckets {
    /// Upper-inclusive bounds.
    bounds: Vec<f64>,
    counts: Vec<u64>,
}

impl From<Buckets> for TelemetryBuckets {
    fn from(buckets: Buckets) -> Self {
        Self { bounds: buckets.bounds, counts: buckets.counts }
    }
}

/// One point, as the device measured it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TelemetryPoint {
    id: String,
    device_id: String,
    metric: String,
    slot: String,
    version_id: String,
    rollout_id: String,
    /// Device time.
    at: String,
    received_at: String,
    count: u64,
    sum: f64,
    min: Option<f64>,
    max: Option<f64>,
    /// Absent for a single value.
    buckets: Option<TelemetryBuckets>,
    attributes: BTreeMap<String, String>,
}

impl From<Point> for TelemetryPoint {
    fn from(point: Point) -> Self {
        Self {
            id: point.id,
            device_id: point.device_id.to_string(),
            metric: point.metric,
            slot: point.slot,
            version_id: point.version_id,
            rollout_id: point.rollout_id,
            at: point.at.rfc3339(),
            received_at: point.received_at.rfc3339(),
            count: point.count,
            sum: point.sum,
            min: point.min,
            max: point.max,
            buckets: point.buckets.map(TelemetryBuckets::from),
            attributes: point.attributes,
        }
    }
}

/// Which points.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PointsQuery {
    /// One device; all unless given.
    device_id: Option<String>,
    /// One metric; all unless given.
    metric: Option<String>,
    /// Items on the page: 1 to 200, 50 unless given.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists points in the order they arrived.
#[utoipa::path(get, path = "/telemetry/points", tag = "telemetry", params(PointsQuery),
    responses((status = 200, body = Page<TelemetryPoint>)))]
async fn points(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<PointsQuery>,
) -> Result<Json<Page<TelemetryPoint>>, Problem> {
    let page = PageQuery::new(query.limit, query.cursor);
    let limit = page.limit()?;
    let after = page.after::<String>()?.unwrap_or_default();
    let device_id = parse_device(query.device_id.as_deref())?;
    let filter = Filter { device_id, metric: query.metric.unwrap_or_default(), since: None };
    let rows = use_case::points(&app, &scope, &filter, &after, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id.clone(), TelemetryPoint::from)))
}

fn parse_device(text: Option<&str>) -> Result<Option<DeviceId>, AppError> {
    let parse = |text: &str| {
        text.parse().map_err(|error| AppError::invalid("device_id", format!("{error}")))
    };
    text.map(parse).transpose()
}

fn parse_time(text: &str) -> Result<Timestamp, AppError> {
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        AppError::invalid("since", "it is not an RFC 3339 time such as 2026-11-22T10:00:00Z")
    })?;
    Ok(Timestamp(i64::try_from(at.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)))
}
