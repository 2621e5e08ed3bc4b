//! Bundles over REST: a version as one file, for sites without a network.

use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edgeformer_proto::bundle::MEDIA_TYPE;
use edgeformer_proto::ids::DeviceId;
use utoipa_axum::routes;

use super::extract::{InPath, RepeatedQuery};
use super::route::Routes;
use crate::app::App;
use crate::distribution::bundle;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;

/// The routes.
pub fn routes() -> Routes {
    Routes::new().add(Action::BundleExport, routes!(export_bundle))
}

/// Gives a file that brings a version to devices without a network: what is signed and sealed, and for
/// each device its desired state and the key, which that device alone opens. Each device must be to
/// run the version now.
#[utoipa::path(get, path = "/models/{name}/versions/{version}/bundle", tag = "models",
    params(("name" = String, Path), ("version" = String, Path),
        ("device" = Option<Vec<String>>, Query, description = "Device id; may be repeated")),
    responses((status = 200, body = Vec<u8>, content_type = "application/vnd.edgeformer.bundle")))]
async fn export_bundle(
    State(app): State<App>,
    scope: TenantScope,
    InPath((name, version)): InPath<(String, String)>,
    RepeatedQuery(pairs): RepeatedQuery,
) -> Result<Response, Problem> {
    let devices = devices(&pairs)?;
    let bundle = bundle::export(&app, &scope, &name, &version, &devices).await?;
    let headers = [
        (header::CONTENT_TYPE, MEDIA_TYPE.to_owned()),
        (header::CONTENT_LENGTH, bundle.size_bytes().to_string()),
    ];
    Ok((headers, Stream::from_stream(bundle.into_stream())).into_response())
}

fn devices(pairs: &[(String, String)]) -> Result<Vec<DeviceId>, AppError> {
    let named = pairs.iter().filter(|(name, _)| name == "device");
    let parsed = named.map(|(_, text)| text.parse());
    parsed.collect::<Result<_, _>>().map_err(|error: edgeformer_proto::ids::IdError| {
        AppError::invalid("device", error.to_string())
    })
}
