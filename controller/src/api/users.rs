//! People of the tenant over REST, for its admins.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeformer_proto::ids::UserId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::etag;
use super::extract::{Body, InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::account as use_case;
use crate::app::App;
use crate::clock::Timestamp;
use crate::login_session;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::login_sessions::Ending;
use crate::store::users::User;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::UserCreate, routes!(create))
        .add(Action::UserRead, routes!(list))
        .add(Action::UserRead, routes!(show))
        .add(Action::UserUpdate, routes!(update))
        .add(Action::UserInvite, routes!(invite))
        .add(Action::UserUnlock, routes!(unlock))
        .add(Action::UserSignOut, routes!(sign_out))
}

/// A person.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = User)]
pub struct UserView {
    id: String,
    user_name: String,
    display_name: String,
    email: String,
    /// "local", "oidc" or "scim".
    source: &'static str,
    active: bool,
    /// Its own; groups may give more.
    roles: Vec<&'static str>,
    has_password: bool,
    second_factor: bool,
    /// Until when log-ins are refused after failed ones.
    locked_until: Option<String>,
    revision: u64,
    created_at: String,
    last_login_at: Option<String>,
}

impl UserView {
    fn of(user: User, now: Timestamp) -> Self {
        Self {
            id: user.id.to_string(),
            user_name: user.user_name,
            display_name: user.display_name,
            email: user.email,
            source: user.source.as_str(),
            active: user.active,
            roles: user.roles.iter().map(|role| role.as_str()).collect(),
            has_password: !user.password_hash.is_empty(),
            second_factor: user.totp_confirmed,
            locked_until: (user.locked_until > now).then(|| user.locked_until.rfc3339()),
            revision: user.revision,
            created_at: user.created_at.rfc3339(),
            last_login_at: user.last_login_at.map(Timestamp::rfc3339),
        }
    }

    fn tagged(self) -> Response {
        ([(header::ETAG, etag::of(self.revision))], Json(self)).into_response()
    }
}

/// A user to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    /// Unique in the tenant; capitals do not matter.
    user_name: String,
    /// The user name unless given.
    display_name: Option<String>,
    email: Option<String>,
    #[serde(default)]
    roles: BTreeSet<String>,
}

/// A user that was made, with the invitation to set a password, which is shown once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UserCreated {
    id: String,
    user_name: String,
    /// `efi_…`, good for three days.
    invitation: String,
}

/// Makes a user, who sets a password with the invitation.
#[utoipa::path(post, path = "/users", tag = "users", request_body = UserRequest,
    responses((status = 201, body = UserCreated)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<UserRequest>,
) -> Result<(StatusCode, Json<UserCreated>), Problem> {
    let (display, email) = (body.display_name.as_deref(), body.email.as_deref());
    let new = use_case::NewUser::parse(&body.user_name, display, email, &body.roles)?;
    let (user, invitation) = use_case::create(&app, &scope, new).await?;
    let answer = UserCreated {
        id: user.id.to_string(),
        user_name: user.user_name,
        invitation: invitation.reveal().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Lists the users of the tenant.
#[utoipa::path(get, path = "/users", tag = "users", params(PageQuery),
    responses((status = 200, body = Page<UserView>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<UserView>>, Problem> {
    let (limit, after, now) = (page.limit()?, page.after()?, app.now());
    let rows = use_case::list(&app, &scope, after, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |user| user.id, |user| UserView::of(user, now))))
}

/// Shows a user.
#[utoipa::path(get, path = "/users/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = UserView)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<UserId>,
) -> Result<Response, Problem> {
    Ok(UserView::of(use_case::get(&app, &scope, id).await?, app.now()).tagged())
}

/// What to change of a user.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserEdit {
    display_name: Option<String>,
    email: Option<String>,
    /// False ends all log-ins at once.
    active: Option<bool>,
    /// Replaces all roles.
    roles: Option<BTreeSet<String>>,
}

/// Changes a user. Needs `If-Match` with the revision that was read.
#[utoipa::path(patch, path = "/users/{id}", tag = "users",
    params(("id" = String, Path), ("If-Match" = String, Header)),
    request_body = UserEdit, responses((status = 200, body = UserView)))]
async fn update(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<UserId>,
    headers: HeaderMap,
    Body(body): Body<UserEdit>,
) -> Result<Response, Problem> {
    let revision = etag::required(&headers)?;
    let roles = body.roles.map(|names| use_case::parse_roles(&names)).transpose()?;
    let (display_name, email, active) = (body.display_name, body.email, body.active);
    let edit = use_case::Edit { display_name, email, active, roles };
    let user = use_case::update(&app, &scope, id, revision, edit).await?;
    Ok(UserView::of(user, app.now()).tagged())
}

/// An invitation, shown once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Invitation {
    /// `efi_…`
    invitation: String,
    expires_at: String,
}

/// Makes an invitation to set a new password, in place of any other.
#[utoipa::path(post, path = "/users/{id}/invitation", tag = "users",
    params(("id" = String, Path)), responses((status = 200, body = Invitation)))]
async fn invite(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<UserId>,
) -> Result<Json<Invitation>, Problem> {
    let (invitation, expires_at) = use_case::invite(&app, &scope, id).await?;
    let (invitation, expires_at) = (invitation.reveal().to_owned(), expires_at.rfc3339());
    Ok(Json(Invitation { invitation, expires_at }))
}

/// Ends the lock after failed log-ins.
#[utoipa::path(post, path = "/users/{id}/unlock", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = UserView)))]
async fn unlock(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<UserId>,
) -> Result<Response, Problem> {
    Ok(UserView::of(use_case::unlock(&app, &scope, id).await?, app.now()).tagged())
}

/// How many log-ins were ended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SignedOut {
    ended: u64,
}

/// Ends all log-ins of a user, at once.
#[utoipa::path(post, path = "/users/{id}/sign-out", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = SignedOut)))]
async fn sign_out(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<UserId>,
) -> Result<Json<SignedOut>, Problem> {
    use_case::get(&app, &scope, id).await?;
    let which = Ending::AllOf(id);
    let ended = login_session::end(&app, &scope, Action::UserSignOut, which, "revoked").await?;
    Ok(Json(SignedOut { ended }))
}
