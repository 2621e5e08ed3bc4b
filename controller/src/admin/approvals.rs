//! The second person: a request that policies hold back until others consent, their signatures, and
//! the proof that what is done is what they consented to.

use std::collections::BTreeSet;
use std::time::Duration;

use edgeformer_proto::ids::ApprovalId;
use serde_json::json;

use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::{Action, Approved, Principal, Refused};
use crate::scope::TenantScope;
use crate::store::approvals::{self, Approval, Meaning, Signature, State};
use crate::store::{Conn, api_tokens, users};

/// How long a request waits for consent, and consent for the request.
pub const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest comment of a signature.
const MAX_COMMENT_CHARS: usize = 500;
/// Longest chain of tokens that made tokens that is followed.
const MAX_CHAIN: usize = 64;

/// What identifies a request: whoever repeats it with consent must repeat exactly this.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method and path, for people.
    pub line: String,
    /// SHA-256 of method, path and body.
    pub sha256: [u8; 32],
    /// Why, if the caller said so.
    pub justification: Option<String>,
}

/// An approval with its signatures.
#[derive(Debug, Clone)]
pub struct Signed {
    /// What is asked for.
    pub approval: Approval,
    /// In their order.
    pub signatures: Vec<Signature>,
}

impl Signed {
    /// How many approved.
    pub fn count(&self) -> u32 {
        let approved = self.signatures.iter().filter(|one| one.meaning == Meaning::Approved);
        u32::try_from(approved.count()).unwrap_or(u32::MAX)
    }
}

/// Opens an approval for a request that was held back, or finds the one that is open for it.
pub async fn ask(
    app: &App,
    scope: &TenantScope,
    principal: &Principal,
    refused: &Refused,
    request: &Request,
) -> Result<Approval, AppError> {
    let now = app.now();
    let subject = principal.subject.to_string();
    let needed = refused.needed.unwrap_or(1);
    let id = ApprovalId::new();
    let resource = Resource::new("approval", id).named(refused.facts.describe());
    let intent = Intent::new(Action::ApprovalRequest, resource).because(refused.why.clone());
    let mut write = app.store.write(scope, intent).await?;
    let open = approvals::open_for(&mut write, &subject, &request.sha256, now).await?;
    // Nothing more is done with the consent than what was looked at when it was asked for.
    let covers = |one: &Approval| {
        let (id, facts) = (one.id, one.facts.clone());
        one.needed >= needed && Approved { id, count: 0, facts }.covers(&refused.facts).is_ok()
    };
    if let Some(open) = open.filter(covers) {
        write.rollback().await?;
        return Ok(open);
    }
    let behind = lineage(&mut write, &subject).await?.unwrap_or_default();
    let approval = Approval {
        id,
        action: refused.action,
        facts: refused.facts.clone(),
        request: request.line.clone(),
        request_sha256: request.sha256,
        requested_by: subject,
        requested_behind: behind,
        requested_by_name: principal.name.clone(),
        justification: request.justification.clone().unwrap_or_default(),
        needed,
        state: State::Open,
        created_at: now,
        expires_at: now.plus(LIFE),
    };
    approvals::insert(&mut write, &approval).await?;
    write.changes(json!(null), described(&approval));
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(approval)
}

fn described(approval: &Approval) -> serde_json::Value {
    json!({
        "action": approval.action.as_str(),
        "on": approval.facts,
        "request": approval.request,
        "request_sha256": data_encoding::HEXLOWER.encode(&approval.request_sha256),
        "needed": approval.needed,
    })
}

async fn signed(conn: &mut Conn<TenantScope>, approval: Approval) -> Result<Signed, AppError> {
    let signatures = approvals::signatures(conn, approval.id).await?;
    Ok(Signed { approval, signatures })
}

async fn existing(conn: &mut Conn<TenantScope>, id: ApprovalId) -> Result<Approval, AppError> {
    approvals::get(conn, id).await?.ok_or_else(|| AppError::not_found("approval", id))
}

/// One approval.
pub async fn get(app: &App, scope: &TenantScope, id: ApprovalId) -> Result<Signed, AppError> {
    let mut read = app.store.read(scope).await?;
    let approval = existing(&mut read, id).await?;
    signed(&mut read, approval).await
}

/// Approvals, newest first.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    state: Option<State>,
    before: Option<ApprovalId>,
    limit: i64,
) -> Result<Vec<Signed>, AppError> {
    let mut read = app.store.read(scope).await?;
    let mut out = Vec::new();
    for approval in approvals::list(&mut read, state, before, limit).await? {
        out.push(signed(&mut read, approval).await?);
    }
    Ok(out)
}

/// Signs an approval. Nobody signs for themselves, and nobody twice.
pub async fn sign(
    app: &App,
    scope: &TenantScope,
    principal: &Principal,
    id: ApprovalId,
    meaning: Meaning,
    comment: &str,
) -> Result<Signed, AppError> {
    let comment = comment.trim();
    if comment.chars().count() > MAX_COMMENT_CHARS || comment.chars().any(char::is_control) {
        let message = format!("at most {MAX_COMMENT_CHARS} characters, on one line");
        return Err(AppError::invalid("comment", message));
    }
    let now = app.now();
    let intent = Intent::new(Action::ApprovalSign, Resource::new("approval", id));
    let mut write = app.store.write(scope, intent).await?;
    let approval = existing(&mut write, id).await?;
    let signer = principal.subject.to_string();
    check_open(&approval, now)?;
    let signer_behind = check_hands(&mut write, &approval, &signer, meaning).await?;
    let signature = Signature {
        signer,
        signer_behind,
        signer_name: principal.name.clone(),
        method: principal.authentication.method.as_str().to_owned(),
        meaning,
        comment: comment.to_owned(),
        signed_at: now,
    };
    match approvals::sign(&mut write, id, &signature).await {
        Err(error) if error.is_conflict() => {
            write.rollback().await?;
            let detail = format!("you have signed approval {id} already");
            return Err(AppError::conflict("signed_already", detail));
        }
        done => done?,
    }
    if meaning == Meaning::Rejected {
        approvals::end(&mut write, id, State::Rejected).await?;
    }
    write.resource(Resource::new("approval", id).named(approval.facts.describe()));
    // The signature and what was signed stand in one record (21 CFR 11.70).
    write.changes(
        json!(null),
        json!({
            "meaning": meaning.as_str(),
            "comment": signature.comment,
            "signer_name": signature.signer_name,
            "signed": described(&approval),
        }),
    );
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    get(app, scope, id).await
}

/// Refuses whoever asked, and who would sign a second time through something of theirs. Returns who
/// stands behind the signer.
async fn check_hands(
    conn: &mut Conn<TenantScope>,
    approval: &Approval,
    signer: &str,
    meaning: Meaning,
) -> Result<BTreeSet<String>, AppError> {
    let own = "who asked for an approval cannot sign it, nor can a token that they made or who made the \
               token that asked: another person has to";
    let refused = |message: &str| AppError::Denied(message.to_owned());
    let asked = &approval.requested_by;
    // As it was then and as it is now: what was revoked meanwhile counts, and what was made too.
    let (Some(behind), Some(mut behind_asked)) =
        (lineage(conn, signer).await?, lineage(conn, asked).await?)
    else {
        return Err(refused(own));
    };
    behind_asked.extend(approval.requested_behind.iter().cloned());
    if one_hand(conn, (signer, &behind), (asked, &behind_asked)).await? {
        return Err(refused(own));
    }
    if meaning != Meaning::Approved {
        return Ok(behind);
    }
    for other in approvals::signatures(conn, approval.id).await? {
        let same = other.signer == signer || other.meaning != Meaning::Approved;
        if !same && one_hand(conn, (signer, &behind), (&other.signer, &other.signer_behind)).await?
        {
            let message = "the person who approved it before you may be you, through a token or an \
                           account that one made for the other: another person has to sign";
            return Err(refused(message));
        }
    }
    Ok(behind)
}

/// Whether one person can have both in hand: one made the other, by itself or through other tokens, or
/// the same person made both. Each comes with who stands behind it.
async fn one_hand(
    conn: &mut Conn<TenantScope>,
    (one, behind_one): (&str, &BTreeSet<String>),
    (other, behind_other): (&str, &BTreeSet<String>),
) -> Result<bool, AppError> {
    if behind_one.contains(other) || behind_other.contains(one) {
        return Ok(true);
    }
    // Tokens have a common maker where all come from the tenant's first; people who share a person do
    // not exist.
    for common in behind_one.intersection(behind_other) {
        if let Ok(id) = common.parse()
            && users::get(conn, id).await?.is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A subject with everybody who made it, or a token for it; none if there are more than anybody has a
/// good reason for.
async fn lineage(
    conn: &mut Conn<TenantScope>,
    subject: &str,
) -> Result<Option<BTreeSet<String>>, AppError> {
    let mut found = BTreeSet::new();
    let mut open = vec![subject.to_owned()];
    while let Some(at) = open.pop() {
        if found.len() >= MAX_CHAIN {
            return Ok(None);
        }
        if !at.is_empty() && found.insert(at.clone()) {
            open.extend(api_tokens::makers(conn, &at).await?);
        }
    }
    Ok(Some(found))
}

fn check_open(approval: &Approval, now: Timestamp) -> Result<(), AppError> {
    let id = approval.id;
    let detail = match approval.state {
        State::Open if approval.expires_at > now => return Ok(()),
        State::Open => format!("approval {id} expired: repeat the request to open a new one"),
        State::Rejected => {
            format!("approval {id} was rejected: see `edgeformer approval show {id}`")
        }
        State::Used => format!("approval {id} was used: each is good for one request"),
    };
    Err(AppError::conflict("approval_not_open", detail))
}

/// The consent that a repeated request brings, if it is for this request by this principal.
pub async fn bring(
    app: &App,
    scope: &TenantScope,
    principal: &Principal,
    id: ApprovalId,
    action: Action,
    sha256: &[u8; 32],
) -> Result<Approved, AppError> {
    let signed = get(app, scope, id).await?;
    let approval = &signed.approval;
    check_open(approval, app.now())?;
    let other = |what: &str| {
        let detail = format!("approval {id} is for {what}: {}", approval.request);
        Err(AppError::conflict("approval_of_other_request", detail))
    };
    if approval.requested_by != principal.subject.to_string() {
        return other("somebody else's request");
    }
    if approval.action != action || approval.request_sha256 != *sha256 {
        return other("another request");
    }
    Ok(Approved { id, count: signed.count(), facts: approval.facts.clone() })
}
