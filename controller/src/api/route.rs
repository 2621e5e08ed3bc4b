//! Routes together with their actions. There is no way to add a handler without naming the action
//! that policy decides on, and the OpenAPI document carries it as `x-action`.

use axum::Router;
use axum::middleware;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};

use super::{admission, auth};
use crate::app::App;
use crate::policy::{Action, Group};
use crate::scim;

/// Name of the security scheme in the document.
pub const SECURITY: &str = "token";

/// A set of routes, each with its action. Paths are without the API's prefix.
pub struct Routes(OpenApiRouter<App>);

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// None yet.
    pub fn new() -> Self {
        Self(OpenApiRouter::default())
    }

    /// Adds `routes!(handler)`: it runs only for principals whom policy allows `action`. Methods of
    /// one path that are different actions are added one by one.
    #[must_use]
    pub fn add(self, action: Action, mut routes: UtoipaMethodRouter<App>) -> Self {
        for (path, item) in &mut routes.1.paths {
            for operation in operations(item) {
                annotate(operation, action);
                if path.starts_with(scim::PREFIX) {
                    let problem = RefOr::T(scim_problem());
                    operation.responses.responses.insert("default".to_owned(), problem);
                }
            }
        }
        let guarded = routes.map(|methods| {
            methods.route_layer(middleware::from_fn(move |request, next| {
                auth::guard(action, request, next)
            }))
        });
        Self(self.0.routes(guarded))
    }

    /// Adds routes that anybody may call before they are known: log-in and what belongs to it. They
    /// authenticate by what the request itself carries, and name an action of the public group.
    #[must_use]
    pub fn add_public(self, action: Action, mut routes: UtoipaMethodRouter<App>) -> Self {
        assert_eq!(action.group(), Group::Public, "{} is not public", action.as_str());
        for item in routes.1.paths.values_mut() {
            for operation in operations(item) {
                annotate(operation, action);
                operation.security = Some(Vec::new());
            }
        }
        let limited =
            routes.map(|methods| methods.route_layer(middleware::from_fn(admission::public)));
        Self(self.0.routes(limited))
    }

    /// Adds another part's routes.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self(self.0.merge(other.0))
    }

    pub(super) fn into_parts(self) -> (Router<App>, utoipa::openapi::OpenApi) {
        let (router, mut document) = self.0.split_for_parts();
        // A parameter that takes the rest of a path is an ordinary one to those who call it.
        let paths = std::mem::take(&mut document.paths.paths);
        document.paths.paths =
            paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
        (router, document)
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch]
        .into_iter()
        .filter_map(Option::as_mut)
}

fn problem() -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description("What went wrong, to what, and what to do next")
        .content("application/problem+json", content)
        .build()
}

fn scim_problem() -> Response {
    let content = Content::new(Some(Ref::from_schema_name("ScimError")));
    ResponseBuilder::new()
        .description("What went wrong")
        .content(scim::CONTENT_TYPE, content)
        .build()
}

fn annotate(operation: &mut Operation, action: Action) {
    operation.security = Some(vec![SecurityRequirement::new(SECURITY, Vec::<String>::new())]);
    operation.responses.responses.insert("default".to_owned(), RefOr::T(problem()));
    operation
        .extensions
        .get_or_insert_default()
        .merge(ExtensionsBuilder::new().add("x-action", action.as_str()).build());
}
