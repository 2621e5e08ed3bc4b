//! Who may do what: pure functions. They must never read the store or the clock; whether a token is
//! expired or revoked is settled before a principal exists.

mod action;
mod principal;

use std::borrow::Cow;

use edgeformer_proto::ids::TenantId;

pub use action::{Action, Group};
pub use principal::{AuthMethod, Authentication, Principal, Role, Subject, TokenScopes};

use crate::scope::{Context, InstallationScope, Origin, TenantScope};

/// The outcome of a policy question, with the policy that decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow(Cow<'static, str>),
    /// No, and the caller may know.
    Deny(Cow<'static, str>),
    /// No, and the caller must not learn that the thing exists.
    Hide(Cow<'static, str>),
}

impl Decision {
    fn allow(why: &'static str) -> Self {
        Self::Allow(why.into())
    }
    fn deny(why: &'static str) -> Self {
        Self::Deny(why.into())
    }
}

/// Whether `principal` may do `action` on something of `resource_tenant` (none: of the installation).
pub fn authorise(
    principal: &Principal,
    action: Action,
    resource_tenant: Option<TenantId>,
) -> Decision {
    if principal.scopes.as_ref().is_some_and(|scopes| !scopes.allow(action)) {
        return Decision::deny("the token's scopes do not name it");
    }
    let installation = principal.is(Role::Installation);
    match action.group() {
        Group::Internal => Decision::deny("internal actions are for devices and components"),
        Group::Public => Decision::allow("public"),
        Group::Own => Decision::allow("self"),
        Group::Installation if installation => Decision::allow("installation"),
        Group::Installation => Decision::deny("needs a token of the installation"),
        _ if installation => Decision::deny("the installation sees no tenant's data"),
        _ if principal.tenant.is_none() || principal.tenant != resource_tenant => {
            Decision::Hide("other tenants' things do not exist".into())
        }
        _ if principal.is(Role::Owner) || principal.is(Role::Admin) => {
            Decision::allow("tenant-admin")
        }
        Group::Read => Decision::allow("tenant-viewer"),
        Group::Write => Decision::deny("needs role admin"),
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
pub(crate) fn grant(
    principal: &Principal,
    action: Action,
    origin: Origin,
) -> Result<Granted, Refusal> {
    let decision = authorise(principal, action, principal.tenant);
    let hidden = matches!(decision, Decision::Hide(_));
    let allowed = matches!(decision, Decision::Allow(_));
    let (Decision::Allow(why) | Decision::Deny(why) | Decision::Hide(why)) = decision;
    let context = Context::principal(principal, why.clone(), origin);
    let granted = match principal.tenant {
        Some(tenant) => Granted::Tenant(TenantScope::authorised(tenant, context)),
        None => Granted::Installation(InstallationScope::authorised(context)),
    };
    if allowed {
        return Ok(granted);
    }
    Err(Refusal { why, hidden, recorder: Box::new(granted) })
}

#[cfg(test)]
mod tests {
    use edgeformer_proto::ids::TokenId;

    use super::*;
    use crate::clock::Timestamp;

    fn principal(role: Role, tenant: Option<TenantId>) -> Principal {
        Principal::of_token(TokenId::new(), "t", role, tenant, Timestamp(0))
    }

    #[test]
    fn every_action_is_decided_for_every_role() {
        let tenant = TenantId::new();
        let own = Some(tenant);
        for &action in Action::ALL {
            let allows = |role, of| {
                let principal = principal(role, (role != Role::Installation).then_some(tenant));
                matches!(authorise(&principal, action, of), Decision::Allow(_))
            };
            let (viewer, admin, installation) = match action.group() {
                Group::Public | Group::Own => (true, true, true),
                Group::Read => (true, true, false),
                Group::Write => (false, true, false),
                Group::Installation => (false, false, true),
                Group::Internal => (false, false, false),
            };
            assert_eq!(allows(Role::Viewer, own), viewer, "{action:?}");
            assert_eq!(allows(Role::Admin, own), admin, "{action:?}");
            assert_eq!(allows(Role::Installation, None), installation, "{action:?}");
        }
    }

    #[test]
    fn another_tenant_is_hidden_and_not_merely_refused() {
        let admin = principal(Role::Admin, Some(TenantId::new()));
        for action in [Action::DeviceRead, Action::DeviceRevoke, Action::AuditRead] {
            let decision = authorise(&admin, action, Some(TenantId::new()));
            assert!(matches!(decision, Decision::Hide(_)), "{action:?}: {decision:?}");
        }
        let homeless = principal(Role::Admin, None);
        assert!(matches!(authorise(&homeless, Action::DeviceRead, None), Decision::Hide(_)));
    }

    #[test]
    fn names_of_actions_are_unique_and_shaped_kind_verb() {
        let mut names: Vec<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
        assert!(names.iter().all(|name| name.split(':').count() == 2));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Action::ALL.len());
    }
}
