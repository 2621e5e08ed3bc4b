//! Who may do what, and which policy decides: the same question that the guard asks, asked without
//! acting.

use std::collections::BTreeSet;

use edgeformer_proto::ids::{ServiceAccountId, TenantId, TokenId, UserId};

use super::policies as own;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::engine::{Source, Statement};
use crate::policy::{
    self, Action, Asker, AuthMethod, Authentication, Circumstances, Decision, Facts, Policies,
    Principal, Role, Subject,
};
use crate::scope::TenantScope;
use crate::store::api_tokens;
use crate::store::policies::settings;

/// Tokens looked at for one answer about who may; more are not listed.
const MAX_WHO: i64 = 1000;

/// Who asks, in a question.
#[derive(Debug, Clone)]
pub enum Who {
    /// A token of the tenant.
    Token(TokenId),
    /// Somebody with these roles.
    Roles {
        /// What stands behind it.
        kind: Kind,
        /// For policies that look at names.
        name: String,
        /// What it may be.
        roles: BTreeSet<Role>,
        /// How it proved who it is.
        method: AuthMethod,
        /// How long ago.
        signed_in_seconds: u64,
    },
}

/// Kinds of principals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A person.
    User,
    /// A program.
    ServiceAccount,
    /// A token by itself.
    Token,
}

/// A question.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who.
    pub who: Who,
    /// What.
    pub action: Action,
    /// On what.
    pub facts: Facts,
    /// Under which circumstances.
    pub circumstances: Circumstances,
}

/// The outcome of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Allow,
    /// No.
    Deny,
    /// Not yet.
    ApprovalRequired,
}

impl Outcome {
    /// As shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::ApprovalRequired => "approval_required",
        }
    }

    /// The outcome of this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Allow, Self::Deny, Self::ApprovalRequired]
            .into_iter()
            .find(|one| one.as_str() == text)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Yes, no, not yet.
    pub outcome: Outcome,
    /// In one sentence.
    pub why: String,
    /// How many approvals it takes in all, for [`Outcome::ApprovalRequired`].
    pub approvals_needed: Option<u32>,
    /// The statements that decided.
    pub statements: Vec<Statement>,
    /// The policies that were asked.
    pub policy_version: String,
}

/// Somebody who may do something, or may not.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The token.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// What policies say.
    pub answer: Answer,
}

/// Answers a question with the tenant's policies.
pub async fn explain(
    app: &App,
    scope: &TenantScope,
    question: &Question,
) -> Result<Answer, AppError> {
    let policies = app.policies().of(&app.store, scope.tenant(), app.now()).await?;
    let principal = principal(app, scope, &question.who, question.circumstances.at).await?;
    Ok(answer(principal, policies, question))
}

/// Every token that works, and whether it may do `action` on `facts`.
pub async fn who(
    app: &App,
    scope: &TenantScope,
    action: Action,
    facts: &Facts,
) -> Result<Vec<Candidate>, AppError> {
    let now = app.now();
    let policies = app.policies().of(&app.store, scope.tenant(), now).await?;
    let mut read = app.store.read(scope).await?;
    let tokens = api_tokens::list(&mut read, None, MAX_WHO).await?;
    drop(read);
    let circumstances = Circumstances { at: now, source: None, approvals: 0, justified: false };
    let works = |token: &api_tokens::ApiToken| {
        token.revoked_at.is_none() && token.expires_at.is_none_or(|at| at > now)
    };
    Ok(tokens
        .into_iter()
        .filter(works)
        .map(|token| {
            let tenant = Some(scope.tenant());
            let who = Principal::of_token(token.id, &token.name, token.role, tenant, now);
            let question = Question {
                who: Who::Token(token.id),
                action,
                facts: facts.clone(),
                circumstances: circumstances.clone(),
            };
            let answer = answer(who, policies.clone(), &question);
            Candidate { id: token.id, name: token.name, role: token.role, answer }
        })
        .collect())
}

/// Answers questions with `sources` in place of the tenant's policies, or with the tenant's.
pub async fn test(
    app: &App,
    scope: &TenantScope,
    sources: Option<Vec<Source>>,
    time_zone: Option<String>,
    questions: &[Question],
) -> Result<Vec<Answer>, AppError> {
    let mut read = app.store.read(scope).await?;
    let sources = match sources {
        Some(sources) => sources,
        None => own::sources(&mut read).await?,
    };
    let time_zone = match time_zone {
        Some(name) => name,
        None => settings(&mut read).await?.time_zone,
    };
    drop(read);
    let policies = std::sync::Arc::new(own::compile(&sources, &time_zone)?);
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        let principal = principal(app, scope, &question.who, question.circumstances.at).await?;
        answers.push(answer(principal, policies.clone(), question));
    }
    Ok(answers)
}

async fn principal(
    app: &App,
    scope: &TenantScope,
    who: &Who,
    at: Timestamp,
) -> Result<Principal, AppError> {
    let tenant: TenantId = scope.tenant();
    match who {
        Who::Token(id) => {
            let mut read = app.store.read(scope).await?;
            let token = api_tokens::get(&mut read, *id).await?;
            let token = token.ok_or_else(|| AppError::not_found("token", id))?;
            Ok(Principal::of_token(token.id, &token.name, token.role, Some(tenant), at))
        }
        Who::Roles { kind, name, roles, method, signed_in_seconds } => Ok(Principal {
            subject: match kind {
                Kind::User => Subject::User(UserId::new()),
                Kind::ServiceAccount => Subject::ServiceAccount(ServiceAccountId::new()),
                Kind::Token => Subject::Token(TokenId::new()),
            },
            name: name.clone(),
            roles: roles.clone(),
            groups: BTreeSet::new(),
            tenant: Some(tenant),
            authentication: Authentication {
                method: *method,
                at: at.minus(std::time::Duration::from_secs(*signed_in_seconds)),
                session: None,
            },
            scopes: None,
        }),
    }
}

/// The guard's question first, then the use-case's, exactly as a request would be decided.
fn answer(principal: Principal, policies: std::sync::Arc<Policies>, question: &Question) -> Answer {
    let tenant = principal.tenant;
    let circumstances = question.circumstances.clone();
    let asker = Asker { principal, policies, circumstances, approval: None };
    let action = question.action;
    let (outcome, why, needed, ids) = match policy::authorise(&asker, action, tenant) {
        Decision::Deny(why) | Decision::Hide(why) => {
            (Outcome::Deny, why.into_owned(), None, Vec::new())
        }
        Decision::Allow(ids) if !action.is_specific() => {
            (Outcome::Allow, format!("permitted by {ids}"), None, split(&ids))
        }
        Decision::Allow(_) | Decision::Depends => match asker.decide(action, &question.facts) {
            Ok(ids) => (Outcome::Allow, format!("permitted by {ids}"), None, split(&ids)),
            Err(refused) => {
                let outcome = match refused.needed {
                    Some(_) => Outcome::ApprovalRequired,
                    None => Outcome::Deny,
                };
                (outcome, refused.why, refused.needed, refused.policies)
            }
        },
    };
    let find = |id: &String| asker.policies.statement(id).cloned();
    Answer {
        outcome,
        why,
        approvals_needed: needed,
        statements: ids.iter().filter_map(find).collect(),
        policy_version: asker.policies.version().to_owned(),
    }
}

fn split(ids: &str) -> Vec<String> {
    ids.split(',').map(str::to_owned).collect()
}
