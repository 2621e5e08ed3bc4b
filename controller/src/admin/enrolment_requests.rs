//! Devices that ask to be let in: the id under which they ask, and what is decided about them.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use edgeformer_proto::ids::{EnrolmentRequestId, TokenId};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::validate;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::{Action, Facts};
use crate::scope::TenantScope;
use crate::store::enrolments::requests::{
    self as enrolment_requests, Decision, EnrolmentRequest, RequestState,
};

/// An approval is good for a week: the device asks every few seconds while it is on.
const APPROVED_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// A rejection is told for a day.
const REJECTED_LIFE: Duration = Duration::from_secs(86_400);
/// A sentence.
const MAX_REASON_CHARS: usize = 500;

/// The id under which devices ask; none while they may not.
pub async fn door(app: &App, scope: &TenantScope) -> Result<Option<String>, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(enrolment_requests::door(&mut read).await?)
}

/// Lets devices without a token ask. Again gives the same id.
pub async fn open(app: &App, scope: &TenantScope) -> Result<String, AppError> {
    let now = app.now();
    let mut random = [0; 10];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| AppError::Internal("no random bytes from the operating system".into()))?;
    let text = BASE32_NOPAD.encode(&random).to_lowercase();
    let (a, rest) = text.split_at(4);
    let (b, rest) = rest.split_at(4);
    let (c, d) = rest.split_at(4);
    let id = format!("{a}-{b}-{c}-{d}");
    let hash = digest::digest(&digest::SHA256, id.as_bytes());
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(hash.as_ref());
    let resource = Resource::new("enrolment_door", "");
    let intent = Intent::new(Action::EnrolmentDoorUpdate, resource)
        .changes(json!({"open": false}), json!({"open": true, "enrolment_id": id}));
    let mut write = app.store.write(scope, intent).await?;
    if enrolment_requests::open_door(&mut write, &id, &sha256, now).await? {
        write.commit(now).await?;
        app.nudges.audit.notify_one();
        return Ok(id);
    }
    let known = enrolment_requests::door(&mut write).await?;
    write.rollback().await?;
    known
        .ok_or_else(|| AppError::conflict("door_closed", "somebody closed it meanwhile: try again"))
}

/// Lets no device ask any more: its id is worth nothing from now on. Again changes nothing.
pub async fn close(app: &App, scope: &TenantScope) -> Result<(), AppError> {
    let now = app.now();
    let intent = Intent::new(Action::EnrolmentDoorUpdate, Resource::new("enrolment_door", ""))
        .changes(json!({"open": true}), json!({"open": false}));
    let mut write = app.store.write(scope, intent).await?;
    match enrolment_requests::close_door(&mut write).await? {
        true => {
            write.commit(now).await?;
            app.nudges.audit.notify_one();
        }
        false => write.rollback().await?,
    }
    Ok(())
}

/// Requests in the order they were made; those whose time is over are not shown.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    after: Option<EnrolmentRequestId>,
    limit: i64,
) -> Result<Vec<EnrolmentRequest>, AppError> {
    let now = app.now();
    let mut read = app.store.read(scope).await?;
    let all = enrolment_requests::list(&mut read, after, limit).await?;
    Ok(all.into_iter().filter(|request| request.expires_at > now).collect())
}

/// What an operator gives a device that is let in.
#[derive(Debug, Clone, Default)]
pub struct Approval {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Approval {
    /// From a request.
    pub fn parse(name: Option<&str>, labels: BTreeMap<String, String>) -> Result<Self, AppError> {
        Ok(Self {
            name: name.map(|name| validate::name("name", name)).transpose()?.unwrap_or_default(),
            labels: validate::labels("labels", labels)?,
        })
    }
}

/// Lets a device in that asks: it comes and gets its certificate.
pub async fn approve(
    app: &App,
    scope: &TenantScope,
    id: EnrolmentRequestId,
    approval: Approval,
) -> Result<EnrolmentRequest, AppError> {
    let decision = Decision { name: approval.name, labels: approval.labels, reason: String::new() };
    decide(app, scope, id, RequestState::Approved, decision).await
}

/// Keeps a device out that asks.
pub async fn reject(
    app: &App,
    scope: &TenantScope,
    id: EnrolmentRequestId,
    reason: Option<&str>,
) -> Result<EnrolmentRequest, AppError> {
    let reason: String = reason.unwrap_or_default().chars().take(MAX_REASON_CHARS).collect();
    let decision = Decision { reason, ..Decision::default() };
    decide(app, scope, id, RequestState::Rejected, decision).await
}

async fn decide(
    app: &App,
    scope: &TenantScope,
    id: EnrolmentRequestId,
    to: RequestState,
    decision: Decision,
) -> Result<EnrolmentRequest, AppError> {
    let now = app.now();
    let (action, life) = match to {
        RequestState::Approved => (Action::EnrolmentRequestApprove, APPROVED_LIFE),
        _ => (Action::EnrolmentRequestReject, REJECTED_LIFE),
    };
    let mut write =
        app.store.write(scope, Intent::new(action, Resource::new("enrolment_request", id))).await?;
    let request = enrolment_requests::get(&mut write, id).await?;
    let request = request.filter(|request| request.expires_at > now);
    let request = request.ok_or_else(|| AppError::not_found("enrolment_request", id))?;
    // It is a token for one device, given to the one that asks.
    let labels: BTreeMap<_, _> =
        request.labels.clone().into_iter().chain(decision.labels.clone()).collect();
    write.decide(&Facts::enrolment_token(TokenId::from_bytes(*id.as_bytes()), 1, &labels))?;
    write.resource(Resource::new("enrolment_request", id).named(request.name.clone()));
    if !enrolment_requests::decide(&mut write, id, to, &decision, now.plus(life)).await? {
        let detail = format!("request {id} is {} already", request.state.as_str());
        return Err(AppError::conflict("request_decided", detail));
    }
    write.changes(
        json!({"state": request.state.as_str()}),
        json!({
            "state": to.as_str(), "key": request.fingerprint, "name": decision.name,
            "labels": labels,
        }),
    );
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    let mut read = app.store.read(scope).await?;
    let found = enrolment_requests::get(&mut read, id).await?;
    found.ok_or_else(|| AppError::not_found("enrolment_request", id))
}
