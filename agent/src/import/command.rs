//! The command `import`: hands the file to the agent that runs, or does itself what the agent would do.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;

use super::socket::hand_over;
use super::{Imported, Importer};
use crate::cli::ImportArgs;
use crate::clock::Clock;
use crate::durable::Folder;
use crate::facts::human_bytes;
use crate::fetch::remote::Remote;
use crate::fetch::trust::Trust;
use crate::fetch::versions::Opening;
use crate::fetch::{Limits, Progress, Store};
use crate::identity::enroll::open_keys;
use crate::identity::key_place::{KeyPlace, Missing};
use crate::identity::{Identity, erase};
use crate::lock;
use crate::reconcile::Handle;
use crate::reconcile::ledger::LedgerStore;
use crate::reconcile::retention::{MAX_OLDER, Retention};

/// Imports a bundle and says what it brought.
pub async fn import(args: ImportArgs) -> anyhow::Result<()> {
    let state_dir = std::path::absolute(&args.state_dir)?;
    let file = open(&args.bundle)?;
    let told = std::io::stderr().is_terminal();
    let hear = move |done: u64, total: u64| {
        if told && total > 0 {
            let mut out = std::io::stderr().lock();
            // Only to be looked at.
            let _ = write!(out, "\r{} of {} ", human_bytes(done), human_bytes(total));
        }
    };
    // The lock is tried only after the socket: an agent that runs holds it.
    let given = {
        let (state_dir, file) = (state_dir.clone(), file.try_clone()?);
        tokio::task::spawn_blocking(move || hand_over(&state_dir, &file, hear)).await?
    };
    let given = given.with_context(|| {
        format!("the agent on {} does not answer properly: see its log", state_dir.display())
    })?;
    let (imported, when) = match given {
        Some(Ok(imported)) => (imported, "the agent takes it up now"),
        Some(Err(why)) => anyhow::bail!("{why}"),
        None => {
            (to_store(&state_dir, args.keys, file).await?, "the agent takes it up when it starts")
        }
    };
    print(&imported, when);
    Ok(())
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let is_file = file.metadata()?.is_file();
    anyhow::ensure!(is_file, "{}: not a regular file: give the path of a bundle", path.display());
    Ok(file)
}

/// Imports while no agent runs.
pub async fn to_store(
    state_dir: &Path,
    place: Option<KeyPlace>,
    file: File,
) -> anyhow::Result<Imported> {
    let identity = Identity::load(state_dir)?;
    anyhow::ensure!(
        erase::under_way(state_dir).is_none(),
        "this device was decommissioned and erases itself: it takes nothing new"
    );
    let owner = std::fs::metadata(state_dir)?.uid();
    let own = rustix::process::geteuid().as_raw();
    anyhow::ensure!(
        owner == own,
        "{} belongs to the user with the id {owner}: import as that user, or while the agent runs",
        state_dir.display()
    );
    let _alone = lock::acquire(state_dir)?;
    let folder = Folder::from(state_dir);
    let keys = open_keys(state_dir, place, Missing::Refuse).await?;
    let opening = Opening {
        tenant_id: identity.tenant_id,
        device_id: identity.device_id,
        release_public: identity.release_public,
        keys,
    };
    let (ledger, _) = LedgerStore::open(&folder)?;
    // The agent's policy is in its flags: nothing goes here that it might keep.
    let keep = Retention { versions: MAX_OLDER, bytes: u64::MAX };
    let clock = Clock::open(state_dir);
    let trust = Trust::open(&folder, clock.clone(), &identity.name);
    let reconcile = Handle::new(Arc::new(ledger), clock, keep);
    let limits = Limits { memory_bytes: None };
    let nowhere = Remote::new(watch::channel(None).1);
    let store = Store::new(&folder, opening.clone(), Arc::new(nowhere), trust, limits);
    let importer = Importer::new(store, reconcile, opening, watch::channel(0).0);
    Ok(importer.import(file, Arc::new(Progress::default())).await?)
}

fn print(imported: &Imported, when: &str) {
    let Imported { version, generation, chunks, new_chunks, new_bytes, missing } = imported;
    println!(
        "imported {version} at generation {generation}: {new_chunks} of {chunks} chunks were new ({})",
        human_bytes(*new_bytes)
    );
    for one in missing {
        println!("{one} is to run here too and is not here: import a bundle of it, or connect");
    }
    println!("{when}");
}
