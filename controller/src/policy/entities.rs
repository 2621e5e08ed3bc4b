//! Principals, facts and circumstances as policies see them.

use std::collections::HashSet;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};
use jiff::tz::TimeZone;

use super::action::Action;
use super::facts::{Circumstances, Facts, Labels};
use super::principal::{Principal, Subject};
use super::schema::schema;
use crate::clock::Timestamp;

/// A question that policies cannot be asked: names are checked before, so this is our mistake, and
/// whoever gets it refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policies cannot be asked: {0}")]
pub struct AskError(String);

fn wrong(error: impl std::fmt::Display) -> AskError {
    AskError(error.to_string())
}

/// `type` is one of the schema's.
pub fn uid(kind: &'static str, id: &str) -> EntityUid {
    let kind: EntityTypeName = kind.parse().expect("the schema's types are identifiers");
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn number(value: u64) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(value).unwrap_or(i64::MAX))
}

fn attributes<const N: usize>(
    pairs: [(&str, RestrictedExpression); N],
) -> Vec<(String, RestrictedExpression)> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn principal_entity(principal: &Principal) -> Result<Entity, AskError> {
    let kind = match principal.subject {
        Subject::User(_) => "User",
        Subject::ServiceAccount(_) => "ServiceAccount",
        Subject::Token(_) => "Token",
    };
    let mut roles: HashSet<_> =
        principal.roles.iter().map(|role| uid("Role", role.as_str())).collect();
    if kind == "User" {
        roles.extend(principal.groups.iter().map(|group| uid("Group", group)));
    }
    let name = attributes([("name", text(&principal.name))]);
    Entity::new_with_tags(uid(kind, &principal.subject.to_string()), name, roles, []).map_err(wrong)
}

fn resource_entity(principal: &Principal, facts: &Facts) -> Result<Entity, AskError> {
    let tenant = principal.tenant.map(|id| id.to_string()).unwrap_or_default();
    let tenant = uid("Tenant", &tenant);
    let make = |kind, id: &str, attributes: Vec<(String, RestrictedExpression)>, tags: &Labels| {
        let tags: Vec<_> = tags.iter().map(|(key, value)| (key.clone(), text(value))).collect();
        Entity::new_with_tags(uid(kind, id), attributes, [tenant.clone()], tags).map_err(wrong)
    };
    match facts {
        Facts::Tenant => Ok(Entity::new_no_attrs(tenant, HashSet::new())),
        Facts::Installation => {
            Ok(Entity::new_no_attrs(uid("Installation", "installation"), HashSet::new()))
        }
        Facts::Device { id, name, labels } => {
            make("Device", id, attributes([("name", text(name))]), labels)
        }
        Facts::Rollout { model, version, slot, devices, labels } => {
            let attributes = attributes([
                ("model", text(model)),
                ("version", text(version)),
                ("slot", text(slot)),
                ("devices", number(*devices)),
            ]);
            make("Rollout", slot, attributes, labels)
        }
        Facts::Version { model, version } => {
            let attributes = attributes([("model", text(model)), ("version", text(version))]);
            make("Version", &format!("{model}@{version}"), attributes, &Labels::new())
        }
        Facts::EnrolmentToken { id, uses, labels } => {
            make("EnrolmentToken", id, attributes([("uses", number(*uses))]), labels)
        }
    }
}

fn time(at: Timestamp, zone: &TimeZone) -> Result<RestrictedExpression, AskError> {
    let at = jiff::Timestamp::from_microsecond(at.0).map_err(wrong)?.to_zoned(zone.clone());
    let small = |value: i8| RestrictedExpression::new_long(value.into());
    RestrictedExpression::new_record([
        ("date".to_owned(), text(&at.date().to_string())),
        ("hour".to_owned(), small(at.hour())),
        ("minute".to_owned(), small(at.minute())),
        ("weekday".to_owned(), small(at.weekday().to_monday_one_offset())),
    ])
    .map_err(wrong)
}

fn context(
    principal: &Principal,
    circumstances: &Circumstances,
    zone: &TimeZone,
) -> Result<Context, AskError> {
    let authentication = &principal.authentication;
    let since = circumstances.at.0.saturating_sub(authentication.at.0).max(0).unsigned_abs();
    let mut pairs = attributes([
        ("time", time(circumstances.at, zone)?),
        ("approvals", number(circumstances.approvals.into())),
        ("method", text(authentication.method.as_str())),
        ("signed_in_seconds", number(since / 1_000_000)),
        ("justified", RestrictedExpression::new_bool(circumstances.justified)),
    ]);
    let assurance = &authentication.assurance;
    let methods = RestrictedExpression::new_set(assurance.amr.iter().map(|method| text(method)));
    pairs.push(("amr".to_owned(), methods));
    if let Some(class) = &assurance.acr {
        pairs.push(("acr".to_owned(), text(class)));
    }
    if let Some(source) = circumstances.source {
        let source = RestrictedExpression::new_ip(source.to_canonical().to_string());
        pairs.push(("source".to_owned(), source));
    }
    Context::from_pairs(pairs).map_err(wrong)
}

/// The question and the things that it names.
pub fn ask(
    principal: &Principal,
    action: Action,
    facts: &Facts,
    circumstances: &Circumstances,
    zone: &TimeZone,
) -> Result<(Request, Entities), AskError> {
    let (who, what) = (principal_entity(principal)?, resource_entity(principal, facts)?);
    let context = context(principal, circumstances, zone)?;
    let action = uid("Action", action.as_str());
    let request =
        Request::new(who.uid(), action, what.uid(), context, Some(schema())).map_err(wrong)?;
    let entities = Entities::from_entities([who, what], Some(schema())).map_err(wrong)?;
    Ok((request, entities))
}
