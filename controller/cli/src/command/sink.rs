//! Where the tenant's log is streamed to.

use std::path::Path;

use super::{Context, consent};
use crate::args::reports::ExportFormat;
use crate::args::sink::{Add, Sink};
use crate::client::List;
use crate::client::endpoints::{ADD_SINK, CHANGE_SINK, GET_SINK, LIST_SINKS, REMOVE_SINK};
use crate::client::types::{AuditSinkCreate, AuditSinkEdit, SyslogTarget, WebhookTarget};
use crate::failure::Failure;
use crate::view;

/// Longest file read: what the controller takes.
const MAX_FILE_BYTES: u64 = 128 << 10;

/// Carries out a command.
///
/// # Errors
/// The failure to be shown.
pub async fn run(context: &Context, command: Sink) -> Result<(), Failure> {
    let Context { client, screen } = context;
    match command {
        Sink::Add(args) => {
            let made = client.call(&ADD_SINK).body(&request(args)?).send().await?;
            screen.one(&made, view::sink::one);
        }
        Sink::List => {
            let all = List::whole(client.call(&LIST_SINKS).send().await?)?;
            screen.list(&all, |all| view::sink::list(all, context.style()));
        }
        Sink::Change { id, address, format, receiver_ca } => {
            let ca_pem = receiver_ca.as_deref().map(read).transpose()?;
            let format = format.map(|format| format.as_str().to_owned());
            let edit = AuditSinkEdit { enabled: None, format, address, ca_pem };
            change(context, &id, &edit).await?;
        }
        Sink::Stop { id } => change(context, &id, &switched(false)).await?,
        Sink::Start { id } => change(context, &id, &switched(true)).await?,
        Sink::Remove { id, consent } => {
            let found = client.call(&GET_SINK).path(&id).send().await?.value;
            consent::ask(screen, consent, &view::sink::removal(&found)).await?;
            client.call(&REMOVE_SINK).path(&id).send().await?;
            screen.say(&format!("Removed {}.", found.name));
        }
    }
    Ok(())
}

fn switched(enabled: bool) -> AuditSinkEdit {
    AuditSinkEdit { enabled: Some(enabled), ..AuditSinkEdit::default() }
}

async fn change(context: &Context, id: &str, edit: &AuditSinkEdit) -> Result<(), Failure> {
    let done = context.client.call(&CHANGE_SINK).path(id).body(edit).send().await?;
    context.screen.one(&done, view::sink::one);
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    let cannot = |error| Failure::usage(format!("{} cannot be read: {error}", path.display()));
    let bytes = std::fs::metadata(path).map_err(cannot)?.len();
    if bytes > MAX_FILE_BYTES {
        let what = format!("{} has {bytes} bytes: 128 KiB are the most", path.display());
        return Err(Failure::usage(what));
    }
    std::fs::read_to_string(path).map_err(cannot)
}

/// `host`, `host:port` or `[address]:port`.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), Failure> {
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let address = text.parse::<std::net::IpAddr>().is_ok() || text.ends_with(']');
    match text.rsplit_once(':').filter(|_| !address) {
        None => Ok((bare(text), None)),
        Some((host, port)) => match port.parse() {
            Ok(port) => Ok((bare(host), Some(port))),
            Err(_) => Err(Failure::usage(format!("{text:?} is not a host and a port"))),
        },
    }
}

fn request(args: Add) -> Result<AuditSinkCreate, Failure> {
    let file = |path: Option<std::path::PathBuf>| path.as_deref().map(read).transpose();
    let syslog = match args.syslog {
        None => None,
        Some(text) => {
            let (host, port) = host_and_port(&text)?;
            Some(SyslogTarget {
                host,
                port,
                ca_pem: file(args.receiver_ca)?.unwrap_or_default(),
                client_cert_pem: file(args.client_cert)?,
                client_key_pem: file(args.client_key)?,
            })
        }
    };
    let usual = if syslog.is_some() { ExportFormat::Rfc5424 } else { ExportFormat::Jsonl };
    let webhook = args.webhook.map(|url| WebhookTarget { url, signed: Some(!args.unsigned) });
    let format = args.format.unwrap_or(usual).as_str().to_owned();
    Ok(AuditSinkCreate { name: args.name, format, syslog, webhook, from: args.from })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_a_host_with_or_without_a_port() {
        let check = |text: &str, host: &str, port: Option<u16>| {
            assert_eq!(host_and_port(text).unwrap(), (host.to_owned(), port), "{text}");
        };
        check("siem.example", "siem.example", None);
        check("siem.example:601", "siem.example", Some(601));
        check("192.0.2.7:6514", "192.0.2.7", Some(6514));
        check("2001:db8::1", "2001:db8::1", None);
        check("[2001:db8::1]", "2001:db8::1", None);
        check("[2001:db8::1]:7", "2001:db8::1", Some(7));
        assert!(host_and_port("siem.example:x").is_err());
        assert!(host_and_port("siem.example:70000").is_err());
    }
}
