//! The audit log and telemetry.

use std::io::Write as _;
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Context, consent, device};
use crate::args::reports::{Audit, ExportFormat, Telemetry};
use crate::client::List;
use crate::client::endpoints::{
    AUDIT_HEAD, ERASE, EXPORT_AUDIT, LIST_AUDIT, PREVIEW_ERASURE, TELEMETRY_POINTS,
    TELEMETRY_SUMMARY,
};
use crate::client::types::ErasureCreate;
use crate::failure::{Exit, Failure};
use crate::view;

pub async fn audit(context: &Context, command: Audit) -> Result<Exit, Failure> {
    match command {
        Audit::List { limit } => {
            let records = context.client.call(&LIST_AUDIT).all(limit).await?;
            context.screen.list(&records, |r| view::report::audit(r, context.style()));
        }
        Audit::Export { format, from, follow, file } => {
            export(context, format, from, follow, file.as_deref()).await?;
        }
        Audit::Erase { subject, consent } => {
            let call = context.client.call(&PREVIEW_ERASURE).query("subject", &subject);
            let preview = call.send().await?;
            if preview.value.erased_at.is_none() {
                consent::ask(
                    &context.screen,
                    consent,
                    &view::report::erasure_preview(&preview.value),
                )
                .await?;
            }
            let erased =
                context.client.call(&ERASE).body(&ErasureCreate { subject }).send().await?;
            context.screen.one(&erased, view::report::erasure);
        }
        Audit::Head => {
            let head = context.client.call(&AUDIT_HEAD).send().await?;
            context.screen.one(&head, view::report::head);
        }
    }
    Ok(Exit::Done)
}

async fn export(
    context: &Context,
    format: ExportFormat,
    from: u64,
    follow: bool,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let call = context.client.call(&EXPORT_AUDIT).query("format", format.as_str());
    let call = call.query("from", &from.to_string());
    let call = if follow { call.query("follow", "true") } else { call };
    let Some(path) = file else {
        return Ok(call.stream(crate::screen::raw).await?);
    };
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = made.map_err(|error| {
        Failure::usage(format!("the file {} cannot be made: {error}", path.display()))
            .next("nothing was exported; choose a new file name")
    })?;
    call.stream(|piece| file.write_all(piece)).await?;
    file.sync_all()
        .map_err(|error| Failure::usage(format!("{} is not whole: {error}", path.display())))
}

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
