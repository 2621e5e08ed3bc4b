//! A tenant's OpenID providers: made, changed, tried, removed. Whoever decides here decides who gets in
//! and as what, so it is for owners. The client's secret goes in and never comes out.

use std::collections::{BTreeMap, BTreeSet};

use edgeformer_proto::ids::IdentityProviderId;
use serde_json::{Value, json};

use super::policies::check_name;
use super::validate::check_roles;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::oidc::{discovery, jws};
use crate::outbound;
use crate::policy::{Action, Role};
use crate::scope::TenantScope;
use crate::store::identity_providers::{self as rows, IdentityProvider, Settings};
use crate::store::login_sessions::{self, Ending};
use crate::store::{Conn, Write};
use crate::vault::SecretKind;

/// Most providers of a tenant: a company has one, a group of companies some.
pub const MAX_PROVIDERS: usize = 20;
/// Longest client id.
const MAX_CLIENT_ID_BYTES: usize = 255;
/// Longest client secret.
const MAX_SECRET_BYTES: usize = 1024;
/// Most scopes.
const MAX_SCOPES: usize = 20;
/// Longest scope, claim, group or domain.
const MAX_WORD_BYTES: usize = 256;
/// Most groups in a mapping: roles are few.
const MAX_MAPPED: usize = 200;
/// Most domains.
const MAX_DOMAINS: usize = 50;
/// Taken without being asked for: what providers use, and nothing that is not asymmetric.
pub const USUAL_ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];

/// What is given of a provider; what is not given stays, or is what is usual.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// As people choose it.
    pub name: Option<String>,
    /// Exactly as it names itself.
    pub issuer: Option<String>,
    /// As it knows this controller.
    pub client_id: Option<String>,
    /// Empty for a client that has none.
    pub client_secret: Option<String>,
    /// What is asked for; "openid" always is.
    pub scopes: Option<Vec<String>>,
    /// The claim that carries groups.
    pub groups_claim: Option<String>,
    /// Names of roles, by group.
    pub role_mapping: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Domains of e-mail addresses that may log in; empty for any.
    pub email_domains: Option<BTreeSet<String>>,
    /// Signature algorithms that are taken.
    pub algorithms: Option<BTreeSet<String>>,
    /// Whether somebody unknown gets an account.
    pub creates_users: Option<bool>,
    /// Whether somebody unknown is taken for the account with their address.
    pub matches_email: Option<bool>,
    /// Whether accounts that were brought in over SCIM are its people's.
    pub matches_provisioned: Option<bool>,
    /// Classes of authentication, one of which must have been; empty for any.
    pub acr_values: Option<Vec<String>>,
    /// Whether people may log in with it.
    pub enabled: Option<bool>,
}

fn word(field: &str, text: &str) -> Result<(), AppError> {
    let plain = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if plain && text.len() <= MAX_WORD_BYTES {
        return Ok(());
    }
    Err(AppError::invalid(field, "each has 1 to 256 bytes and no control characters"))
}

fn at_most(field: &str, count: usize, limit: usize) -> Result<(), AppError> {
    match count <= limit {
        true => Ok(()),
        false => Err(AppError::invalid(field, format!("{count} are more than {limit}"))),
    }
}

/// An issuer: a URL to the letter, without what discovery cannot use.
pub fn check_issuer(text: &str) -> Result<(), AppError> {
    let wrong = |why: &str| AppError::invalid("issuer", why);
    let url = outbound::parse_url(text).map_err(|error| wrong(&error.to_string()))?;
    // Parsing passes over line breaks and spaces; what is compared to the letter has none.
    let plain = text.bytes().all(|b| b.is_ascii_graphic());
    if url.query().is_some() || text.contains(['?', '#']) || !plain {
        return Err(wrong("it must be the URL alone, as the provider writes it"));
    }
    Ok(())
}

impl Edit {
    /// Lays what is given over `settings`.
    fn settings(&self, mut settings: Settings) -> Result<Settings, AppError> {
        if let Some(scopes) = &self.scopes {
            at_most("scopes", scopes.len(), MAX_SCOPES)?;
            settings.scopes = vec!["openid".to_owned()];
            for scope in scopes.iter().filter(|scope| *scope != "openid") {
                word("scopes", scope)?;
                // RFC 6749, section 3.3.
                if !scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
                    return Err(AppError::invalid("scopes", "a scope has visible ASCII only"));
                }
                settings.scopes.push(scope.clone());
            }
        }
        if let Some(claim) = &self.groups_claim {
            word("groups_claim", claim)?;
            settings.groups_claim.clone_from(claim);
        }
        if let Some(mapping) = &self.role_mapping {
            at_most("role_mapping", mapping.len(), MAX_MAPPED)?;
            for (group, roles) in mapping {
                word("role_mapping", group)?;
                let known = |name: &String| {
                    Role::parse(name).is_some_and(|role| role != Role::Installation)
                };
                if roles.is_empty() || !roles.iter().all(known) {
                    return Err(AppError::invalid("role_mapping", Role::choice()));
                }
            }
            settings.role_mapping.clone_from(mapping);
        }
        if let Some(domains) = &self.email_domains {
            at_most("email_domains", domains.len(), MAX_DOMAINS)?;
            for domain in domains {
                word("email_domains", domain)?;
                if domain.contains(['@', ' ']) || !domain.contains('.') {
                    let message = "it must be a domain such as example.com";
                    return Err(AppError::invalid("email_domains", message));
                }
            }
            settings.email_domains = domains.iter().map(|domain| domain.to_lowercase()).collect();
        }
        if let Some(algorithms) = &self.algorithms {
            let known = |name: &String| jws::ALGORITHMS.iter().any(|(known, _)| known == name);
            if algorithms.is_empty() || !algorithms.iter().all(known) {
                let all: Vec<_> = jws::ALGORITHMS.iter().map(|(name, _)| *name).collect();
                let message = format!("each must be one of {}", all.join(", "));
                return Err(AppError::invalid("algorithms", message));
            }
            settings.algorithms.clone_from(algorithms);
        }
        if let Some(classes) = &self.acr_values {
            at_most("acr_values", classes.len(), MAX_SCOPES)?;
            for class in classes {
                word("acr_values", class)?;
                // They are joined by spaces.
                if class.contains(char::is_whitespace) {
                    return Err(AppError::invalid("acr_values", "none has a space in it"));
                }
            }
            settings.acr_values.clone_from(classes);
        }
        settings.creates_users = self.creates_users.unwrap_or(settings.creates_users);
        settings.matches_email = self.matches_email.unwrap_or(settings.matches_email);
        settings.matches_provisioned =
            self.matches_provisioned.unwrap_or(settings.matches_provisioned);
        Ok(settings)
    }

    /// Lays what is given over `provider`.
    fn apply(self, app: &App, provider: &mut IdentityProvider) -> Result<(), AppError> {
        provider.settings = self.settings(provider.settings.clone())?;
        if let Some(name) = self.name {
            check_name(&name)?;
            provider.name = name;
        }
        if let Some(issuer) = self.issuer {
            check_issuer(&issuer)?;
            // Or the secret of one provider would be shown to another.
            let moved = provider.issuer != issuer && provider.wrapped_secret.is_some();
            if moved && self.client_secret.is_none() {
                let message = "give the secret again, or an empty one: that of another issuer is not \
                               sent to this one";
                return Err(AppError::invalid("client_secret", message));
            }
            provider.issuer = issuer;
        }
        if let Some(id) = self.client_id {
            let plain = id.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
            if id.is_empty() || id.len() > MAX_CLIENT_ID_BYTES || !plain {
                let message = "it has 1 to 255 visible ASCII characters";
                return Err(AppError::invalid("client_id", message));
            }
            provider.client_id = id;
        }
        match self.client_secret {
            None => {}
            Some(secret) if secret.is_empty() => provider.wrapped_secret = None,
            Some(secret) if secret.len() > MAX_SECRET_BYTES => {
                let message = format!("it has more than {MAX_SECRET_BYTES} bytes");
                return Err(AppError::invalid("client_secret", message));
            }
            Some(secret) => {
                let id = provider.id.to_string();
                let wrapped = app.vault.wrap(SecretKind::ClientSecret, &id, secret.as_bytes());
                let failed = |error| AppError::Internal(format!("a client secret: {error}"));
                provider.wrapped_secret = Some(wrapped.map_err(failed)?);
            }
        }
        provider.enabled = self.enabled.unwrap_or(provider.enabled);
        Ok(())
    }
}

/// What of a provider stands in the audit log.
fn described(provider: &IdentityProvider) -> Value {
    let settings = &provider.settings;
    json!({
        "name": provider.name,
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "has_client_secret": provider.wrapped_secret.is_some(),
        "scopes": settings.scopes,
        "groups_claim": settings.groups_claim,
        "role_mapping": settings.role_mapping,
        "email_domains": settings.email_domains,
        "algorithms": settings.algorithms,
        "creates_users": settings.creates_users,
        "matches_email": settings.matches_email,
        "matches_provisioned": settings.matches_provisioned,
        "acr_values": settings.acr_values,
        "enabled": provider.enabled,
    })
}

/// The roles that groups are mapped to.
fn given(settings: &Settings) -> Vec<Role> {
    settings.role_mapping.values().flatten().filter_map(|name| Role::parse(name)).collect()
}

fn name_taken(name: &str) -> AppError {
    let detail = format!("an identity provider is named {name:?} already");
    AppError::conflict("name_taken", detail)
}

/// Makes a provider.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    new: Edit,
) -> Result<IdentityProvider, AppError> {
    for (field, given) in
        [("name", &new.name), ("issuer", &new.issuer), ("client_id", &new.client_id)]
    {
        if given.is_none() {
            return Err(AppError::invalid(field, "it is needed"));
        }
    }
    let now = app.now();
    let mut provider = IdentityProvider {
        id: IdentityProviderId::new(),
        name: String::new(),
        issuer: String::new(),
        client_id: String::new(),
        wrapped_secret: None,
        settings: Settings {
            scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
            groups_claim: "groups".to_owned(),
            role_mapping: BTreeMap::new(),
            email_domains: BTreeSet::new(),
            algorithms: USUAL_ALGORITHMS.map(str::to_owned).into(),
            creates_users: false,
            matches_email: false,
            matches_provisioned: true,
            acr_values: Vec::new(),
        },
        enabled: true,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    new.apply(app, &mut provider)?;
    check_roles(scope, &given(&provider.settings))?;
    let resource = Resource::new("identity_provider", provider.id).named(provider.name.clone());
    let intent = Intent::new(Action::IdentityProviderCreate, resource)
        .changes(json!(null), described(&provider));
    let mut write = app.store.write(scope, intent).await?;
    at_most("identity providers", rows::all(&mut write).await?.len() + 1, MAX_PROVIDERS)?;
    match rows::insert(&mut write, &provider).await {
        Err(error) if error.is_conflict() => return Err(name_taken(&provider.name)),
        done => done?,
    }
    commit(app, write, &provider).await?;
    Ok(provider)
}

/// All of them, in the order they were made.
pub async fn list(app: &App, scope: &TenantScope) -> Result<Vec<IdentityProvider>, AppError> {
    Ok(rows::all(&mut *app.store.read(scope).await?).await?)
}

/// One of them.
pub async fn get(
    app: &App,
    scope: &TenantScope,
    id: IdentityProviderId,
) -> Result<IdentityProvider, AppError> {
    existing(&mut *app.store.read(scope).await?, id).await
}

async fn existing(
    conn: &mut Conn<TenantScope>,
    id: IdentityProviderId,
) -> Result<IdentityProvider, AppError> {
    let found = rows::get(conn, id).await?;
    found.ok_or_else(|| AppError::not_found("identity provider", id))
}

async fn commit(
    app: &App,
    write: Write<TenantScope>,
    provider: &IdentityProvider,
) -> Result<(), AppError> {
    let tenant = write.scope().tenant();
    write.commit(app.now()).await?;
    app.providers().forget(tenant, &provider.issuer);
    app.nudges.audit.notify_one();
    Ok(())
}

/// Changes a provider that is still at `revision`. One that is disabled, or speaks for another issuer or
/// client from now on, ends the log-ins that came from it.
pub async fn update(
    app: &App,
    scope: &TenantScope,
    id: IdentityProviderId,
    revision: u64,
    edit: Edit,
) -> Result<IdentityProvider, AppError> {
    let now = app.now();
    let intent =
        Intent::new(Action::IdentityProviderUpdate, Resource::new("identity_provider", id));
    let mut write = app.store.write(scope, intent).await?;
    let before = existing(&mut write, id).await?;
    let mut provider = before.clone();
    let new_secret = edit.client_secret.is_some();
    edit.apply(app, &mut provider)?;
    check_roles(scope, &given(&provider.settings))?;
    match rows::update(&mut write, &provider, revision, now).await {
        Ok(true) => {}
        Ok(false) => {
            let (kind, current) = ("identity provider", before.revision);
            return Err(AppError::Stale { kind, id: id.to_string(), current });
        }
        Err(error) if error.is_conflict() => return Err(name_taken(&provider.name)),
        Err(error) => return Err(error.into()),
    }
    if before.issuer != provider.issuer {
        rows::forget_subjects(&mut write, id).await?;
    }
    let other = before.issuer != provider.issuer || before.client_id != provider.client_id;
    if other || (before.enabled && !provider.enabled) {
        login_sessions::end(&mut write, Ending::From(id), "provider", now).await?;
    }
    write.resource(Resource::new("identity_provider", id).named(provider.name.clone()));
    let mut after = described(&provider);
    if new_secret {
        after["client_secret"] = json!("changed");
    }
    write.changes(described(&before), after);
    commit(app, write, &provider).await?;
    get(app, scope, id).await
}

/// Removes a provider. Log-ins that came from it end; accounts that it made stay, without a way in.
pub async fn delete(
    app: &App,
    scope: &TenantScope,
    id: IdentityProviderId,
) -> Result<(), AppError> {
    let intent =
        Intent::new(Action::IdentityProviderDelete, Resource::new("identity_provider", id));
    let mut write = app.store.write(scope, intent).await?;
    let provider = existing(&mut write, id).await?;
    login_sessions::end(&mut write, Ending::From(id), "provider", app.now()).await?;
    rows::delete(&mut write, id).await?;
    write.resource(Resource::new("identity_provider", id).named(provider.name.clone()));
    write.changes(described(&provider), json!(null));
    commit(app, write, &provider).await
}

/// What a provider answers now.
#[derive(Debug, Clone)]
pub struct Tried {
    /// What is wrong; none if nothing is.
    pub problem: Option<String>,
    /// Where people are sent.
    pub authorization_endpoint: Option<String>,
    /// Signing keys that are understood.
    pub keys: usize,
}

/// Asks the provider now, and says what is wrong.
pub async fn check(
    app: &App,
    scope: &TenantScope,
    id: IdentityProviderId,
) -> Result<Tried, AppError> {
    let provider = get(app, scope, id).await?;
    app.providers().forget(scope.tenant(), &provider.issuer);
    Ok(match discovery::known(app, scope.tenant(), &provider.issuer).await {
        Err(error) => {
            Tried { problem: Some(error.to_string()), authorization_endpoint: None, keys: 0 }
        }
        Ok(known) => {
            let endpoint = known.metadata.authorization_endpoint.clone();
            let problem = match (&endpoint, known.keys.len()) {
                (None, _) => Some("it names no authorization_endpoint".to_owned()),
                (_, 0) => Some("it has no signing key that is understood".to_owned()),
                _ => None,
            };
            Tried { problem, authorization_endpoint: endpoint, keys: known.keys.len() }
        }
    })
}
