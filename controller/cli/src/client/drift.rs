//! The proof that client and API agree: every endpoint, query parameter and field of this client is
//! looked up in the OpenAPI document that the controller generates.

use edgeformer_proto::bundle::MEDIA_TYPE;
use edgeformer_proto::model_signature::BUNDLE_TYPE;
use serde_json::{Value, json};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Components, RefOr};

use super::endpoints::{FileBody, Nothing, TextStream, table};
use super::types::{Page, Whole};

/// Media types of what is read as it is: lines, files of signed JSON, bundles.
const TEXTS: [&str; 6] = [
    "application/jsonl",
    "application/json",
    "application/vnd.cyclonedx+json",
    "text/plain",
    BUNDLE_TYPE,
    MEDIA_TYPE,
];

/// One line of the endpoint table.
pub struct Row {
    pub method: &'static str,
    pub path: &'static str,
    pub query: &'static [&'static str],
    pub request: Described,
    pub response: Described,
}

/// What a body is.
pub enum Described {
    Nothing,
    File,
    Text,
    /// A schema and a document to resolve its references in.
    Json(Value, Value),
}

/// Bodies that can be described.
pub trait Body {
    fn described() -> Described;
}

impl Body for Nothing {
    fn described() -> Described {
        Described::Nothing
    }
}

impl Body for FileBody {
    fn described() -> Described {
        Described::File
    }
}

impl Body for TextStream {
    fn described() -> Described {
        Described::Text
    }
}

impl<T: utoipa::ToSchema> Body for T {
    fn described() -> Described {
        let mut named: Vec<(String, RefOr<Schema>)> = Vec::new();
        T::schemas(&mut named);
        let mut components = Components::new();
        components.schemas.extend(named);
        let document = json!({ "components": components });
        Described::Json(serde_json::to_value(T::schema()).unwrap(), document)
    }
}

impl<T: utoipa::ToSchema> Body for Page<T> {
    fn described() -> Described {
        let cursor = json!({ "type": ["string", "null"] });
        list::<T>(json!({ "next_cursor": cursor }))
    }
}

impl<T: utoipa::ToSchema> Body for Whole<T> {
    fn described() -> Described {
        list::<T>(json!({}))
    }
}

/// An object with `items` of one type and further properties.
fn list<T: utoipa::ToSchema>(mut properties: Value) -> Described {
    let Described::Json(item, document) = T::described() else { unreachable!("T has a schema") };
    properties["items"] = json!({ "type": "array", "items": item });
    let schema = json!({ "type": "object", "required": ["items"], "properties": properties });
    Described::Json(schema, document)
}

/// Which way the data flows decides what may differ.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    /// The client sends it: it must have everything that the server requires.
    Request,
    /// The client reads it: it may rely only on what the server promises.
    Response,
}

/// A schema with the document that its references point into.
#[derive(Clone, Copy)]
struct At<'d> {
    schema: &'d Value,
    document: &'d Value,
}

impl<'d> At<'d> {
    /// Follows references and single-member combinations; tells whether null is allowed on the way.
    fn resolved(self) -> (Self, bool) {
        let (mut at, mut nullable) = (self, false);
        for _ in 0..16 {
            if let Some(reference) = at.schema["$ref"].as_str() {
                let pointer = reference.trim_start_matches('#');
                let schema = self.document.pointer(pointer);
                at.schema = schema.unwrap_or_else(|| panic!("{reference} leads nowhere"));
                continue;
            }
            let branches =
                ["oneOf", "anyOf", "allOf"].iter().find_map(|k| at.schema[*k].as_array());
            let is_null = |schema: &&Value| schema["type"] == "null";
            let Some(branches) = branches else { break };
            nullable |= branches.iter().any(|b| is_null(&b));
            let rest: Vec<&Value> = branches.iter().filter(|b| !is_null(b)).collect();
            let [only] = rest.as_slice() else { break };
            at.schema = only;
        }
        (at, nullable || at.types().contains(&"null"))
    }

    fn types(self) -> Vec<&'d str> {
        match &self.schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// An object or value that the document leaves open.
    fn is_free(self) -> bool {
        let open = |name: &&str| self.schema[*name].is_null();
        let described = ["properties", "additionalProperties", "items", "oneOf", "anyOf", "allOf"];
        matches!(self.types().as_slice(), [] | ["object"]) && described.iter().all(open)
    }

    fn required(self, field: &str) -> bool {
        self.schema["required"].as_array().is_some_and(|r| r.iter().any(|f| f == field))
    }

    /// Properties by name; those of all variants of an untagged enum together.
    fn properties(self) -> Vec<(String, Self, bool)> {
        let mut found = Vec::new();
        if let Some(map) = self.schema["properties"].as_object() {
            for (name, schema) in map {
                found.push((name.clone(), Self { schema, ..self }, self.required(name)));
            }
        }
        for variants in ["oneOf", "anyOf"].iter().filter_map(|k| self.schema[*k].as_array()) {
            for schema in variants {
                let (variant, _) = Self { schema, ..self }.resolved();
                // What only one variant has is optional on the whole.
                let of_variant = variant.properties().into_iter();
                found.extend(of_variant.map(|(name, at, _)| (name, at, false)));
            }
        }
        found
    }
}

/// Collects every difference that would break client or server.
fn compare<'a>(mine: At<'a>, theirs: At<'a>, flow: Flow, place: &str, faults: &mut Vec<String>) {
    let (mine, my_null) = mine.resolved();
    let (theirs, their_null) = theirs.resolved();
    // The other way round is fine: absent optional fields of requests are left out, never null.
    if flow == Flow::Response && their_null && !my_null {
        faults.push(format!("{place}: may be null, the client does not expect it"));
    }
    if theirs.is_free() {
        // The document does not say what is inside, so the client may not rely on anything.
        let needed = mine.properties().into_iter().filter(|(_, _, required)| *required);
        let needed = needed.filter(|_| flow == Flow::Response);
        faults.extend(needed.map(|(name, _, _)| {
            format!("{place}.{name}: the client needs it, the API does not describe it")
        }));
        return;
    }
    let bare = |at: At| -> Vec<String> {
        at.types().into_iter().filter(|t| *t != "null").map(str::to_owned).collect()
    };
    let (my_types, their_types) = (bare(mine), bare(theirs));
    let object = |at: At| !at.properties().is_empty();
    if my_types != their_types && !(object(mine) && object(theirs)) {
        faults.push(format!("{place}: the client has {my_types:?}, the API {their_types:?}"));
        return;
    }
    let (my_words, their_words) = (&mine.schema["enum"], &theirs.schema["enum"]);
    if let (Some(known), Some(given)) = (my_words.as_array(), their_words.as_array()) {
        for word in given.iter().filter(|word| !known.contains(word)) {
            faults.push(format!("{place}: the client does not know the word {word}"));
        }
    }
    for part in ["items", "additionalProperties"] {
        if mine.schema[part].is_object() && theirs.schema[part].is_object() {
            let inner = |of: At<'a>| At { schema: &of.schema[part], ..of };
            compare(inner(mine), inner(theirs), flow, &format!("{place}[]"), faults);
        }
    }
    fields(mine, theirs, flow, place, faults);
}

fn fields<'a>(mine: At<'a>, theirs: At<'a>, flow: Flow, place: &str, faults: &mut Vec<String>) {
    let (my_fields, their_fields) = (mine.properties(), theirs.properties());
    for (name, my_field, my_required) in &my_fields {
        let place = format!("{place}.{name}");
        let Some((_, their_field, their_required)) = their_fields.iter().find(|f| f.0 == *name)
        else {
            faults.push(format!("{place}: the API has no such field"));
            continue;
        };
        if flow == Flow::Response && *my_required && !their_required {
            faults.push(format!("{place}: the client needs it, the API may leave it out"));
        }
        if flow == Flow::Request && !my_required && *their_required {
            faults.push(format!("{place}: the API requires it, the client may leave it out"));
        }
        compare(*my_field, *their_field, flow, &place, faults);
    }
    if flow == Flow::Request {
        for (name, _, required) in &their_fields {
            if *required && !my_fields.iter().any(|f| f.0 == *name) {
                faults.push(format!("{place}.{name}: the API requires it, the client lacks it"));
            }
        }
    }
}

/// All faults of the client's table against a document.
fn faults(document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for row in table() {
        let place = format!("{} {}", row.method, row.path);
        let path = format!("/api/v1{}", row.path);
        let operation = &document["paths"][&path][row.method.to_lowercase()];
        if operation.is_null() {
            faults.push(format!("{place}: the API has no such operation"));
            continue;
        }
        for name in row.query {
            let known = operation["parameters"].as_array().is_some_and(|parameters| {
                parameters.iter().any(|p| p["name"] == *name && p["in"] == "query")
            });
            if !known {
                faults.push(format!("{place}: the API has no query parameter {name}"));
            }
        }
        let content = &operation["requestBody"]["content"];
        body(&row.request, content, document, Flow::Request, &place, &mut faults);
        let success = operation["responses"].as_object().into_iter().flatten();
        let mut success = success.filter(|(status, _)| status.starts_with('2')).peekable();
        if success.peek().is_none() {
            faults.push(format!("{place}: the API documents no success"));
        }
        for (status, answer) in success {
            let place = format!("{place} {status}");
            body(&row.response, &answer["content"], document, Flow::Response, &place, &mut faults);
        }
    }
    faults
}

fn body(
    mine: &Described,
    content: &Value,
    document: &Value,
    flow: Flow,
    place: &str,
    faults: &mut Vec<String>,
) {
    match mine {
        // Whatever comes back is not looked at.
        Described::Nothing if flow == Flow::Response => {}
        Described::Nothing if content.is_null() => {}
        Described::Nothing => faults.push(format!("{place}: the API wants a body")),
        Described::File if content["application/octet-stream"].is_null() => {
            faults.push(format!("{place}: the API does not take a file"));
        }
        Described::File => {}
        Described::Text if TEXTS.iter().all(|kind| content[*kind].is_null()) => {
            faults.push(format!("{place}: the API does not answer with lines"));
        }
        Described::Text => {}
        Described::Json(schema, mine_document) => {
            let theirs = &content["application/json"]["schema"];
            if theirs.is_null() {
                faults.push(format!("{place}: the API documents no JSON body"));
                return;
            }
            let mine = At { schema, document: mine_document };
            compare(mine, At { schema: theirs, document }, flow, place, faults);
        }
    }
}

/// A document made of the client's own table: without faults by construction.
fn own_document() -> Value {
    let mut document = json!({ "paths": {}, "components": { "schemas": {} } });
    for row in table() {
        let mut describe = |body: &Described| match body {
            Described::Nothing => Value::Null,
            Described::File => json!({ "application/octet-stream": {} }),
            Described::Text => json!({ "application/jsonl": {} }),
            Described::Json(schema, own) => {
                let named = own["components"]["schemas"].as_object().cloned().unwrap_or_default();
                let all = document["components"]["schemas"].as_object_mut().unwrap();
                all.extend(named);
                json!({ "application/json": { "schema": schema } })
            }
        };
        let (request, response) = (describe(&row.request), describe(&row.response));
        let query = row.query.iter().map(|q| json!({ "name": q, "in": "query" }));
        let operation = json!({
            "parameters": query.collect::<Vec<_>>(),
            "requestBody": { "content": request },
            "responses": { "200": { "content": response } },
        });
        document["paths"][format!("/api/v1{}", row.path)][row.method.to_lowercase()] = operation;
    }
    document
}

/// The document that the controller's own tests keep equal to its code.
#[test]
fn client_and_api_agree() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.json");
    let text = std::fs::read_to_string(path).expect("the controller's OpenAPI document is there");
    let document: Value = serde_json::from_str(&text).expect("the OpenAPI document is JSON");
    let faults = faults(&document);
    assert!(faults.is_empty(), "client and API have drifted apart:\n{}", faults.join("\n"));
}

#[test]
fn the_comparison_finds_what_is_broken() {
    assert_eq!(faults(&own_document()), Vec::<String>::new());
    let check = |expected: &str, damage: &dyn Fn(&mut Value)| {
        let mut document = own_document();
        damage(&mut document);
        let found = faults(&document);
        assert!(found.iter().any(|f| f.contains(expected)), "{expected}: {found:?}");
    };
    fn at<'d>(document: &'d mut Value, pointer: &str) -> &'d mut Value {
        document.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}"))
    }
    const WHOAMI: &str =
        "/paths/~1api~1v1~1whoami/get/responses/200/content/application~1json/schema";
    const TOKEN: &str =
        "/paths/~1api~1v1~1tokens/post/requestBody/content/application~1json/schema";
    check("no such operation", &|d| *at(d, "/paths/~1api~1v1~1whoami/get") = Value::Null);
    check("no query parameter state", &|d| {
        *at(d, "/paths/~1api~1v1~1rollouts/get/parameters") = Value::Null;
    });
    check(".role: the client has", &|d| {
        *at(d, &format!("{WHOAMI}/properties/role/type")) = "integer".into();
    });
    check(".role: the API has no such field", &|d| {
        at(d, &format!("{WHOAMI}/properties")).as_object_mut().unwrap().remove("role");
    });
    check(".role: the client needs it, the API may leave it out", &|d| {
        *at(d, &format!("{WHOAMI}/required")) = json!([]);
    });
    check(".role: may be null", &|d| {
        *at(d, &format!("{WHOAMI}/properties/role/type")) = json!(["string", "null"]);
    });
    check(".colour: the API requires it, the client lacks it", &|d| {
        at(d, &format!("{TOKEN}/properties"))["colour"] = json!({ "type": "string" });
        at(d, &format!("{TOKEN}/required")).as_array_mut().unwrap().push("colour".into());
    });
    check(".expires_in_s: the API requires it, the client may leave it out", &|d| {
        at(d, &format!("{TOKEN}/required")).as_array_mut().unwrap().push("expires_in_s".into());
    });
}
