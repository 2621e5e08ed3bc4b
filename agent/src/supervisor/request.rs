//! One request on one worker, from the question to the last token. Holding it keeps the worker alive
//! across a switch of versions; dropping it before the end stops the work.

use std::sync::Arc;

use super::link::Answers;
use super::process::Worker;
use crate::slots::SlotSpec;
use crate::worker::message::{Failure, Finish, FromWorker, RequestNumber, Usage};

/// What happened next.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The request left the queue.
    Started {
        /// Tokens of the prompt, template included.
        prompt_tokens: u32,
    },
    /// Text.
    Text {
        /// Never empty, always whole characters.
        text: String,
        /// Tokens it was made of.
        tokens: u32,
    },
    /// The end.
    Done {
        /// Why it ended.
        finish: Finish,
        /// What it cost.
        usage: Usage,
    },
    /// The end, without success.
    Failed {
        /// What kind of failure.
        failure: Failure,
        /// For people.
        message: String,
    },
    /// The end: the worker is gone, for this reason.
    WorkerGone(String),
}

/// A request that runs.
#[derive(Debug)]
pub struct RunningRequest {
    worker: Arc<Worker>,
    id: RequestNumber,
    answers: Answers,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Open,
    Ended,
}

impl RunningRequest {
    pub(super) fn new(worker: Arc<Worker>, id: RequestNumber, answers: Answers) -> Self {
        Self { worker, id, answers, progress: Progress::Open }
    }

    /// What runs it.
    pub fn spec(&self) -> &SlotSpec {
        &self.worker.spec
    }

    /// Resident memory of its worker now.
    pub fn worker_rss_bytes(&self) -> u64 {
        self.worker.rss_bytes()
    }

    /// The next event. After the end, `WorkerGone` for ever.
    pub async fn next(&mut self) -> Event {
        let event = match self.answers.recv().await {
            Some(FromWorker::Started { prompt_tokens, .. }) => Event::Started { prompt_tokens },
            Some(FromWorker::Text { text, tokens, .. }) => Event::Text { text, tokens },
            Some(FromWorker::Done { finish, usage, .. }) => Event::Done { finish, usage },
            Some(FromWorker::Failed { failure, message, .. }) => Event::Failed { failure, message },
            Some(other) => Event::WorkerGone(format!("it answered out of turn: {other:?}")),
            None => Event::WorkerGone(self.worker.exit_reason().await),
        };
        if !matches!(event, Event::Started { .. } | Event::Text { .. }) {
            self.progress = Progress::Ended;
        }
        event
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.worker.forget(self.id, self.progress == Progress::Open);
    }
}
