//! `key`: keys of local applications. The running agent reads the file anew for each request, so a
//! change counts at once.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::{KeyArgs, KeyCommand};
use crate::local_keys::LocalKeys;

/// Manages the keys of local applications.
pub fn key(command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Create(args) => create(&args),
        KeyCommand::List(args) => list(&args),
        KeyCommand::Revoke(args) => revoke(&args),
    }
}

fn create(args: &KeyArgs) -> anyhow::Result<()> {
    let mut keys = LocalKeys::load(&args.state_dir)?;
    let first = !keys.required();
    let name = args.name.as_deref().unwrap_or("default");
    let key = keys.create(name, SystemTime::now())?;
    keys.save(&args.state_dir)?;
    writeln!(std::io::stdout(), "{}", key.reveal())?;
    eprintln!("key {name:?} made: it is shown this once; applications send it as their API key");
    if first {
        eprintln!("from now on every request to the local API needs a key");
    }
    Ok(())
}

fn list(args: &KeyArgs) -> anyhow::Result<()> {
    let keys = LocalKeys::load(&args.state_dir)?;
    if keys.list().is_empty() {
        eprintln!(
            "no keys: {}",
            match keys.required() {
                true => "the local API refuses every request until one is made",
                false => "every program on this machine may use the local API",
            }
        );
    }
    let mut out = std::io::stdout().lock();
    for key in keys.list() {
        let created = UNIX_EPOCH + Duration::from_secs(key.created_at_unix_s);
        let created = OffsetDateTime::from(created).format(&Rfc3339)?;
        writeln!(out, "{created}  {}", key.name)?;
    }
    Ok(())
}

fn revoke(args: &KeyArgs) -> anyhow::Result<()> {
    let name = args.name.as_deref().context("--name says which key; `key list` shows the names")?;
    let mut keys = LocalKeys::load(&args.state_dir)?;
    keys.revoke(name)?;
    keys.save(&args.state_dir)?;
    eprintln!("key {name:?} revoked");
    if keys.list().is_empty() {
        eprintln!("it was the last one: the local API refuses every request until one is made");
    }
    Ok(())
}
