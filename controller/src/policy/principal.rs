//! Who asks: an authenticated person or program, what it may be, and how it proved so.

use std::collections::BTreeSet;

use edgeformer_proto::ids::{ServiceAccountId, SessionId, TenantId, TokenId, UserId};
use serde::{Deserialize, Serialize};

use super::{Action, Group};
use crate::clock::Timestamp;

/// What a principal may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything of its tenant, its people and policies included.
    Owner,
    /// Everything of its tenant but policies and owners.
    Admin,
    /// Publishes versions and starts rollouts.
    ReleaseManager,
    /// Looks after devices and running rollouts.
    Operator,
    /// Reads everything of its tenant but the audit log.
    Viewer,
    /// Reads everything of its tenant, the audit log included, and changes nothing.
    Auditor,
    /// Revokes devices, tokens and sessions, and reads the audit log.
    Security,
    /// Makes tenants; sees none of their data.
    Installation,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [
        Self::Owner,
        Self::Admin,
        Self::ReleaseManager,
        Self::Operator,
        Self::Viewer,
        Self::Auditor,
        Self::Security,
        Self::Installation,
    ];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::ReleaseManager => "release_manager",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Security => "security",
            Self::Installation => "installation",
        }
    }

    /// The role of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The roles that a tenant can give, for messages.
    pub fn choice() -> String {
        let names: Vec<_> = Self::ALL
            .iter()
            .filter(|role| **role != Self::Installation)
            .map(|r| r.as_str())
            .collect();
        format!("it must be one of {}", names.join(", "))
    }
}

/// What stands behind a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An API token by itself.
    Token(TokenId),
    /// A person.
    User(UserId),
    /// A program.
    ServiceAccount(ServiceAccountId),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(id) => id.fmt(f),
            Self::User(id) => id.fmt(f),
            Self::ServiceAccount(id) => id.fmt(f),
        }
    }
}

/// How a principal proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// An API token.
    Token,
    /// A password.
    Password,
    /// A password and a one-time code.
    PasswordTotp,
    /// A password and a recovery code.
    RecoveryCode,
    /// A log-in at an OpenID provider.
    Oidc,
    /// Another system's token, exchanged for one of ours.
    Federated,
}

impl AuthMethod {
    /// Every method.
    pub const ALL: [Self; 6] = [
        Self::Token,
        Self::Password,
        Self::PasswordTotp,
        Self::RecoveryCode,
        Self::Oidc,
        Self::Federated,
    ];

    /// As stored and recorded.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Password => "password",
            Self::PasswordTotp => "password_totp",
            Self::RecoveryCode => "recovery_code",
            Self::Oidc => "oidc",
            Self::Federated => "federated",
        }
    }

    /// The method of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == text)
    }
}

/// What an identity provider says of how somebody logged in there (OpenID Connect Core 1.0, section 2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Assurance {
    /// The class of the authentication, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// Its methods, such as `pwd` and `otp`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
}

/// A proof of identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// How.
    pub method: AuthMethod,
    /// When: of a session its log-in, of a token the request.
    pub at: Timestamp,
    /// The log-in session, if there is one.
    pub session: Option<SessionId>,
    /// The API token, if it was one.
    pub token: Option<TokenId>,
    /// What the provider says of it, if there is one.
    pub assurance: Assurance,
}

impl Authentication {
    /// By an API token, now.
    pub fn by_token(token: TokenId, now: Timestamp) -> Self {
        let (method, assurance) = (AuthMethod::Token, Assurance::default());
        Self { method, at: now, session: None, token: Some(token), assurance }
    }
}

/// What a token is narrowed to: actions, and groups of actions such as "read", by name. A name that
/// this version does not know opens nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenScopes {
    names: BTreeSet<String>,
    actions: BTreeSet<Action>,
}

impl TokenScopes {
    /// Of these names, known or not.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        let named = |action: &Action| {
            names.contains(action.as_str())
                || (Group::IN_POLICIES.contains(&action.group())
                    && names.contains(action.group().as_str()))
        };
        let actions = Action::ALL.iter().copied().filter(named).collect();
        Self { names, actions }
    }

    /// Whether a name is one that a tenant's token can be narrowed to.
    pub fn is_known(name: &str) -> bool {
        let ours =
            |group: Group| Group::IN_POLICIES.contains(&group) && group != Group::Installation;
        Group::IN_POLICIES.iter().any(|group| ours(*group) && group.as_str() == name)
            || Action::parse(name).is_some_and(|action| ours(action.group()))
    }

    /// As given.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Whether `action` is among them.
    pub fn allow(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }

    /// Whether `other` opens nothing that these do not.
    pub fn cover(&self, other: &Self) -> bool {
        other.actions.is_subset(&self.actions)
    }
}

/// An authenticated caller of the REST API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who.
    pub subject: Subject,
    /// For people.
    pub name: String,
    /// What it may be.
    pub roles: BTreeSet<Role>,
    /// The groups that it is in, by name.
    pub groups: BTreeSet<String>,
    /// Its tenant; none for the installation's own tokens.
    pub tenant: Option<TenantId>,
    /// How it proved so.
    pub authentication: Authentication,
    /// What a token is narrowed to; none is all that the roles allow.
    pub scopes: Option<TokenScopes>,
}

impl Principal {
    /// A token that stands for itself, with one role.
    pub fn of_token(
        id: TokenId,
        name: &str,
        role: Role,
        tenant: Option<TenantId>,
        now: Timestamp,
    ) -> Self {
        Self {
            subject: Subject::Token(id),
            name: name.to_owned(),
            roles: BTreeSet::from([role]),
            groups: BTreeSet::new(),
            tenant,
            authentication: Authentication::by_token(id, now),
            scopes: None,
        }
    }

    /// A program with an account, by one of the account's tokens or another system's.
    pub fn of_account(
        id: ServiceAccountId,
        name: &str,
        roles: BTreeSet<Role>,
        tenant: TenantId,
        authentication: Authentication,
    ) -> Self {
        Self {
            subject: Subject::ServiceAccount(id),
            name: name.to_owned(),
            roles,
            groups: BTreeSet::new(),
            tenant: Some(tenant),
            authentication,
            scopes: None,
        }
    }

    /// Whether it has this role.
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}
