//! Runs other programs to their end, with their output in a log that failures name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::paths;

/// Lines of a log shown with a failure; the rest is in the file that the message names.
const TAIL_LINES: usize = 20;
/// Bytes of a log that are read to find those lines; logs of a build run to megabytes.
const TAIL_BYTES: u64 = 64 * 1024;

/// Runs `command`, its output appended to `<log dir>/<name>.log`; a failure shows the end of it.
pub fn run_logged(name: &str, command: &mut Command) -> Result<()> {
    let log = open_log(name)?;
    let shown = describe(command);
    let status = command
        .stdin(Stdio::null())
        .stdout(log.file.try_clone()?)
        .stderr(log.file)
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})\n{}", tail(&log.path));
    }
    Ok(())
}

/// Runs `command` and returns its standard output; a failure carries its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = describe(command);
    let out =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !out.status.success() {
        let stderr = String::from_utf8_lossy(&out.stderr);
        bail!("`{shown}` failed ({})\n{}", out.status, stderr.trim_end());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs `command` on the caller's terminal.
pub fn run_shown(command: &mut Command) -> Result<()> {
    let shown = describe(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// The command line as a person would type it, without its environment.
pub fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

/// The last lines of a log and where the whole of it is.
pub fn tail(log: &Path) -> String {
    let text = read_end(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    let mut shown: String = lines[from..].iter().map(|l| format!("  | {l}\n")).collect();
    shown.push_str(&format!("  log: {}", log.display()));
    shown
}

/// The error, followed by the end of the log that explains it.
pub fn with_tail(error: anyhow::Error, log: &Path) -> anyhow::Error {
    anyhow::anyhow!("{error:#}\n{}", tail(log))
}

fn read_end(log: &Path) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Log {
    file: File,
    path: PathBuf,
}

fn open_log(name: &str) -> Result<Log> {
    let dir = paths::log_dir();
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(format!("{name}.log"));
    let file =
        File::create(&path).with_context(|| format!("cannot write the log {}", path.display()))?;
    Ok(Log { file, path })
}
