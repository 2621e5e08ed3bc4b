//! Reading what devices measured.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeformer_proto::ids::DeviceId;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::scope::TenantScope;
use crate::store::telemetry::{self, Filter};
use crate::telemetry::{Point, Summary, summarise};

/// How far back a summary looks unless asked otherwise.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// Points that one summary reads at most; a request of an agent makes about six. Over it the caller
/// is told to narrow the question, instead of getting a number of some of the points.
const MAX_SUMMARY_POINTS: usize = 500_000;
/// Points read at a time.
const PAGE: i64 = 5_000;

/// A summary with the names that people know.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedSummary {
    /// The numbers.
    pub summary: Summary,
    /// Name of the device; empty if it is not known any more.
    pub device_name: String,
    /// Version as published; empty if it is not known.
    pub version: String,
}

/// Sums up what was received since `since`, by device, slot and version.
pub async fn summary(
    app: &App,
    scope: &TenantScope,
    device_id: Option<DeviceId>,
    since: Option<Timestamp>,
) -> Result<Vec<NamedSummary>, AppError> {
    let since = since.unwrap_or_else(|| app.now().minus(DEFAULT_WINDOW));
    let filter = Filter { device_id, metric: String::new(), since: Some(since) };
    let mut read = app.store.read(scope).await?;
    let mut points: Vec<Point> = Vec::new();
    loop {
        let after = points.last().map(|point| point.id.clone()).unwrap_or_default();
        let page = telemetry::list(&mut read, &filter, &after, PAGE).await?;
        let more = page.len() == usize::try_from(PAGE).unwrap_or(0);
        points.extend(page);
        if points.len() > MAX_SUMMARY_POINTS {
            return Err(AppError::invalid(
                "since",
                format!(
                    "more than {MAX_SUMMARY_POINTS} points: ask for one device or a shorter time"
                ),
            ));
        }
        if !more {
            break;
        }
    }
    let devices: BTreeMap<String, String> = telemetry::device_names(&mut read).await?;
    let versions: BTreeMap<String, String> = telemetry::version_names(&mut read).await?;
    let name = |names: &BTreeMap<String, String>, id: &str| names.get(id).cloned();
    Ok(summarise(points)
        .into_iter()
        .map(|summary| NamedSummary {
            device_name: name(&devices, &summary.device_id.to_string()).unwrap_or_default(),
            version: name(&versions, &summary.version_id).unwrap_or_default(),
            summary,
        })
        .collect())
}

/// Points in the order they arrived, after the point `after`.
pub async fn points(
    app: &App,
    scope: &TenantScope,
    filter: &Filter,
    after: &str,
    limit: i64,
) -> Result<Vec<Point>, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(telemetry::list(&mut read, filter, after, limit).await?)
}
