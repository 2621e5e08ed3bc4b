//! A tenant's own policies: looked at, checked, saved, removed. Only what is valid together with
//! everything else is ever saved.

use jiff::tz::TimeZone;
use serde_json::json;

use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::engine::{PolicyError, Source};
use crate::policy::{Action, Policies};
use crate::scope::TenantScope;
use crate::store::policies::{self, Settings, StoredPolicy};
use crate::store::{Conn, Write};

/// Most policies of a tenant: all are evaluated on every decision.
pub const MAX_POLICIES: usize = 100;
/// Longest text of one: several pages.
pub const MAX_TEXT_BYTES: usize = 32 * 1024;
/// Longest name.
pub const MAX_NAME_BYTES: usize = 63;

/// Refuses a name that is not one to write in a path.
pub fn check_name(name: &str) -> Result<(), AppError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = (1..=MAX_NAME_BYTES).contains(&name.len())
        && plain(name.as_bytes()[0])
        && name.bytes().all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
    if good {
        return Ok(());
    }
    let message = "1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit";
    Err(AppError::invalid("name", message))
}

fn invalid(error: &PolicyError) -> AppError {
    AppError::invalid("text", error.to_string())
}

/// The time zone of this IANA name.
pub fn zone(name: &str) -> Result<TimeZone, AppError> {
    TimeZone::get(name).map_err(|_| {
        AppError::invalid("time_zone", "it must be an IANA name such as Europe/Berlin or UTC")
    })
}

/// Policies and a time zone together, as if they were the tenant's.
pub fn compile(sources: &[Source], time_zone: &str) -> Result<Policies, AppError> {
    if sources.len() > MAX_POLICIES {
        let message = format!("a tenant has at most {MAX_POLICIES} policies");
        return Err(AppError::invalid("policies", message));
    }
    for source in sources {
        check_name(&source.name)?;
        if source.text.len() > MAX_TEXT_BYTES {
            let message = format!("a policy has at most {MAX_TEXT_BYTES} bytes");
            return Err(AppError::invalid("text", message));
        }
    }
    Policies::new(sources, zone(time_zone)?).map_err(|error| invalid(&error))
}

/// The tenant's own policies, as they are to be compiled.
pub async fn sources(conn: &mut Conn<TenantScope>) -> Result<Vec<Source>, AppError> {
    let all = policies::all(conn).await?.into_iter();
    Ok(all.map(|one| Source { name: one.name, text: one.text }).collect())
}

/// The tenant's own policies and what they go by.
pub async fn list(
    app: &App,
    scope: &TenantScope,
) -> Result<(Vec<StoredPolicy>, Settings), AppError> {
    let mut read = app.store.read(scope).await?;
    Ok((policies::all(&mut read).await?, policies::settings(&mut read).await?))
}

/// One of them.
pub async fn get(app: &App, scope: &TenantScope, name: &str) -> Result<StoredPolicy, AppError> {
    let mut read = app.store.read(scope).await?;
    let found = policies::get(&mut read, name).await?;
    found.ok_or_else(|| AppError::not_found("policy", name))
}

/// Makes a policy, or changes the one that is still at `revision`.
pub async fn put(
    app: &App,
    scope: &TenantScope,
    name: &str,
    text: &str,
    revision: Option<u64>,
) -> Result<StoredPolicy, AppError> {
    check_name(name)?;
    let now = app.now();
    let intent = Intent::new(Action::PolicyUpdate, Resource::new("policy", name).named(name));
    let mut write = app.store.write(scope, intent).await?;
    // From here on nobody else changes policies until this is done.
    policies::touch(&mut write, None).await?;
    let before = policies::get(&mut write, name).await?;
    match (&before, revision) {
        (None, None) => policies::insert(&mut write, name, text, now).await?,
        (None, Some(_)) => return Err(AppError::not_found("policy", name)),
        (Some(_), None) => {
            let detail = format!(
                "there is a policy {name:?}: read it and send its ETag as If-Match to change it"
            );
            return Err(AppError::conflict("policy_exists", detail));
        }
        (Some(old), Some(revision)) => {
            if !policies::update(&mut write, name, revision, text, now).await? {
                let current = old.revision;
                return Err(AppError::Stale { kind: "policy", id: name.to_owned(), current });
            }
        }
    }
    check(&mut write).await?;
    let before = before.map_or(json!(null), |old| json!({"text": old.text}));
    write.changes(before, json!({"text": text}));
    commit(app, write).await?;
    get(app, scope, name).await
}

/// Removes a policy.
pub async fn delete(app: &App, scope: &TenantScope, name: &str) -> Result<(), AppError> {
    let intent = Intent::new(Action::PolicyDelete, Resource::new("policy", name).named(name));
    let mut write = app.store.write(scope, intent).await?;
    policies::touch(&mut write, None).await?;
    let old = policies::get(&mut write, name).await?;
    let old = old.ok_or_else(|| AppError::not_found("policy", name))?;
    policies::delete(&mut write, name).await?;
    write.changes(json!({"text": old.text}), json!(null));
    commit(app, write).await
}

/// What policies go by.
pub async fn settings(app: &App, scope: &TenantScope) -> Result<Settings, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(policies::settings(&mut read).await?)
}

/// Changes the time zone that policies go by.
pub async fn set_time_zone(
    app: &App,
    scope: &TenantScope,
    name: &str,
) -> Result<Settings, AppError> {
    zone(name)?;
    let intent =
        Intent::new(Action::AccessSettingsUpdate, Resource::new("access_settings", scope.tenant()));
    let mut write = app.store.write(scope, intent).await?;
    let old = policies::settings(&mut write).await?;
    policies::touch(&mut write, Some(name)).await?;
    write.changes(json!({"time_zone": old.time_zone}), json!({"time_zone": name}));
    commit(app, write).await?;
    settings(app, scope).await
}

/// Refuses what the transaction would leave, if it is not valid as a whole.
async fn check(write: &mut Write<TenantScope>) -> Result<(), AppError> {
    let time_zone = policies::settings(write).await?.time_zone;
    let sources = sources(write).await?;
    compile(&sources, &time_zone).map(|_| ())
}

async fn commit(app: &App, write: Write<TenantScope>) -> Result<(), AppError> {
    let tenant = write.scope().tenant();
    write.commit(app.now()).await?;
    app.policies().forget(tenant);
    app.nudges.audit.notify_one();
    Ok(())
}
