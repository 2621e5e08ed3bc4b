//! Log-in of a command line, which has no browser of its own (RFC 8628). The controller is the device
//! authorization server: its page sends the person through the same way as any browser, and lets the
//! command line in as whoever came back. So it works with every provider, the command line learns no
//! secret of one, and there is one kind of session.

use std::time::Duration;

use edgeformer_proto::ids::{DeviceLoginId, TenantId};
use edgeformer_proto::token::{Kind, Token};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::log_in::{self, sha256};
use crate::account::log_in::standing;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::login_session::{self, Issued, Proved, Signer};
use crate::policy::{Action, Principal, Subject};
use crate::scope::{InstallationScope, Origin, TenantScope};
use crate::store::device_logins::{self as rows, By, Decision, DeviceLogin};
use crate::store::login_sessions::{self, LoginSession, Via};
use crate::store::users;

/// How long a person has.
pub const LIFE: Duration = Duration::from_secs(10 * 60);
/// Between two questions of the command line.
const INTERVAL_S: i64 = 5;
/// Added for asking too often (RFC 8628, section 3.5).
const SLOWER_S: i64 = 5;
/// Clocks and networks are not exact.
const EARLY: Duration = Duration::from_millis(500);
/// Letters of a code that people compare: no vowels, so that no word comes out, and nothing that looks
/// like another (section 6.1). Eight of twenty are 34 bits, good for ten minutes.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LETTERS: usize = 8;

/// A command line that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// `efd_…`, with which it asks.
    pub device_code: Token,
    /// `XXXX-XXXX`, which the person compares.
    pub user_code: String,
    /// Where the person goes.
    pub page: String,
    /// Between two questions, in seconds.
    pub interval_s: i64,
}

fn new_user_code() -> Result<String, AppError> {
    let failed = |_| AppError::Internal("the system gives no random bytes".to_owned());
    let random = SystemRandom::new();
    let mut code = String::new();
    while code.len() < CODE_LETTERS {
        let mut byte = [0_u8; 1];
        random.fill(&mut byte).map_err(failed)?;
        // 240 = 12 * 20: larger values would favour the first letters.
        if byte[0] < 240 {
            code.push(char::from(LETTERS[usize::from(byte[0] % 20)]));
        }
    }
    Ok(code)
}

/// As people compare it.
fn shown(code: &str) -> String {
    let (first, second) = code.split_at(CODE_LETTERS / 2);
    format!("{first}-{second}")
}

/// What is kept of a code, however it was typed; none if it cannot be one.
fn code_sha256(typed: &str) -> Option<[u8; 32]> {
    if typed.len() > 64 {
        return None;
    }
    let letters: String =
        typed.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_uppercase();
    let fits = letters.len() == CODE_LETTERS && letters.bytes().all(|b| LETTERS.contains(&b));
    fits.then(|| sha256(format!("user code\0{letters}").as_bytes()))
}

/// The page at which people let command lines in.
pub fn page(app: &App) -> String {
    format!("{}/api/v1/login/device", app.public_url())
}

/// A command line begins to wait.
pub async fn begin(
    app: &App,
    tenant: &str,
    provider: Option<&str>,
    origin: &Origin,
) -> Result<Waiting, AppError> {
    let (scope, provider) = log_in::find(app, tenant, provider).await?;
    let now = app.now();
    let (device_code, letters) = (Token::mint(Kind::DeviceLogin), new_user_code()?);
    let user_code = shown(&letters);
    let hash = code_sha256(&user_code).ok_or_else(|| AppError::Internal("a user code".into()))?;
    let login = DeviceLogin {
        id: DeviceLoginId::new(),
        provider: provider.id,
        source: origin.source.clone(),
        decision: Decision::Waiting,
        interval_s: INTERVAL_S,
        polled_at: Timestamp(0),
        created_at: now,
        expires_at: now.plus(LIFE),
    };
    let mut write = app.store.write_observation(&scope).await?;
    rows::insert(&mut write, &login, &device_code.sha256(), &hash).await?;
    write.commit(now).await?;
    Ok(Waiting { device_code, user_code, page: page(app), interval_s: INTERVAL_S })
}

/// A waiting command line as its page shows it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its tenant.
    pub tenant: TenantId,
    /// The rest.
    pub login: DeviceLogin,
    /// The code in one notation.
    pub user_code: String,
}

/// The command line that waits with this code.
pub async fn look(app: &App, typed: &str) -> Result<Option<Shown>, AppError> {
    let Some(hash) = code_sha256(typed) else { return Ok(None) };
    let scope = InstallationScope::system("log-in");
    let mut read = app.store.read_presented(&scope, &hash).await?;
    let found = rows::find(&mut read, By::UserCode, &hash).await?;
    let waits =
        |login: &DeviceLogin| login.decision == Decision::Waiting && login.expires_at > app.now();
    let letters: String = typed.chars().filter(char::is_ascii_alphanumeric).collect();
    let user_code = shown(&letters.to_uppercase());
    let found = found.filter(|(_, login)| waits(login));
    Ok(found.map(|(tenant, login)| Shown { tenant, login, user_code }))
}

/// What a person decides about a command line that waits. It must wait in their own tenant.
pub async fn decide(
    app: &App,
    principal: &Principal,
    typed: &str,
    allow: bool,
    origin: Origin,
) -> Result<(), AppError> {
    let gone = || {
        let message = "no command line waits with this code: it is mistyped, decided or over";
        AppError::invalid("user_code", message)
    };
    let waiting = look(app, typed).await?;
    let (Some(waiting), Subject::User(user), Some(session)) =
        (waiting, principal.subject, principal.authentication.session)
    else {
        return Err(gone());
    };
    if Some(waiting.tenant) != principal.tenant {
        return Err(gone());
    }
    let now = app.now();
    let proof = &principal.authentication;
    let scope = TenantScope::logging_in(waiting.tenant, user, &principal.name, origin)
        .proved(proof.method, proof.at)
        .assured(&proof.assurance);
    // About the person: the address from which they log in is theirs, and goes when they are erased.
    let intent = Intent::new(Action::SessionDelegate, Resource::new("user", user));
    let mut write = app.store.write(&scope, intent).await?;
    if !rows::decide(&mut write, waiting.login.id, allow.then_some(session)).await? {
        return Err(gone());
    }
    let after = json!({"session": session, "let_in": allow, "from": waiting.login.source});
    write.changes(json!(null), after);
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

fn expired() -> AppError {
    let detail = "this log-in is unknown, used or over: begin again";
    AppError::conflict("expired_token", detail)
}

/// A command line asks whether it was let in. It gets its tokens once.
pub async fn redeem(app: &App, device_code: &Token, origin: Origin) -> Result<Issued, AppError> {
    let (now, hash) = (app.now(), device_code.sha256());
    let top = InstallationScope::system("log-in");
    let mut read = app.store.read_presented(&top, &hash).await?;
    let found = rows::find(&mut read, By::Device, &hash).await?;
    drop(read);
    let (tenant, login) = found.ok_or_else(expired)?;
    let scope = TenantScope::system(tenant, "log-in");
    if login.expires_at <= now {
        return Err(expired());
    }
    match login.decision {
        Decision::Waiting => Err(wait(app, &scope, &login, now).await?),
        Decision::Refused => {
            let mut write = app.store.write_observation(&scope).await?;
            rows::take(&mut write, login.id).await?;
            write.commit(now).await?;
            let detail = "the person refused this log-in";
            Err(AppError::conflict("access_denied", detail))
        }
        Decision::Allowed(by) => {
            if let Err(closed) = standing(app, tenant, now).await? {
                return Err(AppError::Denied(closed.to_string()));
            }
            let by = login_sessions::get(&mut *app.store.read(&scope).await?, by).await?;
            // Whoever logged out meanwhile lets nobody in.
            let by = by.filter(|by| by.lasts(now)).ok_or_else(expired)?;
            enter(app, &scope, &login, by, origin, now).await
        }
    }
}

async fn wait(
    app: &App,
    scope: &TenantScope,
    login: &DeviceLogin,
    now: Timestamp,
) -> Result<AppError, AppError> {
    let seconds = u64::try_from(login.interval_s).unwrap_or_default();
    let early = now < login.polled_at.plus(Duration::from_secs(seconds)).minus(EARLY);
    let interval_s = login.interval_s + if early { SLOWER_S } else { 0 };
    let mut write = app.store.write_observation(scope).await?;
    rows::polled(&mut write, login.id, interval_s, now).await?;
    write.commit(now).await?;
    Ok(match early {
        true => {
            let detail = format!("asked too often: ask every {interval_s} seconds from now on");
            AppError::conflict("slow_down", detail)
        }
        false => {
            let detail = "nobody decided yet: ask again in some seconds";
            AppError::conflict("authorization_pending", detail)
        }
    })
}

async fn enter(
    app: &App,
    system: &TenantScope,
    login: &DeviceLogin,
    by: LoginSession,
    origin: Origin,
    now: Timestamp,
) -> Result<Issued, AppError> {
    let tenant = system.tenant();
    let user = users::get(&mut *app.store.read(system).await?, by.user).await?;
    let user = user.filter(|user| user.active).ok_or_else(expired)?;
    let signer = Signer::ready(app).await?;
    let scope = TenantScope::logging_in(tenant, user.id, &user.display_name, origin.clone())
        .proved(by.method, by.signed_in_at)
        .assured(&by.via.as_ref().map(|via| via.assurance.clone()).unwrap_or_default());
    let resource = Resource::new("user", user.id).named(user.user_name.clone());
    let mut write = app.store.write(&scope, Intent::new(Action::SessionCreate, resource)).await?;
    if !rows::take(&mut write, login.id).await? {
        return Err(expired());
    }
    // The provider ends this one together with the browser's.
    let via = by.via.map(|via| Via { wrapped_id_token: None, ..via });
    let proved = Proved { user, method: by.method, via, at: by.signed_in_at };
    let issued = login_session::begin(&signer, &mut write, proved, &origin, now).await?;
    let after = json!({
        "session": issued.session, "method": by.method.as_str(), "let_in_by_session": by.id,
    });
    write.changes(json!(null), after);
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(issued)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_however_they_are_typed() {
        let code = shown(&new_user_code().unwrap());
        assert_eq!((code.len(), code.as_bytes()[4]), (9, b'-'));
        let hash = code_sha256(&code).unwrap();
        for typed in [code.to_lowercase(), code.replace('-', ""), format!(" {code} ")] {
            assert_eq!(code_sha256(&typed), Some(hash));
        }
        for wrong in ["", "BCDF", "BCDF-GHJA", "BCDF-GHJK-L", "ÄÖÜß-BCDF", &"B".repeat(100)] {
            assert_eq!(code_sha256(wrong), None, "{wrong}");
        }
        assert_ne!(new_user_code().unwrap(), new_user_code().unwrap());
    }
}
