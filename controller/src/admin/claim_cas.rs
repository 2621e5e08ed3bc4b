//! Manufacturers whose certificates let devices in.

use std::collections::{BTreeMap, BTreeSet};

use edgeformer_proto::ids::{ClaimCaId, TokenId};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use super::validate;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::ca::factory;
use crate::error::AppError;
use crate::policy::{Action, Facts};
use crate::scope::TenantScope;
use crate::store::Write;
use crate::store::enrolments::claim_cas::{self, ClaimCa};

/// CAs of one tenant; each is looked at when a device claims.
const MAX_CAS: usize = 32;
/// Patterns of one CA.
const MAX_NAMES: usize = 32;
/// Longest pattern; host names have 253 characters.
const MAX_NAME_CHARS: usize = 253;
/// Serial numbers of one CA that are kept out; beyond it, have the manufacturer use another CA.
const MAX_REVOKED: usize = 10_000;
/// RFC 5280: 20 bytes; as hexadecimal, with a byte for the sign.
const MAX_SERIAL_CHARS: usize = 42;

/// A CA that may be added.
#[derive(Debug, Clone)]
pub struct NewClaimCa {
    name: String,
    cert_der: Vec<u8>,
    labels: BTreeMap<String, String>,
    names: Vec<String>,
}

impl NewClaimCa {
    /// From a request: one certificate in PEM, and what it is good for.
    pub fn parse(
        name: &str,
        pem: &str,
        labels: BTreeMap<String, String>,
        names: Vec<String>,
    ) -> Result<Self, AppError> {
        let wrong = |text: String| AppError::invalid("certificate", text);
        let mut all = CertificateDer::pem_slice_iter(pem.as_bytes());
        let first = all.next().ok_or_else(|| wrong("it holds no certificate in PEM".into()))?;
        let first = first.map_err(|error| wrong(error.to_string()))?;
        if all.next().is_some() {
            return Err(wrong("it holds more than one certificate: add each by itself".into()));
        }
        if names.len() > MAX_NAMES {
            let text = format!("at most {MAX_NAMES} patterns");
            return Err(AppError::invalid("names", text));
        }
        let fits = |name: &String| {
            let stars = name.matches('*').count();
            !name.is_empty() && stars <= 1 && name.chars().count() <= MAX_NAME_CHARS
        };
        if let Some(name) = names.iter().find(|name| !fits(name)) {
            let text = format!("{name:?}: a pattern is a name with at most one `*`");
            return Err(AppError::invalid("names", text));
        }
        Ok(Self {
            name: validate::name("name", name)?,
            cert_der: first.to_vec(),
            labels: validate::labels("labels", labels)?,
            names,
        })
    }
}

/// A serial number as it is kept: hexadecimal in lower case, without separators.
fn serial(text: &str) -> Result<String, AppError> {
    let plain: String =
        text.chars().filter(|c| !matches!(c, ':' | ' ')).collect::<String>().to_lowercase();
    let plain = plain.strip_prefix("0x").unwrap_or(&plain).to_owned();
    let is_hex = plain.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain.is_empty() || !is_hex || plain.len() > MAX_SERIAL_CHARS {
        let text = format!("{text:?} is not a serial number in hexadecimal digits");
        return Err(AppError::invalid("serial", text));
    }
    // As in DER: whole bytes.
    Ok(if plain.len() % 2 == 1 { format!("0{plain}") } else { plain })
}

/// Has the certificates of a manufacturer let devices in.
pub async fn add(app: &App, scope: &TenantScope, new: NewClaimCa) -> Result<ClaimCa, AppError> {
    let now = app.now();
    factory::check_ca(&new.cert_der, now.0)
        .map_err(|error| AppError::invalid("certificate", error.to_string()))?;
    let ca = ClaimCa {
        id: ClaimCaId::new(),
        name: new.name,
        cert_der: new.cert_der,
        labels: new.labels,
        names: new.names,
        revoked: BTreeSet::new(),
        created_at: now,
        uses: 0,
    };
    let resource = Resource::new("claim_ca", ca.id).named(ca.name.clone());
    let intent = Intent::new(Action::ClaimCaCreate, resource)
        .changes(json!(null), json!({"labels": ca.labels, "names": ca.names}));
    let mut write = app.store.write(scope, intent).await?;
    // It is a token for as many devices as there are certificates.
    let id = TokenId::from_bytes(*ca.id.as_bytes());
    write.decide(&Facts::enrolment_token(id, super::enrolment_tokens::MAX_USES, &ca.labels))?;
    let known = claim_cas::list(&mut write).await?;
    if known.len() >= MAX_CAS {
        let detail = format!("a tenant has at most {MAX_CAS} claim CAs: remove one first");
        return Err(AppError::conflict("too_many_claim_cas", detail));
    }
    if let Some(other) = known.iter().find(|one| one.cert_der == ca.cert_der) {
        let detail = format!("this certificate is registered as {} already", other.name);
        return Err(AppError::conflict("claim_ca_known", detail));
    }
    claim_cas::insert(&mut write, &ca).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(ca)
}

/// All of the tenant.
pub async fn list(app: &App, scope: &TenantScope) -> Result<Vec<ClaimCa>, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(claim_cas::list(&mut read).await?)
}

async fn begin(
    app: &App,
    scope: &TenantScope,
    action: Action,
    id: ClaimCaId,
) -> Result<(Write<TenantScope>, ClaimCa), AppError> {
    let mut write =
        app.store.write(scope, Intent::new(action, Resource::new("claim_ca", id))).await?;
    let ca = claim_cas::get(&mut write, id).await?;
    let ca = ca.ok_or_else(|| AppError::not_found("claim_ca", id))?;
    write.resource(Resource::new("claim_ca", id).named(ca.name.clone()));
    Ok((write, ca))
}

/// Lets nobody in by this manufacturer any more; devices that it let in stay.
pub async fn remove(app: &App, scope: &TenantScope, id: ClaimCaId) -> Result<(), AppError> {
    let now = app.now();
    let (mut write, ca) = begin(app, scope, Action::ClaimCaDelete, id).await?;
    claim_cas::remove(&mut write, id).await?;
    write.changes(json!({"labels": ca.labels, "uses": ca.uses}), json!(null));
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

/// Keeps one certificate out from now on; a device that it let in stays.
pub async fn revoke(
    app: &App,
    scope: &TenantScope,
    id: ClaimCaId,
    number: &str,
) -> Result<ClaimCa, AppError> {
    let (now, number) = (app.now(), serial(number)?);
    let (mut write, mut ca) = begin(app, scope, Action::ClaimCaUpdate, id).await?;
    if ca.revoked.len() >= MAX_REVOKED {
        let detail = format!("a CA has at most {MAX_REVOKED} revoked serial numbers");
        return Err(AppError::conflict("too_many_serials", detail));
    }
    ca.revoked.insert(number.clone());
    claim_cas::set_revoked(&mut write, id, &ca.revoked).await?;
    write.changes(json!(null), json!({"revoked_serial": number}));
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(ca)
}

/// Lets one certificate let a device in once more: the device was reset, or its board was repaired.
pub async fn release(
    app: &App,
    scope: &TenantScope,
    id: ClaimCaId,
    number: &str,
) -> Result<ClaimCa, AppError> {
    let (now, number) = (app.now(), serial(number)?);
    let (mut write, _) = begin(app, scope, Action::ClaimCaUpdate, id).await?;
    if claim_cas::release(&mut write, id, &number).await? == 0 {
        return Err(AppError::not_found("serial", number));
    }
    write.changes(json!(null), json!({"released_serial": number}));
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    let mut read = app.store.read(scope).await?;
    let found = claim_cas::get(&mut read, id).await?;
    found.ok_or_else(|| AppError::not_found("claim_ca", id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_read_as_tools_print_them() {
        for text in ["0A:1b", "0a1b", "0x0A1B", "A1B", " 0a 1b "] {
            assert_eq!(serial(text).unwrap(), "0a1b", "{text}");
        }
        for text in ["", "xyz", "0x", &"a".repeat(43)] {
            assert!(serial(text).is_err(), "{text}");
        }
    }
}
