//! Requests that need others' consent: a request that policies hold back opens an approval, and the
//! repeated request brings it in a header.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use edgeformer_proto::ids::ApprovalId;

use super::request::RequestInfo;
use super::{MAX_JSON_BYTES, idempotency};
use crate::admin::approvals as use_case;
use crate::app::App;
use crate::error::AppError;
use crate::policy::{Action, Approved, Principal, Refused};
use crate::problem::Problem;
use crate::scope::TenantScope;

/// The id of the approval that a repeated request goes by.
pub const HEADER: HeaderName = HeaderName::from_static("x-edgeformer-approval");

const NEEDS_DIGEST: &str = "a publication that others consent to names its file: send the header \
                            `Digest: sha-256=<base64>`, with the first request and with the repeated one";

/// What identifies the request, if its action can need consent. The body is read for that, but for a
/// publication's: there the `Digest` header stands for it.
pub(super) async fn identify(
    action: Action,
    request: Request,
    info: &RequestInfo,
) -> Result<(Request, Option<use_case::Request>), Problem> {
    if !action.is_specific() {
        return Ok((request, None));
    }
    let (parts, body) = request.into_parts();
    let (body, identifying) = if action == Action::VersionPublish {
        // Without it, consent to one file would be consent to any.
        let Some(digest) = parts.headers.get("digest").map(|value| value.as_bytes().to_vec())
        else {
            return Ok((Request::from_parts(parts, body), None));
        };
        (body, digest)
    } else {
        let bytes = to_bytes(body, MAX_JSON_BYTES).await.map_err(|_| {
            let detail = format!("the body is longer than {MAX_JSON_BYTES} bytes or was cut off");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        })?;
        let identifying = bytes.to_vec();
        (Body::from(bytes), identifying)
    };
    let identified = use_case::Request {
        line: info.path.clone(),
        sha256: idempotency::hash_of(&parts.method, &parts.uri, &identifying),
        justification: info.justification.clone(),
    };
    Ok((Request::from_parts(parts, body), Some(identified)))
}

/// The consent that the request brings, if it brings one.
pub(super) async fn brought(
    app: &App,
    principal: &Principal,
    action: Action,
    header: Option<HeaderValue>,
    identified: Option<&use_case::Request>,
) -> Result<Option<Approved>, Problem> {
    let (Some(value), Some(tenant)) = (header, principal.tenant) else { return Ok(None) };
    if action == Action::VersionPublish && identified.is_none() {
        return Err(AppError::invalid("Digest", NEEDS_DIGEST).into());
    }
    let Some(identified) = identified else { return Ok(None) };
    let id: ApprovalId =
        value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
            AppError::invalid("X-Edgeformer-Approval", "it must be an approval's id")
        })?;
    let scope = TenantScope::system(tenant, "approval");
    let found = use_case::bring(app, &scope, principal, id, action, &identified.sha256).await;
    Ok(Some(found?))
}

/// Says what a request lacks that would be held back for others' consent, and names nothing to consent
/// to.
pub(super) fn unnamed(refused: &Refused) -> Problem {
    let detail = format!("{refused}. {NEEDS_DIGEST}");
    Problem::new(StatusCode::FORBIDDEN, "approval_required", detail)
}

/// Opens an approval for a request that was held back, and says how to go on.
pub(super) async fn ask(
    app: &App,
    scope: &TenantScope,
    principal: &Principal,
    refused: &Refused,
    identified: &use_case::Request,
) -> Result<Problem, Problem> {
    let approval = use_case::ask(app, scope, principal, refused, identified).await?;
    let id = approval.id;
    let who = match approval.needed {
        1 => "another person signs it".to_owned(),
        more => format!("{more} others sign it"),
    };
    let detail = format!(
        "{refused}. Approval {id} is open for it: {who} (`edgeformer approval sign {id}`), then \
         repeat the request with it (`--approval {id}`)"
    );
    Ok(Problem::new(StatusCode::FORBIDDEN, "approval_required", detail).approval(id.to_string()))
}
