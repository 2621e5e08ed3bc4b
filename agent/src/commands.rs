//! The commands around the running agent: enrol, status, support bundle. They print what they did
//! and what to do next.

use anyhow::Context;

use crate::cli::{EnrollArgs, StatusArgs, SupportBundleArgs};
use crate::clock::{Clock, rfc3339};
use crate::identity::enroll::{self, Enrolled, Way};
use crate::identity::ways::FactoryFiles;
use crate::status::{self, bundle};

/// Makes this machine a device.
pub async fn enroll(args: EnrollArgs) -> anyhow::Result<()> {
    let state_dir = std::path::absolute(&args.state_dir)?;
    let request = enroll::Request {
        controller: args.controller.clone(),
        ca: args.ca.clone(),
        way: way(&args)?,
        name: args.name.clone(),
        labels: args.labels.iter().cloned().collect(),
        keys: args.keys.clone(),
    };
    let clock = Clock::open(&state_dir);
    let is_asking = args.request;
    let tell = |fingerprint: &str| {
        if is_asking {
            println!(
                "key {fingerprint}: an operator compares it and decides (edgeformer enrolment requests)"
            );
            println!(
                "waiting; interrupt and run the same command again at any time, nothing is lost"
            );
        }
    };
    let enrolled = enroll::enroll_telling(&state_dir, request, &clock, tell).await?;
    let (identity, said) = match enrolled {
        Enrolled::Now(identity) => (identity, "enrolled"),
        Enrolled::Already(identity) => (identity, "already enrolled, nothing changed:"),
    };
    println!("{said} as {} ({}) at {}", identity.name, identity.device_id, identity.controller);
    println!("certificate until {}, renewed by itself", rfc3339(identity.certificate.not_after_us));
    println!("next: edgeformer-agent run --state-dir {}", state_dir.display());
    Ok(())
}

/// What lets this device in, as the flags say.
fn way(args: &EnrollArgs) -> anyhow::Result<Way> {
    let factory = args.claim_cert.clone().zip(args.claim_key.clone());
    Ok(match (&args.token, &args.enrolment_id, factory) {
        (Some(token), None, None) => Way::Token(token.clone()),
        (None, Some(id), Some((certificate, key))) => {
            Way::Claim(id.clone(), FactoryFiles { certificate, key })
        }
        (None, Some(id), None) if args.request => Way::Ask(id.clone()),
        _ => anyhow::bail!(
            "give --token, or --enrolment-id with --request, or with --claim-cert and --claim-key"
        ),
    })
}

/// Prints what the running agent does.
pub fn status(args: StatusArgs) -> anyhow::Result<()> {
    let status = status::ask(&args.state_dir)?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&status)?),
        false => print!("{}", status.to_text()),
    }
    Ok(())
}

/// Writes a support bundle.
pub fn support_bundle(args: SupportBundleArgs) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.state_dir.is_dir(),
        "{}: no such state directory",
        args.state_dir.display()
    );
    let names = bundle::write(&args.state_dir, &args.out)
        .context("the support bundle cannot be written")?;
    println!("{}: {}", args.out.display(), names.join(", "));
    println!("it holds no keys, tokens, prompts or model data");
    Ok(())
}
