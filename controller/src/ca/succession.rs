//! A root after a root: the new one, and the old one's certificate for it, with which everybody who
//! trusts the old one alone can verify what the new one signs.

use std::time::Duration;

use rcgen::BasicConstraints;

use super::{
    CaError, KeyAndCert, MAX_SUCCESSIONS, ROOT_LIFETIME, ca_params, finish, generate, issuer,
    validity,
};

/// A root that takes the place of another.
#[derive(Debug)]
pub struct NextRoot {
    /// The root, self-signed.
    pub root: KeyAndCert,
    /// The same key, certified by the root before it; valid for as long as that one.
    pub cross_der: Vec<u8>,
}

/// Makes the root after `old`. Its name has a part of its key: two roots never have the same name, so
/// that no verifier takes one for the other.
pub fn create_next_root(
    old: &KeyAndCert,
    trust_domain: &str,
    now_us: i64,
) -> Result<NextRoot, CaError> {
    let key = generate("root key")?;
    let point = rcgen::PublicKeyData::der_bytes(&key);
    let mark = edgeformer_proto::fingerprint::fingerprint(point);
    let mark = mark.split('-').take(2).collect::<String>();
    let name = format!("EdgeFormer Fleet root {trust_domain} {mark}");
    let path = BasicConstraints::Constrained(1 + MAX_SUCCESSIONS);
    let make = |what| move |source| CaError::Make { what, source };
    let cert = ca_params(&name, path, ROOT_LIFETIME, now_us)?;
    let cert = cert.self_signed(&key).map_err(make("root"))?;
    let (_, until_us) = validity(&old.cert_der)?;
    let left = Duration::from_micros(u64::try_from(until_us - now_us).unwrap_or(0));
    let cross = ca_params(&name, path, left.min(ROOT_LIFETIME), now_us)?
        .signed_by(&key, &issuer(&old.cert_der, &old.key_pkcs8, "installation root")?)
        .map_err(make("certificate of the next root"))?;
    Ok(NextRoot { root: finish(&key, cert.der()), cross_der: cross.der().to_vec() })
}
