//! Telemetry.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Context, device};
use crate::args::reports::Telemetry;
use crate::client::List;
use crate::client::endpoints::{TELEMETRY_POINTS, TELEMETRY_SUMMARY};
use crate::failure::{Exit, Failure};
use crate::view;

pub async fn telemetry(context: &Context, command: Telemetry) -> Result<Exit, Failure> {
    match command {
        Telemetry::Summary { device, since } => {
            let device = resolve(context, device.as_deref()).await?;
            let since = since.map(|span| rfc3339(context.style().now - span));
            let call = context.client.call(&TELEMETRY_SUMMARY);
            let call = call.query_if("device_id", device.as_deref());
            let answer = call.query_if("since", since.as_deref()).send().await?;
            let list = List::whole(answer)?;
            context.screen.list(&list, |items| view::report::summary(items, context.style()));
        }
        Telemetry::Points { device, metric, limit } => {
            let device = resolve(context, device.as_deref()).await?;
            let call = context.client.call(&TELEMETRY_POINTS);
            let call = call.query_if("device_id", device.as_deref());
            let points = call.query_if("metric", metric.as_deref()).all(limit.limit).await?;
            context.screen.list(&points, |p| view::report::points(p, context.style()));
        }
    }
    Ok(Exit::Done)
}

async fn resolve(context: &Context, device: Option<&str>) -> Result<Option<String>, Failure> {
    match device {
        Some(given) => device::resolve(context, given).await.map(Some),
        None => Ok(None),
    }
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}
