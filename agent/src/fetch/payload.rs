//! Opens a version from its sealed chunks into memory, piece by piece, each checked before it is
//! handed out. Plaintext exists only in the pieces that are on their way to a worker.
//!
//! Pieces open on several threads and come out in order. How many are open at a time is bounded,
//! whatever the size of the version.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bytes::Bytes;
use edgeformer_proto::artifact::{ChunkIndex, ChunkOpener, Piece};

use super::chunks::ChunkStore;
use crate::slots::{PayloadError, PayloadPieces, PayloadSource};

/// Most threads that open one version: what reads the pieces is not faster than four.
const MAX_THREADS: usize = 4;

/// Opened pieces that wait for their turn, per thread. With one that is being opened and one that
/// waits to be queued, a thread holds three pieces at most.
const AHEAD: usize = 1;

/// The plaintext of one version.
#[derive(Debug)]
pub struct SealedPayload {
    index: Arc<ChunkIndex>,
    chunks: ChunkStore,
}

impl SealedPayload {
    /// Of an opened index.
    pub fn new(index: Arc<ChunkIndex>, chunks: ChunkStore) -> Self {
        Self { index, chunks }
    }

    /// The pieces in order; none after the last, or after an error.
    pub fn pieces(&self) -> Result<Pieces, PayloadError> {
        let opener = || Opener {
            index: Arc::clone(&self.index),
            chunks: self.chunks.clone(),
            open: ChunkOpener::default(),
        };
        let pieces = self.index.entries().len();
        let threads = match self.chunks.blocks() {
            true => thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
            false => 1,
        };
        let source = match threads.min(pieces) {
            0 | 1 => Source::Here(opener()),
            threads => Source::Threads(start(threads, pieces, opener)?),
        };
        Ok(Pieces { next: 0, end: pieces, source })
    }
}

impl PayloadSource for SealedPayload {
    fn open(&self) -> Result<PayloadPieces, PayloadError> {
        // Wiped when the last that holds a part of it is done with it.
        Ok(Box::new(self.pieces()?.map(|piece| piece.map(Bytes::from_owner))))
    }

    fn size_bytes(&self) -> u64 {
        self.index.payload_bytes()
    }
}

type Opened = Result<Piece, PayloadError>;

/// Pieces of a version, in order.
pub struct Pieces {
    next: usize,
    end: usize,
    source: Source,
}

enum Source {
    Here(Opener),
    /// The piece with number `n` comes from the thread with number `n` modulo their count.
    Threads(Vec<Receiver<Opened>>),
}

impl Iterator for Pieces {
    type Item = Opened;

    fn next(&mut self) -> Option<Opened> {
        let number = self.next;
        if number >= self.end {
            return None;
        }
        let opened = match &mut self.source {
            Source::Here(opener) => opener.open(number),
            Source::Threads(threads) => threads[number % threads.len()]
                .recv()
                .unwrap_or_else(|_| Err(PayloadError::Thread("one died".into()))),
        };
        self.next = if opened.is_ok() { number + 1 } else { self.end };
        Some(opened)
    }
}

/// Each thread opens its share until all is opened, something is wrong or nobody takes the pieces.
fn start(
    threads: usize,
    pieces: usize,
    opener: impl Fn() -> Opener,
) -> Result<Vec<Receiver<Opened>>, PayloadError> {
    let start_one = |first| {
        let (queue, opened) = sync_channel(AHEAD);
        let opener = opener();
        let share = (first..pieces).step_by(threads);
        let thread = thread::Builder::new().name("open".into());
        thread.spawn(move || open_share(opener, share, &queue)).map(|_| opened)
    };
    let started: io::Result<Vec<_>> = (0..threads).map(start_one).collect();
    started.map_err(|error| PayloadError::Thread(error.to_string()))
}

fn open_share(mut opener: Opener, share: impl Iterator<Item = usize>, queue: &SyncSender<Opened>) {
    for number in share {
        let opened = opener.open(number);
        let last = opened.is_err();
        if queue.send(opened).is_err() || last {
            return;
        }
    }
}

struct Opener {
    index: Arc<ChunkIndex>,
    chunks: ChunkStore,
    open: ChunkOpener,
}

impl Opener {
    fn open(&mut self, number: usize) -> Opened {
        let entry = &self.index.entries()[number];
        let id = || entry.id.to_string();
        let sealed = self.chunks.get(&entry.id).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => PayloadError::Missing { id: id() },
            _ => {
                let path = self.chunks.path(&entry.id).display().to_string();
                PayloadError::Read { path, reason: error.to_string() }
            }
        })?;
        self.open.open(&self.index, number, sealed).map_err(|error| {
            if error.is_of_sealed_bytes() {
                // Bytes that are not those of the name are of no use: the next fetch brings them.
                let _ = self.chunks.remove(&entry.id);
            }
            PayloadError::Corrupt { id: id(), error }
        })
    }
}
