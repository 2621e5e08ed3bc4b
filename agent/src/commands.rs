//! The commands around the running agent: enrol, status, support bundle. They print what they did
//! and what to do next.

use anyhow::Context;

use crate::cli::{EnrollArgs, StatusArgs, SupportBundleArgs};
use crate::clock::{Clock, rfc3339};
use crate::identity::enroll::{self, Enrolled};
use crate::status::{self, bundle};

/// Makes this machine a device.
pub async fn enroll(args: EnrollArgs) -> anyhow::Result<()> {
    let state_dir = std::path::absolute(&args.state_dir)?;
    let request = enroll::Request {
        controller: args.controller,
        ca: args.ca,
        token: args.token,
        name: args.name,
        labels: args.labels.into_iter().collect(),
    };
    let clock = Clock::open(&state_dir);
    let (identity, said) = match enroll::enroll(&state_dir, request, &clock).await? {
        Enrolled::Now(identity) => (identity, "enrolled"),
        Enrolled::Already(identity) => (identity, "already enrolled, nothing changed:"),
    };
    println!("{said} as {} ({}) at {}", identity.name, identity.device_id, identity.controller);
    println!("certificate until {}, renewed by itself", rfc3339(identity.certificate.not_after_us));
    println!("next: edgeformer-agent run --state-dir {}", state_dir.display());
    Ok(())
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
