//! Extractors that refuse with a problem: JSON bodies, path and query parameters, and the scope that
//! the guard granted.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::error::AppError;
use crate::policy::{Granted, Principal};
use crate::problem::Problem;
use crate::scope::{InstallationScope, TenantScope};

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &App) -> Result<Self, Problem> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(bad_json(&rejection)),
        }
    }
}

/// A body as JSON, or as HTML forms send it: as its content type says.
#[derive(Debug)]
pub struct BodyOrForm<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for BodyOrForm<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &App) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
            return Form::from_request(request, state).await.map(|Form(body)| Self(body));
        }
        Body::from_request(request, state).await.map(|Body(body)| Self(body))
    }
}

/// A body as HTML forms send it.
#[derive(Debug)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &App) -> Result<Self, Problem> {
        match axum::Form::<T>::from_request(request, state).await {
            Ok(axum::Form(body)) => Ok(Self(body)),
            Err(rejection) => {
                let code = match rejection.status() {
                    StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
                    StatusCode::PAYLOAD_TOO_LARGE => "too_large",
                    StatusCode::UNPROCESSABLE_ENTITY => "invalid",
                    _ => "bad_request",
                };
                Err(Problem::new(rejection.status(), code, rejection.body_text()))
            }
        }
    }
}

fn bad_json(rejection: &JsonRejection) -> Problem {
    let code = match rejection {
        JsonRejection::JsonDataError(_) => "invalid",
        JsonRejection::JsonSyntaxError(_) => "bad_json",
        JsonRejection::MissingJsonContentType(_) => "unsupported_media_type",
        _ if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        _ => "bad_request",
    };
    Problem::new(rejection.status(), code, rejection.body_text())
}

/// Path parameters. One that cannot be read is of no existing thing: 404.
#[derive(Debug)]
pub struct InPath<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &App) -> Result<Self, Problem> {
        Path::<T>::from_request_parts(parts, state).await.map(|Path(value)| Self(value)).map_err(
            |_: PathRejection| {
                let path: String = parts.uri.path().chars().take(200).collect();
                let detail = format!("there is nothing at {path}: a part of it is not an id");
                Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
            },
        )
    }
}

/// Query parameters.
#[derive(Debug)]
pub struct InQuery<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &App) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state).await.map(|Query(value)| Self(value)).map_err(
            |rejection: QueryRejection| {
                Problem::new(StatusCode::BAD_REQUEST, "bad_query", rejection.body_text())
            },
        )
    }
}

/// Query parameters as they come, for names that may repeat.
#[derive(Debug)]
pub struct RepeatedQuery(pub Vec<(String, String)>);

impl FromRequestParts<App> for RepeatedQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &App) -> Result<Self, Problem> {
        InQuery::from_request_parts(parts, state).await.map(|InQuery(pairs)| Self(pairs))
    }
}

impl FromRequestParts<App> for TenantScope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            AppError::Denied("this token has no tenant: use a tenant's token".into()).into()
        })
    }
}

impl FromRequestParts<App> for InstallationScope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| AppError::Denied("this needs a token of the installation".into()).into())
    }
}

impl FromRequestParts<App> for Granted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &App) -> Result<Self, Problem> {
        if let Ok(scope) = TenantScope::from_request_parts(parts, state).await {
            return Ok(Self::Tenant(scope));
        }
        InstallationScope::from_request_parts(parts, state).await.map(Self::Installation)
    }
}

impl FromRequestParts<App> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::unauthenticated("send an API token"))
    }
}
