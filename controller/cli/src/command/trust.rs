//! Keys and metadata that people hold; no controller is asked.

use std::path::{Path, PathBuf};

use edgeformer_proto::tuf::{Key, KeyKind, Signed, Signer as _, TopLevel};
use zeroize::Zeroizing;

use super::{consent, login};
use crate::args::trust::{Kind, Role, SignWith, Trust, Validity};
use crate::failure::{Exit, Failure};
use crate::screen::{Screen, print};
use crate::trust::{
    Folder, Protection, Roles, TrustError, first_root, following_root, make_key, next_root,
    private_key, public_key,
};
use crate::view;

const DAY_S: i64 = 86_400;

/// Carries it out.
///
/// # Errors
/// The failure to be shown.
pub async fn run(screen: &Screen, command: Trust) -> Result<Exit, Failure> {
    match command {
        Trust::Key { file, kind, passphrase_file, unencrypted } => {
            key(screen, &file, kind, passphrase_file.as_deref(), unencrypted)?;
        }
        Trust::Init {
            folder,
            root_key,
            root_threshold,
            targets_key,
            targets_threshold,
            online_key,
            follow,
            validity,
        } => {
            let (root, targets) = (public_keys(&root_key)?, public_keys(&targets_key)?);
            let roles = [(&root[..], root_threshold), (&targets[..], targets_threshold)];
            init(screen, &folder, roles, &public_keys(&online_key)?, follow, validity)?;
        }
        Trust::AddKey { folder, key, role, threshold, validity } => {
            let edit = Edit { role: Some(role), remove: &[], add: &[key], threshold };
            rotate(screen, &folder, edit, validity)?;
        }
        Trust::Rotate { folder, role, remove, add, threshold, validity } => {
            let edit = Edit { role, remove: &remove, add: &add, threshold };
            rotate(screen, &folder, edit, validity)?;
        }
        Trust::Sign { folder, with } => return sign(screen, &folder, with).await,
        // Asked of a controller, which whoever calls this has not.
        Trust::Show
        | Trust::Pending
        | Trust::OnlineKey { .. }
        | Trust::Download { .. }
        | Trust::Upload { .. } => {}
        Trust::Status { folder } => {
            let state = Folder::new(&folder).read()?;
            match screen.is_json() {
                true => print(&view::trust::json(&state)),
                false => print(&view::trust::status(&state, screen.style())),
            }
        }
    }
    Ok(Exit::Done)
}

pub(super) fn expires_s(screen: &Screen, validity: Validity) -> i64 {
    screen.style().now.unix_timestamp() + i64::from(validity.days) * DAY_S
}

fn public_keys(paths: &[PathBuf]) -> Result<Vec<Key>, TrustError> {
    paths.iter().map(|path| public_key(path)).collect()
}

fn key(
    screen: &Screen,
    file: &Path,
    kind: Kind,
    passphrase_file: Option<&Path>,
    unencrypted: bool,
) -> Result<(), Failure> {
    let kind = match kind {
        Kind::Ed25519 => KeyKind::Ed25519,
        Kind::Ecdsa => KeyKind::EcdsaP256,
    };
    let how = match unencrypted {
        true => Protection::FileMode,
        false => {
            let passphrase = passphrase(passphrase_file, "Passphrase of the new key: ")?;
            if passphrase.is_empty() {
                return Err(Failure::usage("the passphrase is empty: no key was made")
                    .next("give one, or say --unencrypted if the file is protected otherwise"));
            }
            Protection::Passphrase(passphrase)
        }
    };
    let (key, public) = make_key(file, kind, &how)?;
    if unencrypted {
        screen.note(&format!(
            "warning: {} has no passphrase: whoever reads the file can sign with it",
            file.display()
        ));
    }
    match screen.is_json() {
        true => print(&view::trust::key_json(&key, file, &public)),
        false => print(&view::trust::key(&key, file, &public)),
    }
    Ok(())
}

fn passphrase(file: Option<&Path>, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    login::secret(file, prompt).map(Zeroizing::new)
}

fn init(
    screen: &Screen,
    path: &Path,
    roles: Roles<'_>,
    online: &[Key],
    follow: bool,
    validity: Validity,
) -> Result<(), Failure> {
    let folder = Folder::new(path);
    let mut state = folder.read_any()?;
    let expires_s = expires_s(screen, validity);
    let root = match (&state.root, follow) {
        (Some(old), true) if state.next_root.is_none() => {
            following_root(old.role(), roles, online, expires_s)?
        }
        (Some(_), true) => return Err(TrustError::Exists(folder.path("staged/root.json")).into()),
        (None, true) => return Err(TrustError::Empty(path.to_owned()).into()),
        (_, false) if state.authority().is_some() || state.targets.is_some() => {
            return Err(TrustError::Exists(path.to_owned()).into());
        }
        (_, false) => first_root(roles, online, expires_s)?,
    };
    state.stage_root(root, expires_s);
    staged(screen, path, &folder, state)
}

/// A change of the keys of one role.
struct Edit<'a> {
    role: Option<Role>,
    remove: &'a [String],
    add: &'a [PathBuf],
    threshold: Option<u32>,
}

fn rotate(screen: &Screen, path: &Path, edit: Edit<'_>, validity: Validity) -> Result<(), Failure> {
    let folder = Folder::new(path);
    let mut state = folder.read()?;
    if let Some(waits) = &state.next_root {
        return Err(TrustError::Waiting(waits.0.role().common.version).into());
    }
    let old = state.root.as_ref().map(Signed::role);
    let old = old.ok_or_else(|| TrustError::Empty(path.to_owned()))?;
    let role = edit.role.map(|role| match role {
        Role::Root => TopLevel::Root,
        Role::Targets => TopLevel::Targets,
        Role::Snapshot => TopLevel::Snapshot,
        Role::Timestamp => TopLevel::Timestamp,
    });
    let expires_s = expires_s(screen, validity);
    let add = public_keys(edit.add)?;
    let root = next_root(old, role, edit.remove, &add, edit.threshold, expires_s)?;
    state.stage_root(root, expires_s);
    staged(screen, path, &folder, state)
}

pub(super) fn staged(
    screen: &Screen,
    path: &Path,
    folder: &Folder,
    state: crate::trust::State,
) -> Result<(), Failure> {
    let waiting = view::trust::waiting(&state);
    let changes = state.changes(state.root.as_ref().map(Signed::role)).join("\n");
    folder.write(state)?;
    screen.say(&changes);
    screen.say(&waiting);
    screen.say(&format!("next: edgeformer trust sign {} --key FILE", path.display()));
    Ok(())
}

async fn sign(screen: &Screen, path: &Path, with: SignWith) -> Result<Exit, Failure> {
    let SignWith { key: keys, from, passphrase_file, trusted, consent } = with;
    let folder = Folder::new(path);
    let mut state = folder.read()?;
    if keys.is_empty() && from.is_empty() {
        return Err(Failure::usage("nothing to sign with").next("give --key FILE or --from FOLDER"));
    }
    if state.next_root.is_none() && state.next_targets.is_none() {
        screen.say("Nothing waits for signatures.");
        return Ok(Exit::Done);
    }
    if !keys.is_empty() {
        // Whoever signs has to have seen what, and not only what differs from what somebody else put
        // into the folder.
        let known = trusted.as_deref().map(|file| folder.trusted(&state, file)).transpose()?;
        if known.is_none() {
            screen.note(
                "All of it is shown. With --trusted ROOT, a root that you keep, only changes.",
            );
        }
        consent::ask(screen, consent, &state.changes(known.as_ref()).join("\n")).await?;
    }
    for file in &keys {
        let prompt = format!("Passphrase of {}: ", file.display());
        let signer = private_key(file, || passphrase(passphrase_file.as_deref(), &prompt))?;
        let signed = state.sign(&signer)?;
        if signed.is_empty() {
            return Err(Failure::usage(format!(
                "{}: the key {} may sign nothing of what waits; nothing was changed",
                file.display(),
                signer.key().id().short()
            )));
        }
        screen.say(&format!("{} signed {}.", signer.key().id().short(), signed.join(" and ")));
    }
    for copy in &from {
        let other = Folder::new(copy).read()?;
        let new = state.merge(&other, copy)?;
        let new: Vec<String> = new.iter().map(|id| id.short()).collect();
        let new = if new.is_empty() { "nothing new".to_owned() } else { new.join(", ") };
        screen.say(&format!("from {}: {new}", copy.display()));
    }
    let complete = folder.write(state)?;
    for name in &complete {
        screen.say(&format!("{name} has enough signatures and is the newest."));
    }
    let state = folder.read()?;
    match screen.is_json() {
        true => print(&view::trust::json(&state)),
        false => screen.say(&view::trust::waiting(&state)),
    }
    Ok(Exit::Done)
}
