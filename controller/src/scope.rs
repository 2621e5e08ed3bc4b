//! Who acts, and on whose data. The store takes a scope and nothing else, so that a query for
//! another tenant cannot be written; scopes come from a policy decision or from a constructor that
//! names the background component that acts.

use std::borrow::Cow;
use std::sync::Arc;

use edgeformer_proto::ids::{ApprovalId, AuditId, DeviceId, ServiceAccountId, TenantId, UserId};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::policy::{
    Action, Asker, Assurance, AuthMethod, Authentication, Facts, Principal, Refused, Role, Subject,
    TokenScopes,
};

/// Who did it, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// What it is.
    pub kind: ActorKind,
    /// User id, token id, device id or component name.
    pub id: String,
    /// For people.
    pub name: String,
}

/// The kinds of actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person.
    User,
    /// A program with an account.
    ServiceAccount,
    /// An API token of a tenant.
    Token,
    /// A device, by its certificate.
    Device,
    /// A component of the controller.
    System,
    /// An API token of the installation.
    Installation,
}

/// Where an action came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Request id, or empty.
    pub request_id: String,
    /// Network address of the peer, or the component's name.
    pub source: String,
    /// W3C trace id that the caller sent, or empty.
    pub trace_id: String,
    /// Why the caller says it acts.
    pub justification: Option<String>,
}

/// An idempotency key that the running request holds; an audited write marks it as having taken
/// effect in its own transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyClaim {
    pub(crate) principal: String,
    pub(crate) key: String,
}

/// What every scope carries.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who acts.
    pub actor: Actor,
    /// From where.
    pub origin: Origin,
    /// The policies that allowed it, or the component's name.
    pub policy: Cow<'static, str>,
    /// Version of the policies that decided; empty for components.
    pub policy_version: String,
    /// How the actor proved who it is; none for devices and components.
    pub authentication: Option<Authentication>,
    /// For whom it acts, when for another.
    pub on_behalf_of: Option<String>,
    /// The approval that the action needed and has.
    pub approval: Option<ApprovalId>,
    pub(crate) idempotency: Option<IdempotencyClaim>,
    /// Who is to be asked about certain things; none for devices and components.
    pub(crate) asker: Option<Arc<Asker>>,
    /// The action that was decided about the thing itself.
    pub(crate) decided: Option<Action>,
}

impl IdempotencyClaim {
    /// The key of a request by `principal` (a token's id).
    pub fn new(principal: &str, key: &str) -> Self {
        Self { principal: principal.to_owned(), key: key.to_owned() }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::TenantScope {}
    impl Sealed for super::InstallationScope {}
}

/// Whose data a transaction may touch. Implemented by the two scopes here and by nothing else.
pub trait Scope: sealed::Sealed + Clone + Send + Sync + 'static {
    /// Value of `tenant_id` in the rows of this scope: the tenant's id, or '' for the installation.
    fn key(&self) -> String;
    /// Who acts, from where.
    fn context(&self) -> &Context;
    /// The same right, for a request that holds an idempotency key.
    fn with_idempotency(self, claim: IdempotencyClaim) -> Self;
}

/// The right to act on one tenant's data.
#[derive(Debug, Clone)]
pub struct TenantScope {
    tenant: TenantId,
    context: Context,
}

/// The right to act on what belongs to the installation: its tenants, its own tokens and audit log.
#[derive(Debug, Clone)]
pub struct InstallationScope {
    context: Context,
}

impl Scope for TenantScope {
    fn key(&self) -> String {
        self.tenant.to_string()
    }
    fn context(&self) -> &Context {
        &self.context
    }
    fn with_idempotency(mut self, claim: IdempotencyClaim) -> Self {
        self.context.idempotency = Some(claim);
        self
    }
}

impl Scope for InstallationScope {
    fn key(&self) -> String {
        String::new()
    }
    fn context(&self) -> &Context {
        &self.context
    }
    fn with_idempotency(mut self, claim: IdempotencyClaim) -> Self {
        self.context.idempotency = Some(claim);
        self
    }
}

impl TenantScope {
    /// For `policy` alone: the caller was allowed to act.
    pub(crate) fn authorised(tenant: TenantId, context: Context) -> Self {
        Self { tenant, context }
    }

    /// For somebody who is logging in: known by name, not yet allowed anything.
    pub fn logging_in(tenant: TenantId, user: UserId, name: &str, origin: Origin) -> Self {
        let actor = Actor { kind: ActorKind::User, id: user.to_string(), name: name.to_owned() };
        Self { tenant, context: Context::new(actor, origin, "public".into()) }
    }

    /// For a program that is logging in: known by name, not yet allowed anything.
    pub fn for_service_account(
        tenant: TenantId,
        id: ServiceAccountId,
        name: &str,
        origin: Origin,
    ) -> Self {
        let (kind, id) = (ActorKind::ServiceAccount, id.to_string());
        let actor = Actor { kind, id, name: name.to_owned() };
        Self { tenant, context: Context::new(actor, origin, "public".into()) }
    }

    /// The same, once they proved who they are.
    #[must_use]
    pub fn proved(mut self, method: AuthMethod, at: Timestamp) -> Self {
        self.context.authentication = Some(Authentication {
            method,
            at,
            session: None,
            token: None,
            assurance: Assurance::default(),
        });
        self
    }

    /// The same, with what the provider says of it.
    #[must_use]
    pub fn assured(mut self, assurance: &Assurance) -> Self {
        if let Some(proof) = &mut self.context.authentication {
            proof.assurance.clone_from(assurance);
        }
        self
    }

    /// For a component that works on a request of somebody who is not known.
    pub fn for_request(tenant: TenantId, component: &'static str, origin: &Origin) -> Self {
        let mut scope = Self::system(tenant, component);
        scope.context.origin.request_id.clone_from(&origin.request_id);
        scope.context.origin.trace_id.clone_from(&origin.trace_id);
        scope
    }

    /// For a component of the controller that works through a tenant's data, e.g. "planner".
    pub fn system(tenant: TenantId, component: &'static str) -> Self {
        Self { tenant, context: Context::system(component) }
    }

    /// For a device that proved its identity by certificate or enrolled key. `source` is its
    /// network address.
    pub fn device(tenant: TenantId, device: DeviceId, name: &str, source: &str) -> Self {
        let actor =
            Actor { kind: ActorKind::Device, id: device.to_string(), name: name.to_owned() };
        let request_id = AuditId::new().to_string();
        let origin = Origin { request_id, source: source.to_owned(), ..Origin::default() };
        Self { tenant, context: Context::new(actor, origin, "device".into()) }
    }

    /// For a device that asks to be let in and is nobody yet, known by `fingerprint`.
    pub fn stranger(tenant: TenantId, fingerprint: &str, source: &str) -> Self {
        let actor =
            Actor { kind: ActorKind::Device, id: String::new(), name: fingerprint.to_owned() };
        let request_id = AuditId::new().to_string();
        let origin = Origin { request_id, source: source.to_owned(), ..Origin::default() };
        Self { tenant, context: Context::new(actor, origin, "device".into()) }
    }

    /// The tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Whether who acts may give `role` to somebody. Components may not.
    pub fn may_give(&self, role: Role) -> bool {
        self.context.asker.as_ref().is_some_and(|asker| asker.may_give(role))
    }

    /// Whether who acts may make a token with `role`, narrowed to `scopes`.
    pub fn may_give_narrowed(&self, role: Role, scopes: Option<&TokenScopes>) -> bool {
        let asker = self.context.asker.as_ref();
        asker.is_some_and(|asker| asker.may_give_narrowed(role, scopes))
    }

    /// Whether the roles of who acts could give `role`, whatever its token is narrowed to.
    pub fn role_may_give(&self, role: Role) -> bool {
        self.context.asker.as_ref().is_some_and(|asker| asker.role_may_give(role))
    }

    /// What the acting token is narrowed to.
    pub fn scopes(&self) -> Option<&TokenScopes> {
        self.context.asker.as_ref()?.principal.scopes.as_ref()
    }

    /// Asks policy about a certain thing. What is specific has to be decided before it is committed.
    pub fn decide(&mut self, action: Action, facts: &Facts) -> Result<(), Box<Refused>> {
        self.context.decide(action, facts)
    }
}

impl InstallationScope {
    /// For `policy` alone: the caller was allowed to act.
    pub(crate) fn authorised(context: Context) -> Self {
        Self { context }
    }

    /// For a component of the controller, e.g. "authentication".
    pub fn system(component: &'static str) -> Self {
        Self { context: Context::system(component) }
    }

    /// The scope of a tenant, for work that an installation action does inside it (making its first
    /// token). The actor stays who it is.
    pub(crate) fn enter(&self, tenant: TenantId) -> TenantScope {
        let context = Context { idempotency: None, ..self.context.clone() };
        TenantScope { tenant, context }
    }
}

impl Context {
    fn new(actor: Actor, origin: Origin, policy: Cow<'static, str>) -> Self {
        Self {
            actor,
            origin,
            policy,
            policy_version: String::new(),
            authentication: None,
            on_behalf_of: None,
            approval: None,
            idempotency: None,
            asker: None,
            decided: None,
        }
    }

    /// Asks policy about a certain thing, and keeps what decided. Devices and components, which
    /// policies do not know, may.
    fn decide(&mut self, action: Action, facts: &Facts) -> Result<(), Box<Refused>> {
        if let Some(asker) = &self.asker {
            self.policy = asker.decide(action, facts)?.into();
            self.decided = Some(action);
            self.approval = asker.approval.as_ref().map(|approval| approval.id);
        }
        Ok(())
    }

    /// Whether `action` may be committed: a certain thing was decided on, or nobody is to be asked.
    pub(crate) fn is_decided(&self, action: Action) -> bool {
        self.asker.is_none() || !action.is_specific() || self.decided == Some(action)
    }

    fn system(component: &'static str) -> Self {
        let (id, name) = (component.to_owned(), component.to_owned());
        let origin = Origin { source: component.to_owned(), ..Origin::default() };
        Self::new(Actor { kind: ActorKind::System, id, name }, origin, component.into())
    }

    /// For a caller of the API; `policy` is what decided.
    pub(crate) fn asker(asker: Asker, policy: Cow<'static, str>, origin: Origin) -> Self {
        let policy_version = asker.policies.version().to_owned();
        let context = Self::principal(&asker.principal, policy, origin);
        Self { policy_version, asker: Some(Arc::new(asker)), ..context }
    }

    pub(crate) fn principal(
        principal: &Principal,
        policy: Cow<'static, str>,
        origin: Origin,
    ) -> Self {
        let kind = match principal.subject {
            Subject::User(_) => ActorKind::User,
            Subject::ServiceAccount(_) => ActorKind::ServiceAccount,
            Subject::Token(_) if principal.tenant.is_none() => ActorKind::Installation,
            Subject::Token(_) => ActorKind::Token,
        };
        let id = principal.subject.to_string();
        let actor = Actor { kind, id, name: principal.name.clone() };
        let authentication = Some(principal.authentication.clone());
        Self { authentication, ..Self::new(actor, origin, policy) }
    }
}
