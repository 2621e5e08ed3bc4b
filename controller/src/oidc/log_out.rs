//! Logging out: a browser here and at its provider (RP-Initiated Logout 1.0), and a provider that says
//! that somebody is logged out there (Back-Channel Logout 1.0).

use edgeformer_proto::ids::{IdentityProviderId, TenantId};
use edgeformer_proto::token::Token;
use reqwest::Url;
use serde_json::json;

use super::claims::{self, Expected, Logout};
use super::discovery;
use super::log_in::{HOME, sha256};
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::login_session::{self, browser};
use crate::policy::Action;
use crate::scope::{Origin, TenantScope};
use crate::store::identity_providers::{self as rows, IdentityProvider};
use crate::store::login_sessions::{self, Ending, LoginSession};
use crate::store::{user_identities, users};
use crate::vault::SecretKind;

/// How long a logout token is remembered: longer than it is taken.
const REMEMBERED_S: i64 = 3600;

/// Ends a browser's log-in. Returns where the browser logs out of the provider too, if that has such a
/// place.
pub async fn browser(app: &App, token: &Token, origin: Origin) -> Result<Option<String>, AppError> {
    let Some((tenant, session)) = browser::find(app, token).await? else { return Ok(None) };
    let system = TenantScope::system(tenant, "log-out");
    let user = users::get(&mut *app.store.read(&system).await?, session.user).await?;
    let name = user.map(|user| user.display_name).unwrap_or_default();
    let scope = TenantScope::logging_in(tenant, session.user, &name, origin)
        .proved(session.method, session.signed_in_at);
    // Before it is ended: that erases what the provider is shown.
    let elsewhere = at_provider(app, &system, &session).await?;
    let which = Ending::One(session.id);
    login_session::end(app, &scope, Action::SessionEnd, which, "logout").await?;
    Ok(elsewhere)
}

async fn at_provider(
    app: &App,
    scope: &TenantScope,
    session: &LoginSession,
) -> Result<Option<String>, AppError> {
    let Some(via) = &session.via else { return Ok(None) };
    let provider = rows::get(&mut *app.store.read(scope).await?, via.provider).await?;
    let Some(provider) = provider else { return Ok(None) };
    // A provider that cannot be reached keeps nobody logged in here.
    let known = discovery::known(app, scope.tenant(), &provider.issuer).await.ok();
    let endpoint = known.and_then(|known| known.metadata.end_session_endpoint.clone());
    let Some(mut url) = endpoint.and_then(|url| Url::parse(&url).ok()) else { return Ok(None) };
    let hint = via.wrapped_id_token.as_ref().and_then(|wrapped| {
        let id = provider.id.to_string();
        let opened = app.vault.unwrap(SecretKind::IdToken, &id, wrapped).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    });
    let back = format!("{}{HOME}", app.public_url());
    let mut pairs = url.query_pairs_mut();
    pairs.append_pair("client_id", &provider.client_id);
    pairs.append_pair("post_logout_redirect_uri", &back);
    if let Some(hint) = hint {
        pairs.append_pair("id_token_hint", &hint);
    }
    drop(pairs);
    Ok(Some(url.into()))
}

fn refused() -> AppError {
    AppError::invalid("logout_token", "it is not a logout token of this provider that is good now")
}

/// A provider says that a session there, or all of a subject, is over.
pub async fn back_channel(
    app: &App,
    (tenant, id): (TenantId, IdentityProviderId),
    token: &str,
    origin: &Origin,
) -> Result<u64, AppError> {
    let now = app.now();
    let scope = TenantScope::for_request(tenant, "identity provider", origin);
    let provider = rows::get(&mut *app.store.read(&scope).await?, id).await?;
    // One answer for everything that is wrong: whoever asks may be anybody.
    let provider = provider.filter(|one| one.enabled).ok_or_else(refused)?;
    match check(app, &scope, &provider, token, now).await {
        Ok((logout, jti)) => end(app, &scope, &provider, logout, &jti, now).await,
        Err(why) => {
            // Not recorded: strangers would write the tenant's log.
            tracing::warn!(provider = %provider.id, why, "a logout token is not taken");
            Err(refused())
        }
    }
}

async fn check(
    app: &App,
    scope: &TenantScope,
    provider: &IdentityProvider,
    token: &str,
    now: Timestamp,
) -> Result<(Logout, String), String> {
    let allowed = &provider.settings.algorithms;
    let verified = discovery::verify(app, scope.tenant(), &provider.issuer, token, allowed);
    let verified = verified.await.map_err(|error| error.to_string())?;
    // Absent in older providers; another kind of token says so here.
    if verified.typ.as_deref().is_some_and(|typ| !["logout+jwt", "jwt"].contains(&typ)) {
        return Err("it is another kind of token (typ)".to_owned());
    }
    let expected = Expected { issuer: &provider.issuer, client_id: &provider.client_id, now };
    claims::check_logout_token(&verified.claims, expected)
}

async fn end(
    app: &App,
    scope: &TenantScope,
    provider: &IdentityProvider,
    logout: Logout,
    jti: &str,
    now: Timestamp,
) -> Result<u64, AppError> {
    let on = Resource::new("identity_provider", provider.id).named(provider.name.clone());
    let intent = Intent::new(Action::SessionProviderEnd, on);
    let mut write = app.store.write(scope, intent.clone()).await?;
    let used = sha256(format!("logout\0{}\0{jti}", provider.issuer).as_bytes());
    let until = Timestamp(now.0 + REMEMBERED_S * 1_000_000);
    if !user_identities::use_up(&mut write, &used, until).await? {
        drop(write);
        let why = "the logout token was used before";
        app.store.record(scope, intent.because(why), Outcome::Denied, now).await?;
        app.nudges.audit.notify_one();
        return Err(refused());
    }
    let which = match logout {
        Logout::Session(sid) => Some(Ending::FromSession(provider.id, sid)),
        Logout::Subject(subject) => {
            let user = user_identities::user_of(&mut write, provider.id, &subject).await?;
            user.map(|user| Ending::OfUserFrom(provider.id, user))
        }
    };
    let ended = match which {
        Some(which) => login_sessions::end(&mut write, which, "provider", now).await?,
        // Somebody who never was here.
        None => 0,
    };
    write.changes(json!(null), json!({"ended": ended, "because": "provider"}));
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(ended)
}
