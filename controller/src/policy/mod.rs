//! Who may do what. What decides is pure: walls in code that no policy opens, then Cedar policies;
//! whether a token is expired or revoked is settled before a principal exists. Only `book` reads the
//! store, for the tenants' own policies.

mod action;
mod approval;
pub mod book;
pub mod engine;
mod entities;
mod facts;
mod principal;
pub mod schema;

use std::borrow::Cow;
use std::sync::Arc;

use edgeformer_proto::ids::TenantId;

pub use action::{About, Action, Group};
pub use approval::Approved;
pub use engine::{Policies, Verdict};
pub use facts::{Circumstances, Facts, Labels, common_labels};
pub use principal::{Assurance, AuthMethod, Authentication, Principal, Role, Subject, TokenScopes};

use crate::scope::{Context, InstallationScope, Origin, TenantScope};

/// The outcome of a policy question, with the policy that decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow(Cow<'static, str>),
    /// Perhaps: it depends on the thing, which the use-case knows.
    Depends,
    /// No, and the caller may know.
    Deny(Cow<'static, str>),
    /// No, and the caller must not learn that the thing exists.
    Hide(Cow<'static, str>),
}

impl Decision {
    fn deny(why: &'static str) -> Self {
        Self::Deny(why.into())
    }
}

/// Somebody who asks, with the policies and the circumstances of the request.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Who.
    pub principal: Principal,
    /// The policies of the principal's tenant.
    pub policies: Arc<Policies>,
    /// Under which circumstances.
    pub circumstances: Circumstances,
    /// Others' consent that the request brings.
    pub approval: Option<Approved>,
}

/// Why a use-case refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not allowed on {}: {why}", action.as_str(), facts.describe())]
pub struct Refused {
    /// What was asked.
    pub action: Action,
    /// On what.
    pub facts: Facts,
    /// The policies that refused, in words.
    pub why: String,
    /// How many approvals it would take; none if no number of them helps.
    pub needed: Option<u32>,
    /// Ids of the policies that forbid it; none if nothing permits it.
    pub policies: Vec<String>,
}

/// What no policy opens. None: policies decide.
fn walls(
    principal: &Principal,
    action: Action,
    resource_tenant: Option<TenantId>,
) -> Option<Decision> {
    let open = matches!(action.group(), Group::Own | Group::Public);
    if !open && principal.scopes.as_ref().is_some_and(|scopes| !scopes.allow(action)) {
        return Some(Decision::deny("the token's scopes do not name it"));
    }
    let installation = principal.is(Role::Installation);
    match action.group() {
        Group::Internal => Some(Decision::deny("internal actions are for devices and components")),
        Group::Public => Some(Decision::Allow("public".into())),
        Group::Own => Some(Decision::Allow("self".into())),
        Group::Installation if installation => None,
        Group::Installation => Some(Decision::deny("needs a token of the installation")),
        _ if installation => Some(Decision::deny("the installation sees no tenant's data")),
        _ if principal.tenant.is_none() || principal.tenant != resource_tenant => {
            Some(Decision::Hide("other tenants' things do not exist".into()))
        }
        _ => None,
    }
}

/// Whether the asker may do `action` on something of `resource_tenant` (none: of the installation).
pub fn authorise(asker: &Asker, action: Action, resource_tenant: Option<TenantId>) -> Decision {
    let Asker { principal, policies, circumstances, .. } = asker;
    if let Some(decision) = walls(principal, action, resource_tenant) {
        return decision;
    }
    let by_roles = engine::by_roles(&principal.roles, action);
    // What owners do to policies is decided by the roles alone: no policy locks them out.
    if !policies.has_own() || action.group() == Group::Govern {
        return match by_roles {
            Some(ids) => Decision::Allow(ids.into()),
            None => Decision::Deny(no_role(principal)),
        };
    }
    if action.is_specific() {
        return match by_roles.is_some() || policies.may_permit(action) {
            true => Decision::Depends,
            false => Decision::Deny(no_role(principal)),
        };
    }
    let facts = Facts::unknown(action.about());
    match policies.decide(principal, action, &facts, circumstances) {
        Verdict::Allow(ids) => Decision::Allow(ids.join(",").into()),
        other => Decision::Deny(why(principal, policies, &other).into()),
    }
}

fn no_role(principal: &Principal) -> Cow<'static, str> {
    let roles: Vec<_> = principal.roles.iter().map(|role| role.as_str()).collect();
    match roles.as_slice() {
        [] => "no role, and no policy permits it".into(),
        [one] => format!("role {one} does not permit it").into(),
        many => format!("none of the roles {} permits it", many.join(", ")).into(),
    }
}

/// A refusal in words, with the deciding policies.
fn why(principal: &Principal, policies: &Policies, verdict: &Verdict) -> String {
    let named = |ids: &[String]| {
        let one = |id: &String| match policies.statement(id).map(|one| one.description.as_str()) {
            None | Some("") => format!("policy {id} forbids it"),
            Some(description) => format!("policy {id} forbids it ({description})"),
        };
        ids.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    match verdict {
        Verdict::Allow(_) => String::new(),
        Verdict::Deny(ids) if ids.is_empty() => no_role(principal).into_owned(),
        Verdict::Deny(ids) => named(ids),
        Verdict::NeedsApprovals { needed: 1, policies } => {
            format!("{}, until another person approves it", named(policies))
        }
        Verdict::NeedsApprovals { needed, policies } => {
            format!("{}, until {needed} others approve it", named(policies))
        }
        Verdict::Broken(error) => format!("a policy cannot be evaluated: {error}"),
    }
}

impl Asker {
    /// Decides about a certain thing. Returns the ids of the deciding policies.
    pub fn decide(&self, action: Action, facts: &Facts) -> Result<String, Box<Refused>> {
        let Self { principal, policies, circumstances, approval } = self;
        let refused = |why: String, needed, policies| {
            Err(Box::new(Refused { action, facts: facts.clone(), why, needed, policies }))
        };
        match walls(principal, action, principal.tenant) {
            Some(Decision::Allow(why)) => return Ok(why.into_owned()),
            Some(Decision::Deny(why) | Decision::Hide(why)) => {
                return refused(why.into_owned(), None, Vec::new());
            }
            Some(Decision::Depends) | None => {}
        }
        if facts.about() != action.about() {
            let what = format!("it is about {:?}, not {:?}", action.about(), facts.about());
            return refused(what, None, Vec::new());
        }
        if let Some(approval) = approval
            && let Err(why) = approval.covers(facts)
        {
            let why = format!("approval {} does not cover it: {why}", approval.id);
            return refused(why, None, Vec::new());
        }
        match policies.decide(principal, action, facts, circumstances) {
            Verdict::Allow(ids) => Ok(ids.join(",")),
            verdict => {
                let text = why(principal, policies, &verdict);
                match verdict {
                    Verdict::NeedsApprovals { needed, policies } => {
                        refused(text, Some(needed), policies)
                    }
                    Verdict::Deny(policies) => refused(text, None, policies),
                    Verdict::Allow(_) | Verdict::Broken(_) => refused(text, None, Vec::new()),
                }
            }
        }
    }

    /// Whether the asker may give `role` to somebody. Owners give anything, admins anything but
    /// owners; others, where a policy lets them give roles at all, only what they have themselves.
    /// What a token is narrowed to, its asker cannot give away wider.
    pub fn may_give(&self, role: Role) -> bool {
        let opened =
            || schema::in_policies().filter(|action| engine::by_roles([&role], *action).is_some());
        match &self.principal.scopes {
            Some(scopes) if !opened().all(|action| scopes.allow(action)) => false,
            _ => self.role_may_give(role),
        }
    }

    /// Whether the asker may make a token with `role`, narrowed to `scopes`.
    pub fn may_give_narrowed(&self, role: Role, scopes: Option<&TokenScopes>) -> bool {
        match (&self.principal.scopes, scopes) {
            (None, _) => self.role_may_give(role),
            (Some(own), Some(given)) => own.cover(given) && self.role_may_give(role),
            (Some(_), None) => self.may_give(role),
        }
    }

    /// The same by its roles alone, whatever its token is narrowed to: for what a token is narrowed
    /// to do with the roles of others, which is looking after them for an identity provider.
    pub fn role_may_give(&self, role: Role) -> bool {
        let own = &self.principal.roles;
        match role {
            Role::Installation => false,
            _ if own.contains(&Role::Owner) => true,
            Role::Owner => false,
            _ if own.contains(&Role::Admin) => true,
            _ => schema::in_policies()
                .filter(|action| engine::by_roles([&role], *action).is_some())
                .all(|action| engine::by_roles(own, action).is_some()),
        }
    }
}

/// What an allowed caller gets.
#[derive(Debug, Clone)]
pub enum Granted {
    /// Acts within its tenant.
    Tenant(TenantScope),
    /// Acts on the installation.
    Installation(InstallationScope),
}

/// A caller who was refused, and the log that gets to know.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The policy that refused.
    pub why: Cow<'static, str>,
    /// Whether the caller must not learn that the thing exists.
    pub hidden: bool,
    /// Only for recording the refusal in the caller's own log.
    pub recorder: Box<Granted>,
}

/// Turns a decision about a principal's own side into a scope; this and the named constructors are
/// the only sources of scopes.
pub(crate) fn grant(asker: Asker, action: Action, origin: Origin) -> Result<Granted, Refusal> {
    let tenant = asker.principal.tenant;
    let decision = authorise(&asker, action, tenant);
    let hidden = matches!(decision, Decision::Hide(_));
    let allowed = matches!(decision, Decision::Allow(_) | Decision::Depends);
    let why = match decision {
        Decision::Allow(why) | Decision::Deny(why) | Decision::Hide(why) => why,
        Decision::Depends => "".into(),
    };
    let context = Context::asker(asker, why.clone(), origin);
    let granted = match tenant {
        Some(tenant) => Granted::Tenant(TenantScope::authorised(tenant, context)),
        None => Granted::Installation(InstallationScope::authorised(context)),
    };
    if allowed {
        return Ok(granted);
    }
    Err(Refusal { why, hidden, recorder: Box::new(granted) })
}

#[cfg(test)]
mod tests;
