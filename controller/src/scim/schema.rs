//! What of SCIM's schemas is kept (RFC 7643): enough to know a person and a group, and no more. The
//! same table reads requests, answers and discovery, so that what is announced is what is kept.

use serde_json::{Value, json};

/// Schema of a person.
pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// Schema of a group.
pub const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";
const RESOURCE_TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
const PROVIDER: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";

/// What an attribute holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// True or false.
    Flag,
    /// A reference to one of these resource types.
    Reference(&'static [&'static str]),
    /// Parts with names.
    Complex(&'static [Attribute]),
}

/// Who may change an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutability {
    /// The identity provider, at any time.
    ReadWrite,
    /// The identity provider, when it is made.
    Immutable,
    /// Nobody from outside.
    ReadOnly,
}

/// An attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// As the RFC writes it; requests may write it otherwise.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether there can be several.
    pub multi: bool,
    /// Whether it must be there.
    pub required: bool,
    /// Whether capitals matter.
    pub case_exact: bool,
    /// Whether no two resources have the same.
    pub unique: bool,
    /// Who may change it.
    pub mutability: Mutability,
    /// Words that are usual.
    pub words: &'static [&'static str],
    /// For people.
    pub about: &'static str,
}

const fn text(name: &'static str, about: &'static str) -> Attribute {
    Attribute {
        name,
        kind: Kind::Text,
        multi: false,
        required: false,
        case_exact: false,
        unique: false,
        mutability: Mutability::ReadWrite,
        words: &[],
        about,
    }
}

const fn of(kind: Kind, attribute: Attribute) -> Attribute {
    Attribute { kind, ..attribute }
}

const fn read_only(attribute: Attribute) -> Attribute {
    Attribute { mutability: Mutability::ReadOnly, ..attribute }
}

const fn immutable(attribute: Attribute) -> Attribute {
    Attribute { mutability: Mutability::Immutable, ..attribute }
}

const fn several(attribute: Attribute) -> Attribute {
    Attribute { multi: true, ..attribute }
}

const NAME: &[Attribute] = &[
    text("formatted", "The whole name, as it is shown"),
    text("familyName", "The family name"),
    text("givenName", "The given name"),
];

const EMAIL: &[Attribute] = &[
    text("value", "The address"),
    text("display", "A name for it"),
    Attribute { words: &["work", "home", "other"], ..text("type", "What it is for") },
    of(Kind::Flag, text("primary", "Whether it is the one to write to")),
];

const IN_GROUP: &[Attribute] = &[
    read_only(text("value", "Id of the group")),
    read_only(of(Kind::Reference(&["Group"]), text("$ref", "URI of the group"))),
    read_only(text("display", "Name of the group")),
];

const MEMBER: &[Attribute] = &[
    immutable(Attribute { case_exact: true, ..text("value", "Id of the user") }),
    immutable(of(Kind::Reference(&["User"]), text("$ref", "URI of the user"))),
    immutable(Attribute { words: &["User"], ..text("type", "The kind of member") }),
];

/// What a person has, beside what every resource has.
pub const USER_ATTRIBUTES: &[Attribute] = &[
    Attribute { required: true, unique: true, ..text("userName", "What the person logs in with") },
    of(Kind::Complex(NAME), text("name", "The parts of the name")),
    text("displayName", "The name that is shown"),
    of(Kind::Flag, text("active", "Whether the person may log in")),
    several(of(Kind::Complex(EMAIL), text("emails", "Addresses; the primary one is used"))),
    read_only(several(of(
        Kind::Complex(IN_GROUP),
        text("groups", "The groups that the person is in"),
    ))),
];

/// What a group has, beside what every resource has.
pub const GROUP_ATTRIBUTES: &[Attribute] = &[
    Attribute { required: true, unique: true, ..text("displayName", "The name of the group") },
    several(of(Kind::Complex(MEMBER), text("members", "Who is in it"))),
];

/// What every resource has and a request may set.
pub const COMMON: &[Attribute] =
    &[Attribute { case_exact: true, ..text("externalId", "What the identity provider calls it") }];

/// The kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A person.
    User,
    /// A group.
    Group,
}

impl Type {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::User, Self::Group];

    /// Name of the resource type.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    /// Path below [`super::PREFIX`].
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::User => "/Users",
            Self::Group => "/Groups",
        }
    }

    /// URN of the schema.
    pub fn schema(self) -> &'static str {
        match self {
            Self::User => USER,
            Self::Group => GROUP,
        }
    }

    /// What it has of its own.
    pub fn attributes(self) -> &'static [Attribute] {
        match self {
            Self::User => USER_ATTRIBUTES,
            Self::Group => GROUP_ATTRIBUTES,
        }
    }

    /// The attribute that a request means.
    pub fn attribute(self, name: &str) -> Option<&'static Attribute> {
        find(self.attributes(), name).or_else(|| find(COMMON, name))
    }
}

/// The attribute that a request means: capitals do not matter (RFC 7643, section 2.1).
pub fn find(all: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    all.iter().find(|one| one.name.eq_ignore_ascii_case(name))
}

fn described(attribute: &Attribute) -> Value {
    let mut value = json!({
        "name": attribute.name,
        "multiValued": attribute.multi,
        "description": attribute.about,
        "required": attribute.required,
        "mutability": match attribute.mutability {
            Mutability::ReadWrite => "readWrite",
            Mutability::Immutable => "immutable",
            Mutability::ReadOnly => "readOnly",
        },
        "returned": "default",
        "uniqueness": if attribute.unique { "server" } else { "none" },
        "type": match attribute.kind {
            Kind::Text => "string",
            Kind::Flag => "boolean",
            Kind::Reference(_) => "reference",
            Kind::Complex(_) => "complex",
        },
    });
    match attribute.kind {
        Kind::Complex(parts) => {
            value["subAttributes"] = parts.iter().map(described).collect();
        }
        Kind::Reference(types) => {
            value["referenceTypes"] = json!(types);
            value["caseExact"] = json!(true);
        }
        Kind::Text => value["caseExact"] = json!(attribute.case_exact),
        Kind::Flag => {}
    }
    if !attribute.words.is_empty() {
        value["canonicalValues"] = json!(attribute.words);
    }
    value
}

/// `/Schemas/{id}`.
pub fn schema(kind: Type, base: &str) -> Value {
    json!({
        "schemas": [SCHEMA],
        "id": kind.schema(),
        "name": kind.name(),
        "description": match kind {
            Type::User => "A person who may log in",
            Type::Group => "People who share what they may do",
        },
        "attributes": kind.attributes().iter().map(described).collect::<Vec<_>>(),
        "meta": {
            "resourceType": "Schema",
            "location": format!("{base}/Schemas/{}", kind.schema()),
        },
    })
}

/// `/ResourceTypes/{name}`.
pub fn resource_type(kind: Type, base: &str) -> Value {
    json!({
        "schemas": [RESOURCE_TYPE],
        "id": kind.name(),
        "name": kind.name(),
        "endpoint": kind.endpoint(),
        "schema": kind.schema(),
        "schemaExtensions": [],
        "meta": {
            "resourceType": "ResourceType",
            "location": format!("{base}/ResourceTypes/{}", kind.name()),
        },
    })
}

/// `/ServiceProviderConfig`.
pub fn provider(base: &str) -> Value {
    json!({
        "schemas": [PROVIDER],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": super::MAX_COUNT},
        "changePassword": {"supported": false},
        "sort": {"supported": false},
        "etag": {"supported": true},
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "API token",
            "description": "An API token with the scope scim:provision, as a bearer token",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{base}/ServiceProviderConfig"),
        },
    })
}
