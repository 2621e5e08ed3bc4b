//! Bundles: versions as files.

use super::Context;
use super::audit::to_file;
use super::device::resolve;
use crate::args::fleet::Bundle as Command;
use crate::client::endpoints::EXPORT_BUNDLE;
use crate::failure::{Exit, Failure};

pub async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    let Command::Export { name, version, devices, file } = command;
    let mut call = context.client.call(&EXPORT_BUNDLE).path(&name).path(&version);
    for device in &devices {
        call = call.query("device", &resolve(context, device).await?);
    }
    let about = format!("version {name} {version}");
    to_file(call, &file).await.map_err(|failure| failure.about(&about))?;
    let many = if devices.len() == 1 { "device" } else { "devices" };
    context.screen.note(&format!(
        "{} brings {name} {version} to {} {many}: edgeformer-agent import --state-dir DIR {}",
        file.display(),
        devices.len(),
        file.display()
    ));
    Ok(Exit::Done)
}
