//! The running agent's end of `import`: a Unix socket in the state directory. Whoever connects hands
//! over an open file, so that the agent needs no right to where it lies, and is told how far it is.
//! Only the agent's user, and root, can reach the socket.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Imported, Importer};
use crate::fetch::Progress;
use crate::status;

const SOCKET: &str = "import.sock";

/// Callers at a time; all but one are told to wait.
const MAX_CALLERS: usize = 4;

/// Longest wait for the file of a caller, and for a caller that does not read.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often a caller is told how far it is.
const TELL: Duration = Duration::from_millis(500);

/// Longest silence of an agent: it tells how far it is far more often.
const SILENCE: Duration = Duration::from_secs(60);

/// Longest line of an answer: a list of 64 versions.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// What the agent tells a caller, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Say {
    /// Bytes on disk, of bytes in all.
    Progress(u64, u64),
    /// The last line.
    Done(Imported),
    /// The last line: why it was not imported.
    Failed(String),
}

/// Listens in `state_dir`, whose lock the caller holds.
pub fn bind(state_dir: &Path) -> io::Result<UnixListener> {
    status::bind_as(state_dir, SOCKET)
}

/// Imports what callers hand over, until `stop`.
pub async fn serve(listener: UnixListener, importer: Importer, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CALLERS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, Arc::clone(&places).try_acquire_owned())
        else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (importer, stop) = (importer.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                () = stop.cancelled() => {}
                // A caller that went away is its own problem.
                _ = answer(stream, &importer) => {}
            }
        });
    }
}

async fn answer(stream: tokio::net::UnixStream, importer: &Importer) -> io::Result<()> {
    let stream = stream.into_std()?;
    let taken = tokio::task::spawn_blocking(move || {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let file = take_file(&stream);
        stream.set_nonblocking(true)?;
        io::Result::Ok((stream, file))
    });
    let (stream, file) = taken.await.map_err(io::Error::other)??;
    let mut stream = tokio::net::UnixStream::from_std(stream)?;
    let file = match file {
        Ok(file) => file,
        Err(error) => {
            let why =
                format!("the agent was not given a file ({error}): give the path of a bundle");
            return say(&mut stream, &Say::Failed(why)).await;
        }
    };
    let progress = Arc::new(Progress::default());
    let importing = importer.import(file, Arc::clone(&progress));
    tokio::pin!(importing);
    let mut tick = tokio::time::interval(TELL);
    let ended = loop {
        tokio::select! {
            ended = &mut importing => break ended,
            _ = tick.tick() => {
                let (done, total) = progress.get();
                // Without a caller the import ends; what it stored is kept.
                say(&mut stream, &Say::Progress(done, total)).await?;
            }
        }
    };
    let last = match ended {
        Ok(imported) => Say::Done(imported),
        Err(error) => Say::Failed(error.to_string()),
    };
    say(&mut stream, &last).await
}

async fn say(stream: &mut tokio::net::UnixStream, what: &Say) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    tokio::time::timeout(TIMEOUT, stream.write_all(&line)).await?
}

/// Hands `file` to the agent that runs on `state_dir`, and hears how far it is. None if no agent runs.
pub(super) fn hand_over(
    state_dir: &Path,
    file: &File,
    mut hear: impl FnMut(u64, u64),
) -> io::Result<Option<Result<Imported, String>>> {
    let (_directory, path) = status::socket_path(state_dir, SOCKET)?;
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(SILENCE))?;
    give_file(&stream, file)?;
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let read = (&mut lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match serde_json::from_slice(&line)? {
            Say::Progress(done, total) => hear(done, total),
            Say::Done(imported) => return Ok(Some(Ok(imported))),
            Say::Failed(why) => return Ok(Some(Err(why))),
        }
    }
}

fn give_file(stream: &UnixStream, file: &File) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(stream, &[IoSlice::new(b"i")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// One regular file: reading a pipe or a device might never end.
fn take_file(stream: &UnixStream) -> io::Result<File> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let files = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let file: Option<OwnedFd> = files.flatten().next();
    let file = File::from(file.ok_or(io::ErrorKind::InvalidInput)?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_goes_through_the_socket_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"content").unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        give_file(&ours, &File::open(&path).unwrap()).unwrap();
        let mut text = String::new();
        take_file(&theirs).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
        give_file(&ours, &File::open(directory.path()).unwrap()).unwrap();
        assert!(take_file(&theirs).unwrap_err().to_string().contains("regular"));
        std::io::Write::write_all(&mut &ours, b"i").unwrap();
        assert!(take_file(&theirs).is_err());
    }
}
