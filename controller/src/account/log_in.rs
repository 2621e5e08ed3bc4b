//! Logging in with a password. Whoever tries learns nothing about who exists: an unknown tenant, an
//! unknown or disabled user, a locked one and a wrong password get the same answer after the same work.

use std::net::IpAddr;
use std::time::Duration;

use edgeformer_proto::ids::TenantId;
use serde_json::json;

use super::password::Password;
use super::totp;
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::login_session::{self, Issued, Proved, Signer};
use crate::policy::{Action, AuthMethod};
use crate::scope::{InstallationScope, Origin, TenantScope};
use crate::store::users::{self, User};
use crate::store::{Write, tenants};
use crate::tenancy::Closed;
use crate::tenancy::book::Refused;
use crate::vault::SecretKind;

/// Failures in a row before an account is locked.
pub const FREE_FAILURES: u32 = 5;
/// The first lock; each further failure doubles it.
const FIRST_LOCK: Duration = Duration::from_secs(60);
/// The longest lock: longer ones would let a stranger keep a user out.
const LONGEST_LOCK: Duration = Duration::from_secs(3600);
/// Longest names looked at.
const MAX_NAME_BYTES: usize = 256;

/// What somebody types.
#[derive(Debug)]
pub struct Attempt {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the user.
    pub user_name: String,
    /// The password.
    pub password: Password,
    /// A one-time code, or a recovery code.
    pub code: Option<String>,
}

/// The one answer for everything that does not fit.
fn wrong() -> AppError {
    let message = "tenant, user name, password or code is wrong, or the account is locked for a \
                   while or disabled";
    AppError::Unauthenticated(message.to_owned())
}

/// Until when an account is locked after so many failures in a row.
fn lock_after(failures: u32, now: Timestamp) -> Timestamp {
    if failures < FREE_FAILURES {
        return Timestamp(0);
    }
    let doublings = (failures - FREE_FAILURES).min(16);
    now.plus((FIRST_LOCK * 2_u32.pow(doublings)).min(LONGEST_LOCK))
}

/// Logs in.
pub async fn log_in(
    app: &App,
    attempt: Attempt,
    address: Option<IpAddr>,
    origin: Origin,
) -> Result<Issued, AppError> {
    let now = app.now();
    if !app.accounts().throttle.admit(address, now) {
        let message = "too many log-ins from this address: repeat in a minute";
        return Err(AppError::Overloaded(message.to_owned()));
    }
    let found = find(app, &attempt).await?;
    let kept = found.as_ref().map(|(_, user)| user.password_hash.clone());
    let fits = app.accounts().hasher.verify(attempt.password, kept).await?;
    let Some((tenant, user)) = found else { return Err(wrong()) };
    // Only to those who know a password: strangers learn nothing of a tenant.
    if fits && let Err(closed) = standing(app, tenant.tenant(), now).await? {
        return Err(AppError::Denied(closed.to_string()));
    }
    let scope =
        TenantScope::logging_in(tenant.tenant(), user.id, &user.display_name, origin.clone());
    let signer = Signer::ready(app).await?;
    let resource = Resource::new("user", user.id).named(user.user_name.clone());
    let intent = Intent::new(Action::SessionCreate, resource);
    // Read again under the lock of the transaction: attempts at once count one by one.
    let mut write = app.store.write(&scope, intent.clone()).await?;
    let user = users::get(&mut write, user.id).await?.ok_or_else(wrong)?;
    let reason = match () {
        () if user.locked_until > now => "the account is locked after failed log-ins",
        () if !user.active => "the account is disabled",
        () if !fits => "the password is wrong",
        () => match second_factor(app, &mut write, &user, attempt.code.as_deref(), now).await? {
            Second::Fits(method) => {
                users::note_login(&mut write, user.id, 0, Timestamp(0), Some(now)).await?;
                let proved = Proved { user, method, via: None, at: now };
                let issued =
                    login_session::begin(&signer, &mut write, proved, &origin, now).await?;
                let after = json!({"session": issued.session, "method": method.as_str()});
                write.changes(json!(null), after);
                write.commit(now).await?;
                app.nudges.audit.notify_one();
                return Ok(issued);
            }
            Second::Missing => {
                let message = "the password is right; send a one-time code too";
                return Err(AppError::SecondFactor(message.to_owned()));
            }
            Second::Wrong => "the one-time code is wrong",
        },
    };
    drop(write);
    fail(app, &scope, intent, &user, reason, now).await?;
    Err(wrong())
}

async fn find(app: &App, attempt: &Attempt) -> Result<Option<(TenantScope, User)>, AppError> {
    // PostgreSQL takes no zero byte in a text.
    let fits = |name: &str| name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
    if !fits(&attempt.tenant) || !fits(&attempt.user_name) {
        return Ok(None);
    }
    let mut read = app.store.read(&InstallationScope::system("log-in")).await?;
    let Some(id) = tenants::by_name(&mut read, attempt.tenant.trim()).await? else {
        return Ok(None);
    };
    drop(read);
    let scope = TenantScope::system(id, "log-in");
    let mut read = app.store.read(&scope).await?;
    let user = users::by_name(&mut read, &super::fold(&attempt.user_name)).await?;
    Ok(user.map(|user| (scope, user)))
}

/// Whether a tenant's people may come in.
pub(crate) async fn standing(
    app: &App,
    tenant: TenantId,
    now: Timestamp,
) -> Result<Result<(), Closed>, AppError> {
    match app.tenants().of(&app.store, tenant, now).await {
        Ok(standing) => Ok(standing.open()),
        Err(Refused::Closed(closed)) => Ok(Err(closed)),
        Err(Refused::Store(error)) => Err(error.into()),
    }
}

enum Second {
    Fits(AuthMethod),
    Missing,
    Wrong,
}

async fn second_factor(
    app: &App,
    write: &mut Write<TenantScope>,
    user: &User,
    code: Option<&str>,
    now: Timestamp,
) -> Result<Second, AppError> {
    let Some(wrapped) = user.totp_secret.as_ref().filter(|_| user.totp_confirmed) else {
        return Ok(Second::Fits(AuthMethod::Password));
    };
    let Some(code) = code else { return Ok(Second::Missing) };
    let secret = app
        .vault
        .unwrap(SecretKind::TotpSecret, &user.id.to_string(), wrapped)
        .map_err(|error| AppError::Internal(format!("a second factor: {error}")))?;
    if let Some(step) = totp::verify(&secret, code, now, user.totp_last_step)
        && users::use_step(write, user.id, step).await?
    {
        return Ok(Second::Fits(AuthMethod::PasswordTotp));
    }
    let recovery = totp::recovery_sha256(code);
    if users::use_recovery_code(write, user.id, &recovery, now).await? {
        return Ok(Second::Fits(AuthMethod::RecoveryCode));
    }
    Ok(Second::Wrong)
}

/// Counts a failure and records it. A locked account is not locked further by trying.
pub(super) async fn fail(
    app: &App,
    scope: &TenantScope,
    intent: Intent,
    user: &User,
    reason: &str,
    now: Timestamp,
) -> Result<(), AppError> {
    let mut reason = reason.to_owned();
    if user.locked_until <= now {
        let mut write = app.store.write_observation(scope).await?;
        let failures = users::count_failure(&mut write, user.id).await?;
        let until = lock_after(failures, now);
        users::note_login(&mut write, user.id, failures, until, None).await?;
        write.commit(now).await?;
        reason.push_str(&format!("; {failures} in a row"));
        if until > now {
            reason.push_str(&format!(", locked until {}", until.rfc3339()));
        }
    }
    app.store.record(scope, intent.because(reason), Outcome::Denied, now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_grow_and_end() {
        let now = Timestamp(1_000_000_000);
        let seconds = |failures| (lock_after(failures, now).0 - now.0) / 1_000_000;
        assert_eq!(lock_after(4, now), Timestamp(0));
        assert_eq!([5, 6, 7, 10, 11, 12, 99].map(seconds), [60, 120, 240, 1920, 3600, 3600, 3600]);
    }
}
