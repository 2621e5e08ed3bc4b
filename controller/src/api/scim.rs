//! SCIM 2.0 over HTTP. Errors are SCIM's own; the outermost layer makes them out of problems.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeformer_proto::ids::{GroupId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa_axum::routes;

use super::extract::{Body, InPath, InQuery};
use super::route::Routes;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scim::filter::{self, Filter};
use crate::scim::patch::{self, Change};
use crate::scim::resource::{self, Shown, View};
use crate::scim::schema::{self, Type};
use crate::scim::{self, CONTENT_TYPE, PREFIX, ScimError, Window, Wrong, groups, users};
use crate::scope::TenantScope;

const SEARCH: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";

/// The routes.
pub fn routes() -> Routes {
    let all = Routes::new();
    let all = all.add(Action::ScimProvision, routes!(provider));
    let all = all.add(Action::ScimProvision, routes!(resource_types));
    let all = all.add(Action::ScimProvision, routes!(resource_type));
    let all = all.add(Action::ScimProvision, routes!(schemas));
    let all = all.add(Action::ScimProvision, routes!(schema_of));
    let all = all.add(Action::ScimProvision, routes!(create_user, list_users));
    let one = routes!(get_user, replace_user, patch_user, delete_user);
    let all = all.add(Action::ScimProvision, one);
    let all = all.add(Action::ScimProvision, routes!(search_users));
    let all = all.add(Action::ScimProvision, routes!(search_groups));
    let all = all.add(Action::ScimProvision, routes!(create_group, list_groups));
    let one = routes!(get_group, replace_group, patch_group, delete_group);
    all.add(Action::ScimProvision, one)
}

/// Whether a path, with the API's prefix or without, is one of SCIM's.
pub fn is_path(path: &str) -> bool {
    path.strip_prefix(super::PREFIX).unwrap_or(path).starts_with(PREFIX)
}

/// The answer to a problem.
pub fn answer(problem: &Problem) -> Response {
    let (status, body) = scim::error(problem);
    let status = StatusCode::from_u16(status).unwrap_or(problem.status);
    let mut response = of(status, body);
    if problem.status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer realm=\"edgeformer\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// What of the protocol there is not: 501, as it asks for. `path` is `METHOD /path`.
pub fn not_implemented(path: &str) -> Option<Problem> {
    let (_, path) = path.split_once(' ')?;
    let rest = path.strip_prefix(super::PREFIX).unwrap_or(path).strip_prefix(PREFIX)?;
    let rest = rest.trim_end_matches('/');
    let first = rest.get(1..).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    matches!(first, ".search" | "Me" | "Bulk").then(|| {
        let detail = format!("{rest} is not offered: ask /Users and /Groups");
        Problem::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", detail)
    })
}

fn of(status: StatusCode, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    let kind = HeaderValue::from_static(CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A resource with its tag, and where it is.
fn tagged(status: StatusCode, body: Value) -> Response {
    let header = |text: &Value| HeaderValue::from_str(text.as_str()?).ok();
    let (tag, place) = (header(&body["meta"]["version"]), header(&body["meta"]["location"]));
    let mut response = of(status, body);
    for (name, value) in [(header::ETAG, tag), (header::LOCATION, place)] {
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Where the caller reaches the service.
fn base(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
    match !host.is_empty() && host.chars().all(plain) {
        true => format!("https://{host}{}{PREFIX}", super::PREFIX),
        false => format!("{}{PREFIX}", super::PREFIX),
    }
}

/// The revision that a change was made from, if the caller says so.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(given) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let tag = given.to_str().ok().map(|text| text.strip_prefix("W/").unwrap_or(text));
    if tag == Some("*") {
        return Ok(None);
    }
    let revision = tag.and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    revision.map(Some).ok_or_else(|| {
        let detail = "If-Match is not a version that this service gave";
        Problem::new(StatusCode::PRECONDITION_FAILED, "stale", detail)
    })
}

/// A resource or a list of them: JSON as RFC 7643 describes it.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(value_type = Object, as = ScimBody)]
pub struct Any(Value);

/// An error of SCIM (RFC 7644, section 3.12).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ScimError)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    schemas: Vec<String>,
    /// HTTP status, as text.
    status: String,
    /// The kind of error, in SCIM's word.
    #[schema(nullable = false)]
    scim_type: Option<String>,
    /// What went wrong.
    detail: String,
}

/// Which attributes an answer shows.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct Cut {
    /// Only these, by name, separated by commas.
    attributes: Option<String>,
    /// All but these.
    excluded_attributes: Option<String>,
}

/// Which resources of a list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct Which {
    /// Such as `userName eq "ada"`.
    filter: Option<String>,
    /// The first is 1.
    start_index: Option<i64>,
    /// At most 200, 100 unless given.
    count: Option<i64>,
    /// Only these, by name, separated by commas.
    attributes: Option<String>,
    /// All but these.
    excluded_attributes: Option<String>,
}

impl Which {
    fn read(&self) -> Result<(Option<Filter>, Window), ScimError> {
        let text = self.filter.as_deref().filter(|text| !text.trim().is_empty());
        let filter = text.map(filter::parse).transpose()?;
        Ok((filter, Window::new(self.start_index, self.count)))
    }
}

/// What is searched for (RFC 7644, section 3.4.3).
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = ScimSearchRequest)]
#[serde(rename_all = "camelCase")]
pub struct SearchRequest {
    /// `urn:ietf:params:scim:api:messages:2.0:SearchRequest`.
    schemas: Vec<String>,
    /// Such as `userName eq "ada"`.
    filter: Option<String>,
    /// The first is 1.
    start_index: Option<i64>,
    /// At most 200, 100 unless given.
    count: Option<i64>,
    /// Only these.
    attributes: Option<Vec<String>>,
    /// All but these.
    excluded_attributes: Option<Vec<String>>,
}

impl SearchRequest {
    /// The same as a query has it.
    fn read(self) -> Result<Which, ScimError> {
        if !self.schemas.iter().any(|schema| schema == SEARCH) {
            let detail = format!("schemas must name {SEARCH}");
            return Err(Wrong::new("invalidSyntax", detail).into());
        }
        let joined = |names: Option<Vec<String>>| names.map(|names| names.join(","));
        Ok(Which {
            filter: self.filter,
            start_index: self.start_index,
            count: self.count,
            attributes: joined(self.attributes),
            excluded_attributes: joined(self.excluded_attributes),
        })
    }
}

fn view(kind: Type, headers: &HeaderMap, only: Option<&str>, without: Option<&str>) -> View {
    View { base: base(headers), shown: Shown::new(kind, only, without) }
}

impl Cut {
    fn view(&self, kind: Type, headers: &HeaderMap) -> View {
        view(kind, headers, self.attributes.as_deref(), self.excluded_attributes.as_deref())
    }
}

/// What of SCIM there is.
#[utoipa::path(get, path = "/scim/v2/ServiceProviderConfig", tag = "scim",
    responses((status = 200, body = Any, content_type = "application/scim+json")))]
async fn provider(_: TenantScope, headers: HeaderMap) -> Response {
    of(StatusCode::OK, schema::provider(&base(&headers)))
}

/// The kinds of resources.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes", tag = "scim",
    responses((status = 200, body = Any, content_type = "application/scim+json")))]
async fn resource_types(_: TenantScope, headers: HeaderMap) -> Response {
    let all: Vec<_> =
        Type::ALL.into_iter().map(|kind| schema::resource_type(kind, &base(&headers))).collect();
    of(StatusCode::OK, scim::list(&all, 2, 0))
}

/// One kind of resources.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes/{name}", tag = "scim",
    params(("name" = String, Path)),
    responses((status = 200, body = Any, content_type = "application/scim+json")))]
async fn resource_type(
    _: TenantScope,
    headers: HeaderMap,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    let kind = Type::ALL.into_iter().find(|kind| kind.name() == name);
    let kind = kind.ok_or_else(|| crate::error::AppError::not_found("resource type", name))?;
    Ok(of(StatusCode::OK, schema::resource_type(kind, &base(&headers))))
}

/// The schemas of the resources.
#[utoipa::path(get, path = "/scim/v2/Schemas", tag = "scim",
    responses((status = 200, body = Any, content_type = "application/scim+json")))]
async fn schemas(_: TenantScope, headers: HeaderMap) -> Response {
    let all: Vec<_> =
        Type::ALL.into_iter().map(|kind| schema::schema(kind, &base(&headers))).collect();
    of(StatusCode::OK, scim::list(&all, 2, 0))
}

/// The schema of one kind of resources.
#[utoipa::path(get, path = "/scim/v2/Schemas/{name}", tag = "scim",
    params(("name" = String, Path)),
    responses((status = 200, body = Any, content_type = "application/scim+json")))]
async fn schema_of(
    _: TenantScope,
    headers: HeaderMap,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    let kind = Type::ALL.into_iter().find(|kind| kind.schema().eq_ignore_ascii_case(&name));
    let kind = kind.ok_or_else(|| crate::error::AppError::not_found("schema", name))?;
    Ok(of(StatusCode::OK, schema::schema(kind, &base(&headers))))
}

macro_rules! resources {
    ($kind:expr, $module:ident, $id:ty, $path:literal, $one:literal,
        $create:ident, $list:ident, $get:ident, $replace:ident, $patch:ident, $delete:ident,
        $search_path:literal, $search:ident) => {
        /// Makes one.
        #[utoipa::path(post, path = $path, tag = "scim", params(Cut),
                    request_body(content = Any, content_type = "application/scim+json"),
                    responses((status = 201, body = Any, content_type = "application/scim+json")))]
        async fn $create(
            State(app): State<App>,
            scope: TenantScope,
            headers: HeaderMap,
            InQuery(cut): InQuery<Cut>,
            Body(Any(body)): Body<Any>,
        ) -> Result<Response, Problem> {
            let view = cut.view($kind, &headers);
            let made = $module::create(&app, &scope, &body, &view).await?;
            Ok(tagged(StatusCode::CREATED, made))
        }

        /// Lists those that the identity provider looks after.
        #[utoipa::path(get, path = $path, tag = "scim", params(Which),
                    responses((status = 200, body = Any, content_type = "application/scim+json")))]
        async fn $list(
            State(app): State<App>,
            scope: TenantScope,
            headers: HeaderMap,
            InQuery(which): InQuery<Which>,
        ) -> Result<Response, Problem> {
            let (filter, window) = which.read()?;
            let (only, without) =
                (which.attributes.as_deref(), which.excluded_attributes.as_deref());
            let view = view($kind, &headers, only, without);
            let found = $module::list(&app, &scope, filter.as_ref(), window, &view).await?;
            Ok(of(StatusCode::OK, found))
        }

        /// Lists like a GET, with what is asked for in the body: filters name people, and addresses of
        /// requests stand in logs.
        #[utoipa::path(post, path = $search_path, tag = "scim",
                    request_body(content = SearchRequest, content_type = "application/scim+json"),
                    responses((status = 200, body = Any, content_type = "application/scim+json")))]
        async fn $search(
            State(app): State<App>,
            scope: TenantScope,
            headers: HeaderMap,
            Body(asked): Body<SearchRequest>,
        ) -> Result<Response, Problem> {
            let which = asked.read()?;
            let (filter, window) = which.read()?;
            let (only, without) =
                (which.attributes.as_deref(), which.excluded_attributes.as_deref());
            let view = view($kind, &headers, only, without);
            let found = $module::list(&app, &scope, filter.as_ref(), window, &view).await?;
            Ok(of(StatusCode::OK, found))
        }

        /// Shows one.
        #[utoipa::path(get, path = $one, tag = "scim", params(("id" = String, Path), Cut),
                    responses((status = 200, body = Any, content_type = "application/scim+json")))]
        async fn $get(
            State(app): State<App>,
            scope: TenantScope,
            headers: HeaderMap,
            InPath(id): InPath<$id>,
            InQuery(cut): InQuery<Cut>,
        ) -> Result<Response, Problem> {
            let view = cut.view($kind, &headers);
            Ok(tagged(StatusCode::OK, $module::get(&app, &scope, id, &view).await?))
        }

        /// Puts another in its place.
        #[utoipa::path(put, path = $one, tag = "scim", params(("id" = String, Path), Cut),
                    request_body(content = Any, content_type = "application/scim+json"),
                    responses((status = 200, body = Any, content_type = "application/scim+json")))]
        async fn $replace(
            State(app): State<App>,
            scope: TenantScope,
            headers: HeaderMap,
            InPath(id): InPath<$id>,
            InQuery(cut): InQuery<Cut>,
            Body(Any(body)): Body<Any>,
        ) -> Result<Response, Problem> {
            let resource = resource::read($kind, &body).map_err(ScimError::from)?;
            let (at, view) = ((id, if_match(&headers)?), cut.view($kind, &headers));
            let change = Change::Replace(resource);
            Ok(tagged(StatusCode::OK, $module::change(&app, &scope, at, change, &view).await?))
        }

        /// Changes parts of it.
        #[utoipa::path(patch, path = $one, tag = "scim", params(("id" = String, Path), Cut),
                    request_body(content = Any, content_type = "application/scim+json"),
                    responses((status = 200, body = Any, content_type = "application/scim+json")))]
        async fn $patch(
            State(app): State<App>,
            scope: TenantScope,
            headers: HeaderMap,
            InPath(id): InPath<$id>,
            InQuery(cut): InQuery<Cut>,
            Body(Any(body)): Body<Any>,
        ) -> Result<Response, Problem> {
            let operations = patch::read($kind, &body).map_err(ScimError::from)?;
            let (at, view) = ((id, if_match(&headers)?), cut.view($kind, &headers));
            let change = Change::Patch(operations);
            Ok(tagged(StatusCode::OK, $module::change(&app, &scope, at, change, &view).await?))
        }

        /// Removes it.
        #[utoipa::path(delete, path = $one, tag = "scim", params(("id" = String, Path)),
                    responses((status = 204)))]
        async fn $delete(
            State(app): State<App>,
            scope: TenantScope,
            headers: HeaderMap,
            InPath(id): InPath<$id>,
        ) -> Result<StatusCode, Problem> {
            $module::delete(&app, &scope, id, if_match(&headers)?).await?;
            Ok(StatusCode::NO_CONTENT)
        }
    };
}

resources!(
    Type::User,
    users,
    UserId,
    "/scim/v2/Users",
    "/scim/v2/Users/{id}",
    create_user,
    list_users,
    get_user,
    replace_user,
    patch_user,
    delete_user,
    "/scim/v2/Users/.search",
    search_users
);
resources!(
    Type::Group,
    groups,
    GroupId,
    "/scim/v2/Groups",
    "/scim/v2/Groups/{id}",
    create_group,
    list_groups,
    get_group,
    replace_group,
    patch_group,
    delete_group,
    "/scim/v2/Groups/.search",
    search_groups
);
