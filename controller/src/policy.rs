//! Who may do what: one pure function. It must never read the store or the clock; whether a token is
//! expired or revoked is settled before a principal exists.

use edgeformer_proto::ids::{TenantId, TokenId};

use crate::scope::{Context, InstallationScope, Origin, TenantScope};

/// What a principal may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads everything of its tenant.
    Viewer,
    /// Reads and changes everything of its tenant.
    Admin,
    /// Makes tenants; sees none of their data.
    Installation,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Admin, Self::Installation];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
            Self::Installation => "installation",
        }
    }

    /// The role of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// An authenticated caller of the REST API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's id.
    pub id: TokenId,
    /// The token's name.
    pub name: String,
    /// What it may be.
    pub role: Role,
    /// Its tenant; none for the installation's own tokens.
    pub tenant: Option<TenantId>,
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $group:ident;)*) => {
        /// Everything that can be asked of the controller. The text is what the audit log and the
        /// OpenAPI document call it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// `kind:verb`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Who may.
            pub fn group(self) -> Group {
                match self { $(Self::$name => Group::$group,)* }
            }
        }
    };
}

/// Actions are granted in groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Any authenticated principal, about itself.
    Own,
    /// Reading within the tenant: viewer and admin.
    Read,
    /// Changing within the tenant: admin.
    Write,
    /// The installation's tokens only.
    Installation,
    /// Devices and the controller's own components; never a person.
    Internal,
}

actions! {
    /// Asks who it is.
    Whoami = "self:read", Own;
    /// Makes a tenant.
    TenantCreate = "tenant:create", Installation;
    /// Lists tenants.
    TenantList = "tenant:list", Installation;
    /// Makes an API token.
    TokenCreate = "token:create", Write;
    /// Lists API tokens.
    TokenList = "token:list", Write;
    /// Revokes an API token.
    TokenRevoke = "token:revoke", Write;
    /// Makes an enrolment token.
    EnrolmentTokenCreate = "enrolment_token:create", Write;
    /// Lists enrolment tokens.
    EnrolmentTokenList = "enrolment_token:list", Write;
    /// Revokes an enrolment token.
    EnrolmentTokenRevoke = "enrolment_token:revoke", Write;
    /// Lists and shows devices.
    DeviceRead = "device:read", Read;
    /// Renames or relabels a device.
    DeviceUpdate = "device:update", Write;
    /// Cuts a device off.
    DeviceRevoke = "device:revoke", Write;
    /// Lists and shows models and versions.
    ModelRead = "model:read", Read;
    /// Publishes a version.
    VersionPublish = "version:publish", Write;
    /// Asks what a rollout would do.
    RolloutPreview = "rollout:preview", Read;
    /// Lists and shows rollouts.
    RolloutRead = "rollout:read", Read;
    /// Starts a rollout.
    RolloutCreate = "rollout:create", Write;
    /// Stops a rollout.
    RolloutAbort = "rollout:abort", Write;
    /// Starts a rollout that undoes another.
    RolloutRollback = "rollout:rollback", Write;
    /// Reads the audit log.
    AuditRead = "audit:read", Read;
    /// Reads telemetry.
    TelemetryRead = "telemetry:read", Read;
    /// Traded an enrolment token for a certificate.
    DeviceEnrol = "device:enrol", Internal;
    /// Renewed its certificate.
    DeviceRenew = "device:renew", Internal;
    /// Was given the key of a version.
    DataKeyRelease = "data_key:release", Internal;
    /// A device's desired state was replaced.
    DesiredStateAssign = "desired_state:assign", Internal;
    /// A rollout ended by itself.
    RolloutFinish = "rollout:finish", Internal;
    /// The installation was made.
    InstallationInit = "installation:init", Internal;
    /// A backup was taken.
    BackupCreate = "backup:create", Internal;
    /// A backup was restored.
    BackupRestore = "backup:restore", Internal;
}

/// The outcome of a policy question, with the policy that decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow(&'static str),
    /// No, and the caller may know.
    Deny(&'static str),
    /// No, and the caller must not learn that the thing exists.
    Hide(&'static str),
}

/// Whether `principal` may do `action` on something of `resource_tenant` (none: of the installation).
pub fn authorise(
    principal: &Principal,
    action: Action,
    resource_tenant: Option<TenantId>,
) -> Decision {
    match (action.group(), principal.role) {
        (Group::Internal, _) => Decision::Deny("internal actions are for devices and components"),
        (Group::Own, _) => Decision::Allow("self"),
        (Group::Installation, Role::Installation) => Decision::Allow("installation"),
        (Group::Installation, _) => Decision::Deny("needs a token of the installation"),
        (_, Role::Installation) => Decision::Deny("the installation sees no tenant's data"),
        _ if principal.tenant.is_none() || principal.tenant != resource_tenant => {
            Decision::Hide("other tenants' things do not exist")
        }
        (_, Role::Admin) => Decision::Allow("tenant-admin"),
        (Group::Read, Role::Viewer) => Decision::Allow("tenant-viewer"),
        (Group::Write, Role::Viewer) => Decision::Deny("needs role admin"),
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
    pub why: &'static str,
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
    let mut context = Context::token(principal.id, &principal.name, principal.tenant, origin);
    let decision = authorise(principal, action, principal.tenant);
    let (Decision::Allow(why) | Decision::Deny(why) | Decision::Hide(why)) = decision;
    context.policy = why;
    let granted = match principal.tenant {
        Some(tenant) => Granted::Tenant(TenantScope::authorised(tenant, context)),
        None => Granted::Installation(InstallationScope::authorised(context)),
    };
    let hidden = match decision {
        Decision::Allow(_) => return Ok(granted),
        Decision::Deny(_) => false,
        Decision::Hide(_) => true,
    };
    Err(Refusal { why, hidden, recorder: Box::new(granted) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(role: Role, tenant: Option<TenantId>) -> Principal {
        Principal { id: TokenId::new(), name: "t".into(), role, tenant }
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
                Group::Own => (true, true, true),
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
