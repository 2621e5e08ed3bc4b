//! Who a provider's subject is here. A subject is known by the provider's own name for it and by
//! nothing else; an account that is there already is only taken for theirs when the provider's settings
//! say so, or when the same directory brought it in.

use std::collections::BTreeSet;

use edgeformer_proto::ids::UserId;
use serde_json::{Value, json};

use super::claims::{self, Claims, Identity};
use super::roles;
use crate::account;
use crate::admin::validate;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::{Action, AuthMethod, Role};
use crate::scope::{Origin, TenantScope};
use crate::store::identity_providers::IdentityProvider;
use crate::store::users::{self, Source, User};
use crate::store::{Conn, identity_providers, user_identities};

/// Whom a provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The provider's own, lasting name for the person, and its session.
    pub identity: Identity,
    /// What they are called there.
    pub user_name: Option<String>,
    /// For people.
    pub display_name: Option<String>,
    /// In lower case; only what the provider has verified.
    pub email: Option<String>,
    /// The groups that the mapping names.
    pub groups: BTreeSet<String>,
}

impl Person {
    /// Out of the claims of an ID token, with those of the userinfo behind them.
    pub fn of(identity: Identity, all: &Claims, provider: &IdentityProvider) -> Self {
        let settings = &provider.settings;
        let groups = claims::groups(all, &settings.groups_claim).unwrap_or_default();
        // Some say it in a text.
        let verified = matches!(all.get("email_verified"), Some(Value::Bool(true)))
            || all.get("email_verified").and_then(Value::as_str) == Some("true");
        let email = claims::text(all, "email").filter(|_| verified);
        Self {
            identity,
            user_name: claims::text(all, "preferred_username"),
            display_name: claims::text(all, "name"),
            email: email.map(|email| email.to_lowercase()),
            groups: roles::mapped(&settings.role_mapping, &groups),
        }
    }

    /// What a new account is called: the first of what the provider says that can be a name here.
    fn account_name(&self) -> Option<String> {
        let subject = Some(self.identity.subject.clone());
        let choice = [self.user_name.clone(), self.email.clone(), subject];
        choice.into_iter().flatten().find_map(|name| {
            let name = account::fold(&validate::name("user_name", &name).ok()?);
            (!name.contains(char::is_whitespace)).then_some(name)
        })
    }
}

/// Why somebody whom a provider vouches for is not let in. The texts are in the audit log's leaves, so
/// they name nobody.
#[derive(Debug, thiserror::Error)]
pub enum NotLetIn {
    /// Said to the person too.
    #[error("{0}")]
    Because(&'static str),
    /// A known user, who is not let in.
    #[error("{because}")]
    User {
        /// Who.
        user: Box<User>,
        /// Said to the person too.
        because: &'static str,
    },
    /// Our side failed.
    #[error(transparent)]
    Failed(#[from] AppError),
}

impl From<crate::store::StoreError> for NotLetIn {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

const NO_ROLE: &str = "none of your groups gives a role here: ask an admin to map one of them, or to \
                       give you a role";
const NO_ACCOUNT: &str = "you have no account here: ask an admin for one";
const NO_EMAIL: &str = "the provider does not say an e-mail address of yours that it verified, and \
                        only certain domains may log in";
const OTHER_DOMAIN: &str = "your e-mail address is not of a domain that may log in";
const OTHER_CLASS: &str = "the provider does not say that you logged in the way that is asked for here \
                           (acr): log in there with all that it offers, such as a second factor";
const NAME_TAKEN: &str = "an account with your name is here already and is not known to be yours: ask \
                          an admin";
const WHOSE: &str = "an account was brought in for somebody with your id, and it is not said by which \
                     of the identity providers: ask an owner to switch matches_provisioned off for \
                     all but one";
const DISABLED: &str = "your account is disabled";

/// How a subject becomes a user.
enum Found {
    Known(User),
    Unlinked(User),
    Nobody,
}

/// The user that the person is: known, taken for theirs, or made.
pub async fn enter(
    app: &App,
    scope: &TenantScope,
    provider: &IdentityProvider,
    person: &Person,
    origin: &Origin,
    now: Timestamp,
) -> Result<User, NotLetIn> {
    check_domain(provider, person)?;
    check_class(provider, person)?;
    let mut read = app.store.read(scope).await?;
    let found = find(&mut read, provider, person).await?;
    let mapped = roles::of_groups(&provider.settings.role_mapping, &person.groups);
    let user = match &found {
        Found::Known(user) | Found::Unlinked(user) => {
            let (by_group, _) = users::groups(&mut read, user.id).await?;
            if !user.active {
                return Err(NotLetIn::User { user: Box::new(user.clone()), because: DISABLED });
            }
            if user.roles.is_empty() && by_group.is_empty() && mapped.is_empty() {
                return Err(NotLetIn::User { user: Box::new(user.clone()), because: NO_ROLE });
            }
            user.clone()
        }
        Found::Nobody if !provider.settings.creates_users => {
            return Err(NotLetIn::Because(NO_ACCOUNT));
        }
        Found::Nobody if mapped.is_empty() => return Err(NotLetIn::Because(NO_ROLE)),
        Found::Nobody => new_user(person, now).ok_or(NotLetIn::Because(NAME_TAKEN))?,
    };
    drop(read);
    let scope =
        TenantScope::logging_in(scope.tenant(), user.id, &user.display_name, origin.clone())
            .proved(AuthMethod::Oidc, now);
    match found {
        Found::Known(_) => {}
        Found::Unlinked(_) => link(app, &scope, provider, person, &user, now).await?,
        Found::Nobody => create(app, &scope, provider, person, &user, &mapped, now).await?,
    }
    Ok(user)
}

fn check_domain(provider: &IdentityProvider, person: &Person) -> Result<(), NotLetIn> {
    let domains = &provider.settings.email_domains;
    if domains.is_empty() {
        return Ok(());
    }
    let email = person.email.as_deref().ok_or(NotLetIn::Because(NO_EMAIL))?;
    // The last one: what stands before it may be quoted and hold another.
    let domain = email.rsplit_once('@').map(|(_, domain)| domain).unwrap_or_default();
    match domains.contains(domain) {
        true => Ok(()),
        false => Err(NotLetIn::Because(OTHER_DOMAIN)),
    }
}

/// What was asked for is a wish to the provider: whether it was granted stands in the token.
fn check_class(provider: &IdentityProvider, person: &Person) -> Result<(), NotLetIn> {
    let asked = &provider.settings.acr_values;
    let class = person.identity.assurance.acr.as_ref();
    match asked.is_empty() || class.is_some_and(|class| asked.contains(class)) {
        true => Ok(()),
        false => Err(NotLetIn::Because(OTHER_CLASS)),
    }
}

async fn find(
    conn: &mut Conn<TenantScope>,
    provider: &IdentityProvider,
    person: &Person,
) -> Result<Found, NotLetIn> {
    let subject = &person.identity.subject;
    if let Some(id) = user_identities::user_of(conn, provider.id, subject).await? {
        return match users::get(conn, id).await? {
            Some(user) => Ok(Found::Known(user)),
            None => Err(NotLetIn::Because(NO_ACCOUNT)),
        };
    }
    // What the same directory brought in carries the directory's name for it.
    let mut candidates = match provider.settings.matches_provisioned {
        true => user_identities::brought_in_as(conn, subject).await?,
        false => Vec::new(),
    };
    // Another provider's people may have the same names there.
    let others = identity_providers::all(conn).await?;
    let also = |one: &IdentityProvider| one.id != provider.id && one.settings.matches_provisioned;
    if !candidates.is_empty() && others.iter().any(also) {
        return Err(NotLetIn::Because(WHOSE));
    }
    if let Some(email) = person.email.as_deref().filter(|_| provider.settings.matches_email)
        && candidates.is_empty()
    {
        candidates = user_identities::with_email(conn, email).await?;
    }
    // Two that fit are none: nobody is let in by accident.
    let [id] = candidates.as_slice() else { return Ok(Found::Nobody) };
    if user_identities::is_linked(conn, provider.id, *id).await? {
        return Err(NotLetIn::Because(NAME_TAKEN));
    }
    Ok(users::get(conn, *id).await?.map_or(Found::Nobody, Found::Unlinked))
}

fn new_user(person: &Person, now: Timestamp) -> Option<User> {
    let user_name = person.account_name()?;
    let shown = person.display_name.as_deref();
    let display_name = shown.and_then(|name| validate::name("display_name", name).ok());
    Some(User {
        id: UserId::new(),
        display_name: display_name.unwrap_or_else(|| user_name.clone()),
        user_name,
        email: person.email.clone().unwrap_or_default(),
        external_id: person.identity.subject.clone(),
        source: Source::Oidc,
        active: true,
        // What the provider gives is kept with the provider, apart from what is given here.
        roles: BTreeSet::new(),
        password_hash: String::new(),
        failures: 0,
        locked_until: Timestamp(0),
        totp_secret: None,
        totp_confirmed: false,
        totp_last_step: 0,
        revision: 1,
        created_at: now,
        last_login_at: None,
    })
}

async fn create(
    app: &App,
    scope: &TenantScope,
    provider: &IdentityProvider,
    person: &Person,
    user: &User,
    mapped: &BTreeSet<Role>,
    now: Timestamp,
) -> Result<(), NotLetIn> {
    let after = json!({
        "user_name": user.user_name, "display_name": user.display_name, "email": user.email,
        "identity_provider": provider.name,
        "roles_by_provider": mapped.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
    });
    let resource = Resource::new("user", user.id).named(user.user_name.clone());
    let intent = Intent::new(Action::UserCreate, resource)
        .because("first log-in at an identity provider that creates users")
        .changes(json!(null), after);
    let mut write = app.store.write(scope, intent).await?;
    match users::insert(&mut write, user).await {
        Err(error) if error.is_conflict() => return Err(NotLetIn::Because(NAME_TAKEN)),
        done => done?,
    }
    keep(&mut write, provider, person, user, now).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

async fn link(
    app: &App,
    scope: &TenantScope,
    provider: &IdentityProvider,
    person: &Person,
    user: &User,
    now: Timestamp,
) -> Result<(), NotLetIn> {
    let resource = Resource::new("user", user.id).named(user.user_name.clone());
    let intent = Intent::new(Action::UserUpdate, resource)
        .because("first log-in at an identity provider that knows this account")
        .changes(json!({}), json!({"identity_provider": provider.name}));
    let mut write = app.store.write(scope, intent).await?;
    keep(&mut write, provider, person, user, now).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

async fn keep(
    write: &mut crate::store::Write<TenantScope>,
    provider: &IdentityProvider,
    person: &Person,
    user: &User,
    now: Timestamp,
) -> Result<(), NotLetIn> {
    let (subject, groups) = (&person.identity.subject, &person.groups);
    match user_identities::put(write, provider.id, subject, user.id, groups, now).await {
        // Somebody was faster with this account.
        Err(error) if error.is_conflict() => Err(NotLetIn::Because(NAME_TAKEN)),
        done => Ok(done?),
    }
}
