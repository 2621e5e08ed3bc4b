//! Policies that were read and checked, and what they say. A policy that cannot be evaluated never
//! lets anybody through: Cedar leaves it out, which would open what a `forbid` closes.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cedar_policy::{
    ActionConstraint, Authorizer, Decision, Effect, Policy, PolicyId, PolicySet, ValidationMode,
    Validator,
};
use jiff::tz::TimeZone;
use ring::digest;

use super::action::Action;
use super::entities::{ask, uid};
use super::facts::{Circumstances, Facts};
use super::principal::{Principal, Role};
use super::schema::schema;

/// The roles, as people read them.
pub const ROLES: &str = include_str!("../../policies/roles.cedar");
/// Approvals that a policy can ask for: beyond, a request is simply refused.
pub const MAX_APPROVALS: u32 = 5;

/// A tenant's policies beside the roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Unique in the tenant.
    pub name: String,
    /// One or more Cedar statements.
    pub text: String,
}

/// One statement, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What audit records call it.
    pub id: String,
    /// `permit` or `forbid`.
    pub permits: bool,
    /// Its `@description`.
    pub description: String,
    /// Its text.
    pub text: String,
}

/// Why a text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy {name:?}: {what}")]
pub struct PolicyError {
    /// Which.
    pub name: String,
    /// What is wrong, and where.
    pub what: String,
}

/// What policies say to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes; ids of the policies that permit it.
    Allow(Vec<String>),
    /// No; ids of the policies that forbid it, none if nothing permits it.
    Deny(Vec<String>),
    /// Not yet: it takes so many approvals in all.
    NeedsApprovals {
        /// How many.
        needed: u32,
        /// The policies that forbid it until then.
        policies: Vec<String>,
    },
    /// No: a policy cannot be evaluated.
    Broken(String),
}

/// The roles and a tenant's own policies.
#[derive(Debug)]
pub struct Policies {
    set: PolicySet,
    statements: BTreeMap<String, Statement>,
    own: Vec<Policy>,
    version: String,
    zone: TimeZone,
}

/// The statements of a text under their ids: `@id` for the roles, else the name and a number.
fn parse(name: &str, text: &str, builtin: bool) -> Result<Vec<Policy>, PolicyError> {
    let wrong = |what: String| PolicyError { name: name.to_owned(), what };
    let set: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        let one = |error: &cedar_policy::ParseError| located(text, error);
        wrong(errors.iter().map(one).collect::<Vec<_>>().join("; "))
    })?;
    if set.num_of_templates() > 0 {
        return Err(wrong("it has slots such as ?principal: name whom it is for".to_owned()));
    }
    let mut policies: Vec<&Policy> = set.policies().collect();
    // Cedar numbers them in their order.
    policies.sort_by_key(|policy| {
        AsRef::<str>::as_ref(policy.id())
            .trim_start_matches("policy")
            .parse::<usize>()
            .unwrap_or(usize::MAX)
    });
    let one = policies.len() == 1;
    Ok(policies
        .into_iter()
        .enumerate()
        .map(|(at, policy)| {
            let id = match policy.annotation("id") {
                Some(id) if builtin => id.to_owned(),
                _ if one => format!("tenant/{name}"),
                _ => format!("tenant/{name}#{}", at + 1),
            };
            policy.new_id(PolicyId::new(id))
        })
        .collect())
}

fn located(text: &str, error: &cedar_policy::ParseError) -> String {
    use miette::Diagnostic;
    let at = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    match at {
        Some(offset) => {
            let before = text.get(..offset).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            format!("line {line}, column {column}: {error}")
        }
        None => error.to_string(),
    }
}

/// Every statement must make sense for the schema: names, types, and what an action is about.
fn validate(name: &str, policies: &[Policy]) -> Result<(), PolicyError> {
    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| Validator::new(schema().clone()));
    let wrong = |what: String| PolicyError { name: name.to_owned(), what };
    let set = PolicySet::from_policies(policies.iter().cloned())
        .map_err(|error| wrong(error.to_string()))?;
    let result = VALIDATOR.validate(&set, ValidationMode::Strict);
    let errors: Vec<String> = result.validation_errors().map(ToString::to_string).collect();
    // A policy that can never apply is a mistake somebody would rely on.
    let warnings = result.validation_warnings().map(ToString::to_string);
    let all: Vec<String> = errors.into_iter().chain(warnings).collect();
    if all.is_empty() { Ok(()) } else { Err(wrong(all.join("; "))) }
}

impl Policies {
    /// The roles alone.
    pub fn roles() -> Arc<Self> {
        static ALONE: LazyLock<Arc<Policies>> = LazyLock::new(|| {
            Arc::new(Policies::new(&[], TimeZone::UTC).expect("the roles are checked by a test"))
        });
        Arc::clone(&ALONE)
    }

    /// The roles and `own`, for times in `zone`.
    pub fn new(own: &[Source], zone: TimeZone) -> Result<Self, PolicyError> {
        let builtin = parse("roles", ROLES, true)?;
        let mut parsed = Vec::new();
        for source in own {
            let policies = parse(&source.name, &source.text, false)?;
            validate(&source.name, &policies)?;
            parsed.extend(policies);
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        for text in std::iter::once(ROLES).chain(own.iter().map(|source| source.text.as_str())) {
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(zone.iana_name().unwrap_or_default().as_bytes());
        let version = data_encoding::HEXLOWER.encode(&hash.finish().as_ref()[..8]);
        let all = builtin.iter().chain(&parsed);
        let statements = all.clone().map(|policy| (policy.id().to_string(), statement(policy)));
        let statements = statements.collect();
        let set = PolicySet::from_policies(all.cloned())
            .map_err(|error| PolicyError { name: "roles".to_owned(), what: error.to_string() })?;
        Ok(Self { set, statements, own: parsed, version, zone })
    }

    /// First 16 digits of the SHA-256 of all texts: what an audit record says decided.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// All statements, by id.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.statements.values()
    }

    /// The statement of this id.
    pub fn statement(&self, id: &str) -> Option<&Statement> {
        self.statements.get(id)
    }

    /// Whether a policy of the tenant's own could permit `action` on something.
    pub fn may_permit(&self, action: Action) -> bool {
        let (one, group) = (uid("Action", action.as_str()), uid("Action", action.group().as_str()));
        self.own.iter().filter(|policy| policy.effect() == Effect::Permit).any(
            |policy| match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::In(of) => of.contains(&one) || of.contains(&group),
                ActionConstraint::Eq(of) => of == one,
            },
        )
    }

    /// Whether the tenant has policies of its own.
    pub fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// What the policies say, with the approvals there are, or how many it would take.
    pub fn decide(
        &self,
        principal: &Principal,
        action: Action,
        facts: &Facts,
        circumstances: &Circumstances,
    ) -> Verdict {
        // Roles look at role and action alone: what Cedar said once holds for everything.
        if !self.has_own() {
            return match by_roles(&principal.roles, action) {
                Some(ids) => Verdict::Allow(ids.split(',').map(str::to_owned).collect()),
                None => Verdict::Deny(Vec::new()),
            };
        }
        let first = self.evaluate(principal, action, facts, circumstances);
        let Verdict::Deny(policies) = &first else { return first };
        // Only a `forbid` can wait for approvals.
        if policies.is_empty() || !action.is_specific() {
            return first;
        }
        for approvals in circumstances.approvals + 1..=MAX_APPROVALS {
            let more = Circumstances { approvals, ..circumstances.clone() };
            if let Verdict::Allow(_) = self.evaluate(principal, action, facts, &more) {
                let policies = policies.clone();
                return Verdict::NeedsApprovals { needed: approvals, policies };
            }
        }
        first
    }

    fn evaluate(
        &self,
        principal: &Principal,
        action: Action,
        facts: &Facts,
        circumstances: &Circumstances,
    ) -> Verdict {
        let asked = ask(principal, action, facts, circumstances, &self.zone);
        let (request, entities) = match asked {
            Ok(asked) => asked,
            Err(error) => return Verdict::Broken(error.to_string()),
        };
        let response = Authorizer::new().is_authorized(&request, &self.set, &entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Verdict::Broken(error.to_string());
        }
        let mut ids: Vec<_> = response.diagnostics().reason().map(ToString::to_string).collect();
        ids.sort_unstable();
        match response.decision() {
            Decision::Allow => Verdict::Allow(ids),
            Decision::Deny => Verdict::Deny(ids),
        }
    }
}

fn statement(policy: &Policy) -> Statement {
    Statement {
        id: policy.id().to_string(),
        permits: policy.effect() == Effect::Permit,
        description: policy.annotation("description").unwrap_or_default().to_owned(),
        text: policy.to_cedar().unwrap_or_else(|| policy.to_string()),
    }
}

/// What each role alone may do, by Cedar's own word; asked once.
static BY_ROLE: LazyLock<BTreeMap<(Role, Action), String>> = LazyLock::new(|| {
    use crate::clock::Timestamp;
    use edgeformer_proto::ids::{TenantId, TokenId};
    let circumstances =
        Circumstances { at: Timestamp(0), source: None, approvals: 0, justified: false };
    let policies = Policies::roles();
    let mut out = BTreeMap::new();
    for role in Role::ALL {
        let tenant = (role != Role::Installation).then(TenantId::new);
        let who = Principal::of_token(TokenId::new(), "", role, tenant, Timestamp(0));
        for action in super::schema::in_policies() {
            let facts = Facts::unknown(action.about());
            let verdict = policies.evaluate(&who, action, &facts, &circumstances);
            if let Verdict::Allow(ids) = verdict {
                out.insert((role, action), ids.join(","));
            }
        }
    }
    out
});

/// The policies of roles that permit `action` to whoever has `roles`; none if no role does.
pub fn by_roles<'a>(roles: impl IntoIterator<Item = &'a Role>, action: Action) -> Option<String> {
    let permit = |role: &'a Role| BY_ROLE.get(&(*role, action)).map(|ids| ids.split(','));
    let mut ids: Vec<&str> = roles.into_iter().filter_map(permit).flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    (!ids.is_empty()).then(|| ids.join(","))
}
