//! How long data is kept, and everything that is held about one person or device.

use std::collections::BTreeMap;
use std::io::{self, Seek};

use serde_json::{Value, json};

use crate::app::App;
use crate::audit::seal::Subject;
use crate::audit::{Intent, Outcome, Resource};
use crate::distribution::staging::Scratch;
use crate::error::AppError;
use crate::policy::Action;
use crate::privacy::Settings;
use crate::scope::TenantScope;
use crate::store::privacy::{self, Wanted};
use crate::store::tenant_rows;
use crate::tenancy::export::Lines;

/// What the first line calls itself.
pub const FORMAT: &str = "edgeformer-subject-export";
/// Grows when a reader of older exports would misread a newer one.
pub const FORMAT_VERSION: u32 = 1;

/// The tenant's settings.
pub async fn settings(app: &App, scope: &TenantScope) -> Result<Settings, AppError> {
    Ok(privacy::settings(&mut *app.store.read(scope).await?).await?)
}

/// Replaces the tenant's settings. Shorter lives hold from the next run of the housekeeper on.
pub async fn set_settings(
    app: &App,
    scope: &TenantScope,
    settings: Settings,
) -> Result<Settings, AppError> {
    let settings = settings.checked()?;
    let now = app.now();
    let resource = Resource::new("privacy_settings", scope.tenant());
    let intent = Intent::new(Action::PrivacySettingsUpdate, resource);
    let mut write = app.store.write(scope, intent).await?;
    let before = privacy::settings(&mut write).await?;
    privacy::set_settings(&mut write, &settings, now).await?;
    write.changes(json!(before), json!(settings));
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(settings)
}

/// The id in a subject.
pub fn id_of(subject: &Subject) -> Result<&str, AppError> {
    let id = subject.as_str().split_once(':').map(|(_, id)| id).unwrap_or_default();
    // A shorter text would be found in what is somebody else's.
    if id.parse::<uuid::Uuid>().is_err() {
        let message = "it must end in an id, like user:0198c0de-… or device:0198c0de-…";
        return Err(AppError::invalid("subject", message));
    }
    Ok(id)
}

/// Everything that is held about a subject, as lines in a private file. That it was taken is on record
/// before the first byte leaves.
pub async fn export(app: &App, scope: &TenantScope, subject: Subject) -> Result<Scratch, AppError> {
    let id = id_of(&subject)?.to_owned();
    let full = |error: io::Error| {
        AppError::StorageFull(format!(
            "the export does not fit into the controller's folder for uploads ({error}): free some \
             space, then export again"
        ))
    };
    let scratch =
        app.staging.scratch().map_err(|error| AppError::StorageFull(error.to_string()))?;
    let mut scratch = scratch.ok_or_else(|| {
        AppError::Overloaded("another export is being made: try again when it is done".into())
    })?;
    let mut lines = Lines::new(scratch.file.try_clone().map_err(full)?);
    let tables = write_rows(app, scope, &subject, id, &mut lines).await?.map_err(full)?;
    if lines.rows == 0 {
        return Err(AppError::not_found("data about", subject.as_str()));
    }
    let sha256 = lines.end(&tables).map_err(full)?;
    scratch.file.rewind().map_err(full)?;
    let resource = Resource::new("audit_subject", subject.as_str());
    let intent = Intent::new(Action::PrivacyExport, resource)
        .changes(json!(null), json!({"rows": lines.rows, "sha256": sha256}));
    app.store.record(scope, intent, Outcome::Success, app.now()).await?;
    app.nudges.audit.notify_one();
    Ok(scratch)
}

async fn write_rows(
    app: &App,
    scope: &TenantScope,
    subject: &Subject,
    id: String,
    lines: &mut Lines,
) -> Result<io::Result<BTreeMap<String, u64>>, AppError> {
    let head = json!({
        "format": FORMAT, "format_version": FORMAT_VERSION,
        "exported_at": app.now().rfc3339(), "subject": subject,
    });
    if let Err(error) = lines.write(&head) {
        return Ok(Err(error));
    }
    let mut read = app.store.read(scope).await?;
    let names = match subject.as_str().starts_with("user:") {
        true => privacy::names_of(&mut read, &id).await?,
        false => Vec::new(),
    };
    let wanted = Wanted { id, names };
    let mut tables = BTreeMap::new();
    for table in tenant_rows::tables(&mut read).await? {
        let mut take = |row: Value| {
            lines.rows += 1;
            lines.write(&json!({"table": table, "row": row}))
        };
        match privacy::mentions(&mut read, &table, &wanted, &mut take).await? {
            Ok(0) => {}
            Ok(rows) => drop(tables.insert(table, rows)),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(tables))
}
