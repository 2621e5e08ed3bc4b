//! Metadata with its signatures. What was signed is the canonical form of exactly what was read,
//! with every field that nobody asked for.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use super::super::error::{FormError, Problem};
use super::super::json::{Json, Object, Take};
use super::super::key::{Key, KeyId};
use super::super::public::Public;
use super::super::signer::{SignError, Signer};
use super::{Role, RoleKeys};

/// Signatures that are read: those of a root that replaces all of its keys, and then some.
const MAX_SIGNATURES: usize = 256;
/// Longest signature in hex: RSA with 8192 bits.
const MAX_SIGNATURE_HEX: usize = 2048;

/// One signature. Empty bytes mean that somebody has yet to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    key_id: KeyId,
    bytes: Vec<u8>,
    other: Object,
}

/// Who has signed for a role, and who may still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// Keys of the role with a valid signature.
    pub signed: Vec<KeyId>,
    /// Keys of the role without one.
    pub open: Vec<KeyId>,
    /// Distinct keys among those that signed.
    pub have: usize,
    /// Distinct keys that must sign.
    pub need: u32,
}

impl Signatures {
    /// Whether enough have signed.
    pub fn is_enough(&self) -> bool {
        self.have as u64 >= u64::from(self.need)
    }
}

/// Metadata of one role with its signatures, none of which is believed before it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    /// What is signed.
    role: T,
    /// The same as it was written.
    written: Json,
    canonical: Vec<u8>,
    signatures: Vec<Signature>,
    other: Object,
}

impl<T: Role> Signed<T> {
    /// Unsigned.
    pub fn new(role: T) -> Self {
        let written = role.write();
        let canonical = written.canonical();
        Self { role, written, canonical, signatures: Vec::new(), other: Object::new() }
    }

    /// Reads a file. Nothing in it is verified yet.
    pub fn parse(bytes: &[u8], max_bytes: usize) -> Result<Self, FormError> {
        let mut other = Json::parse(bytes, max_bytes)?.into_object("metadata")?;
        let written = other.value("signed")?;
        let list = other.list("signatures")?;
        if list.len() > MAX_SIGNATURES {
            return Err(FormError::TooMany { field: "signatures", max: MAX_SIGNATURES });
        }
        let (mut seen, mut signatures) = (BTreeSet::new(), Vec::with_capacity(list.len()));
        for json in list {
            let signature = Signature::read(json)?;
            // Section 4.2: several signatures with the same key id are not allowed.
            if !seen.insert(signature.key_id.clone()) {
                let what = signature.key_id.to_string();
                return Err(FormError::Twice { field: "signatures", what });
            }
            signatures.push(signature);
        }
        let canonical = written.canonical();
        let role = T::read(written.clone())?;
        Ok(Self { role, written, canonical, signatures, other })
    }

    /// The file.
    pub fn to_file(&self) -> Vec<u8> {
        let mut fields = self.other.clone();
        let signatures = self.signatures.iter().map(Signature::write).collect();
        fields.insert("signatures".into(), Json::List(signatures));
        fields.insert("signed".into(), self.written.clone());
        Json::Object(fields).to_file()
    }

    /// What it says; whether to believe it is asked with [`Self::verify`].
    pub fn role(&self) -> &T {
        &self.role
    }

    /// What it says.
    pub fn into_role(self) -> T {
        self.role
    }

    /// What is signed: for a key that is elsewhere.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// Signs, in the place of an older signature of the same key.
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<(), SignError> {
        let bytes = signer.sign(&self.canonical)?;
        self.insert(signer.key().id().clone(), bytes);
        Ok(())
    }

    /// Takes a signature made elsewhere. False if it is not `key`'s over this.
    pub fn add_signature(&mut self, key: &Key, signature: &[u8]) -> bool {
        let valid = key.verifies(&self.canonical, signature);
        if valid {
            self.insert(key.id().clone(), signature.to_vec());
        }
        valid
    }

    /// Takes from a copy of the same content the signatures of these keys, and tells whose are new.
    /// None if the content is another.
    pub fn merge(&mut self, copy: &Self, keys: &BTreeMap<KeyId, Key>) -> Option<Vec<KeyId>> {
        if copy.canonical != self.canonical {
            return None;
        }
        let mut new = Vec::new();
        for signature in &copy.signatures {
            let Some(key) = keys.get(&signature.key_id) else { continue };
            let had = self.signature_of(key.id()).map(<[u8]>::to_vec);
            let had = had.is_some_and(|bytes| key.verifies(&self.canonical, &bytes));
            if !had && self.add_signature(key, &signature.bytes) {
                new.push(key.id().clone());
            }
        }
        Some(new)
    }

    /// The signature under a key's id, valid or not.
    pub fn signature_of(&self, id: &KeyId) -> Option<&[u8]> {
        self.signatures.iter().find(|s| &s.key_id == id).map(|s| s.bytes.as_slice())
    }

    fn insert(&mut self, key_id: KeyId, bytes: Vec<u8>) {
        self.signatures.retain(|signature| signature.key_id != key_id);
        self.signatures.push(Signature { key_id, bytes, other: Object::new() });
    }

    /// Who of `by` has signed. Keys are counted, not ids: one key under two ids is one.
    pub fn signatures(&self, keys: &BTreeMap<KeyId, Key>, by: &RoleKeys) -> Signatures {
        let (mut signed, mut open) = (Vec::new(), Vec::new());
        let mut distinct: BTreeSet<&Public> = BTreeSet::new();
        for id in &by.key_ids {
            let key = keys.get(id);
            let valid = key.zip(self.signature_of(id)).and_then(|(key, bytes)| {
                key.verifies(&self.canonical, bytes).then(|| key.public()).flatten()
            });
            match valid {
                Some(public) => {
                    distinct.insert(public);
                    signed.push(id.clone());
                }
                None => open.push(id.clone()),
            }
        }
        Signatures { signed, open, have: distinct.len(), need: by.threshold }
    }

    /// Whether enough of `by` have signed; `delegator` says who names them.
    pub fn verify(
        &self,
        keys: &BTreeMap<KeyId, Key>,
        by: &RoleKeys,
        delegator: &str,
    ) -> Result<(), Problem> {
        let found = self.signatures(keys, by);
        match found.is_enough() {
            true => Ok(()),
            false => {
                let (have, need, by) = (found.have, found.need, delegator.to_owned());
                Err(Problem::Threshold { have, need, by })
            }
        }
    }
}

impl Signature {
    fn read(json: Json) -> Result<Self, FormError> {
        let mut other = json.into_object("signatures")?;
        let key_id = KeyId::read("keyid", &other.text("keyid")?)?;
        let hex = other.text("sig")?;
        if hex.len() > MAX_SIGNATURE_HEX {
            return Err(FormError::TooLong(MAX_SIGNATURE_HEX));
        }
        // What is not hex is no signature, but the others may be enough.
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).unwrap_or_default();
        Ok(Self { key_id, bytes, other })
    }

    fn write(&self) -> Json {
        let mut fields = self.other.clone();
        fields.insert("keyid".into(), Json::text(self.key_id.as_str()));
        fields.insert("sig".into(), Json::Text(HEXLOWER.encode(&self.bytes)));
        Json::Object(fields)
    }
}
