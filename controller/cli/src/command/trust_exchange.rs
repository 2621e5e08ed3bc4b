//! What goes between the folder that key holders exchange and a controller. The controller only carries
//! it: what it gives must follow from the folder's root, and what it takes it checks as devices do.

use std::fs;
use std::path::Path;

use edgeformer_proto::tuf::client::stored_name;
use edgeformer_proto::tuf::{Json, Limits, TargetFile};

use super::trust::{expires_s, staged};
use super::{Context, consent};
use crate::args::Consent;
use crate::args::trust::{Trust, Validity};
use crate::client::endpoints::{
    TRUST, TRUST_METADATA, TRUST_ONLINE_KEYS, TRUST_PENDING, TRUST_RELEASE, TRUST_ROTATE,
};
use crate::client::types::{TrustRelease, TrustRotation, TrustWaiting};
use crate::client::{Answer, List};
use crate::failure::{Exit, Failure};
use crate::trust::{Folder, Outgoing, TrustError};
use crate::view;

/// Roots that are brought at a time; more than a tenant makes in a life.
const MAX_ROOTS: u64 = 1024;

/// Carries it out.
///
/// # Errors
/// The failure to be shown.
pub async fn run(context: &Context, command: Trust) -> Result<Exit, Failure> {
    match command {
        Trust::Pending => {
            let found = context.client.call(&TRUST_PENDING).send().await?;
            context.screen.one(&found, |found| view::trust::pending(found, context.style()));
        }
        Trust::OnlineKey { folder } => online_key(context, &folder).await?,
        Trust::Download { folder, renew, validity } => {
            download(context, &folder, renew, validity).await?;
        }
        Trust::Upload { folder, consent } => upload(context, &folder, consent).await?,
        // The others ask no controller.
        _ => {
            let found = context.client.call(&TRUST).send().await?;
            context.screen.one(&found, |found| view::trust::repository(found, context.style()));
        }
    }
    Ok(Exit::Done)
}

async fn online_key(context: &Context, folder: &Path) -> Result<(), Failure> {
    let keys = List::whole(context.client.call(&TRUST_ONLINE_KEYS).send().await?)?;
    for key in &keys.items {
        // A role's name comes from outside.
        let path = folder.join(stored_name(&key.role)).with_extension("pub");
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, &key.key));
        written.map_err(|source| TrustError::File {
            doing: "write",
            path: path.clone(),
            source,
        })?;
        context.screen.say(&format!("{}: {}", key.role, path.display()));
    }
    Ok(())
}

/// Versions of root and targets that the controller has.
async fn versions(context: &Context) -> Result<(u64, u64), Failure> {
    let found: Answer<_> = context.client.call(&TRUST).send().await?;
    let of =
        |name: &str| found.value.roles.iter().find(|role| role.role == name).map(|r| r.version);
    match (of("root"), of("targets")) {
        (Some(root), Some(targets)) => Ok((root, targets)),
        _ => Err(Failure::new(Exit::Failed, "the controller has not made its repository yet")
            .next("try again in a minute")),
    }
}

async fn file(context: &Context, name: &str, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let call = context.client.call(&TRUST_METADATA).path(name);
    call.stream(|piece| {
        bytes.extend_from_slice(piece);
        match bytes.len() > max_bytes {
            true => Err(std::io::Error::other(format!("{name} has more than {max_bytes} bytes"))),
            false => Ok(()),
        }
    })
    .await?;
    Ok(bytes)
}

/// Brings what the folder lacks.
async fn bring(context: &Context, folder: &Folder) -> Result<crate::trust::State, Failure> {
    let (root, targets) = versions(context).await?;
    let state = folder.read_any()?;
    let held = state.root.as_ref().map_or(0, |root| root.role().common.version);
    if root.saturating_sub(held) > MAX_ROOTS {
        let text = format!("the controller has {root} versions of root, the folder {held}");
        return Err(Failure::new(Exit::Failed, text));
    }
    let limits = Limits::default();
    let mut roots = Vec::new();
    for version in held.saturating_add(1)..=root {
        roots.push(file(context, &format!("{version}.root.json"), limits.root_bytes).await?);
    }
    let has = state.targets.as_ref().map_or(0, |targets| targets.role().common.version);
    // Newer ones in the folder wait to be uploaded.
    let targets = match targets < has {
        true => None,
        false => {
            let name = format!("{targets}.targets.json");
            Some(file(context, &name, limits.targets_bytes).await?)
        }
    };
    Ok(folder.take(&roots, targets.as_deref())?)
}

async fn download(
    context: &Context,
    path: &Path,
    renew: bool,
    validity: Validity,
) -> Result<(), Failure> {
    let folder = Folder::new(path);
    let is_new = folder.read_any()?.root.is_none();
    let mut state = bring(context, &folder).await?;
    let screen = &context.screen;
    if is_new {
        screen.note(
            "This folder believes the root that the controller gave. Compare the key ids that `trust \
             status` shows with those that the holders know, or download into a folder that you keep.",
        );
    }
    let root = state.root.as_ref().map_or(0, |root| root.role().common.version);
    let targets = state.targets.as_ref().map_or(0, |targets| targets.role().common.version);
    screen.say(&format!("{}: root version {root}, targets version {targets}", path.display()));
    let pending = context.client.call(&TRUST_PENDING).send().await?.value;
    if pending.managed {
        screen.say("The controller signs targets itself.");
        return Ok(());
    }
    if pending.items.is_empty() && !renew {
        screen.say("Nothing waits to be released.");
        return Ok(());
    }
    if state.next_targets.is_some() || state.next_root.is_some() {
        return Err(Failure::usage("something else waits for signatures in this folder already")
            .next("sign and upload that first, or remove what is in its folder `staged`"));
    }
    let new = pending.items.iter().map(target).collect::<Result<Vec<_>, Failure>>()?;
    state.stage_targets(new, expires_s(screen, validity));
    staged(screen, path, &folder, state)
}

fn target(one: &TrustWaiting) -> Result<(String, TargetFile), Failure> {
    let hash = data_encoding::HEXLOWER.decode(one.sha256.as_bytes()).ok();
    let hash: Option<[u8; 32]> = hash.and_then(|hash| hash.try_into().ok());
    let hash = hash.ok_or_else(|| {
        Failure::new(Exit::Failed, format!("{}: {:?} is no SHA-256", one.path, one.sha256))
    })?;
    let id = Json::text(one.version_id.clone());
    let custom = [("version_id".to_owned(), id)].into_iter().collect();
    let file = TargetFile { custom: Some(custom), ..TargetFile::new(one.length, hash) };
    Ok((one.path.clone(), file))
}

async fn upload(context: &Context, path: &Path, consent: Consent) -> Result<(), Failure> {
    let folder = Folder::new(path);
    let (root, targets) = versions(context).await?;
    let outgoing = folder.outgoing(root, targets)?;
    let screen = &context.screen;
    if outgoing.is_empty() {
        let state = folder.read()?;
        let waits = state.next_root.is_some() || state.next_targets.is_some();
        screen.say("The controller has all that is signed.");
        if waits {
            screen.say(&view::trust::waiting(&state));
        }
        return Ok(());
    }
    let Outgoing { roots, targets } = outgoing;
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes)
            .map_err(|_| Failure::usage(format!("{}: a file in it is no text", path.display())))
    };
    let targets = targets.map(text).transpose()?;
    let found = match roots.is_empty() {
        true => {
            let body = TrustRelease { targets: targets.unwrap_or_default() };
            context.client.call(&TRUST_RELEASE).body(&body).send().await?
        }
        false => {
            let what = "The root decides who may say what devices install. From this one on the \
                        controller takes what its keys sign, and nothing else.";
            let changes = folder.read()?.changes(None).join("\n");
            consent::ask(screen, consent, &format!("{changes}\n{what}")).await?;
            let roots = roots.into_iter().map(text).collect::<Result<_, _>>()?;
            let body = TrustRotation { roots, targets };
            context.client.call(&TRUST_ROTATE).body(&body).send().await?
        }
    };
    // With the signature that the controller gave to the root that takes its key away.
    bring(context, &folder).await?;
    screen.one(&found, |found| view::trust::repository(found, context.style()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_controller_lists_is_read_or_refused() {
        let one = |sha256: &str| TrustWaiting {
            model: "m".to_owned(),
            version: "1.0.0".to_owned(),
            version_id: "v".to_owned(),
            path: "models/m/1.0.0/manifest.json".to_owned(),
            length: 7,
            sha256: sha256.to_owned(),
        };
        let (path, file) = target(&one(&"ab".repeat(32))).unwrap();
        assert_eq!((path.as_str(), file.length), ("models/m/1.0.0/manifest.json", 7));
        assert_eq!(file.hashes.get("sha256"), Some(&[0xab; 32][..]));
        for bad in ["", "ab", "zz", &"AB".repeat(32), &"ab".repeat(33)] {
            assert!(target(&one(bad)).is_err(), "{bad}");
        }
    }
}
