//! Log-ins of browsers: one opaque secret in a cookie that scripts cannot read, kept as SHA-256 like any
//! other. It does not change with use: several tabs ask at once, and a secret that never leaves the
//! cookie jar needs no change to notice theft. Ending the session holds at once, as everywhere.

use std::time::Duration;

use edgeformer_proto::ids::{SessionId, TenantId};
use edgeformer_proto::token::{Kind, Token};

use super::{IDLE_LIFE, Proved, open_session, principal};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::Principal;
use crate::scope::{InstallationScope, Origin, TenantScope};
use crate::store::Write;
use crate::store::login_sessions::{self as rows, LoginSession};

/// A session that is used is noted so often: not each request costs a write.
const TOUCH_EVERY: Duration = Duration::from_secs(5 * 60);

/// A browser that is logged in.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The session.
    pub session: SessionId,
    /// `efb_…`, for the cookie.
    pub token: Token,
    /// When the session is over at the latest.
    pub ends_at: Timestamp,
}

/// Begins a session in the transaction that accepted the proof.
pub async fn begin(
    write: &mut Write<TenantScope>,
    proved: Proved,
    origin: &Origin,
    now: Timestamp,
) -> Result<Begun, AppError> {
    let token = Token::mint(Kind::Browser);
    let session = open_session(write, proved, &token, origin, now).await?;
    Ok(Begun { session: session.id, token, ends_at: session.ends_at })
}

/// The session that a cookie stands for, if it lasts.
pub async fn find(app: &App, token: &Token) -> Result<Option<(TenantId, LoginSession)>, AppError> {
    let sha256 = token.sha256();
    let scope = InstallationScope::system("authentication");
    let mut read = app.store.read_presented(&scope, &sha256).await?;
    let found = rows::find_by_secret(&mut read, &sha256).await?;
    let lasts = found.filter(|found| found.newest && found.session.lasts(app.now()));
    Ok(lasts.map(|found| (found.tenant, found.session)))
}

/// The principal of a cookie whose session lasts and whose user may log in.
pub async fn authenticate(app: &App, token: &Token) -> Result<Option<Principal>, AppError> {
    let Some((tenant, session)) = find(app, token).await? else { return Ok(None) };
    let (now, id) = (app.now(), session.id);
    let scope = TenantScope::system(tenant, "authentication");
    if session.rotated_at <= now.minus(TOUCH_EVERY) {
        let mut write = app.store.write_observation(&scope).await?;
        rows::touch(&mut write, id, now, now.plus(IDLE_LIFE)).await?;
        write.commit(now).await?;
    }
    let mut read = app.store.read(&scope).await?;
    principal(&mut read, session).await
}
