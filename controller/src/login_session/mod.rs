//! Log-ins as sessions: a short-lived signed access token, and a refresh token that changes with every
//! use. A refresh token that is used again after it was changed was stolen, or its answer was: the
//! session ends. Access tokens are checked against the session on every request, so ending one holds
//! at once. A browser has one opaque secret in a cookie instead of the two tokens (see [`browser`]).

pub mod browser;
pub mod federated;
pub mod keys;

use std::collections::BTreeSet;
use std::time::Duration;

use edgeformer_proto::ids::{SessionId, TenantId, UserId};
use edgeformer_proto::token::{Kind, Token};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::keys::Key;
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::jose;
use crate::oidc;
use crate::policy::{Action, AuthMethod, Authentication, Principal, Role, Subject};
use crate::scope::{InstallationScope, Origin, TenantScope};
use crate::store::login_sessions::{self as rows, Ending, LoginSession, Presented, Via};
use crate::store::users::{self, User};
use crate::store::{Read, StoreError, Write, installation};

/// Life of an access token.
pub const ACCESS_LIFE: Duration = Duration::from_secs(10 * 60);
/// A session that is not used for so long is over.
pub const IDLE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A session is over then at the latest.
pub const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// A refresh token that was changed so lately may be presented again: two commands at once, or an
/// answer that was lost. It gives nothing, and ends nothing.
const REUSE_GRACE: Duration = Duration::from_secs(10);
/// Clocks of controllers differ.
const LEEWAY_S: i64 = 5;
/// Whom access tokens are for.
const AUDIENCE: &str = "edgeformer-api";
/// Longest access token looked at.
const MAX_TOKEN_BYTES: usize = 2048;

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    aud: String,
    /// The user.
    sub: UserId,
    /// The tenant.
    tid: TenantId,
    /// The session.
    sid: SessionId,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// What every access token says of its time, in seconds since the Unix epoch.
trait Signed: Serialize + DeserializeOwned {
    /// For whom such tokens are.
    const AUDIENCE: &'static str;
    /// From when, until when.
    fn times(&self) -> (i64, i64);
}

impl Signed for Claims {
    const AUDIENCE: &'static str = AUDIENCE;

    fn times(&self) -> (i64, i64) {
        (self.nbf, self.exp)
    }
}

/// Both tokens of a session. Shown once.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The session.
    pub session: SessionId,
    /// Whose.
    pub user: User,
    /// JWT.
    pub access: String,
    /// Its life.
    pub access_life: Duration,
    /// `efr_…`
    pub refresh: Token,
    /// When the session is over at the latest.
    pub ends_at: Timestamp,
}

/// Somebody who proved who they are.
#[derive(Debug, Clone)]
pub struct Proved {
    /// Who.
    pub user: User,
    /// How.
    pub method: AuthMethod,
    /// At which provider.
    pub via: Option<Via>,
    /// When: a log-in that another lets in is as old as that one.
    pub at: Timestamp,
}

/// What access tokens are signed with. Got before a transaction is begun: it may need one itself.
#[derive(Debug, Clone)]
pub struct Signer {
    key: Key,
    issuer: String,
}

impl Signer {
    /// For tokens that are signed now.
    pub async fn ready(app: &App) -> Result<Self, AppError> {
        let key = app.session_keys().signing(app).await?;
        Ok(Self { key, issuer: issuer(app).await? })
    }

    fn sign(
        &self,
        tenant: TenantId,
        session: &LoginSession,
        now: Timestamp,
    ) -> Result<String, AppError> {
        let seconds = now.0 / 1_000_000;
        self.seal(&Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: session.user,
            tid: tenant,
            sid: session.id,
            jti: uuid::Uuid::now_v7().to_string(),
            iat: seconds,
            nbf: seconds,
            exp: seconds + ACCESS_LIFE.as_secs() as i64,
        })
    }

    fn seal(&self, claims: &impl Signed) -> Result<String, AppError> {
        jose::install();
        let header = Header { kid: Some(self.key.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.key.signing).map_err(|error| {
            AppError::Internal(format!("an access token cannot be signed: {error}"))
        })
    }
}

/// Begins a session in the transaction that accepted the proof.
pub async fn begin(
    signer: &Signer,
    write: &mut Write<TenantScope>,
    proved: Proved,
    origin: &Origin,
    now: Timestamp,
) -> Result<Issued, AppError> {
    let refresh = Token::mint(Kind::Refresh);
    let user = proved.user.clone();
    let session = open_session(write, proved, &refresh, origin, now).await?;
    let tenant = write.scope().tenant();
    let access = signer.sign(tenant, &session, now)?;
    Ok(Issued {
        session: session.id,
        user,
        access,
        access_life: ACCESS_LIFE,
        refresh,
        ends_at: session.ends_at,
    })
}

/// Keeps a session that goes on with `secret`.
async fn open_session(
    write: &mut Write<TenantScope>,
    proved: Proved,
    secret: &Token,
    origin: &Origin,
    now: Timestamp,
) -> Result<LoginSession, AppError> {
    let session = LoginSession {
        id: SessionId::new(),
        user: proved.user.id,
        method: proved.method,
        via: proved.via,
        source: origin.source.clone(),
        signed_in_at: proved.at,
        rotated_at: now,
        idle_ends_at: now.plus(IDLE_LIFE),
        ends_at: proved.at.plus(LIFE),
        ended_at: None,
    };
    rows::insert(write, &session, &secret.sha256()).await?;
    Ok(session)
}

async fn issuer(app: &App) -> Result<String, AppError> {
    let read = async {
        let mut read = app.store.read(&InstallationScope::system("log-in")).await?;
        let row = installation::get(&mut read).await?;
        let row = row.ok_or_else(|| AppError::Internal("the installation's row is gone".into()))?;
        Ok(format!("edgeformer:{}", row.trust_domain))
    };
    // It never changes.
    app.issuer().get_or_try_init(|| read).await.cloned()
}

/// What an access token says, if this installation signed it and it is alive at `now`. Everything else
/// is none: who presents it learns nothing.
async fn open<T: Signed>(app: &App, token: &str, now: Timestamp) -> Result<Option<T>, AppError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Ok(None);
    }
    jose::install();
    // The header only chooses among our own keys; what it says of the algorithm is not followed.
    let Ok(header) = jsonwebtoken::decode_header(token) else { return Ok(None) };
    let (Algorithm::EdDSA, Some(kid)) = (header.alg, &header.kid) else { return Ok(None) };
    let Some(key) = app.session_keys().verifying(app, kid).await? else { return Ok(None) };
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_audience(&[T::AUDIENCE]);
    rules.set_issuer(&[issuer(app).await?]);
    rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    // Times are compared with our own clock, below.
    (rules.validate_exp, rules.validate_nbf) = (false, false);
    let Ok(data) = jsonwebtoken::decode::<T>(token, &key.verifying, &rules) else {
        return Ok(None);
    };
    let (claims, seconds) = (data.claims, now.0 / 1_000_000);
    let (from, until) = claims.times();
    let alive = from <= seconds + LEEWAY_S && seconds < until + LEEWAY_S;
    Ok(alive.then_some(claims))
}

/// The principal of an access token whose session lasts and whose user may log in.
pub async fn authenticate(app: &App, token: &str) -> Result<Option<Principal>, AppError> {
    let now = app.now();
    let Some(claims) = open::<Claims>(app, token, now).await? else {
        return federated::authenticate(app, token, now).await;
    };
    let scope = TenantScope::system(claims.tid, "authentication");
    let mut read = app.store.read(&scope).await?;
    let session = rows::get(&mut read, claims.sid).await?;
    let Some(session) = session.filter(|s| s.lasts(now) && s.user == claims.sub) else {
        return Ok(None);
    };
    principal(&mut read, session).await
}

/// The principal of a session that lasts, if its user may log in and its provider is still trusted.
async fn principal(
    read: &mut Read<TenantScope>,
    session: LoginSession,
) -> Result<Option<Principal>, AppError> {
    let Some(user) = users::get(read, session.user).await?.filter(|user| user.active) else {
        return Ok(None);
    };
    let (by_group, groups) = users::groups(read, user.id).await?;
    let mut roles: BTreeSet<Role> = user.roles.union(&by_group).copied().collect();
    if let Some(via) = &session.via {
        match oidc::roles::of_user(read, via.provider, user.id).await? {
            Some(by_provider) => roles.extend(by_provider),
            None => return Ok(None),
        }
    }
    let assurance = session.via.map(|via| via.assurance).unwrap_or_default();
    Ok(Some(Principal {
        subject: Subject::User(user.id),
        name: user.display_name,
        roles,
        groups,
        tenant: Some(read.scope().tenant()),
        authentication: Authentication {
            method: session.method,
            at: session.signed_in_at,
            session: Some(session.id),
            token: None,
            assurance,
        },
        scopes: None,
    }))
}

/// Whose token is not taken, in one text for all reasons.
fn over() -> AppError {
    AppError::Unauthenticated("the log-in is over: log in again".to_owned())
}

/// Goes on with a session: a new access token, and a new refresh token in place of this one.
pub async fn refresh(app: &App, token: &Token, origin: Origin) -> Result<Issued, AppError> {
    let (now, sha256) = (app.now(), token.sha256());
    let top = InstallationScope::system("log-in");
    let mut read = app.store.read_presented(&top, &sha256).await?;
    let found = rows::find_by_secret(&mut read, &sha256).await?;
    drop(read);
    let Some(Presented { tenant, session, newest }) = found else { return Err(over()) };
    if !session.lasts(now) {
        return Err(over());
    }
    let scope = TenantScope::system(tenant, "log-in");
    let user = users::get(&mut *app.store.read(&scope).await?, session.user).await?;
    let user = user.filter(|user| user.active).ok_or_else(over)?;
    let scope = TenantScope::logging_in(tenant, user.id, &user.display_name, origin);
    if !newest {
        return Err(reused(app, &scope, &session, now).await?);
    }
    let signer = Signer::ready(app).await?;
    let next = Token::mint(Kind::Refresh);
    let mut write = app.store.write_observation(&scope).await?;
    let idle_ends_at = now.plus(IDLE_LIFE);
    if !rows::rotate(&mut write, session.id, &sha256, &next.sha256(), now, idle_ends_at).await? {
        return Err(just_changed());
    }
    write.commit(now).await?;
    let access = signer.sign(tenant, &session, now)?;
    Ok(Issued {
        session: session.id,
        user,
        access,
        access_life: ACCESS_LIFE,
        refresh: next,
        ends_at: session.ends_at,
    })
}

fn just_changed() -> AppError {
    let detail = "the refresh token was changed a moment ago by another request: use the new one";
    AppError::conflict("refresh_changed", detail)
}

/// A token that was changed before is presented: the session ends, unless it was just now.
async fn reused(
    app: &App,
    scope: &TenantScope,
    session: &LoginSession,
    now: Timestamp,
) -> Result<AppError, StoreError> {
    if now < session.rotated_at.plus(REUSE_GRACE) {
        return Ok(just_changed());
    }
    let why = "a refresh token was used a second time: it or its answer was stolen, so the log-in \
               is ended";
    let mut write = app.store.write_observation(scope).await?;
    rows::end(&mut write, Ending::One(session.id), "reuse", now).await?;
    write.commit(now).await?;
    let intent =
        Intent::new(Action::SessionRefresh, Resource::new("session", session.id)).because(why);
    app.store.record(scope, intent, Outcome::Denied, now).await?;
    app.nudges.audit.notify_one();
    tracing::warn!(session = %session.id, "{why}");
    Ok(over())
}

/// Ends log-ins. Returns how many lasted.
pub async fn end(
    app: &App,
    scope: &TenantScope,
    action: Action,
    which: Ending,
    because: &'static str,
) -> Result<u64, AppError> {
    let now = app.now();
    let resource = match &which {
        Ending::One(id) => Resource::new("session", id),
        Ending::AllOf(user) | Ending::OthersOf(user, _) | Ending::OfUserFrom(_, user) => {
            Resource::new("user", user)
        }
        Ending::From(provider) | Ending::FromSession(provider, _) => {
            Resource::new("identity_provider", provider)
        }
    };
    let mut write = app.store.write(scope, Intent::new(action, resource)).await?;
    let ended = rows::end(&mut write, which, because, now).await?;
    if ended > 0 {
        write.changes(json!(null), json!({"ended": ended, "because": because}));
        write.commit(now).await?;
        app.nudges.audit.notify_one();
    }
    Ok(ended)
}

/// A user's own log-ins that last, newest first.
pub async fn own(
    app: &App,
    scope: &TenantScope,
    user: UserId,
    limit: i64,
) -> Result<Vec<LoginSession>, AppError> {
    let now = app.now();
    let mut read = app.store.read(scope).await?;
    let all = rows::of_user(&mut read, user, limit).await?;
    Ok(all.into_iter().filter(|session| session.lasts(now)).collect())
}
