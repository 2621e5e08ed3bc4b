//! JSON as metadata uses it: no fractions, no field twice, bounded in depth and in count; and its
//! canonical form (OLPC), over which signatures and key ids are computed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};

use super::error::FormError;

/// Nesting that is read. The format itself needs six; the rest is for what others add.
const MAX_DEPTH: usize = 24;
/// Values of one file. A target takes about five, so this is some 50,000 targets; it bounds memory
/// to a few dozen MB, whatever is sent.
const MAX_VALUES: usize = 1 << 18;

/// Fields by name; the order is that of the canonical form.
pub type Object = BTreeMap<String, Json>;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
    /// Values in order.
    List(Vec<Json>),
    /// Values by name.
    Object(Object),
}

impl Json {
    /// Reads one value and nothing after it.
    pub fn parse(bytes: &[u8], max_bytes: usize) -> Result<Self, FormError> {
        if bytes.len() > max_bytes {
            return Err(FormError::TooLong(max_bytes));
        }
        let said = |e: serde_json::Error| FormError::Json(e.to_string());
        let left = Cell::new(MAX_VALUES);
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Seed { depth: 0, left: &left }.deserialize(&mut reader).map_err(said)?;
        reader.end().map_err(said)?;
        Ok(value)
    }

    /// The canonical form: fields in the order of their code points, no white space, and nothing
    /// escaped but quotation mark and backslash. Not always JSON.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_canonical(&mut out);
        out
    }

    fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend(b"null"),
            Self::Bool(true) => out.extend(b"true"),
            Self::Bool(false) => out.extend(b"false"),
            Self::Int(number) => out.extend(number.to_string().as_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::List(values) => {
                out.push(b'[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    value.write_canonical(out);
                }
                out.push(b']');
            }
            Self::Object(fields) => {
                out.push(b'{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_text(name, out);
                    out.push(b':');
                    value.write_canonical(out);
                }
                out.push(b'}');
            }
        }
    }

    /// As people and other programs read it: JSON, indented, with a newline at the end.
    pub fn to_file(&self) -> Vec<u8> {
        // Names are texts and numbers are whole: there is nothing that JSON cannot say.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn into_object(self, field: &str) -> Result<Object, FormError> {
        match self {
            Self::Object(fields) => Ok(fields),
            _ => Err(wrong(field, "an object")),
        }
    }

    pub(super) fn into_list(self, field: &str) -> Result<Vec<Self>, FormError> {
        match self {
            Self::List(values) => Ok(values),
            _ => Err(wrong(field, "a list")),
        }
    }

    pub(super) fn into_text(self, field: &str) -> Result<String, FormError> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(wrong(field, "a text")),
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// A field that is missing or of another type.
pub(super) fn wrong(field: &str, expected: &'static str) -> FormError {
    FormError::Field { field: field.to_owned(), expected }
}

/// Takes fields out of an object one by one; what remains is what nobody asked for.
pub(super) trait Take {
    fn value(&mut self, field: &str) -> Result<Json, FormError>;
    fn number(&mut self, field: &str) -> Result<u64, FormError>;
    fn number_if_there(&mut self, field: &str) -> Result<Option<u64>, FormError>;
    fn bool_if_there(&mut self, field: &str) -> Result<Option<bool>, FormError>;

    fn text(&mut self, field: &str) -> Result<String, FormError> {
        self.value(field)?.into_text(field)
    }

    fn object(&mut self, field: &str) -> Result<Object, FormError> {
        self.value(field)?.into_object(field)
    }

    fn list(&mut self, field: &str) -> Result<Vec<Json>, FormError> {
        self.value(field)?.into_list(field)
    }
}

impl Take for Object {
    fn value(&mut self, field: &str) -> Result<Json, FormError> {
        self.remove(field).ok_or_else(|| wrong(field, "there"))
    }

    fn number(&mut self, field: &str) -> Result<u64, FormError> {
        self.number_if_there(field)?.ok_or_else(|| wrong(field, "a whole number"))
    }

    fn number_if_there(&mut self, field: &str) -> Result<Option<u64>, FormError> {
        let not_one = || wrong(field, "a whole number from 0");
        match self.remove(field) {
            None => Ok(None),
            Some(Json::Int(number)) => u64::try_from(number).map(Some).map_err(|_| not_one()),
            Some(_) => Err(not_one()),
        }
    }

    fn bool_if_there(&mut self, field: &str) -> Result<Option<bool>, FormError> {
        match self.remove(field) {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(wrong(field, "true or false")),
        }
    }
}

/// A whole number of the format.
pub(super) fn int(number: u64) -> Json {
    Json::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => values.serialize(serializer),
            Self::Object(fields) => fields.serialize(serializer),
        }
    }
}

/// Reads one value at a depth, while there are values left to read.
#[derive(Clone, Copy)]
struct Seed<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom(format!("more than {MAX_VALUES} values")));
        };
        self.left.set(left);
        if self.depth > MAX_DEPTH {
            return Err(D::Error::custom(format!("nested deeper than {MAX_DEPTH}")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without fractions")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Int(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Json, E> {
        i64::try_from(number).map(Json::Int).map_err(|_| E::custom("a number beyond 63 bits"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element_seed(self.deeper())? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        let mut fields = Object::new();
        while let Some(name) = values.next_key::<String>()? {
            let value = values.next_value_seed(self.deeper())?;
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format!("the field {name:?} is there twice")));
            }
            fields.insert(name, value);
        }
        Ok(Json::Object(fields))
    }
}

impl Seed<'_> {
    fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Json, FormError> {
        Json::parse(text.as_bytes(), 1 << 22)
    }

    #[test]
    fn the_canonical_form_is_that_of_the_specification() {
        let value = parse("{ \"b\" : [1, -2, true, null],\n \"a\" : \"x\\\"\\\\\\né\", \"\": {} }")
            .unwrap();
        let canonical = String::from_utf8(value.canonical()).unwrap();
        assert_eq!(canonical, "{\"\":{},\"a\":\"x\\\"\\\\\né\",\"b\":[1,-2,true,null]}");
        assert_eq!(parse(&String::from_utf8(value.to_file()).unwrap()).unwrap(), value);
    }

    #[test]
    fn what_the_format_does_not_have_is_refused() {
        let (deep, wide) = ("[".repeat(1 << 20), format!("[{}0]", "0,".repeat(MAX_VALUES)));
        for bad in [
            "",
            "{",
            "1.5",
            "1e3",
            "9223372036854775808",
            "-9223372036854775809",
            "NaN",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1}{",
            "\"\\ud800\"",
            "'a'",
            &deep,
            &wide,
        ] {
            assert!(parse(bad).is_err(), "{}", bad.chars().take(40).collect::<String>());
        }
        let fits = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(&fits).is_ok());
        assert_eq!(Json::parse(b"[1]", 2), Err(FormError::TooLong(2)));
    }
}
