//! Limits on what people name, label and give. Everything stored passes one of these.

use std::collections::{BTreeMap, BTreeSet};

use edgeformer_proto::ids::UserId;

use crate::error::AppError;
use crate::policy::Role;
use crate::scope::TenantScope;
use crate::store::Conn;
use crate::store::users::{self, User};

/// Longest name, in characters.
pub const MAX_NAME_CHARS: usize = 100;
/// Most labels on a device or token: they are read with every list.
pub const MAX_LABELS: usize = 32;
/// Longest label key or value, in characters; the same as in Kubernetes.
pub const MAX_LABEL_CHARS: usize = 63;

/// A name for people: not empty, bounded, on one line.
pub fn name(field: &str, text: &str) -> Result<String, AppError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > MAX_NAME_CHARS {
        let message = format!("a name has 1 to {MAX_NAME_CHARS} characters");
        return Err(AppError::invalid(field, message));
    }
    if text.chars().any(char::is_control) {
        return Err(AppError::invalid(field, "a name has no line breaks or control characters"));
    }
    Ok(text.to_owned())
}

/// Nobody gives roles that they do not have the right to give, nor takes them by changing who has them.
pub fn check_roles<'a>(
    scope: &TenantScope,
    roles: impl IntoIterator<Item = &'a Role>,
) -> Result<(), AppError> {
    match roles.into_iter().find(|role| !scope.may_give(**role)) {
        None => Ok(()),
        Some(role) => Err(AppError::Denied(format!(
            "you cannot give or change the role {}: it opens more than you have yourself; ask an \
             owner, or choose another role",
            role.as_str()
        ))),
    }
}

/// Nobody changes, takes over or removes somebody who is more than they could make of anybody, be it by
/// roles of their own or by a group's.
pub async fn check_person(
    conn: &mut Conn<TenantScope>,
    scope: &TenantScope,
    user: &User,
) -> Result<(), AppError> {
    check_roles(scope, &all_roles(conn, user.id, &user.roles).await?)
}

/// What somebody is by themselves and by groups.
async fn all_roles(
    conn: &mut Conn<TenantScope>,
    user: UserId,
    own: &BTreeSet<Role>,
) -> Result<BTreeSet<Role>, AppError> {
    let (by_group, _) = users::groups(conn, user).await?;
    Ok(own.union(&by_group).copied().collect())
}

/// The same of a person whom an identity provider looks after, by the role of its token: what that is
/// narrowed to says what it does, not to whom.
pub async fn check_provided_person(
    conn: &mut Conn<TenantScope>,
    scope: &TenantScope,
    user: UserId,
) -> Result<(), AppError> {
    let own = users::get(conn, user).await?.map(|user| user.roles).unwrap_or_default();
    check_provided(scope, &all_roles(conn, user, &own).await?)
}

/// The same of a group's roles.
pub fn check_provided<'a>(
    scope: &TenantScope,
    roles: impl IntoIterator<Item = &'a Role>,
) -> Result<(), AppError> {
    match roles.into_iter().find(|role| !scope.role_may_give(**role)) {
        None => Ok(()),
        Some(role) => Err(AppError::Denied(format!(
            "the provider's token cannot look after whom a group or an admin made {0}, nor give that: \
             its own role opens less; make it a token with a role that may give {0}",
            role.as_str()
        ))),
    }
}

/// A map of labels.
pub fn labels(
    field: &str,
    labels: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, AppError> {
    if labels.len() > MAX_LABELS {
        let message = format!("{} labels are more than {MAX_LABELS}", labels.len());
        return Err(AppError::invalid(field, message));
    }
    for (key, value) in &labels {
        label_text(field, "key", key, 1)?;
        label_text(field, "value", value, 0)?;
    }
    Ok(labels)
}

fn label_text(field: &str, what: &str, text: &str, least: usize) -> Result<(), AppError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if text.len() < least || text.len() > MAX_LABEL_CHARS || !text.chars().all(allowed) {
        let shown: String = text.chars().take(80).collect();
        return Err(AppError::invalid(
            field,
            format!(
                "label {what} {shown:?} must have {least} to {MAX_LABEL_CHARS} of the characters \
                 A-Z a-z 0-9 - _ . / :"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_bounded_and_printable() {
        assert_eq!(name("name", " line 3 ").unwrap(), "line 3");
        for wrong in ["", "  ", "a\nb", &"x".repeat(101)] {
            assert!(name("name", wrong).is_err(), "{wrong:?}");
        }
        let one = |key: &str, value: &str| {
            labels("labels", BTreeMap::from([(key.to_owned(), value.to_owned())]))
        };
        assert!(one("site", "berlin-3").is_ok());
        assert!(one("site", "").is_ok());
        assert!(one("", "x").is_err());
        assert!(one("a b", "x").is_err());
        assert!(one("site", "\"").is_err());
        assert!(one("site", &"x".repeat(64)).is_err());
        let many = (0..33).map(|n| (n.to_string(), String::new())).collect();
        assert!(labels("labels", many).is_err());
    }
}
