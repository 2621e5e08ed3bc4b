//! Keys and their ids (section 4.2 of the specification). An id is the SHA-256 of the key's
//! canonical form, and a key with another id is refused: an id that means two keys would let one
//! signature count for both.

use std::fmt;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

use super::error::FormError;
use super::json::{Json, Object, Take, wrong};
use super::public::Public;

/// Longest id that is read; ours and everybody's are 64 characters.
const MAX_KEY_ID: usize = 128;

/// Name of a key: hex SHA-256 of its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The text of an id; whether a key has it shows where the key is.
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= MAX_KEY_ID;
        fits.then(|| Self(text.to_owned()))
    }

    pub(super) fn read(field: &str, text: &str) -> Result<Self, FormError> {
        Self::new(text).ok_or_else(|| wrong(field, "the id of a key"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of it for people to tell keys apart.
    pub fn short(&self) -> String {
        self.0.chars().take(12).collect()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key, with all that its metadata says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    id: KeyId,
    keytype: String,
    scheme: String,
    /// None for kinds that are not known here: it verifies nothing.
    public: Option<Public>,
    /// As it was written, with fields that nobody asked for.
    written: Json,
}

impl Key {
    /// From the object under `id`.
    pub(super) fn read(id: KeyId, written: Json) -> Result<Self, FormError> {
        let mut fields = written.clone().into_object("keys")?;
        let keytype = fields.text("keytype")?;
        let scheme = fields.text("scheme")?;
        let keyval = fields.value("keyval")?;
        let core = core(&keytype, &scheme, &keyval);
        // Some writers add fields to a key and keep its id, others hash them too.
        if id.0 != hash(&core) && id.0 != hash(&written) {
            return Err(FormError::KeyId(id.0));
        }
        let public = keyval.into_object("keyval")?.text("public")?;
        let public = Public::read(&keytype, &scheme, &public);
        Ok(Self { id, keytype, scheme, public, written })
    }

    /// Of a key that signs here. None for RSA, which is only verified.
    pub(super) fn of(public: Public) -> Option<Self> {
        let (keytype, scheme, value) = public.write()?;
        let keyval = Json::Object(Object::from([("public".to_owned(), Json::Text(value))]));
        let written = core(keytype, scheme, &keyval);
        Some(Self {
            id: KeyId(hash(&written)),
            keytype: keytype.to_owned(),
            scheme: scheme.to_owned(),
            public: Some(public),
            written,
        })
    }

    /// Reads a key that stands alone, as key holders exchange it: the object that metadata carries.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        let written = Json::parse(bytes, 16 << 10)?;
        let mut fields = written.clone().into_object("key")?;
        let core =
            core(&fields.text("keytype")?, &fields.text("scheme")?, &fields.value("keyval")?);
        Self::read(KeyId(hash(&core)), written)
    }

    /// Its id.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// What kind it says it is, e.g. `ed25519`.
    pub fn keytype(&self) -> &str {
        &self.keytype
    }

    /// How it signs, e.g. `ecdsa-sha2-nistp256`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether signatures of its kind can be verified here.
    pub fn is_known(&self) -> bool {
        self.public.is_some()
    }

    /// The object that metadata carries.
    pub fn to_json(&self) -> &Json {
        &self.written
    }

    /// What makes it distinct from other keys, whatever their ids.
    pub(super) fn public(&self) -> Option<&Public> {
        self.public.as_ref()
    }

    /// Whether `signature` is its signature of `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.as_ref().is_some_and(|public| public.verifies(message, signature))
    }
}

fn core(keytype: &str, scheme: &str, keyval: &Json) -> Json {
    Json::Object(Object::from([
        ("keytype".to_owned(), Json::text(keytype)),
        ("scheme".to_owned(), Json::text(scheme)),
        ("keyval".to_owned(), keyval.clone()),
    ]))
}

fn hash(value: &Json) -> String {
    HEXLOWER.encode(digest(&SHA256, &value.canonical()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of the specification's example, with the id that it has there.
    const KEY: &str = "{\"keytype\":\"ed25519\",\"scheme\":\"ed25519\",\"keyval\":{\"public\":\
        \"72378e5bc588793e58f81c8533da64a2e8f1565c1fcc7f253496394ffc52542c\"}}";
    const ID: &str = "1bf1c6e3cdd3d3a8420b19199e27511999850f4b376c4547b2f32fba7e80fca3";

    #[test]
    fn ids_are_those_of_the_specification() {
        let key = Key::from_bytes(KEY.as_bytes()).unwrap();
        assert_eq!(key.id().as_str(), ID);
        assert!(key.is_known());
        let other = KEY.replace("72378e", "72378f");
        let other = Json::parse(other.as_bytes(), 1 << 10).unwrap();
        let id = KeyId::new(ID).unwrap();
        assert_eq!(Key::read(id, other), Err(FormError::KeyId(ID.to_owned())));
    }

    #[test]
    fn fields_beside_the_key_are_kept_and_change_no_id() {
        let text = KEY.replacen('{', "{\"x-owner\":\"@a\",", 1);
        let key = Key::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(key.id().as_str(), ID);
        assert!(String::from_utf8(key.to_json().canonical()).unwrap().contains("x-owner"));
    }

    #[test]
    fn a_key_of_an_unknown_kind_verifies_nothing() {
        let text = KEY.replace("\"scheme\":\"ed25519\"", "\"scheme\":\"ed448\"");
        let key = Key::from_bytes(text.as_bytes()).unwrap();
        assert!(!key.is_known() && !key.verifies(b"", b""));
    }
}
