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
    self, Action, Asker, Assurance, AuthMethod, Authentication, Circumstances, Decision, Facts,
    Policies, Principal, Role, Subject,
};
use crate::scope::TenantScope;
use crate::store::api_tokens::{self, Found, StandsFor};
use crate::store::policies::settings;
use crate::store::{service_accounts, users};

/// Most of each kind looked at for one answer about who may; more are not listed.
const MAX_WHO: i64 = 1000;

/// Who asks, in a question.
#[derive(Debug, Clone)]
pub enum Who {
    /// A token of the tenant.
    Token(TokenId),
    /// A principal that is at hand.
    Known,
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
    /// "user", "service_account" or "token".
    pub kind: &'static str,
    /// The account, or the token that stands for itself.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// What it may be, groups included.
    pub roles: BTreeSet<Role>,
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

/// Everybody who can act now, people first, and whether they may do `action` on `facts`.
pub async fn who(
    app: &App,
    scope: &TenantScope,
    action: Action,
    facts: &Facts,
) -> Result<Vec<Candidate>, AppError> {
    let now = app.now();
    let policies = app.policies().of(&app.store, scope.tenant(), now).await?;
    let circumstances = Circumstances { at: now, source: None, approvals: 0, justified: false };
    let everybody = everybody(app, scope, now).await?.into_iter();
    Ok(everybody
        .map(|(kind, who)| {
            let (subject, name, roles) = (who.subject, who.name.clone(), who.roles.clone());
            let (facts, circumstances) = (facts.clone(), circumstances.clone());
            let question = Question { who: Who::Known, action, facts, circumstances };
            let answer = answer(who, policies.clone(), &question);
            Candidate { kind, subject, name, roles, answer }
        })
        .collect())
}

/// People who may log in, service accounts that work, tokens that stand for themselves and work.
async fn everybody(
    app: &App,
    scope: &TenantScope,
    now: Timestamp,
) -> Result<Vec<(&'static str, Principal)>, AppError> {
    let tenant = scope.tenant();
    let mut read = app.store.read(scope).await?;
    let mut all = Vec::new();
    for user in users::list(&mut read, None, MAX_WHO).await?.into_iter().filter(|one| one.active) {
        let (by_group, groups) = users::groups(&mut read, user.id).await?;
        let roles = user.roles.union(&by_group).copied().collect();
        let method = AuthMethod::Password;
        let authentication = Authentication {
            method,
            at: now,
            session: None,
            token: None,
            assurance: Assurance::default(),
        };
        let (subject, name) = (Subject::User(user.id), user.user_name);
        let tenant = Some(tenant);
        let who = Principal { subject, name, roles, groups, tenant, authentication, scopes: None };
        all.push(("user", who));
    }
    for account in service_accounts::list(&mut read, None, MAX_WHO).await? {
        if account.active {
            let authentication = Authentication {
                method: AuthMethod::Token,
                at: now,
                session: None,
                token: None,
                assurance: Assurance::default(),
            };
            let (id, name) = (account.id, &account.name);
            let who = Principal::of_account(id, name, account.roles, tenant, authentication);
            all.push(("service_account", who));
        }
    }
    for token in api_tokens::list(&mut read, None, MAX_WHO).await? {
        if let StandsFor::Account(_) = token.stands_for {
            continue;
        }
        let found = Found { tenant: Some(tenant), token, account: None };
        all.extend(found.principal(now).map(|who| ("token", who)));
    }
    Ok(all)
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
            let account = match token.stands_for {
                StandsFor::Account(id) => service_accounts::get(&mut read, id).await?,
                StandsFor::Itself(_) => None,
            };
            let name = token.name.clone();
            let found = Found { tenant: Some(tenant), token, account };
            found.principal(at).ok_or_else(|| {
                let detail = format!("token {name:?} does not work: it is expired, revoked or its account is disabled");
                AppError::conflict("token_ended", detail)
            })
        }
        Who::Known => Err(AppError::Internal("a principal at hand is not looked up".to_owned())),
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
                token: None,
                assurance: Assurance::default(),
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
