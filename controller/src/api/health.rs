//! Whether this controller lives and whether it can work. No secrets, no authentication.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::Problem;

/// The process answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The store answers, and has this version's schema.
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Value>, Problem> {
    match app.store.check_schema().await {
        Ok(()) => {
            // Still ready: it serves until the room is used up, and says so before.
            let room = app.audit_room().unwrap_or_default();
            Ok(Json(json!({
                "status": "ok",
                "audit": {
                    "capacity": if room.is_short() { "warning" } else { "ok" },
                    "volume_used_percent": room.volume_percent,
                    "records_used_percent": room.records_percent,
                },
            })))
        }
        Err(error) => {
            tracing::warn!(%error, "not ready");
            let detail = "the controller cannot use its database now; its log says why";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail))
        }
    }
}
