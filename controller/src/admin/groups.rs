//! Groups of people: their roles are their members'. Groups that SCIM brought in keep the members that
//! SCIM gives them; only their roles are set here.

use std::collections::BTreeSet;

use edgeformer_proto::ids::{GroupId, UserId};
use serde_json::{Value, json};

use super::validate::{self, check_roles};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::{Action, Role};
use crate::scope::TenantScope;
use crate::store::groups::{self as store, Group, Member};
use crate::store::users::{self, Source};
use crate::store::{Conn, Write};

/// What is changed of a group.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Unique in the tenant.
    pub name: Option<String>,
    /// What its members may be.
    pub roles: Option<BTreeSet<Role>>,
}

/// What of a group stands in the audit log.
pub fn described(group: &Group) -> Value {
    let roles: Vec<_> = group.roles.iter().map(|role| role.as_str()).collect();
    json!({"name": group.name, "roles": roles})
}

/// What is said when a name is taken.
pub fn taken(name: &str) -> AppError {
    AppError::conflict("name_taken", format!("a group is named {name:?} already"))
}

fn only_scim(group: &Group) -> Result<(), AppError> {
    if group.source == Source::Scim {
        let detail = format!(
            "group {:?} is looked after by the identity provider: change its name and members \
             there; its roles are set here",
            group.name
        );
        return Err(AppError::conflict("provisioned", detail));
    }
    Ok(())
}

async fn commit(app: &App, write: Write<TenantScope>) -> Result<(), AppError> {
    write.commit(app.now()).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

/// Makes a group without members.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    name: &str,
    roles: BTreeSet<Role>,
) -> Result<Group, AppError> {
    check_roles(scope, &roles)?;
    let group = Group {
        id: GroupId::new(),
        name: validate::name("name", name)?,
        external_id: String::new(),
        source: Source::Local,
        roles,
        revision: 1,
        created_at: app.now(),
    };
    let resource = Resource::new("group", group.id).named(group.name.clone());
    let intent = Intent::new(Action::GroupCreate, resource).changes(json!(null), described(&group));
    let mut write = app.store.write(scope, intent).await?;
    match store::insert(&mut write, &group).await {
        Err(error) if error.is_conflict() => {
            write.rollback().await?;
            return Err(taken(&group.name));
        }
        done => done?,
    }
    commit(app, write).await?;
    Ok(group)
}

/// Groups in the order they were made.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    after: Option<GroupId>,
    limit: i64,
) -> Result<Vec<Group>, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(store::list(&mut read, after, limit).await?)
}

/// One group.
pub async fn get(app: &App, scope: &TenantScope, id: GroupId) -> Result<Group, AppError> {
    existing(&mut *app.store.read(scope).await?, id).await
}

async fn existing(conn: &mut Conn<TenantScope>, id: GroupId) -> Result<Group, AppError> {
    store::get(conn, id).await?.ok_or_else(|| AppError::not_found("group", id))
}

/// Who is in a group, in the order they were made.
pub async fn members(
    app: &App,
    scope: &TenantScope,
    id: GroupId,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<Member>, AppError> {
    let mut read = app.store.read(scope).await?;
    existing(&mut read, id).await?;
    Ok(store::members(&mut read, id, after, limit).await?)
}

/// Changes a group that is still at `revision`.
pub async fn update(
    app: &App,
    scope: &TenantScope,
    id: GroupId,
    revision: u64,
    edit: Edit,
) -> Result<Group, AppError> {
    let intent = Intent::new(Action::GroupUpdate, Resource::new("group", id));
    let mut write = app.store.write(scope, intent).await?;
    let before = existing(&mut write, id).await?;
    let mut group = before.clone();
    if let Some(name) = &edit.name {
        only_scim(&before)?;
        group.name = validate::name("name", name)?;
    }
    group.roles = edit.roles.unwrap_or(group.roles);
    check_roles(scope, before.roles.union(&group.roles))?;
    match store::update(&mut write, &group, revision).await {
        Err(error) if error.is_conflict() => {
            write.rollback().await?;
            return Err(taken(&group.name));
        }
        Ok(false) => {
            let current = before.revision;
            return Err(AppError::Stale { kind: "group", id: id.to_string(), current });
        }
        done => done.map(|_| ())?,
    }
    write.resource(Resource::new("group", id).named(group.name.clone()));
    write.changes(described(&before), described(&group));
    commit(app, write).await?;
    get(app, scope, id).await
}

/// Removes a group; its members lose its roles at once.
pub async fn delete(app: &App, scope: &TenantScope, id: GroupId) -> Result<(), AppError> {
    let intent = Intent::new(Action::GroupDelete, Resource::new("group", id));
    let mut write = app.store.write(scope, intent).await?;
    let group = existing(&mut write, id).await?;
    only_scim(&group)?;
    check_roles(scope, &group.roles)?;
    store::delete(&mut write, id).await?;
    write.resource(Resource::new("group", id).named(group.name.clone()));
    write.changes(described(&group), json!(null));
    commit(app, write).await
}

/// Puts a person into a group, or takes it out. What is so already is no error.
pub async fn set_member(
    app: &App,
    scope: &TenantScope,
    id: GroupId,
    user: UserId,
    inside: bool,
) -> Result<(), AppError> {
    let intent = Intent::new(Action::GroupUpdate, Resource::new("group", id));
    let mut write = app.store.write(scope, intent).await?;
    let group = existing(&mut write, id).await?;
    only_scim(&group)?;
    check_roles(scope, &group.roles)?;
    if users::get(&mut write, user).await?.is_none() {
        return Err(AppError::not_found("user", user));
    }
    let changed = match inside {
        true => store::add(&mut write, id, user).await?,
        false => store::remove(&mut write, id, user).await?,
    };
    if !changed {
        return Ok(write.rollback().await?);
    }
    let was = |inside: bool| json!({"member": {"id": user.to_string(), "inside": inside}});
    write.resource(Resource::new("group", id).named(group.name));
    write.changes(was(!inside), was(inside));
    commit(app, write).await
}
