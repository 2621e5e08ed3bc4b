//! The sinks that a log has. What they get is sent by `audit::sinks`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::ids::SinkId;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::validate;
use crate::app::App;
use crate::audit::export::Format;
use crate::audit::{Intent, Resource, sinks};
use crate::error::AppError;
use crate::outbound::parse_url;
use crate::policy::Action;
use crate::scope::Scope;
use crate::store::audit_log;
use crate::store::audit_sinks::{self, Sink, Target};
use crate::vault::SecretKind;

/// Most sinks of a log: each reads all of it.
pub const MAX_SINKS: usize = 4;
/// Port of syslog over TLS (RFC 5425 section 4.1).
pub const SYSLOG_TLS_PORT: u16 = 6514;
/// Longest certificate chain or list of authorities, in bytes of PEM.
const MAX_PEM_BYTES: usize = 128 << 10;
/// Longest name of a host (RFC 1035).
const MAX_HOST_BYTES: usize = 253;

/// Where records are to go, as asked for.
#[derive(Debug)]
pub enum NewTarget {
    /// Syslog over TLS.
    Syslog {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// PEM of the authorities to trust.
        ca_pem: String,
        /// PEM of a certificate to show, and of its key.
        client: Option<(String, String)>,
    },
    /// Posted to a URL.
    Webhook {
        /// The URL.
        url: String,
        /// Whether batches are signed.
        signed: bool,
    },
}

/// A sink to make.
#[derive(Debug)]
pub struct NewSink {
    /// For people.
    pub name: String,
    /// Where.
    pub target: NewTarget,
    /// As what.
    pub format: String,
    /// First record; the next one unless given.
    pub from: Option<u64>,
}

/// What to change.
#[derive(Debug, Default)]
pub struct SinkEdit {
    /// Whether it is delivered to.
    pub enabled: Option<bool>,
    /// As what.
    pub format: Option<String>,
    /// `host:port` or URL.
    pub address: Option<String>,
    /// Of syslog: PEM of the authorities to trust.
    pub ca_pem: Option<String>,
}

/// A sink with the size of its log: the difference is its lag.
#[derive(Debug)]
pub struct Shown {
    /// The sink.
    pub sink: Sink,
    /// Records of the log.
    pub log_size: u64,
}

/// `host:port`, or the URL.
pub fn address(target: &Target) -> String {
    match target {
        Target::Syslog { host, port, .. } => format!("{host}:{port}"),
        Target::Webhook { url, .. } => url.clone(),
    }
}

fn described(sink: &Sink) -> Value {
    json!({
        "address": address(&sink.target),
        "format": sink.format.as_str(),
        "enabled": sink.enabled,
        "from": sink.next_sequence,
    })
}

fn resource(sink: &Sink) -> Resource {
    Resource::new("audit_sink", sink.id).named(&sink.name)
}

fn format(name: &str, target: &Target) -> Result<Format, AppError> {
    let format = Format::parse(name);
    let fits = |format: &Format| match target {
        Target::Syslog { .. } => true,
        Target::Webhook { .. } => matches!(format, Format::JsonLines | Format::Ocsf),
    };
    format.filter(fits).ok_or_else(|| {
        let message = match target {
            Target::Syslog { .. } => "it must be \"rfc5424\", \"jsonl\", \"ocsf\" or \"cef\"",
            Target::Webhook { .. } => "a webhook takes \"jsonl\" or \"ocsf\"",
        };
        AppError::invalid("format", message)
    })
}

fn pem(field: &str, text: &str) -> Result<(), AppError> {
    match text.len() {
        0..=MAX_PEM_BYTES => Ok(()),
        bytes => {
            let message = format!("it has {bytes} bytes: {MAX_PEM_BYTES} are the most");
            Err(AppError::invalid(field, message))
        }
    }
}

/// What is stored of a target, and its private key in clear.
fn prepare(new: NewTarget) -> Result<(Target, Option<Vec<u8>>), AppError> {
    match new {
        NewTarget::Syslog { host, port, ca_pem, client } => {
            if host.is_empty() || host.len() > MAX_HOST_BYTES || port == 0 {
                return Err(AppError::invalid("syslog", "it needs a host and a port"));
            }
            pem("syslog.ca_pem", &ca_pem)?;
            if let Some((cert, key)) = &client {
                pem("syslog.client_cert_pem", cert)?;
                pem("syslog.client_key_pem", key)?;
            }
            let pair = client.as_ref().map(|(cert, key)| (cert.as_str(), key.as_bytes()));
            sinks::check_syslog(&host, &ca_pem, pair)?;
            let (client_cert_pem, key) = client.unzip();
            let key = key.map(String::into_bytes);
            Ok((Target::Syslog { host, port, ca_pem, client_cert_pem }, key))
        }
        NewTarget::Webhook { url, signed } => {
            let url = parse_url(&url)
                .map_err(|error| AppError::invalid("webhook.url", error.to_string()))?;
            let url = url.as_str().to_owned();
            if !signed {
                return Ok((Target::Webhook { url, public_key: None }, None));
            }
            let failed = || AppError::Internal("no signing key can be made".to_owned());
            let pkcs8 =
                Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| failed())?;
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|_| failed())?;
            let public_key = Some(BASE64.encode(pair.public_key()));
            Ok((Target::Webhook { url, public_key }, Some(pkcs8.as_ref().to_vec())))
        }
    }
}

/// Makes a sink.
pub async fn create<S: Scope>(app: &App, scope: &S, new: NewSink) -> Result<Shown, AppError> {
    let now = app.now();
    let name = validate::name("name", &new.name)?;
    let (target, key) = prepare(new.target)?;
    let format = format(&new.format, &target)?;
    let id = SinkId::new();
    let wrapped_key = match key {
        None => Vec::new(),
        Some(key) => app
            .vault
            .wrap(SecretKind::SinkKey, &id.to_string(), &key)
            .map_err(|error| AppError::Internal(error.to_string()))?,
    };
    let intent = Intent::new(Action::AuditSinkCreate, Resource::new("audit_sink", id));
    let mut write = app.store.write(scope, intent).await?;
    let others = audit_sinks::list(&mut write).await?;
    if others.len() >= MAX_SINKS {
        let what = format!("the log has {MAX_SINKS} sinks: remove one first");
        return Err(AppError::conflict("too_many_sinks", what));
    }
    if others.iter().any(|other| other.name == name) {
        return Err(AppError::conflict("name_taken", format!("a sink named {name:?} is there")));
    }
    let log_size = audit_log::head(&mut write).await?.size();
    let next_sequence = match new.from {
        Some(from) if from > log_size => {
            let message = format!("the log has {log_size} records");
            return Err(AppError::invalid("from", message));
        }
        from => from.unwrap_or(log_size),
    };
    let sink = Sink {
        id,
        name,
        target,
        format,
        enabled: true,
        wrapped_key,
        next_sequence,
        delivered_at: None,
        last_error: String::new(),
        failures: 0,
        next_try_at: now,
        created_at: now,
    };
    write.resource(resource(&sink));
    write.changes(json!(null), described(&sink));
    audit_sinks::insert(&mut write, &sink).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    app.nudges.sinks.notify_one();
    Ok(Shown { sink, log_size })
}

/// The sinks of the log.
pub async fn list<S: Scope>(app: &App, scope: &S) -> Result<Vec<Shown>, AppError> {
    let mut read = app.store.read(scope).await?;
    let log_size = audit_log::head(&mut read).await?.size();
    let sinks = audit_sinks::list(&mut read).await?;
    Ok(sinks.into_iter().map(|sink| Shown { sink, log_size }).collect())
}

/// One of them.
pub async fn get<S: Scope>(app: &App, scope: &S, id: SinkId) -> Result<Shown, AppError> {
    let mut read = app.store.read(scope).await?;
    let log_size = audit_log::head(&mut read).await?.size();
    let found = audit_sinks::get(&mut read, id).await?;
    let sink = found.ok_or_else(|| AppError::not_found("audit sink", id))?;
    Ok(Shown { sink, log_size })
}

/// The target with another address or other authorities.
fn moved(target: Target, edit: &SinkEdit) -> Result<Target, AppError> {
    let wrong = || AppError::invalid("address", "it must be host:port");
    Ok(match target {
        Target::Syslog { host, port, ca_pem, client_cert_pem } => {
            let (host, port) = match edit.address.as_deref().map(|text| text.rsplit_once(':')) {
                None => (host, port),
                Some(Some((host, port))) if !host.is_empty() && host.len() <= MAX_HOST_BYTES => {
                    (host.to_owned(), port.parse().ok().filter(|p| *p != 0).ok_or_else(wrong)?)
                }
                Some(_) => return Err(wrong()),
            };
            let ca_pem = edit.ca_pem.clone().unwrap_or(ca_pem);
            pem("ca_pem", &ca_pem)?;
            sinks::check_syslog(&host, &ca_pem, None)?;
            Target::Syslog { host, port, ca_pem, client_cert_pem }
        }
        Target::Webhook { .. } if edit.ca_pem.is_some() => {
            let message = "a webhook trusts the authorities of the installation";
            return Err(AppError::invalid("ca_pem", message));
        }
        Target::Webhook { url, public_key } => {
            let url = match &edit.address {
                None => url,
                Some(text) => parse_url(text)
                    .map_err(|error| AppError::invalid("address", error.to_string()))?
                    .into(),
            };
            Target::Webhook { url, public_key }
        }
    })
}

/// Changes a sink. Its position stays.
pub async fn update<S: Scope>(
    app: &App,
    scope: &S,
    id: SinkId,
    edit: SinkEdit,
) -> Result<Shown, AppError> {
    let now = app.now();
    let intent = Intent::new(Action::AuditSinkUpdate, Resource::new("audit_sink", id));
    let mut write = app.store.write(scope, intent).await?;
    let found = audit_sinks::get(&mut write, id).await?;
    let before = found.ok_or_else(|| AppError::not_found("audit sink", id))?;
    let target = moved(before.target.clone(), &edit)?;
    let name = edit.format.as_deref().unwrap_or(before.format.as_str());
    let sink = Sink {
        format: format(name, &target)?,
        target,
        enabled: edit.enabled.unwrap_or(before.enabled),
        failures: 0,
        next_try_at: now,
        ..before.clone()
    };
    write.resource(resource(&sink));
    write.changes(described(&before), described(&sink));
    audit_sinks::update(&mut write, &sink).await?;
    let log_size = audit_log::head(&mut write).await?.size();
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    app.nudges.sinks.notify_one();
    Ok(Shown { sink, log_size })
}

/// Removes a sink with its key and its position.
pub async fn delete<S: Scope>(app: &App, scope: &S, id: SinkId) -> Result<(), AppError> {
    let now = app.now();
    let intent = Intent::new(Action::AuditSinkDelete, Resource::new("audit_sink", id));
    let mut write = app.store.write(scope, intent).await?;
    let found = audit_sinks::get(&mut write, id).await?;
    let sink = found.ok_or_else(|| AppError::not_found("audit sink", id))?;
    write.resource(resource(&sink));
    write.changes(described(&sink), json!(null));
    audit_sinks::delete(&mut write, id).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}
