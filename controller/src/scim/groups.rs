//! Groups that an identity provider looks after. It says who is in them; what that gives is said here,
//! by whoever gives the group its roles.

use std::collections::BTreeSet;

use edgeformer_proto::ids::{GroupId, UserId};
use serde_json::{Value, json};

use super::condition::condition;
use super::filter::Filter;
use super::patch::{Change, Operation, Verb};
use super::resource::{self, MAX_MEMBERS, Resource, View, text, value_of};
use super::schema::{GROUP_ATTRIBUTES, Type, find};
use super::{ScimError, Window, Wrong};
use crate::admin::{groups as local, validate};
use crate::app::App;
use crate::audit::{self, Intent};
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::TenantScope;
use crate::store::groups::{self as members, Group};
use crate::store::scim::{self as store, Condition, ProvidedGroup};
use crate::store::users::Source;
use crate::store::{Conn, Write};

/// Most people in one group.
const MAX_IN_GROUP: i64 = 50_000;
/// People read at a time.
const READ_AT_ONCE: i64 = 1000;
/// Most changes of members that an audit record names; of more it has the number.
const MAX_NAMED: usize = 500;

/// Who is put in and taken out, for the audit log.
#[derive(Debug, Default)]
struct Moves {
    added: Vec<String>,
    removed: Vec<String>,
}

impl Moves {
    fn recorded(&self, name: &str) -> Value {
        let named = |all: &[String]| {
            let shown: Vec<_> = all.iter().take(MAX_NAMED).collect();
            json!({"count": all.len(), "ids": shown})
        };
        json!({"name": name, "added": named(&self.added), "removed": named(&self.removed)})
    }
}

fn name_of(resource: &Resource) -> Result<String, ScimError> {
    let name = text(resource, "displayName")
        .ok_or_else(|| Wrong::value("displayName must be there: it is the name of the group"))?;
    Ok(validate::name("displayName", name)?)
}

/// Ids in a list of members.
fn ids(value: Option<&Value>) -> Vec<String> {
    let all = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|one| one["value"].as_str()).map(str::to_owned).collect()
}

async fn shown(
    conn: &mut Conn<TenantScope>,
    group: &ProvidedGroup,
    view: &View,
) -> Result<Value, ScimError> {
    let times = (&*group.created_at.rfc3339(), &*group.modified_at.rfc3339());
    let id = group.id.to_string();
    let mut all = resource::envelope(Type::Group, &id, &view.base, group.revision, times);
    all.insert("displayName".to_owned(), json!(group.name));
    if !group.external_id.is_empty() {
        all.insert("externalId".to_owned(), json!(group.external_id));
    }
    if view.shown.has("members") {
        let mut inside = Vec::new();
        for id in everybody(conn, group.id).await? {
            let uri = format!("{}{}/{id}", view.base, Type::User.endpoint());
            inside.push(json!({"value": id, "$ref": uri, "type": "User"}));
        }
        if !inside.is_empty() {
            all.insert("members".to_owned(), Value::Array(inside));
        }
    }
    Ok(view.shown.cut(all))
}

async fn everybody(conn: &mut Conn<TenantScope>, id: GroupId) -> Result<Vec<String>, ScimError> {
    let mut all: Vec<String> = Vec::new();
    let mut after: Option<UserId> = None;
    loop {
        let some = members::members(conn, id, after, READ_AT_ONCE).await?;
        after = some.last().map(|member| member.id);
        let more = i64::try_from(some.len()).is_ok_and(|count| count == READ_AT_ONCE);
        all.extend(some.into_iter().map(|one| one.id.to_string()));
        if !more {
            return Ok(all);
        }
    }
}

/// Makes a group. It gives nothing until somebody here gives it roles.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    body: &Value,
    view: &View,
) -> Result<Value, ScimError> {
    let resource = resource::read(Type::Group, body)?;
    let now = app.now();
    let group = Group {
        id: GroupId::new(),
        name: name_of(&resource)?,
        external_id: text(&resource, "externalId").unwrap_or_default().to_owned(),
        source: Source::Scim,
        roles: BTreeSet::new(),
        revision: 1,
        created_at: now,
    };
    let about = audit::Resource::new("group", group.id).named(group.name.clone());
    let mut write = app.store.write(scope, Intent::new(Action::GroupCreate, about)).await?;
    match members::insert(&mut write, &group).await {
        Err(error) if error.is_conflict() => {
            write.rollback().await?;
            return Err(local::taken(&group.name).into());
        }
        done => done?,
    }
    let mut moves = Moves::default();
    add(&mut write, group.id, &ids(resource.get("members")), &mut moves).await?;
    write.changes(json!(null), moves.recorded(&group.name));
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    get(app, scope, group.id, view).await
}

async fn existing(conn: &mut Conn<TenantScope>, id: GroupId) -> Result<ProvidedGroup, ScimError> {
    let found = store::get_group(conn, id).await?;
    found.ok_or_else(|| AppError::not_found("group", id).into())
}

/// One group.
pub async fn get(
    app: &App,
    scope: &TenantScope,
    id: GroupId,
    view: &View,
) -> Result<Value, ScimError> {
    let mut read = app.store.read(scope).await?;
    let group = existing(&mut read, id).await?;
    shown(&mut read, &group, view).await
}

/// Groups that a filter finds, in the order they were made.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    filter: Option<&Filter>,
    window: Window,
    view: &View,
) -> Result<Value, ScimError> {
    let condition = match filter {
        Some(filter) => condition(filter, Type::Group)?,
        None => Condition::default(),
    };
    let mut read = app.store.read(scope).await?;
    let part = (window.count, window.offset);
    let (total, groups) = store::groups(&mut read, &condition, part).await?;
    let mut resources = Vec::with_capacity(groups.len());
    for group in &groups {
        resources.push(shown(&mut read, group, view).await?);
    }
    Ok(super::list(&resources, total, window.offset))
}

/// Changes a group. Who is put in or taken out has or loses its roles at once.
pub async fn change(
    app: &App,
    scope: &TenantScope,
    (id, if_match): (GroupId, Option<u64>),
    change: Change,
    view: &View,
) -> Result<Value, ScimError> {
    let now = app.now();
    let intent = Intent::new(Action::GroupUpdate, audit::Resource::new("group", id));
    let mut write = app.store.write(scope, intent).await?;
    let before = existing(&mut write, id).await?;
    let stale = || AppError::Stale { kind: "group", id: id.to_string(), current: before.revision };
    if if_match.is_some_and(|revision| revision != before.revision) {
        return Err(stale().into());
    }
    check_rights(&mut write, scope, id).await?;
    let (mut group, mut moves) = (before.clone(), Moves::default());
    match change {
        Change::Replace(resource) => {
            group.name = name_of(&resource)?;
            group.external_id = text(&resource, "externalId").unwrap_or_default().to_owned();
            set(&mut write, id, &ids(resource.get("members")), &mut moves).await?;
        }
        Change::Patch(operations) => {
            for operation in &operations {
                apply(&mut write, &mut group, operation, &mut moves).await?;
            }
        }
    }
    match store::set_group(&mut write, &group, now).await {
        Err(error) if error.is_conflict() => {
            write.rollback().await?;
            return Err(local::taken(&group.name).into());
        }
        Ok(false) => return Err(stale().into()),
        done => done.map(|_| ())?,
    }
    write.resource(audit::Resource::new("group", id).named(group.name.clone()));
    write.changes(json!({"name": before.name}), moves.recorded(&group.name));
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    get(app, scope, id, view).await
}

/// Removes a group; its members lose its roles at once.
pub async fn delete(
    app: &App,
    scope: &TenantScope,
    id: GroupId,
    if_match: Option<u64>,
) -> Result<(), ScimError> {
    let intent = Intent::new(Action::GroupDelete, audit::Resource::new("group", id));
    let mut write = app.store.write(scope, intent).await?;
    let group = existing(&mut write, id).await?;
    if if_match.is_some_and(|revision| revision != group.revision) {
        let current = group.revision;
        return Err(AppError::Stale { kind: "group", id: id.to_string(), current }.into());
    }
    check_rights(&mut write, scope, id).await?;
    members::delete(&mut write, id).await?;
    write.resource(audit::Resource::new("group", id).named(group.name.clone()));
    write.changes(json!({"name": group.name}), json!(null));
    write.commit(app.now()).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

/// Who is put in gets the group's roles, and who is taken out loses them.
async fn check_rights(
    conn: &mut Conn<TenantScope>,
    scope: &TenantScope,
    id: GroupId,
) -> Result<(), AppError> {
    let roles = members::get(conn, id).await?.map(|group| group.roles).unwrap_or_default();
    validate::check_provided(scope, &roles)
}

async fn add(
    write: &mut Write<TenantScope>,
    id: GroupId,
    all: &[String],
    moves: &mut Moves,
) -> Result<(), ScimError> {
    for member in all {
        if store::add_member(write, id, member).await? {
            moves.added.push(member.clone());
            continue;
        }
        // It was in, or it is nobody.
        let inside = match member.parse() {
            Ok(user) => members::has(write, id, user).await?,
            Err(_) => false,
        };
        if !inside {
            let shown: String = member.chars().take(64).collect();
            let detail = format!("there is no user {shown:?} that the provider looks after");
            return Err(Wrong::value(detail).into());
        }
    }
    if store::count_members(write, id).await? > MAX_IN_GROUP {
        let detail = format!("a group has at most {MAX_IN_GROUP} members");
        return Err(Wrong::value(detail).into());
    }
    Ok(())
}

async fn remove(
    write: &mut Write<TenantScope>,
    id: GroupId,
    all: &[String],
    moves: &mut Moves,
) -> Result<(), ScimError> {
    for member in all {
        if let Ok(user) = member.parse()
            && members::remove(write, id, user).await?
        {
            moves.removed.push(member.clone());
        }
    }
    Ok(())
}

/// Exactly these from now on.
async fn set(
    write: &mut Write<TenantScope>,
    id: GroupId,
    all: &[String],
    moves: &mut Moves,
) -> Result<(), ScimError> {
    let wanted: BTreeSet<&String> = all.iter().collect();
    let now = everybody(write, id).await?;
    let gone: Vec<String> = now.into_iter().filter(|id| !wanted.contains(id)).collect();
    remove(write, id, &gone, moves).await?;
    add(write, id, all, moves).await
}

async fn apply(
    write: &mut Write<TenantScope>,
    group: &mut ProvidedGroup,
    operation: &Operation,
    moves: &mut Moves,
) -> Result<(), ScimError> {
    let Some(path) = &operation.path else {
        let resource = resource::read(Type::Group, &operation.value)?;
        if resource.contains_key("displayName") {
            group.name = name_of(&resource)?;
        }
        if let Some(external_id) = text(&resource, "externalId") {
            group.external_id = external_id.to_owned();
        }
        let named = operation
            .value
            .as_object()
            .is_some_and(|object| object.keys().any(|name| name.eq_ignore_ascii_case("members")));
        let all = ids(resource.get("members"));
        return match operation.verb {
            Verb::Replace if named => set(write, group.id, &all, moves).await,
            _ => add(write, group.id, &all, moves).await,
        };
    };
    match (path.attribute.name, operation.verb) {
        ("displayName", _) => {
            let resource =
                Resource::from_iter([("displayName".to_owned(), operation.value.clone())]);
            group.name = name_of(&resource)?;
        }
        ("externalId", Verb::Remove) => group.external_id.clear(),
        ("externalId", _) => {
            let value = value_of(path.attribute, &operation.value)?;
            group.external_id =
                value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
        }
        _ => of_members(write, group.id, operation, moves).await?,
    }
    Ok(())
}

async fn of_members(
    write: &mut Write<TenantScope>,
    id: GroupId,
    operation: &Operation,
    moves: &mut Moves,
) -> Result<(), ScimError> {
    let path = operation.path.as_ref();
    if path.is_some_and(|path| path.part.is_some()) {
        let detail = "members are put in and taken out, not changed";
        return Err(Wrong::new("mutability", detail).into());
    }
    let attribute = find(GROUP_ATTRIBUTES, "members").expect("the schema has members");
    let given = ids(value_of(attribute, &operation.value)?.as_ref());
    let which = path.and_then(|path| path.which.as_ref());
    match (operation.verb, which) {
        (Verb::Add, None) => add(write, id, &given, moves).await,
        (Verb::Replace, None) => set(write, id, &given, moves).await,
        // Some providers name those to remove in the value.
        (Verb::Remove, None) if !given.is_empty() => remove(write, id, &given, moves).await,
        (Verb::Remove, None) => set(write, id, &[], moves).await,
        (Verb::Remove, Some(filter)) => {
            let named = filter.alternatives("value").filter(|named| named.len() <= MAX_MEMBERS);
            let named = named.ok_or_else(|| {
                Wrong::new("invalidFilter", "members are found by value eq \"id\", joined by or")
            })?;
            let named: Vec<String> = named.into_iter().map(str::to_owned).collect();
            remove(write, id, &named, moves).await
        }
        (_, Some(_)) => {
            Err(Wrong::new("noTarget", "a member that is found is removed, not changed").into())
        }
    }
}
