//! `privacy`: what leaves this device. The choices are a file on the device; the running agent reads
//! it anew for each message, so a change counts at once.

use std::io::Write;

use edgeformer_proto::privacy::{DECLARED, Group, Place};
use serde_json::json;

use crate::cli::{Choice, PrivacyCommand, PrivacySetArgs, PrivacyShowArgs};
use crate::privacy::Consent;

/// Shows or changes what may leave.
pub fn privacy(command: PrivacyCommand) -> anyhow::Result<()> {
    match command {
        PrivacyCommand::Show(args) => show(&args),
        PrivacyCommand::Set(args) => set(&args),
    }
}

fn show(args: &PrivacyShowArgs) -> anyhow::Result<()> {
    let consent = Consent::load(&args.state_dir)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&document(&consent))?)?;
        return Ok(());
    }
    for group in Group::OPTIONAL {
        let state = if consent.allows(group) { "on" } else { "off" };
        writeln!(out, "{:<10} {state:<4} without it, {}", group.as_str(), group.without_it())?;
    }
    for item in DECLARED {
        let leaves = if consent.allows(item.group) { "leaves" } else { "stays" };
        let group = item.group.as_str();
        writeln!(out, "{leaves:<7} {group:<10} {:<40} {}", item.name, item.purpose)?;
    }
    writeln!(out, "nothing else leaves; prompts and answers never do")?;
    Ok(())
}

fn document(consent: &Consent) -> serde_json::Value {
    let groups = Group::OPTIONAL.into_iter().map(|group| {
        let (on, default) = (consent.allows(group), group.default_on());
        (group.as_str().to_owned(), json!({ "on": on, "default": default }))
    });
    let items = DECLARED.iter().map(|item| {
        json!({
            "name": item.name,
            "place": place(item.place),
            "group": item.group.as_str(),
            "purpose": item.purpose,
            "personal": item.personal,
            "leaves": consent.allows(item.group),
        })
    });
    json!({
        "groups": serde_json::Map::from_iter(groups),
        "items": items.collect::<Vec<_>>(),
    })
}

fn place(place: Place) -> &'static str {
    match place {
        Place::Field => "field",
        Place::Metric => "metric",
        Place::Attribute => "attribute",
        Place::Resource => "resource",
        Place::Connection => "connection",
    }
}

fn set(args: &PrivacySetArgs) -> anyhow::Result<()> {
    let mut consent = Consent::load(&args.state_dir)?;
    let on = args.choice == Choice::On;
    let group = consent.set(&args.group, on)?;
    consent.save(&args.state_dir)?;
    match on {
        true => eprintln!("{}: leaves from now on", group.as_str()),
        false => eprintln!("{}: stays here; {}", group.as_str(), group.without_it()),
    }
    Ok(())
}
