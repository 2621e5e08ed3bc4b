//! People that an identity provider looks after.

use edgeformer_proto::ids::UserId;
use serde_json::{Value, json};

use super::condition::condition;
use super::filter::Filter;
use super::patch::{self, Change};
use super::resource::{self, Resource, View, text};
use super::schema::Type;
use super::{ScimError, Window, Wrong};
use crate::account::{NewUser, email};
use crate::admin::validate::{MAX_NAME_CHARS, check_provided_person};
use crate::app::App;
use crate::audit::{self, Intent};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::TenantScope;
use crate::store::login_sessions::{self, Ending};
use crate::store::scim::{self as store, Condition, Derived, Person};
use crate::store::users::{self, Source, User};
use crate::store::{Conn, Write, to_json};

/// What of a person is kept beside what the provider says.
fn derived(resource: &Resource) -> Result<Derived, ScimError> {
    let user_name = text(resource, "userName").ok_or_else(|| {
        Wrong::value("userName must be there: it is what the person logs in with")
    })?;
    let name = &resource.get("name").cloned().unwrap_or_default();
    let whole = || match (name["givenName"].as_str(), name["familyName"].as_str()) {
        (None, None) => None,
        (given, family) => {
            Some([given, family].into_iter().flatten().collect::<Vec<_>>().join(" "))
        }
    };
    let display_name = text(resource, "displayName")
        .or_else(|| name["formatted"].as_str())
        .map(str::to_owned)
        .or_else(whole)
        .unwrap_or_else(|| user_name.to_owned());
    let display_name = display_name.trim().chars().take(MAX_NAME_CHARS).collect::<String>();
    let emails = resource.get("emails").and_then(Value::as_array);
    let primary = emails.and_then(|all| all.iter().find(|one| one["primary"] == json!(true)));
    let address = primary.or_else(|| emails?.first()).and_then(|one| one["value"].as_str());
    // The same rules as for accounts that are made here.
    let user = NewUser::parse(user_name, None, address, &std::collections::BTreeSet::new())?;
    Ok(Derived {
        user_name: user.user_name().to_owned(),
        display_name,
        email: email(address.unwrap_or_default())?,
        external_id: text(resource, "externalId").unwrap_or_default().to_owned(),
        active: resource.get("active") != Some(&Value::Bool(false)),
    })
}

fn recorded(derived: &Derived) -> Value {
    json!({
        "user_name": derived.user_name,
        "display_name": derived.display_name,
        "email": derived.email,
        "external_id": derived.external_id,
        "active": derived.active,
    })
}

fn taken(user_name: &str) -> AppError {
    AppError::conflict("name_taken", format!("a user is named {user_name:?} already"))
}

async fn shown(
    conn: &mut Conn<TenantScope>,
    person: &Person,
    view: &View,
) -> Result<Value, ScimError> {
    let times = (&*person.created_at.rfc3339(), &*person.modified_at.rfc3339());
    let id = person.id.to_string();
    let mut all = resource::envelope(Type::User, &id, &view.base, person.revision, times);
    all.extend(profile(person)?);
    if view.shown.has("groups") {
        let groups = store::groups_of(conn, person.id).await?;
        let group = |(id, name): (String, String)| {
            let uri = format!("{}{}/{id}", view.base, Type::Group.endpoint());
            json!({"value": id, "$ref": uri, "display": name})
        };
        let groups: Vec<Value> = groups.into_iter().map(group).collect();
        if !groups.is_empty() {
            all.insert("groups".to_owned(), Value::Array(groups));
        }
    }
    Ok(view.shown.cut(all))
}

fn profile(person: &Person) -> Result<Resource, ScimError> {
    serde_json::from_str(&person.profile).map_err(|error| {
        AppError::Internal(format!("the profile of user {} is damaged: {error}", person.id)).into()
    })
}

async fn commit(app: &App, write: Write<TenantScope>, now: Timestamp) -> Result<(), ScimError> {
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

fn resource_of(id: UserId, name: &str) -> audit::Resource {
    audit::Resource::new("user", id).named(name.to_owned())
}

/// Makes a person, without a role: groups give roles.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    body: &Value,
    view: &View,
) -> Result<Value, ScimError> {
    let resource = resource::read(Type::User, body)?;
    let derived = derived(&resource)?;
    let now = app.now();
    let user = User {
        id: UserId::new(),
        user_name: derived.user_name.clone(),
        display_name: derived.display_name.clone(),
        email: derived.email.clone(),
        external_id: derived.external_id.clone(),
        source: Source::Scim,
        active: derived.active,
        roles: std::collections::BTreeSet::new(),
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
    let intent = Intent::new(Action::UserCreate, resource_of(user.id, &user.user_name));
    let intent = intent.changes(json!(null), recorded(&derived));
    let mut write = app.store.write(scope, intent).await?;
    match users::insert(&mut write, &user).await {
        Err(error) if error.is_conflict() => {
            write.rollback().await?;
            return Err(taken(&user.user_name).into());
        }
        done => done?,
    }
    store::set_person(&mut write, (user.id, 1), &derived, &to_json(&resource), now).await?;
    commit(app, write, now).await?;
    get(app, scope, user.id, view).await
}

async fn existing(conn: &mut Conn<TenantScope>, id: UserId) -> Result<Person, ScimError> {
    let found = store::get_person(conn, id).await?;
    found.ok_or_else(|| AppError::not_found("user", id).into())
}

/// One person.
pub async fn get(
    app: &App,
    scope: &TenantScope,
    id: UserId,
    view: &View,
) -> Result<Value, ScimError> {
    let mut read = app.store.read(scope).await?;
    let person = existing(&mut read, id).await?;
    shown(&mut read, &person, view).await
}

/// People whom a filter finds, in the order they were made.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    filter: Option<&Filter>,
    window: Window,
    view: &View,
) -> Result<Value, ScimError> {
    let condition = match filter {
        Some(filter) => condition(filter, Type::User)?,
        None => Condition::default(),
    };
    let mut read = app.store.read(scope).await?;
    let part = (window.count, window.offset);
    let (total, people) = store::people(&mut read, &condition, part).await?;
    let mut resources = Vec::with_capacity(people.len());
    for person in &people {
        resources.push(shown(&mut read, person, view).await?);
    }
    Ok(super::list(&resources, total, window.offset))
}

/// Changes a person. One who may not log in any more is logged out at once.
pub async fn change(
    app: &App,
    scope: &TenantScope,
    (id, if_match): (UserId, Option<u64>),
    change: Change,
    view: &View,
) -> Result<Value, ScimError> {
    let now = app.now();
    let intent = Intent::new(Action::UserUpdate, audit::Resource::new("user", id));
    let mut write = app.store.write(scope, intent).await?;
    let person = existing(&mut write, id).await?;
    let before = profile(&person)?;
    let stale = || AppError::Stale { kind: "user", id: id.to_string(), current: person.revision };
    if if_match.is_some_and(|revision| revision != person.revision) {
        return Err(stale().into());
    }
    check_provided_person(&mut write, scope, id).await?;
    let after = match change {
        Change::Replace(resource) => resource,
        Change::Patch(operations) => {
            let mut resource = before.clone();
            patch::apply(Type::User, &mut resource, &operations)?;
            resource::read(Type::User, &Value::Object(resource))?
        }
    };
    let (old, new) = (derived(&before)?, derived(&after)?);
    let at = (id, person.revision);
    match store::set_person(&mut write, at, &new, &to_json(&after), now).await {
        Err(error) if error.is_conflict() => {
            write.rollback().await?;
            return Err(taken(&new.user_name).into());
        }
        Ok(false) => return Err(stale().into()),
        done => done.map(|_| ())?,
    }
    if old.active && !new.active {
        login_sessions::end(&mut write, Ending::AllOf(id), "disabled", now).await?;
    }
    write.resource(resource_of(id, &new.user_name));
    write.changes(recorded(&old), recorded(&new));
    commit(app, write, now).await?;
    get(app, scope, id, view).await
}

/// Removes a person, with log-ins and memberships. The audit log keeps what was done.
pub async fn delete(
    app: &App,
    scope: &TenantScope,
    id: UserId,
    if_match: Option<u64>,
) -> Result<(), ScimError> {
    let now = app.now();
    let intent = Intent::new(Action::UserDelete, audit::Resource::new("user", id));
    let mut write = app.store.write(scope, intent).await?;
    let person = existing(&mut write, id).await?;
    if if_match.is_some_and(|revision| revision != person.revision) {
        let current = person.revision;
        return Err(AppError::Stale { kind: "user", id: id.to_string(), current }.into());
    }
    check_provided_person(&mut write, scope, id).await?;
    let old = derived(&profile(&person)?)?;
    users::delete(&mut write, id).await?;
    write.resource(resource_of(id, &old.user_name));
    write.changes(recorded(&old), json!(null));
    commit(app, write, now).await
}
