//! People with accounts: made by an admin, invited to set a password, disabled, unlocked. What they do
//! for themselves is in [`own`], logging in is in [`log_in`].

pub mod log_in;
pub mod own;
pub mod password;
mod throttle;
pub mod totp;

use std::collections::BTreeSet;
use std::time::Duration;

use edgeformer_proto::ids::UserId;
use edgeformer_proto::token::{Kind, Token};
use serde_json::{Value, json};

use crate::admin::validate::{self, check_person, check_roles};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::{Action, Role};
use crate::scope::TenantScope;
use crate::store::login_sessions::{self, Ending};
use crate::store::users::{self, Source, User};
use crate::store::{Conn, Write};

/// How long an invitation is good.
pub const INVITATION_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);
/// Longest e-mail address (RFC 5321, section 4.5.3.1.3).
const MAX_EMAIL_BYTES: usize = 254;

/// What keeps log-ins slow for those who guess.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Computes hashes, a few at a time.
    pub hasher: password::Hasher,
    /// Log-ins per address.
    pub throttle: throttle::Throttle,
}

/// A user name as it is compared.
pub fn fold(user_name: &str) -> String {
    user_name.trim().to_lowercase()
}

/// A user to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    user_name: String,
    display_name: String,
    email: String,
    roles: BTreeSet<Role>,
}

/// Roles by their names.
pub fn parse_roles(names: &BTreeSet<String>) -> Result<BTreeSet<Role>, AppError> {
    let one = |name: &String| {
        Role::parse(name)
            .filter(|role| *role != Role::Installation)
            .ok_or_else(|| AppError::invalid("roles", Role::choice()))
    };
    names.iter().map(one).collect()
}

/// An e-mail address, or nothing.
pub fn email(text: &str) -> Result<String, AppError> {
    let text = text.trim();
    let plain = text.len() <= MAX_EMAIL_BYTES && !text.chars().any(|c| c.is_control() || c == ' ');
    // Only what no address has: an address is proved by mail that arrives.
    if text.is_empty() || (plain && text.matches('@').count() == 1) {
        return Ok(text.to_owned());
    }
    Err(AppError::invalid("email", "it must be one address, such as ada@example.com"))
}

impl NewUser {
    /// From a request.
    pub fn parse(
        user_name: &str,
        display_name: Option<&str>,
        email_address: Option<&str>,
        roles: &BTreeSet<String>,
    ) -> Result<Self, AppError> {
        let user_name = fold(&validate::name("user_name", user_name)?);
        if user_name.contains(char::is_whitespace) {
            return Err(AppError::invalid("user_name", "it has no spaces"));
        }
        let display_name = match display_name {
            Some(name) => validate::name("display_name", name)?,
            None => user_name.clone(),
        };
        let email = email(email_address.unwrap_or_default())?;
        Ok(Self { user_name, display_name, email, roles: parse_roles(roles)? })
    }
}

impl NewUser {
    /// As it is compared.
    pub fn user_name(&self) -> &str {
        &self.user_name
    }
}

/// What an admin changes of a user.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// For people.
    pub display_name: Option<String>,
    /// Empty if it is not known.
    pub email: Option<String>,
    /// Whether it may log in.
    pub active: Option<bool>,
    /// Its own roles.
    pub roles: Option<BTreeSet<Role>>,
}

/// Makes a user without a password, with an invitation to set one. The invitation is in the result and
/// nowhere else.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    new: NewUser,
) -> Result<(User, Token), AppError> {
    check_roles(scope, &new.roles)?;
    let now = app.now();
    let invitation = Token::mint(Kind::Invitation);
    let user = User {
        id: UserId::new(),
        user_name: new.user_name,
        display_name: new.display_name,
        email: new.email,
        external_id: String::new(),
        source: Source::Local,
        active: true,
        roles: new.roles,
        password_hash: String::new(),
        failures: 0,
        locked_until: Timestamp(0),
        totp_secret: None,
        totp_confirmed: false,
        totp_last_step: 0,
        revision: 1,
        created_at: now,
        last_login_at: None,
    };
    let resource = Resource::new("user", user.id).named(user.user_name.clone());
    let intent = Intent::new(Action::UserCreate, resource).changes(json!(null), described(&user));
    let mut write = app.store.write(scope, intent).await?;
    match users::insert(&mut write, &user).await {
        Err(error) if error.is_conflict() => {
            write.rollback().await?;
            let detail = format!("a user is named {:?} already", user.user_name);
            return Err(AppError::conflict("name_taken", detail));
        }
        done => done?,
    }
    let expires_at = now.plus(INVITATION_LIFE);
    users::set_invitation(&mut write, user.id, &invitation.sha256(), expires_at).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok((user, invitation))
}

/// What of a user stands in the audit log.
fn described(user: &User) -> Value {
    json!({
        "display_name": user.display_name,
        "email": user.email,
        "active": user.active,
        "roles": user.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
    })
}

/// Users in the order they were made.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<User>, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(users::list(&mut read, after, limit).await?)
}

/// One user.
pub async fn get(app: &App, scope: &TenantScope, id: UserId) -> Result<User, AppError> {
    existing(&mut *app.store.read(scope).await?, id).await
}

async fn existing(conn: &mut Conn<TenantScope>, id: UserId) -> Result<User, AppError> {
    users::get(conn, id).await?.ok_or_else(|| AppError::not_found("user", id))
}

async fn commit(app: &App, write: Write<TenantScope>) -> Result<(), AppError> {
    write.commit(app.now()).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

/// Changes a user who is still at `revision`. Disabling one ends its log-ins.
pub async fn update(
    app: &App,
    scope: &TenantScope,
    id: UserId,
    revision: u64,
    edit: Edit,
) -> Result<User, AppError> {
    let now = app.now();
    let intent = Intent::new(Action::UserUpdate, Resource::new("user", id));
    let mut write = app.store.write(scope, intent).await?;
    let before = existing(&mut write, id).await?;
    let mut user = before.clone();
    if let Some(name) = &edit.display_name {
        user.display_name = validate::name("display_name", name)?;
    }
    if let Some(address) = &edit.email {
        user.email = email(address)?;
    }
    user.active = edit.active.unwrap_or(user.active);
    user.roles = edit.roles.unwrap_or(user.roles);
    check_person(&mut write, scope, &before).await?;
    check_roles(scope, &user.roles)?;
    if !users::update(&mut write, &user, revision).await? {
        let current = before.revision;
        return Err(AppError::Stale { kind: "user", id: id.to_string(), current });
    }
    if before.active && !user.active {
        login_sessions::end(&mut write, Ending::AllOf(id), "disabled", now).await?;
    }
    write.resource(Resource::new("user", id).named(user.user_name.clone()));
    write.changes(described(&before), described(&user));
    commit(app, write).await?;
    get(app, scope, id).await
}

/// Makes an invitation to set a new password, in place of any other. The old password works until then.
pub async fn invite(
    app: &App,
    scope: &TenantScope,
    id: UserId,
) -> Result<(Token, Timestamp), AppError> {
    let now = app.now();
    let intent = Intent::new(Action::UserInvite, Resource::new("user", id));
    let mut write = app.store.write(scope, intent).await?;
    let user = existing(&mut write, id).await?;
    // Whoever sets a password is the user from then on.
    check_person(&mut write, scope, &user).await?;
    if user.source != Source::Local {
        let detail = "this user logs in at an identity provider and has no password here";
        return Err(AppError::conflict("no_password", detail));
    }
    let invitation = Token::mint(Kind::Invitation);
    let expires_at = now.plus(INVITATION_LIFE);
    users::set_invitation(&mut write, id, &invitation.sha256(), expires_at).await?;
    write.resource(Resource::new("user", id).named(user.user_name));
    write.changes(json!(null), json!({"expires_at": expires_at.rfc3339()}));
    commit(app, write).await?;
    Ok((invitation, expires_at))
}

/// Ends the lock after failed log-ins.
pub async fn unlock(app: &App, scope: &TenantScope, id: UserId) -> Result<User, AppError> {
    let intent = Intent::new(Action::UserUnlock, Resource::new("user", id));
    let mut write = app.store.write(scope, intent).await?;
    let user = existing(&mut write, id).await?;
    users::note_login(&mut write, id, 0, Timestamp(0), None).await?;
    write.resource(Resource::new("user", id).named(user.user_name));
    write.changes(
        json!({"failures": user.failures, "locked": user.locked_until > app.now()}),
        json!({"failures": 0, "locked": false}),
    );
    commit(app, write).await?;
    get(app, scope, id).await
}
