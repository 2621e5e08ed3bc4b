//! Groups of people over REST.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeformer_proto::ids::{GroupId, UserId};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::etag;
use super::extract::{Body, InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::account::parse_roles;
use crate::admin::groups as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::groups::{Group, Member};

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::GroupCreate, routes!(create))
        .add(Action::GroupRead, routes!(list))
        .add(Action::GroupRead, routes!(show))
        .add(Action::GroupUpdate, routes!(update))
        .add(Action::GroupDelete, routes!(delete))
        .add(Action::GroupRead, routes!(members))
        .add(Action::GroupUpdate, routes!(add))
        .add(Action::GroupUpdate, routes!(remove))
}

/// A group.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Group)]
pub struct GroupView {
    id: String,
    name: String,
    /// "local", or "scim" if an identity provider looks after it.
    source: &'static str,
    /// What its members may be.
    roles: Vec<&'static str>,
    revision: u64,
    created_at: String,
}

impl From<Group> for GroupView {
    fn from(group: Group) -> Self {
        Self {
            id: group.id.to_string(),
            name: group.name,
            source: group.source.as_str(),
            roles: group.roles.iter().map(|role| role.as_str()).collect(),
            revision: group.revision,
            created_at: group.created_at.rfc3339(),
        }
    }
}

impl GroupView {
    fn tagged(self) -> Response {
        ([(header::ETAG, etag::of(self.revision))], Json(self)).into_response()
    }
}

/// A person in a group.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = GroupMember)]
pub struct MemberView {
    id: String,
    user_name: String,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        Self { id: member.id.to_string(), user_name: member.user_name }
    }
}

/// A group to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupRequest {
    /// Unique in the tenant.
    name: String,
    #[serde(default)]
    roles: BTreeSet<String>,
}

/// Makes a group.
#[utoipa::path(post, path = "/groups", tag = "groups", request_body = GroupRequest,
    responses((status = 201, body = GroupView)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<GroupRequest>,
) -> Result<Response, Problem> {
    let roles = parse_roles(&body.roles)?;
    let group = use_case::create(&app, &scope, &body.name, roles).await?;
    let mut answer = GroupView::from(group).tagged();
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

/// Lists the groups of the tenant.
#[utoipa::path(get, path = "/groups", tag = "groups", params(PageQuery),
    responses((status = 200, body = Page<GroupView>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<GroupView>>, Problem> {
    let limit = page.limit()?;
    let rows = use_case::list(&app, &scope, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id, GroupView::from)))
}

/// Shows a group.
#[utoipa::path(get, path = "/groups/{id}", tag = "groups", params(("id" = String, Path)),
    responses((status = 200, body = GroupView)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<GroupId>,
) -> Result<Response, Problem> {
    Ok(GroupView::from(use_case::get(&app, &scope, id).await?).tagged())
}

/// What to change of a group.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupEdit {
    name: Option<String>,
    /// Replaces all roles.
    roles: Option<BTreeSet<String>>,
}

/// Changes a group. Needs `If-Match` with the revision that was read.
#[utoipa::path(patch, path = "/groups/{id}", tag = "groups",
    params(("id" = String, Path), ("If-Match" = String, Header)),
    request_body = GroupEdit, responses((status = 200, body = GroupView)))]
async fn update(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<GroupId>,
    headers: HeaderMap,
    Body(body): Body<GroupEdit>,
) -> Result<Response, Problem> {
    let revision = etag::required(&headers)?;
    let roles = body.roles.map(|names| parse_roles(&names)).transpose()?;
    let edit = use_case::Edit { name: body.name, roles };
    Ok(GroupView::from(use_case::update(&app, &scope, id, revision, edit).await?).tagged())
}

/// Removes a group; its members lose its roles at once.
#[utoipa::path(delete, path = "/groups/{id}", tag = "groups", params(("id" = String, Path)),
    responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<GroupId>,
) -> Result<StatusCode, Problem> {
    use_case::delete(&app, &scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the members of a group.
#[utoipa::path(get, path = "/groups/{id}/members", tag = "groups",
    params(("id" = String, Path), PageQuery),
    responses((status = 200, body = Page<MemberView>)))]
async fn members(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<GroupId>,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<MemberView>>, Problem> {
    let limit = page.limit()?;
    let rows = use_case::members(&app, &scope, id, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id, MemberView::from)))
}

/// Puts a user into a group.
#[utoipa::path(put, path = "/groups/{id}/members/{user}", tag = "groups",
    params(("id" = String, Path), ("user" = String, Path)), responses((status = 204)))]
async fn add(
    State(app): State<App>,
    scope: TenantScope,
    InPath((id, user)): InPath<(GroupId, UserId)>,
) -> Result<StatusCode, Problem> {
    use_case::set_member(&app, &scope, id, user, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a user out of a group.
#[utoipa::path(delete, path = "/groups/{id}/members/{user}", tag = "groups",
    params(("id" = String, Path), ("user" = String, Path)), responses((status = 204)))]
async fn remove(
    State(app): State<App>,
    scope: TenantScope,
    InPath((id, user)): InPath<(GroupId, UserId)>,
) -> Result<StatusCode, Problem> {
    use_case::set_member(&app, &scope, id, user, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
