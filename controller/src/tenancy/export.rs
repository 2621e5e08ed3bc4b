//! Everything of one tenant as lines of JSON, for the tenant to take away or for the operator to keep
//! before a purge. Secrets and sealed model files are left out: see `docs/tenants.md`.
//!
//! The lines are one consistent state of the store. They are written to a private file first, so that
//! no transaction waits for a slow reader; that it was exported is recorded before the first byte leaves.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write as _};

use edgeformer_proto::ids::TenantId;
use ring::digest::{Context, SHA256};
use serde_json::{Value, json};

use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::distribution::staging::Scratch;
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::{audit_log, tenant_rows, tenants};

/// What the first line calls itself.
pub const FORMAT: &str = "edgeformer-tenant-export";
/// Grows when a reader of older exports would misread a newer one.
pub const FORMAT_VERSION: u32 = 1;

/// An export that is all there.
#[derive(Debug)]
pub struct Exported {
    /// The lines, at their beginning.
    pub scratch: Scratch,
    /// Name of the tenant.
    pub name: String,
}

/// Writes the lines and what they are.
pub(crate) struct Lines {
    out: BufWriter<File>,
    hash: Context,
    pub(crate) rows: u64,
}

impl Lines {
    pub(crate) fn new(file: File) -> Self {
        Self { out: BufWriter::new(file), hash: Context::new(&SHA256), rows: 0 }
    }

    /// The last line, with the hash of all before it. Gives the hash.
    pub(crate) fn end(&mut self, tables: &BTreeMap<String, u64>) -> io::Result<String> {
        let sha256 = data_encoding::HEXLOWER.encode(self.hash.clone().finish().as_ref());
        let end = json!({"end": true, "rows": self.rows, "tables": tables, "sha256": sha256});
        self.write(&end)?;
        self.out.flush()?;
        Ok(sha256)
    }

    pub(crate) fn write(&mut self, value: &Value) -> io::Result<()> {
        let line = format!("{value}\n");
        self.hash.update(line.as_bytes());
        self.out.write_all(line.as_bytes())
    }
}

/// Exports the tenant.
pub async fn export(
    app: &App,
    scope: &InstallationScope,
    id: TenantId,
) -> Result<Exported, AppError> {
    let found = tenants::get(&mut *app.store.read(scope).await?, id).await?;
    let tenant = found.ok_or_else(|| AppError::not_found("tenant", id))?;
    let scratch =
        app.staging.scratch().map_err(|error| AppError::StorageFull(error.to_string()))?;
    let mut scratch = scratch.ok_or_else(|| {
        AppError::Overloaded("another tenant is being exported: try again when it is done".into())
    })?;
    let full = |error: io::Error| {
        AppError::StorageFull(format!(
            "the export does not fit into the controller's folder for uploads ({error}): free some \
             space, then export again"
        ))
    };
    let mut lines = Lines::new(scratch.file.try_clone().map_err(full)?);
    let tables = write_rows(app, scope, id, &mut lines).await?.map_err(full)?;
    let sha256 = lines.end(&tables).map_err(full)?;
    scratch.file.rewind().map_err(full)?;
    let after = json!({"rows": lines.rows, "sha256": sha256});
    record(app, scope, id, &tenant.standing.name, after).await?;
    Ok(Exported { scratch, name: tenant.standing.name })
}

async fn write_rows(
    app: &App,
    scope: &InstallationScope,
    id: TenantId,
    lines: &mut Lines,
) -> Result<io::Result<BTreeMap<String, u64>>, AppError> {
    let now = app.now();
    let mut read = app.store.read(&scope.enter(id)).await?;
    let own = tenant_rows::export_own(&mut read).await?;
    let own = own.ok_or_else(|| AppError::not_found("tenant", id))?;
    let head = json!({
        "format": FORMAT, "format_version": FORMAT_VERSION,
        "exported_at": now.rfc3339(), "tenant": own,
    });
    if let Err(error) = lines.write(&head) {
        return Ok(Err(error));
    }
    let mut tables = BTreeMap::new();
    for table in tenant_rows::tables(&mut read).await? {
        let mut take = |row: Value| {
            lines.rows += 1;
            lines.write(&json!({"table": table, "row": row}))
        };
        match tenant_rows::export(&mut read, &table, &mut take).await? {
            Ok(rows) => tables.insert(table, rows),
            Err(error) => return Ok(Err(error)),
        };
    }
    Ok(Ok(tables))
}

/// In the installation's log, and in the tenant's, whose data was taken.
async fn record(
    app: &App,
    scope: &InstallationScope,
    id: TenantId,
    name: &str,
    after: Value,
) -> Result<(), AppError> {
    let now = app.now();
    let intent = Intent::new(Action::TenantExport, Resource::new("tenant", id).named(name))
        .changes(json!(null), after);
    let write = app.store.write(scope, intent.clone()).await?;
    let mut write: crate::store::Write<TenantScope> = write.enter(id).await?;
    audit_log::enqueue(&mut write, intent, Outcome::Success, now).await?;
    write.leave(scope).await?.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}
