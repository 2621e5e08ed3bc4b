//! The status of the running agent, over a Unix socket in the state directory: whoever connects gets
//! one JSON document. Only the agent's user can reach it.

pub mod bundle;
pub mod document;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use self::document::Status;

const SOCKET: &str = "status.sock";

/// 64 slots with their messages stay far below.
const MAX_STATUS_BYTES: u64 = 1 << 20;

/// Longest wait for a running agent's answer, and for a reader.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody answers.
    #[error("no agent runs on {0}: start it with `edgeformer-agent run --state-dir {0}`")]
    NotRunning(PathBuf),
    /// There is no such directory.
    #[error("{0}: no such state directory: enrol this device first (`edgeformer-agent enroll`)")]
    NoStateDirectory(PathBuf),
    /// The answer did not arrive, or is none.
    #[error("the agent on {directory} does not answer properly: {source}")]
    Answer {
        /// The state directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket's path through an open directory: socket paths have at most 107 bytes, state
/// directories may be longer. The file must stay open while the path is used.
pub(crate) fn socket_path(state_dir: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let directory = File::open(state_dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()));
    Ok((directory, path))
}

/// Listens in `state_dir`, whose lock the caller holds.
pub fn bind(state_dir: &Path) -> io::Result<UnixListener> {
    bind_as(state_dir, SOCKET)
}

/// As [`bind`], under another name.
pub(crate) fn bind_as(state_dir: &Path, name: &str) -> io::Result<UnixListener> {
    match std::fs::remove_file(state_dir.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_directory, path) = socket_path(state_dir, name)?;
    UnixListener::bind(path)
}

/// Answers every connection with `status` until `stop`.
pub async fn serve(listener: UnixListener, status: impl Fn() -> Status, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((mut stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let text = serde_json::to_vec(&status()).unwrap_or_default();
        // A reader that went away, or does not read, is its own problem.
        let _ = tokio::time::timeout(TIMEOUT, stream.write_all(&text)).await;
    }
}

/// Asks the agent that runs on `state_dir`.
pub fn ask(state_dir: &Path) -> Result<Status, StatusError> {
    let answer = |source| StatusError::Answer { directory: state_dir.to_owned(), source };
    let (_directory, path) =
        socket_path(state_dir, SOCKET).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StatusError::NoStateDirectory(state_dir.to_owned()),
            _ => answer(error),
        })?;
    let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            StatusError::NotRunning(state_dir.to_owned())
        }
        _ => answer(error),
    })?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(answer)?;
    let mut text = Vec::new();
    stream.take(MAX_STATUS_BYTES).read_to_end(&mut text).map_err(answer)?;
    serde_json::from_slice(&text).map_err(|error| answer(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_agent_the_message_says_what_to_start() {
        let directory = tempfile::tempdir().unwrap();
        let error = ask(directory.path()).unwrap_err().to_string();
        assert!(error.contains("edgeformer-agent run --state-dir"), "{error}");
        let error = ask(&directory.path().join("absent")).unwrap_err().to_string();
        assert!(error.contains("enroll"), "{error}");
    }

    #[tokio::test]
    async fn a_long_state_directory_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("d".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let _first = bind(&long).unwrap();
        // A socket left by a killed agent is replaced.
        bind(&long).unwrap();
    }
}
