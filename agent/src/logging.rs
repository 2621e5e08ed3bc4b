//! Log lines: on stderr for whoever started the agent, and in a bounded file in the state directory
//! for the support bundle. Tokens, keys, prompts and answers must never be logged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::cli::LogFormat;
use crate::durable;

/// Environment variable of the level filter, e.g. `debug` or `edgeformer_agent=debug`.
pub const LEVEL_VARIABLE: &str = "EDGEFORMER_LOG";

/// A log file is set aside at this length.
const MAX_FILE_BYTES: u64 = 2 << 20;

/// Files kept, the current one included.
const FILES: usize = 3;

/// Starts logging to stderr and to `state_dir`/logs. Call once.
pub fn start(state_dir: &Path, format: LogFormat) -> io::Result<()> {
    let file = RotatingFile::open(&state_dir.join("logs"), MAX_FILE_BYTES)?;
    let filter = EnvFilter::try_from_env(LEVEL_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let stderr = match format {
        LogFormat::Text => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        LogFormat::Json => fmt::layer().with_writer(io::stderr).json().boxed(),
    };
    let file = fmt::layer().with_writer(file).with_ansi(false).json();
    tracing_subscriber::registry().with(filter).with(stderr).with(file).init();
    Ok(())
}

/// The log files under `state_dir`, oldest first.
pub fn files(state_dir: &Path) -> Vec<PathBuf> {
    let directory = state_dir.join("logs");
    (0..FILES).rev().map(|number| path(&directory, number)).filter(|path| path.exists()).collect()
}

fn path(directory: &Path, number: usize) -> PathBuf {
    match number {
        0 => directory.join("agent.log"),
        older => directory.join(format!("agent.log.{older}")),
    }
}

/// Appends to a file, and sets it aside when it is long.
#[derive(Clone)]
struct RotatingFile(Arc<Mutex<Current>>);

struct Current {
    directory: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

impl RotatingFile {
    fn open(directory: &Path, max_bytes: u64) -> io::Result<Self> {
        durable::create_private_directory(directory)?;
        let file = append(directory)?;
        let bytes = file.metadata()?.len();
        let current = Current { directory: directory.to_owned(), file, bytes, max_bytes };
        Ok(Self(Arc::new(Mutex::new(current))))
    }
}

fn append(directory: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(durable::PRIVATE).open(path(directory, 0))
}

impl Current {
    fn set_aside(&mut self) -> io::Result<()> {
        for number in (0..FILES - 1).rev() {
            let from = path(&self.directory, number);
            if from.exists() {
                fs::rename(from, path(&self.directory, number + 1))?;
            }
        }
        self.file = append(&self.directory)?;
        self.bytes = 0;
        Ok(())
    }
}

impl Write for RotatingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut current = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        if current.bytes.saturating_add(line.len() as u64) > current.max_bytes {
            current.set_aside()?;
        }
        // A whole line at once: tracing hands over complete events.
        current.file.write_all(line)?;
        current.bytes += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RotatingFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_files_stay_within_their_bound_and_keep_the_newest_lines() {
        let state = tempfile::tempdir().unwrap();
        let mut log = RotatingFile::open(&state.path().join("logs"), 100).unwrap();
        for number in 0..100 {
            writeln!(log, "line {number}").unwrap();
        }
        let files = files(state.path());
        assert_eq!(files.len(), FILES);
        let all: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert!(all.len() <= 300 && all.ends_with("line 99\n"), "{all}");
    }
}
