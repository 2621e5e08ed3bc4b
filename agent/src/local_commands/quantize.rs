//! `quantize`: rewrites a model file with other block types. The output appears whole or not at all.

use std::fs::File;
use std::io::{BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use edgeformer_engine::{TensorType, requantize};

use crate::cli::QuantizeArgs;

/// The requantizer reads and writes row by row.
const BUFFER_BYTES: usize = 1 << 20;

/// Rewrites a model file.
pub fn quantize(args: QuantizeArgs) -> anyhow::Result<()> {
    let target = tensor_type(&args.block_type)?;
    let QuantizeArgs { input, output, .. } = args;
    let source = File::open(&input).with_context(|| format!("cannot open {}", input.display()))?;
    let temporary = Temporary::beside(&output);
    let sink = File::create(&temporary.path)
        .with_context(|| format!("cannot write {}", temporary.path.display()))?;
    let mut sink = BufWriter::with_capacity(BUFFER_BYTES, sink);
    let mut progress = Progress::new();
    let report = requantize(
        BufReader::with_capacity(BUFFER_BYTES, source),
        &mut sink,
        target,
        &mut |done, total| progress.show(done, total),
    )
    .with_context(|| format!("cannot quantize {}", input.display()))?;
    let file = sink.into_inner().map_err(|error| error.into_error())?;
    file.sync_all()?;
    temporary.rename_to(&output)?;
    progress.end();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    eprintln!(
        "{}: {} matrices from {} to {}, {:.1} to {:.1} MiB",
        output.display(),
        report.converted,
        report.source_type.name(),
        target.name(),
        mib(report.source_bytes),
        mib(report.target_bytes),
    );
    for (name, kept) in &report.kept {
        eprintln!("  kept {name} as {}", kept.name());
    }
    Ok(())
}

fn tensor_type(name: &str) -> anyhow::Result<TensorType> {
    let found = TensorType::ALL.iter().find(|ty| ty.name().eq_ignore_ascii_case(name));
    let Some(found) = found else {
        bail!("{name:?} is not a block type; use q8_0, q4_0, q4_1, f16 or f32");
    };
    Ok(*found)
}

/// A file that is removed unless it is renamed.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn beside(output: &Path) -> Self {
        let mut name = output.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        Self { path: output.with_file_name(name) }
    }

    fn rename_to(&self, output: &Path) -> anyhow::Result<()> {
        std::fs::rename(&self.path, output)
            .with_context(|| format!("cannot write {}", output.display()))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _renamed_already = std::fs::remove_file(&self.path);
    }
}

/// Percent on stderr, when a person looks at it.
struct Progress {
    shown: Option<u64>,
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self { shown: None, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, done: u64, total: u64) {
        let percent = done.saturating_mul(100) / total.max(1);
        if self.terminal && self.shown != Some(percent) {
            self.shown = Some(percent);
            eprint!("\r{percent:3} %");
            let _stderr_is_unbuffered = std::io::stderr().flush();
        }
    }

    fn end(&self) {
        if self.terminal {
            eprint!("\r      \r");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_types_have_the_names_people_write() {
        assert_eq!(tensor_type("q8_0").unwrap(), TensorType::Q8_0);
        assert_eq!(tensor_type("F16").unwrap(), TensorType::F16);
        assert!(tensor_type("q9").unwrap_err().to_string().contains("q8_0"));
    }

    #[test]
    fn a_failure_leaves_the_old_output_and_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::write(&input, "no model").unwrap();
        std::fs::write(&output, "old").unwrap();
        let args = QuantizeArgs { input, output: output.clone(), block_type: "q8_0".into() };
        assert!(quantize(args).is_err());
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
