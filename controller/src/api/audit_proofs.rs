//! What it takes to verify the audit log without trusting the controller: its key, signed checkpoints,
//! tiles at the URLs of C2SP tlog-tiles, proofs, and bundles that are checked offline.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::audit::merkle::Hash;
use edgeformer_proto::audit::proof::ProofError;
use futures::stream;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{InPath, InQuery};
use super::route::Routes;
use crate::admin::audit_proofs as use_case;
use crate::app::App;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::{Scope, TenantScope};

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::AuditRead, routes!(key))
        .add(Action::AuditRead, routes!(checkpoint))
        .add(Action::AuditRead, routes!(log_file))
        .add(Action::AuditRead, routes!(inclusion))
        .add(Action::AuditRead, routes!(consistency))
        .add(Action::AuditExport, routes!(bundle))
}

/// The public key of the log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditKey {
    /// Origin of its checkpoints.
    origin: String,
    /// `<name>+<id>+<base64>`, as signed notes have it. Keep it apart from the controller.
    key: String,
}

/// Shows the public key that signs the log's checkpoints.
#[utoipa::path(get, path = "/audit/key", tag = "audit", responses((status = 200, body = AuditKey)))]
async fn key(State(app): State<App>, scope: TenantScope) -> Result<Json<AuditKey>, Problem> {
    key_of(&app, &scope).await
}

pub(super) async fn key_of<S: Scope>(app: &App, scope: &S) -> Result<Json<AuditKey>, Problem> {
    let key = use_case::key(app, scope).await?;
    Ok(Json(AuditKey { origin: key.name().to_owned(), key: key.to_string() }))
}

/// Which checkpoint.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckpointQuery {
    /// The newest that at least so many witnesses cosigned; the newest of all unless given.
    cosignatures: Option<u32>,
}

/// Gives the newest signed checkpoint, a C2SP signed note, with the cosignatures of witnesses.
#[utoipa::path(get, path = "/audit/checkpoint", tag = "audit", params(CheckpointQuery),
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn checkpoint(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<CheckpointQuery>,
) -> Result<Response, Problem> {
    checkpoint_of(&app, &scope, &query).await
}

pub(super) async fn checkpoint_of<S: Scope>(
    app: &App,
    scope: &S,
    query: &CheckpointQuery,
) -> Result<Response, Problem> {
    let wanted = query.cosignatures.unwrap_or_default();
    let (_, note) = use_case::checkpoint(app, scope, wanted).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

/// Gives `checkpoint`, `tile/<level>/<index>` or `tile/entries/<index>` as C2SP tlog-tiles names them.
#[utoipa::path(get, path = "/audit/log/{*path}", tag = "audit", params(("path" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn log_file(
    State(app): State<App>,
    scope: TenantScope,
    InPath(path): InPath<String>,
) -> Result<Response, Problem> {
    log_file_of(&app, &scope, &path).await
}

pub(super) async fn log_file_of<S: Scope>(
    app: &App,
    scope: &S,
    path: &str,
) -> Result<Response, Problem> {
    if path == "checkpoint" {
        return checkpoint_of(app, scope, &CheckpointQuery { cosignatures: None }).await;
    }
    let file = use_case::tile_file(app, scope, path).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], file).into_response())
}

/// Which proof of inclusion.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct InclusionQuery {
    /// The record's place in the log.
    sequence: u64,
    /// Size of the tree; that of the newest checkpoint unless given.
    size: Option<u64>,
}

/// Which proof of consistency.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsistencyQuery {
    /// Size of the older tree.
    first: u64,
    /// Size of the newer tree; that of the newest checkpoint unless given.
    size: Option<u64>,
}

/// A proof (RFC 6962 section 2.1) and the newest checkpoint.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditProof {
    /// Size of the tree that the proof leads to.
    size: u64,
    /// Of the record, base64; only of inclusion.
    leaf: Option<String>,
    /// From the leaf to the root, base64.
    hashes: Vec<String>,
    /// A signed note; its tree is of `size` records unless another size was asked for.
    checkpoint: String,
}

impl From<use_case::Proof> for AuditProof {
    fn from(proof: use_case::Proof) -> Self {
        let text = |hash: &Hash| BASE64.encode(hash);
        Self {
            size: proof.size,
            leaf: proof.leaf.as_ref().map(text),
            hashes: proof.hashes.iter().map(text).collect(),
            checkpoint: proof.checkpoint,
        }
    }
}

impl From<ProofError> for AppError {
    fn from(error: ProofError) -> Self {
        Self::invalid("size", error.to_string())
    }
}

/// Proves that a record is in the log.
#[utoipa::path(get, path = "/audit/proofs/inclusion", tag = "audit", params(InclusionQuery),
    responses((status = 200, body = AuditProof)))]
async fn inclusion(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<InclusionQuery>,
) -> Result<Json<AuditProof>, Problem> {
    inclusion_of(&app, &scope, &query).await
}

pub(super) async fn inclusion_of<S: Scope>(
    app: &App,
    scope: &S,
    query: &InclusionQuery,
) -> Result<Json<AuditProof>, Problem> {
    Ok(Json(use_case::inclusion(app, scope, query.sequence, query.size).await?.into()))
}

/// Proves that the log only grew.
#[utoipa::path(get, path = "/audit/proofs/consistency", tag = "audit", params(ConsistencyQuery),
    responses((status = 200, body = AuditProof)))]
async fn consistency(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<ConsistencyQuery>,
) -> Result<Json<AuditProof>, Problem> {
    consistency_of(&app, &scope, &query).await
}

pub(super) async fn consistency_of<S: Scope>(
    app: &App,
    scope: &S,
    query: &ConsistencyQuery,
) -> Result<Json<AuditProof>, Problem> {
    Ok(Json(use_case::consistency(app, scope, query.first, query.size).await?.into()))
}

/// Which part of the log.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct BundleQuery {
    /// First record; 0 unless given.
    from: Option<u64>,
    /// One after the last; all that is signed unless given.
    to: Option<u64>,
    /// Leave out what stands beside the log: names, addresses, changes.
    sealed: Option<bool>,
    /// Under the newest checkpoint that at least so many witnesses cosigned.
    cosignatures: Option<u32>,
}

/// Streams a part of the log with all that it takes to verify it offline.
#[utoipa::path(get, path = "/audit/bundle", tag = "audit", params(BundleQuery),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
async fn bundle(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<BundleQuery>,
) -> Result<Response, Problem> {
    bundle_of(&app, &scope, &query).await
}

pub(super) async fn bundle_of<S: Scope>(
    app: &App,
    scope: &S,
    query: &BundleQuery,
) -> Result<Response, Problem> {
    let part = use_case::Part {
        from: query.from,
        to: query.to,
        sealed: query.sealed == Some(true),
        cosignatures: query.cosignatures.unwrap_or_default(),
    };
    let (header, reader) = use_case::bundle(app, scope, part).await?;
    let first = stream::once(async move { Ok::<_, AppError>(Bytes::from(header)) });
    let rest = stream::try_unfold(reader, use_case::BundleReader::page);
    let body = Body::from_stream(futures::StreamExt::chain(first, rest));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
}
