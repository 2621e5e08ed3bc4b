//! `edgeformer-agent tuf`: the client as a program. Third-party runners drive it with `init`,
//! `refresh` and `download`; it ends with 0 when all of it worked and with 1 otherwise.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use edgeformer_proto::tuf::client::Trusted;
use edgeformer_proto::tuf::{Limits, Target, encode_name};

use super::http::{Base, encode_path, read};
use super::store::{Store, look_up, refresh};
use crate::cli::{TufArgs, TufCommand};
use crate::durable::{self, PART_SUFFIX};

/// Bytes read at a time to check a file that is already there.
const READ_BYTES: usize = 64 << 10;

/// Does what the command line says.
pub async fn run(args: TufArgs) -> anyhow::Result<()> {
    let store = Store::new(&args.metadata_dir);
    match &args.command {
        TufCommand::Init { root } => {
            let limit = Limits::default().root_bytes as u64;
            let bytes = durable::read_limited(root, limit)
                .with_context(|| format!("cannot read {}", root.display()))?;
            Ok(store.init(&bytes)?)
        }
        TufCommand::Refresh => {
            refresh(&store, &metadata(&args)?, now_s(), Limits::default()).await?;
            Ok(())
        }
        TufCommand::Download => download(&args, &store).await,
    }
}

fn metadata(args: &TufArgs) -> anyhow::Result<Base> {
    let url = args.metadata_url.as_deref().context("--metadata-url is missing")?;
    Base::new(url, args.ca.as_deref())
}

/// The system's time, and no other: a runner moves it to see what a device does later.
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Brings metadata up to date once, then each target in order, until one fails.
async fn download(args: &TufArgs, store: &Store) -> anyhow::Result<()> {
    let folder = args.target_dir.as_deref().context("--target-dir is missing")?;
    let url = args.target_base_url.as_deref().context("--target-base-url is missing")?;
    let (source, targets) = (metadata(args)?, Base::new(url, args.ca.as_deref())?);
    if args.target_name.is_empty() {
        bail!("--target-name is missing");
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut trusted = refresh(store, &source, now_s(), Limits::default()).await?;
    for name in &args.target_name {
        let found = look_up(store, &source, trusted, name).await?;
        trusted = found.trusted;
        let Some(target) = found.target else {
            // 5.7.2
            bail!("{name}: nobody who may speak for it lists such a target");
        };
        bring(&target, &trusted, &targets, folder)
            .await
            .with_context(|| format!("target {name}"))?;
    }
    Ok(())
}

/// 5.7.3: fetches a target, unless it is there already.
async fn bring(
    target: &Target,
    trusted: &Trusted,
    targets: &Base,
    folder: &Path,
) -> anyhow::Result<()> {
    let path = folder.join(file_name(&target.path));
    if is_there(target, &path)? {
        return Ok(());
    }
    let name = encode_path(&target.repository_path(trusted));
    let body = targets.open(&name).await?.context("the repository does not have it")?;
    let part = Part::create(&path)?;
    let mut check = target.check()?;
    read(body, target.file.length, |bytes| {
        check.update(bytes)?;
        Ok((&part.file).write_all(bytes)?)
    })
    .await?;
    // Nothing bears the target's name before all of it was checked.
    check.finish()?;
    part.keep(&path)
}

/// Whether the file is there with the right content.
fn is_there(target: &Target, path: &Path) -> anyhow::Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let (mut check, mut buffer) = (target.check()?, vec![0; READ_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(check.finish().is_ok()),
            length if check.update(&buffer[..length]).is_err() => return Ok(false),
            _ => {}
        }
    }
}

/// One file in the folder for each target, whatever its path: no part of it leads elsewhere.
fn file_name(path: &str) -> String {
    match path {
        "." | ".." => path.replace('.', "%2E"),
        _ => encode_name(path),
    }
}

/// A file under another name until it is whole; removed if it does not get there.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let folder = path.parent().context("a target lies in a folder")?;
        // As short as every name may be, and another for each process.
        let path = folder.join(format!(".target.{}{PART_SUFFIX}", std::process::id()));
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, file })
    }

    fn keep(self, path: &Path) -> anyhow::Result<()> {
        self.file.sync_all().and_then(|()| fs::rename(&self.path, path))?;
        let folder = path.parent().context("a target lies in a folder")?;
        Ok(File::open(folder)?.sync_all()?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It is gone when it was kept.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_target_leads_out_of_its_folder() {
        for path in [".", "..", "../x", "/etc/passwd", "a/../b", ""] {
            let name = file_name(path);
            assert!(!name.contains('/') && name != "." && name != "..", "{path} {name}");
        }
        assert_eq!(encode_path("a b/c#?.gguf"), "a%20b/c%23%3F.gguf");
    }
}
