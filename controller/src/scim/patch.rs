//! Changes of a person (RFC 7644, section 3.5.2), applied to the resource as JSON. What is changed in
//! the end is read like any other resource. Changes of a group's members are made in the store, since
//! there can be many; [`super::groups`] makes those.

use serde_json::{Value, json};

use super::Wrong;
use super::path::{Path, bare, parts};
use super::resource::{Resource, one, value_of};
use super::schema::{Attribute, Kind, Mutability, Type};

/// Most operations of one request.
const MAX_OPERATIONS: usize = 1000;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Adds values, or sets what has one.
    Add,
    /// Sets.
    Replace,
    /// Takes away.
    Remove,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// What it does.
    pub verb: Verb,
    /// Where; none is the resource as a whole.
    pub path: Option<Path>,
    /// What.
    pub value: Value,
}

/// How a resource is changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// To this.
    Replace(Resource),
    /// By these operations.
    Patch(Vec<Operation>),
}

/// The operations of a request.
///
/// # Errors
/// `invalidSyntax`, `invalidPath`, `invalidFilter`, `noTarget` or `mutability`.
pub fn read(kind: Type, body: &Value) -> Result<Vec<Operation>, Wrong> {
    let syntax = |what: &str| Wrong::new("invalidSyntax", what);
    let object = body.as_object().ok_or_else(|| syntax("a change is a JSON object"))?;
    let found = object.iter().find(|(name, _)| name.eq_ignore_ascii_case("Operations"));
    let all = found
        .and_then(|(_, value)| value.as_array())
        .ok_or_else(|| syntax("a change has a list of Operations"))?;
    if all.is_empty() || all.len() > MAX_OPERATIONS {
        return Err(syntax("a change has 1 to 1000 operations"));
    }
    all.iter().map(|operation| read_one(kind, operation)).collect()
}

fn read_one(kind: Type, operation: &Value) -> Result<Operation, Wrong> {
    let verbs = [("add", Verb::Add), ("replace", Verb::Replace), ("remove", Verb::Remove)];
    let word = operation["op"].as_str().unwrap_or_default();
    let (_, verb) =
        verbs.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).ok_or_else(|| {
            Wrong::new("invalidSyntax", "the op of an operation is add, replace or remove")
        })?;
    let path = match &operation["path"] {
        Value::Null => None,
        Value::String(text) => Some(Path::parse(kind, text)?),
        _ => return Err(Wrong::new("invalidPath", "a path is a text")),
    };
    if verb == Verb::Remove && path.is_none() {
        return Err(Wrong::new("noTarget", "remove needs a path"));
    }
    let read_only = |attribute: &Attribute| attribute.mutability == Mutability::ReadOnly;
    if let Some(path) = &path
        && (read_only(path.attribute) || path.part.is_some_and(read_only))
    {
        let detail = format!("{} is not changed from outside", path.attribute.name);
        return Err(Wrong::new("mutability", detail));
    }
    if verb == Verb::Remove
        && let Some(Path { attribute, which: None, part: None }) = &path
        && attribute.required
    {
        let detail = format!("{} must be there", attribute.name);
        return Err(Wrong::new("mutability", detail));
    }
    Ok(Operation { verb, path, value: operation["value"].clone() })
}

/// Applies operations, one after the other.
///
/// # Errors
/// `invalidValue` or `noTarget`; the resource is then of no use.
pub fn apply(kind: Type, resource: &mut Resource, all: &[Operation]) -> Result<(), Wrong> {
    for operation in all {
        match &operation.path {
            None => whole(kind, resource, operation)?,
            Some(path) => at(resource, operation.verb, path, &operation.value)?,
        }
    }
    Ok(())
}

/// Each attribute of the value on its own; some providers write paths as names here.
fn whole(kind: Type, resource: &mut Resource, operation: &Operation) -> Result<(), Wrong> {
    let object = operation.value.as_object().ok_or_else(|| {
        Wrong::value("without a path the value is an object with the attributes to change")
    })?;
    for (name, value) in object {
        // What is not kept is left out here as in any resource.
        let Ok(path) = Path::parse(kind, bare(kind, name)) else { continue };
        if path.attribute.mutability != Mutability::ReadOnly {
            at(resource, operation.verb, &path, value)?;
        }
    }
    Ok(())
}

fn at(resource: &mut Resource, verb: Verb, path: &Path, value: &Value) -> Result<(), Wrong> {
    let attribute = path.attribute;
    if attribute.multi {
        return several(resource, verb, path, value);
    }
    match (path.part, attribute.kind) {
        (Some(part), _) => {
            let object = resource.entry(attribute.name).or_insert_with(|| json!({}));
            if let Some(object) = object.as_object_mut() {
                set(object, part, verb, value)?;
            }
        }
        (None, Kind::Complex(_)) if verb == Verb::Add => {
            if let Some(Value::Object(added)) = one(attribute, value)? {
                let object = resource.entry(attribute.name).or_insert_with(|| json!({}));
                if let Some(object) = object.as_object_mut() {
                    object.extend(added);
                }
            }
        }
        (None, _) => set(resource, attribute, verb, value)?,
    }
    // A complex attribute without parts is none.
    if resource.get(attribute.name) == Some(&json!({})) {
        resource.remove(attribute.name);
    }
    Ok(())
}

fn set(
    object: &mut Resource,
    attribute: &Attribute,
    verb: Verb,
    value: &Value,
) -> Result<(), Wrong> {
    let value = if verb == Verb::Remove { None } else { value_of(attribute, value)? };
    match value {
        Some(value) => object.insert(attribute.name.to_owned(), value),
        None => object.remove(attribute.name),
    };
    Ok(())
}

/// An attribute with several values.
fn several(resource: &mut Resource, verb: Verb, path: &Path, value: &Value) -> Result<(), Wrong> {
    let attribute = path.attribute;
    let mut values = match resource.remove(attribute.name) {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    };
    match (&path.which, path.part) {
        (None, None) => {
            if verb != Verb::Add {
                values.clear();
            }
            if verb != Verb::Remove
                && let Some(Value::Array(new)) = value_of(attribute, value)?
            {
                join(&mut values, new);
            }
        }
        (which, part) => {
            let matches = |value: &Value| which.as_ref().is_none_or(|filter| filter.holds(value));
            if !values.iter().any(matches) {
                begin(&mut values, verb, path)?;
            }
            let mut kept = Vec::with_capacity(values.len());
            for one in values {
                match matches(&one) {
                    true => kept.extend(changed(attribute, one, verb, part, value)?),
                    false => kept.push(one),
                }
            }
            values = kept;
        }
    }
    if let Some(values) = value_of(attribute, &Value::Array(values))? {
        resource.insert(attribute.name.to_owned(), values);
    }
    Ok(())
}

/// What is to be changed is not there: it is made if it can be told what it is.
fn begin(values: &mut Vec<Value>, verb: Verb, path: &Path) -> Result<(), Wrong> {
    let known = path.which.as_ref().map(|filter| filter.equalities()).unwrap_or_default();
    if verb == Verb::Remove {
        return Ok(());
    }
    if path.which.is_some() && (verb == Verb::Replace || known.is_empty()) {
        let detail = format!("no value of {} is as the filter says", path.attribute.name);
        return Err(Wrong::new("noTarget", detail));
    }
    let mut new = Resource::new();
    for (name, value) in known {
        if let Some(part) = super::schema::find(parts(path.attribute), name) {
            new.insert(part.name.to_owned(), value.clone());
        }
    }
    values.push(Value::Object(new));
    Ok(())
}

/// A value that was found, after the change; none if it is gone.
fn changed(
    attribute: &Attribute,
    mut found: Value,
    verb: Verb,
    part: Option<&'static Attribute>,
    value: &Value,
) -> Result<Option<Value>, Wrong> {
    match (part, verb) {
        (None, Verb::Remove) => return Ok(None),
        (None, Verb::Replace) => return one(attribute, value),
        (None, Verb::Add) => {
            if let (Some(object), Some(Value::Object(added))) =
                (found.as_object_mut(), one(attribute, value)?)
            {
                object.extend(added);
            }
        }
        (Some(part), verb) => {
            if let Some(object) = found.as_object_mut() {
                set(object, part, verb, value)?;
            }
        }
    }
    Ok(Some(found))
}

/// Adds values that are not there yet. A new primary value takes the place of the old one.
fn join(values: &mut Vec<Value>, new: Vec<Value>) {
    for value in new {
        if value["primary"] == Value::Bool(true) {
            for old in values.iter_mut().filter_map(Value::as_object_mut) {
                old.remove("primary");
            }
        }
        if !values.contains(&value) {
            values.push(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Resource {
        let ada = json!({"userName": "ada", "active": true, "name": {"givenName": "Ada"},
            "emails": [{"value": "a@work", "type": "work", "primary": true},
                {"value": "a@home", "type": "home"}]});
        let Value::Object(ada) = ada else { unreachable!() };
        ada
    }

    /// What an operation makes of Ada's attribute.
    #[track_caller]
    fn check(operation: Value, attribute: &str, expected: Value) {
        let mut resource = ada();
        let all = read(Type::User, &json!({"Operations": [operation]})).unwrap();
        apply(Type::User, &mut resource, &all).unwrap();
        assert_eq!(resource.get(attribute).unwrap_or(&Value::Null), &expected);
    }

    #[test]
    fn operations_change_what_they_name() {
        check(json!({"op": "Replace", "path": "active", "value": "False"}), "active", json!(false));
        check(json!({"op": "replace", "value": {"active": false}}), "active", json!(false));
        check(
            json!({"op": "add", "path": "name.familyName", "value": "L"}),
            "name",
            json!({"givenName": "Ada", "familyName": "L"}),
        );
        check(
            json!({"op": "add", "path": "name", "value": {"familyName": "L"}}),
            "name",
            json!({"givenName": "Ada", "familyName": "L"}),
        );
        check(
            json!({"op": "replace", "path": "name", "value": {"familyName": "L"}}),
            "name",
            json!({"familyName": "L"}),
        );
        check(json!({"op": "remove", "path": "name.givenName"}), "name", Value::Null);
        check(
            json!({"op": "add", "value": {"name.familyName": "L", "nickName": "x"}}),
            "name",
            json!({"givenName": "Ada", "familyName": "L"}),
        );
        let urn = "urn:ietf:params:scim:schemas:core:2.0:User:displayName";
        check(json!({"op": "add", "path": urn, "value": "A"}), "displayName", json!("A"));
    }

    #[test]
    fn operations_find_one_of_several_values() {
        let work = |value: &str| json!({"value": value, "type": "work", "primary": true});
        let home = json!({"value": "a@home", "type": "home"});
        check(
            json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": "b"}),
            "emails",
            json!([work("b"), home]),
        );
        check(json!({"op": "remove", "path": "emails[type eq \"work\"]"}), "emails", json!([home]));
        check(json!({"op": "remove", "path": "emails"}), "emails", Value::Null);
        check(
            json!({"op": "add", "path": "emails[type eq \"other\"].value", "value": "c"}),
            "emails",
            json!([work("a@work"), home, {"type": "other", "value": "c"}]),
        );
        check(
            json!({"op": "add", "path": "emails", "value": [{"value": "d", "primary": true}]}),
            "emails",
            json!([{"value": "a@work", "type": "work"}, home,
                {"value": "d", "primary": true}]),
        );
        check(
            json!({"op": "add", "path": "emails", "value": home}),
            "emails",
            json!([work("a@work"), home]),
        );
    }

    #[test]
    fn what_cannot_be_changed_is_said() {
        let check = |operation: Value, kind: &str| {
            let done = read(Type::User, &json!({"Operations": [operation.clone()]}))
                .and_then(|all| apply(Type::User, &mut ada(), &all));
            assert_eq!(done.unwrap_err().kind, kind, "{operation}");
        };
        check(json!({"op": "fly"}), "invalidSyntax");
        check(json!({"op": "remove"}), "noTarget");
        check(json!({"op": "remove", "path": "userName"}), "mutability");
        check(json!({"op": "add", "path": "groups", "value": []}), "mutability");
        check(json!({"op": "add", "path": "id", "value": "x"}), "invalidPath");
        check(json!({"op": "add", "path": "active[value eq \"x\"]", "value": true}), "invalidPath");
        check(json!({"op": "add", "path": "emails[", "value": 7}), "invalidPath");
        check(json!({"op": "add", "path": "emails[x]", "value": 7}), "invalidFilter");
        check(json!({"op": "replace", "path": "emails[type eq \"no\"]", "value": {}}), "noTarget");
        check(json!({"op": "replace", "path": "active", "value": "x"}), "invalidValue");
        check(json!({"op": "add", "value": "x"}), "invalidValue");
        assert!(read(Type::User, &json!({"Operations": []})).is_err());
    }
}
