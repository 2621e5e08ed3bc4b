//! Resources as JSON: what a request brings is brought into the form that the RFC writes and bounded;
//! what an answer shows is cut to what was asked for.

use serde_json::{Map, Value, json};

use super::Wrong;
use super::path::bare;
use super::schema::{Attribute, Kind, Mutability, Type, find};

/// Longest text of one attribute, in characters.
const MAX_TEXT_CHARS: usize = 512;
/// Most values of an attribute, but for members.
const MAX_VALUES: usize = 50;
/// Most members that one request names: a body has a limit of its own.
pub const MAX_MEMBERS: usize = 20_000;

/// A resource by its attributes' names, as the RFC writes them.
pub type Resource = Map<String, Value>;

/// What a request says of a resource. Attributes that are not kept, and those that only we set, are
/// left out (RFC 7644, section 3.3).
///
/// # Errors
/// `invalidValue` or `invalidSyntax`.
pub fn read(kind: Type, body: &Value) -> Result<Resource, Wrong> {
    let object = body
        .as_object()
        .ok_or_else(|| Wrong::new("invalidSyntax", "a resource is a JSON object"))?;
    let mut resource = Resource::new();
    for (name, value) in object {
        let Some(attribute) = kind.attribute(bare(kind, name)) else { continue };
        if attribute.mutability == Mutability::ReadOnly {
            continue;
        }
        match value_of(attribute, value)? {
            Some(value) => resource.insert(attribute.name.to_owned(), value),
            None => resource.remove(attribute.name),
        };
    }
    Ok(resource)
}

/// A value brought into form; none if it says that there is none.
///
/// # Errors
/// `invalidValue`.
pub fn value_of(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Wrong> {
    if value.is_null() {
        return Ok(None);
    }
    if !attribute.multi {
        return one(attribute, value);
    }
    let several = match value {
        Value::Array(several) => several.as_slice(),
        single => std::slice::from_ref(single),
    };
    let most = if attribute.name == "members" { MAX_MEMBERS } else { MAX_VALUES };
    if several.len() > most {
        let detail = format!("{} has more than {most} values", attribute.name);
        return Err(Wrong::value(detail));
    }
    let mut values = Vec::with_capacity(several.len());
    for value in several {
        values.extend(one(attribute, value)?);
    }
    let primary = |value: &&Value| value["primary"] == Value::Bool(true);
    if values.iter().filter(primary).count() > 1 {
        return Err(Wrong::value(format!("{} has more than one primary value", attribute.name)));
    }
    Ok((!values.is_empty()).then_some(Value::Array(values)))
}

/// One value of an attribute, whether or not it can have several.
///
/// # Errors
/// `invalidValue`.
pub fn one(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Wrong> {
    let wrong = |what: &str| Wrong::value(format!("{} must be {what}", attribute.name));
    match (attribute.kind, value) {
        (_, Value::Null) => Ok(None),
        (Kind::Text | Kind::Reference(_), Value::String(text)) => {
            if text.chars().count() > MAX_TEXT_CHARS || text.chars().any(char::is_control) {
                return Err(wrong("at most 512 characters on one line"));
            }
            Ok((!text.is_empty()).then(|| value.clone()))
        }
        (Kind::Text | Kind::Reference(_), _) => Err(wrong("a text")),
        (Kind::Flag, Value::Bool(_)) => Ok(Some(value.clone())),
        // Some providers write it as a text.
        (Kind::Flag, Value::String(text)) if text.eq_ignore_ascii_case("true") => {
            Ok(Some(Value::Bool(true)))
        }
        (Kind::Flag, Value::String(text)) if text.eq_ignore_ascii_case("false") => {
            Ok(Some(Value::Bool(false)))
        }
        (Kind::Flag, _) => Err(wrong("true or false")),
        (Kind::Complex(parts), Value::Object(object)) => {
            let mut found = Resource::new();
            for (name, value) in object {
                let Some(part) = find(parts, name) else { continue };
                if part.mutability != Mutability::ReadOnly
                    && let Some(value) = one(part, value)?
                {
                    found.insert(part.name.to_owned(), value);
                }
            }
            Ok((!found.is_empty()).then_some(Value::Object(found)))
        }
        // `members: ["id"]` and `emails: ["a@b"]` mean the value.
        (Kind::Complex(parts), Value::String(_)) if find(parts, "value").is_some() => {
            one(attribute, &json!({ "value": value }))
        }
        (Kind::Complex(_), _) => Err(wrong("an object")),
    }
}

/// Which attributes an answer shows.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    only: Option<Vec<String>>,
    without: Vec<String>,
}

impl Shown {
    /// From `attributes` and `excludedAttributes`, names separated by commas.
    pub fn new(kind: Type, only: Option<&str>, without: Option<&str>) -> Self {
        let names = |text: &str| -> Vec<String> {
            let names = text.split(',').map(|name| bare(kind, name.trim()).to_ascii_lowercase());
            names.filter(|name| !name.is_empty()).take(MAX_VALUES).collect()
        };
        Self { only: only.map(names), without: without.map(names).unwrap_or_default() }
    }

    /// Whether an attribute is shown at all, for what is expensive to find.
    pub fn has(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let within = |list: &[String]| {
            list.iter().any(|one| *one == name || one.starts_with(&format!("{name}.")))
        };
        self.only.as_deref().is_none_or(within) && !self.without.contains(&name)
    }

    /// Cuts a resource; id and schemas stay.
    pub fn cut(&self, mut resource: Resource) -> Value {
        resource.retain(|name, _| matches!(name.as_str(), "id" | "schemas") || self.has(name));
        for (name, value) in &mut resource {
            let name = name.to_ascii_lowercase();
            let whole = self.only.as_ref().is_none_or(|only| only.contains(&name));
            let shown = |part: &str| {
                let path = format!("{name}.{}", part.to_ascii_lowercase());
                let asked = self.only.as_ref().is_some_and(|only| only.contains(&path));
                (whole || asked) && !self.without.contains(&path)
            };
            match value {
                Value::Object(object) => object.retain(|part, _| shown(part)),
                Value::Array(several) => {
                    for object in several.iter_mut().filter_map(Value::as_object_mut) {
                        object.retain(|part, _| shown(part));
                    }
                }
                _ => {}
            }
        }
        Value::Object(resource)
    }
}

/// How a resource is asked for.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// URL of the service, for references.
    pub base: String,
    /// Which attributes.
    pub shown: Shown,
}

/// The text of an attribute.
pub fn text<'r>(resource: &'r Resource, name: &str) -> Option<&'r str> {
    resource.get(name).and_then(Value::as_str)
}

/// What every answer with a resource says of it.
pub fn envelope(
    kind: Type,
    id: &str,
    base: &str,
    revision: u64,
    (created, modified): (&str, &str),
) -> Resource {
    let Value::Object(resource) = json!({
        "schemas": [kind.schema()],
        "id": id,
        "meta": {
            "resourceType": kind.name(),
            "created": created,
            "lastModified": modified,
            "location": format!("{base}{}/{id}", kind.endpoint()),
            "version": format!("W/\"{revision}\""),
        },
    }) else {
        return Resource::new();
    };
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_brought_into_form() {
        let body = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "id": "mine", "USERNAME": "Ada", "Active": "True", "nickName": "x",
            "name": {"GIVENNAME": "Ada", "middleName": "x"}, "groups": [{"value": "admins"}],
            "emails": ["a@b", {"VALUE": "c@d", "primary": true}], "externalid": "7",
            "urn:ietf:params:scim:schemas:core:2.0:User:displayName": "Ada L.",
        });
        let expected = json!({
            "userName": "Ada", "active": true, "name": {"givenName": "Ada"}, "externalId": "7",
            "emails": [{"value": "a@b"}, {"value": "c@d", "primary": true}],
            "displayName": "Ada L.",
        });
        assert_eq!(Value::Object(read(Type::User, &body).unwrap()), expected);
    }

    #[test]
    fn what_is_of_another_type_or_too_much_is_refused() {
        let long = "x".repeat(513);
        for body in [
            json!({"userName": 7}),
            json!({"userName": long}),
            json!({"userName": "a\nb"}),
            json!({"active": "perhaps"}),
            json!({"name": "Ada"}),
            json!({"emails": [{"primary": true, "value": "a"}, {"primary": true, "value": "b"}]}),
            json!({"emails": vec!["a@b"; 51]}),
            json!([]),
        ] {
            assert!(read(Type::User, &body).is_err(), "{body}");
        }
    }

    #[test]
    fn an_answer_is_cut_to_what_was_asked_for() {
        let check = |only: Option<&str>, without: Option<&str>, expected: Value| {
            let whole = json!({"id": "1", "schemas": [], "userName": "ada",
                "name": {"givenName": "Ada", "familyName": "L"}});
            let Value::Object(whole) = whole else { unreachable!() };
            assert_eq!(Shown::new(Type::User, only, without).cut(whole), expected);
        };
        check(Some("userName"), None, json!({"id": "1", "schemas": [], "userName": "ada"}));
        check(
            Some("name.GivenName"),
            None,
            json!({"id": "1", "schemas": [], "name": {"givenName": "Ada"}}),
        );
        check(
            None,
            Some("userName,name.familyName,id"),
            json!({"id": "1", "schemas": [], "name": {"givenName": "Ada"}}),
        );
    }
}
