//! The tenant's trust repository as clients of TUF read it: files by name.

use edgeformer_proto::artifact::target_path;
use edgeformer_proto::tuf::{Key, Role, Root, Signed, TopLevel};

use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::{Scope, TenantScope};
use crate::store::{trust as rows, versions};
use crate::trust::upload::{self, MAX_ROOTS, Upload, UploadError};
use crate::trust::{self, Pending, TrustError};

/// A role of the repository.
#[derive(Debug, Clone)]
pub struct RoleState {
    /// `root`, `targets`, `snapshot` or `timestamp`.
    pub role: &'static str,
    /// Version of the newest metadata.
    pub version: u64,
    /// Unix seconds; from then on nobody believes it.
    pub expires_s: i64,
    /// Ids of the keys that may sign.
    pub key_ids: Vec<String>,
    /// How many of them must.
    pub threshold: u32,
    /// Whether the controller holds the key and signs by itself.
    pub managed: bool,
}

/// The repository's state, role by role; empty before it is made.
pub async fn state(app: &App, scope: &TenantScope) -> Result<Vec<RoleState>, AppError> {
    use edgeformer_proto::tuf::{Snapshot, Targets, Timestamp};
    let mut read = app.store.read(scope).await?;
    let Some(stored) = rows::metadata(&mut read, TopLevel::Root, None).await? else {
        return Ok(Vec::new());
    };
    let root: Signed<Root> = parse(&stored)?;
    let mut states = Vec::new();
    for role in TopLevel::ALL {
        let Some(stored) = rows::metadata(&mut read, role, None).await? else { continue };
        let expires_s = match role {
            TopLevel::Root => root.role().common.expires_s,
            TopLevel::Targets => parse::<Targets>(&stored)?.role().common.expires_s,
            TopLevel::Snapshot => parse::<Snapshot>(&stored)?.role().common.expires_s,
            TopLevel::Timestamp => parse::<Timestamp>(&stored)?.role().common.expires_s,
        };
        let by = root.role().role(role);
        states.push(RoleState {
            role: role.name(),
            version: stored.version,
            expires_s,
            key_ids: by.key_ids.iter().map(ToString::to_string).collect(),
            threshold: by.threshold,
            managed: rows::key(&mut read, role).await?.is_some(),
        });
    }
    Ok(states)
}

/// What is published and waits for a signature of the targets keys.
pub async fn pending(app: &App, scope: &TenantScope) -> Result<Pending, AppError> {
    trust::pending(app, scope).await.map_err(internal)
}

/// The public keys with which the controller signs snapshots and timestamps.
pub async fn online_keys(app: &App, scope: &TenantScope) -> Result<Vec<(TopLevel, Key)>, AppError> {
    trust::online_keys(app, scope).await.map_err(internal)
}

/// Takes roots, and targets that belong to them.
pub async fn rotate(app: &App, scope: &TenantScope, upload: Upload) -> Result<(), AppError> {
    if upload.roots.is_empty() || upload.roots.len() > MAX_ROOTS {
        let message = format!("1 to {MAX_ROOTS} roots, each the next version");
        return Err(AppError::invalid("roots", message));
    }
    take(app, scope, Action::TrustRotate, upload, "roots").await
}

/// Takes targets.
pub async fn release(app: &App, scope: &TenantScope, targets: Vec<u8>) -> Result<(), AppError> {
    let upload = Upload { roots: Vec::new(), targets: Some(targets) };
    take(app, scope, Action::TrustRelease, upload, "targets").await
}

/// A refusal is on record too: it says that somebody tried.
async fn take(
    app: &App,
    scope: &TenantScope,
    action: Action,
    upload: Upload,
    field: &'static str,
) -> Result<(), AppError> {
    let Err(error) = upload::take(app, scope, action, upload).await else { return Ok(()) };
    let text = error.to_string();
    let error = match error {
        UploadError::Trust(error) => return Err(internal(error)),
        UploadError::Refused(text) => AppError::invalid(field, text),
        UploadError::Conflict(text) => AppError::conflict("not_the_next_version", text),
    };
    let resource = Resource::new("trust_repository", scope.key());
    let intent = Intent::new(action, resource).because(text);
    app.store.record(scope, intent, Outcome::Failure, app.now()).await?;
    app.nudges.audit.notify_one();
    Err(error)
}

fn internal(error: TrustError) -> AppError {
    match error {
        TrustError::Store(error) => AppError::Store(error),
        error => AppError::Internal(error.to_string()),
    }
}

fn parse<T: Role>(stored: &rows::Stored) -> Result<Signed<T>, AppError> {
    Signed::parse(&stored.file, stored.file.len()).map_err(|error| {
        AppError::Internal(format!("stored metadata of the role {}: {error}", T::KIND.name()))
    })
}

/// Metadata by the name that clients ask for: `timestamp.json`, and the others with their version in
/// front, as `3.root.json`.
pub async fn metadata(app: &App, scope: &TenantScope, name: &str) -> Result<Vec<u8>, AppError> {
    let missing = || AppError::not_found("trust_metadata", name);
    let (role, version) = parse_name(name).ok_or_else(missing)?;
    let mut read = app.store.read(scope).await?;
    let stored = rows::metadata(&mut read, role, version).await?;
    Ok(stored.ok_or_else(missing)?.file)
}

fn parse_name(name: &str) -> Option<(TopLevel, Option<u64>)> {
    let stem = name.strip_suffix(".json")?;
    match stem.split_once('.') {
        None => (stem == "timestamp").then_some((TopLevel::Timestamp, None)),
        Some((version, role)) => {
            let role = TopLevel::of(role).filter(|role| *role != TopLevel::Timestamp)?;
            let number = version.parse().ok().filter(|n: &u64| n.to_string() == version)?;
            Some((role, Some(number)))
        }
    }
}

/// A released version's signed manifest, by its target path or by that with the SHA-256 in front of
/// the file's name, as clients of consistent snapshots ask.
pub async fn target(app: &App, scope: &TenantScope, path: &str) -> Result<Vec<u8>, AppError> {
    let missing = || AppError::not_found("trust_target", path);
    let parts: Vec<&str> = path.split('/').collect();
    let ["models", model, version, file] = parts[..] else { return Err(missing()) };
    let name = model.parse().map_err(|_| missing())?;
    let semantic = version.parse().map_err(|_| missing())?;
    let mut read = app.store.read(scope).await?;
    let found = versions::find(&mut read, &name, &semantic).await?.ok_or_else(missing)?;
    let plain = target_path(&found.model.to_string(), &found.version.to_string());
    let hashed = format!("{}.manifest.json", found.manifest_sha256);
    match path == plain || file == hashed {
        true => Ok(found.manifest_envelope),
        false => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_has_one_name() {
        assert_eq!(parse_name("timestamp.json"), Some((TopLevel::Timestamp, None)));
        assert_eq!(parse_name("12.root.json"), Some((TopLevel::Root, Some(12))));
        for name in [
            "root.json",
            "1.timestamp.json",
            "01.root.json",
            "+1.root.json",
            "1.roots.json",
            "1.root",
            "",
            ".json",
            "18446744073709551616.root.json",
            "../1.root.json",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
