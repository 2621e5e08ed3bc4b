//! How it stands with an audit log, on one page.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa_axum::routes;

use super::route::Routes;
use crate::app::App;
use crate::audit::capacity::Room;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::{Scope, TenantScope};
use crate::store::audit_witnesses::WitnessState;
use crate::store::{audit_log, audit_retention, audit_sinks, audit_tree, audit_witnesses};

/// The routes.
pub fn routes() -> Routes {
    Routes::new().add(Action::AuditRead, routes!(status))
}

/// How it stands with the log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditStatus {
    /// Records of the log.
    records: u64,
    /// Records of the newest signed checkpoint.
    signed: u64,
    /// Records that wait to be sequenced.
    waiting: u64,
    /// Records whose texts were deleted.
    deleted_records: u64,
    /// Whether a legal hold stops every deletion.
    held: bool,
    witnesses: u64,
    /// Witnesses that did not cosign what they were asked last.
    witnesses_failing: u64,
    /// Witnesses that hold another history of the log.
    witnesses_contradicting: u64,
    sinks: u64,
    /// Sinks that something could not be delivered to.
    sinks_failing: u64,
    /// Records that the sink that is furthest behind has not got.
    sink_lag_records: u64,
    capacity: AuditCapacity,
}

/// How much room there is for records, in the whole installation.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditCapacity {
    /// "ok", "warning", or "unknown" before it was looked at.
    state: &'static str,
    /// Of the volume that the database or the data folder is on.
    volume_used_percent: Option<u32>,
    /// Of the records that the installation is made for; null if it has no budget.
    records_used_percent: Option<u32>,
}

impl From<Option<Room>> for AuditCapacity {
    fn from(room: Option<Room>) -> Self {
        Self {
            state: match &room {
                None => "unknown",
                Some(room) if room.is_short() => "warning",
                Some(_) => "ok",
            },
            volume_used_percent: room.and_then(|room| room.volume_percent),
            records_used_percent: room.and_then(|room| room.records_percent),
        }
    }
}

/// Shows how it stands with the log: signed, witnessed, streamed, kept, and whether there is room.
#[utoipa::path(get, path = "/audit/status", tag = "audit",
    responses((status = 200, body = AuditStatus)))]
async fn status(State(app): State<App>, scope: TenantScope) -> Result<Json<AuditStatus>, Problem> {
    of(&app, &scope).await
}

pub(super) async fn of<S: Scope>(app: &App, scope: &S) -> Result<Json<AuditStatus>, Problem> {
    let mut read = app.store.read(scope).await.map_err(AppError::from)?;
    let records = audit_log::head(&mut read).await.map_err(AppError::from)?.size();
    let signed = audit_tree::checkpoint(&mut read).await.map_err(AppError::from)?;
    let waiting = audit_log::waiting_count(&mut read).await.map_err(AppError::from)?;
    let retention = audit_retention::get(&mut read).await.map_err(AppError::from)?;
    let witnesses = audit_witnesses::list(&mut read).await.map_err(AppError::from)?;
    let sinks = audit_sinks::list(&mut read).await.map_err(AppError::from)?;
    let in_state = |states: &[WitnessState]| {
        witnesses.iter().filter(|witness| states.contains(&witness.state)).count() as u64
    };
    let lag = sinks
        .iter()
        .filter(|sink| sink.enabled)
        .map(|sink| records - sink.next_sequence.min(records));
    Ok(Json(AuditStatus {
        records,
        signed: signed.map_or(0, |(size, _)| size),
        waiting,
        deleted_records: retention.deleted_to,
        held: retention.hold.is_some(),
        witnesses: witnesses.len() as u64,
        witnesses_failing: in_state(&[
            WitnessState::Unreachable,
            WitnessState::Refused,
            WitnessState::Contradicted,
        ]),
        witnesses_contradicting: in_state(&[WitnessState::Contradicted]),
        sinks: sinks.len() as u64,
        sinks_failing: sinks.iter().filter(|sink| !sink.last_error.is_empty()).count() as u64,
        sink_lag_records: lag.max().unwrap_or(0),
        capacity: app.audit_room().into(),
    }))
}
