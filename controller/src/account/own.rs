//! What people do about their own account: the password, the second factor, recovery codes.

use edgeformer_proto::ids::{SessionId, TenantId, UserId};
use edgeformer_proto::token::Token;
use serde_json::json;

use super::password::Password;
use super::{commit, existing, log_in, totp};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::{Action, Principal, Subject};
use crate::scope::{InstallationScope, Origin, TenantScope};
use crate::store::login_sessions::{self, Ending};
use crate::store::users::{self, User};
use crate::store::{Write, tenants};
use crate::vault::SecretKind;

/// The person behind a principal, and the log-in that it came with.
pub fn person(principal: &Principal) -> Result<(UserId, SessionId), AppError> {
    match (principal.subject, principal.authentication.session) {
        (Subject::User(id), Some(session)) => Ok((id, session)),
        _ => Err(AppError::Denied(
            "this is for people who logged in: a token has no password and no second factor".into(),
        )),
    }
}

/// Whether it is the person's own password. Whoever found a log-in open is kept from guessing it like
/// whoever logs in: failures count, are on record, and lock.
async fn check(
    app: &App,
    scope: &TenantScope,
    action: Action,
    user: &User,
    password: Password,
) -> Result<(), AppError> {
    let now = app.now();
    if user.password_hash.is_empty() {
        let detail = "you log in at an identity provider and have no password here";
        return Err(AppError::conflict("no_password", detail));
    }
    if user.locked_until > now {
        let until = user.locked_until.rfc3339();
        let message = format!("passwords are not looked at after failed ones until {until}");
        return Err(AppError::Denied(message));
    }
    let kept = Some(user.password_hash.clone());
    if app.accounts().hasher.verify(password, kept).await? {
        return Ok(());
    }
    let resource = Resource::new("user", user.id).named(user.user_name.clone());
    let intent = Intent::new(action, resource);
    log_in::fail(app, scope, intent, user, "the password is wrong", now).await?;
    Err(AppError::invalid("current_password", "it is not your password"))
}

async fn names(app: &App, scope: &TenantScope, user: &User) -> Result<Vec<String>, AppError> {
    let tenant = tenants::own(&mut *app.store.read(scope).await?).await?;
    let tenant = tenant.map(|tenant| tenant.name).unwrap_or_default();
    Ok(vec![user.user_name.clone(), user.display_name.clone(), tenant])
}

/// Hashes a password that may be set for this user.
async fn accept(
    app: &App,
    scope: &TenantScope,
    user: &User,
    password: Password,
) -> Result<String, AppError> {
    let names = names(app, scope, user).await?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    password.check("password", &names)?;
    app.accounts().hasher.hash(password).await
}

/// Changes one's own password. All other log-ins end.
pub async fn change_password(
    app: &App,
    scope: &TenantScope,
    principal: &Principal,
    current: Password,
    new: Password,
) -> Result<(), AppError> {
    let (id, session) = person(principal)?;
    let user = super::get(app, scope, id).await?;
    check(app, scope, Action::SelfPassword, &user, current).await?;
    let hash = accept(app, scope, &user, new).await?;
    let resource = Resource::new("user", id).named(user.user_name);
    let mut write = app.store.write(scope, Intent::new(Action::SelfPassword, resource)).await?;
    users::set_password(&mut write, id, &hash).await?;
    let others = Ending::OthersOf(id, session);
    let ended = login_sessions::end(&mut write, others, "password", app.now()).await?;
    write.changes(json!(null), json!({"password": "changed", "other_log_ins_ended": ended}));
    commit(app, write).await
}

/// Sets a password with an invitation. All log-ins end.
pub async fn set_password(
    app: &App,
    tenant: &str,
    invitation: &Token,
    new: Password,
    origin: Origin,
) -> Result<User, AppError> {
    let now = app.now();
    let wrong = || {
        let message = "the invitation is unknown, used or expired, or of another tenant: ask for a \
                       new one";
        AppError::Unauthenticated(message.to_owned())
    };
    let mut read = app.store.read(&InstallationScope::system("invitation")).await?;
    let tenant: TenantId = tenants::by_name(&mut read, tenant.trim()).await?.ok_or_else(wrong)?;
    drop(read);
    let scope = TenantScope::system(tenant, "invitation");
    let mut read = app.store.read(&scope).await?;
    let user = users::invited(&mut read, &invitation.sha256(), now).await?;
    drop(read);
    let user = user.filter(|user| user.active).ok_or_else(wrong)?;
    let hash = accept(app, &scope, &user, new).await?;
    let scope = TenantScope::logging_in(tenant, user.id, &user.display_name, origin);
    let resource = Resource::new("user", user.id).named(user.user_name.clone());
    let mut write = app.store.write(&scope, Intent::new(Action::PasswordSet, resource)).await?;
    // Two at once: the second finds the invitation used.
    if users::invited(&mut write, &invitation.sha256(), now).await?.is_none() {
        return Err(wrong());
    }
    users::set_password(&mut write, user.id, &hash).await?;
    login_sessions::end(&mut write, Ending::AllOf(user.id), "password", now).await?;
    write.changes(json!(null), json!({"password": "set with an invitation"}));
    commit(app, write).await?;
    Ok(user)
}

/// A second factor that is not asked for yet.
#[derive(Debug, Clone)]
pub struct NewFactor {
    /// As apps take it by hand.
    pub secret: String,
    /// What a QR code holds.
    pub uri: String,
}

/// Begins a second factor: it is asked for once a code of it was confirmed.
pub async fn begin_totp(
    app: &App,
    scope: &TenantScope,
    principal: &Principal,
    current: Password,
) -> Result<NewFactor, AppError> {
    let (id, _) = person(principal)?;
    let user = super::get(app, scope, id).await?;
    check(app, scope, Action::SelfTotp, &user, current).await?;
    if user.totp_confirmed {
        let detail = "there is a second factor already: remove it first";
        return Err(AppError::conflict("second_factor_exists", detail));
    }
    let failed = || AppError::Internal("a second factor cannot be made".to_owned());
    let secret = totp::secret().ok_or_else(failed)?;
    let wrapped = app
        .vault
        .wrap(SecretKind::TotpSecret, &id.to_string(), &secret)
        .map_err(|error| AppError::Internal(format!("a second factor: {error}")))?;
    let mut write = app.store.write_observation(scope).await?;
    users::set_totp(&mut write, id, Some(&wrapped), false).await?;
    write.commit(app.now()).await?;
    let uri = totp::uri(&secret, "EdgeFormer Fleet", &user.user_name);
    Ok(NewFactor { secret: totp::base32(&secret), uri })
}

async fn new_codes(write: &mut Write<TenantScope>, id: UserId) -> Result<Vec<String>, AppError> {
    let failed = || AppError::Internal("recovery codes cannot be made".to_owned());
    let codes = totp::recovery_codes().ok_or_else(failed)?;
    let kept: Vec<_> = codes.iter().map(|code| totp::recovery_sha256(code)).collect();
    users::set_recovery_codes(write, id, &kept).await?;
    Ok(codes)
}

/// Confirms a second factor with a code of it. Returns the recovery codes, which are shown once.
pub async fn confirm_totp(
    app: &App,
    scope: &TenantScope,
    principal: &Principal,
    code: &str,
) -> Result<Vec<String>, AppError> {
    let (id, _) = person(principal)?;
    let now = app.now();
    let intent = Intent::new(Action::SelfTotp, Resource::new("user", id));
    let mut write = app.store.write(scope, intent).await?;
    let user = existing(&mut write, id).await?;
    let Some(wrapped) = user.totp_secret.filter(|_| !user.totp_confirmed) else {
        let detail = "there is no second factor that waits for a code: begin one first";
        return Err(AppError::conflict("no_second_factor", detail));
    };
    let secret = app
        .vault
        .unwrap(SecretKind::TotpSecret, &id.to_string(), &wrapped)
        .map_err(|error| AppError::Internal(format!("a second factor: {error}")))?;
    let Some(step) = totp::verify(&secret, code, now, user.totp_last_step) else {
        let message = "it is not the code of now: check the clock of the device with the app";
        return Err(AppError::invalid("code", message));
    };
    users::use_step(&mut write, id, step).await?;
    users::set_totp(&mut write, id, Some(&wrapped), true).await?;
    let codes = new_codes(&mut write, id).await?;
    write.resource(Resource::new("user", id).named(user.user_name));
    write.changes(json!({"second_factor": false}), json!({"second_factor": true}));
    commit(app, write).await?;
    Ok(codes)
}

/// Removes the second factor and the recovery codes.
pub async fn remove_totp(
    app: &App,
    scope: &TenantScope,
    principal: &Principal,
    current: Password,
) -> Result<(), AppError> {
    let (id, _) = person(principal)?;
    let user = super::get(app, scope, id).await?;
    check(app, scope, Action::SelfTotp, &user, current).await?;
    let resource = Resource::new("user", id).named(user.user_name);
    let mut write = app.store.write(scope, Intent::new(Action::SelfTotp, resource)).await?;
    users::set_totp(&mut write, id, None, false).await?;
    users::set_recovery_codes(&mut write, id, &[]).await?;
    write.changes(json!({"second_factor": user.totp_confirmed}), json!({"second_factor": false}));
    commit(app, write).await
}
