//! What the agent and a worker say to each other. Both are the same binary of the same build, so
//! there is no version negotiation; whatever does not parse ends the connection.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::frame::{Frame, FrameError, Kind};
use crate::slots::Paging;

/// Requests that may wait in a worker while one is decoded. More would only wait longer than a local
/// application does; it is told to come back instead.
pub const QUEUE_LENGTH: usize = 8;

/// Number of one request on one worker, given by the agent.
pub type RequestNumber = u64;

/// From the agent to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToWorker {
    /// First message: how to load. Payload pieces and [`ToWorker::PayloadEnd`] follow.
    Start(Start),
    /// A piece of the model file, in order. Never JSON.
    #[serde(skip)]
    Payload(Bytes),
    /// The model file is complete.
    PayloadEnd,
    /// Run a request.
    Generate(Generate),
    /// Stop a request; what it made so far is not wanted any more.
    Cancel {
        /// Which.
        id: RequestNumber,
    },
    /// Prove that the model computes: a few tokens from a fixed prompt.
    Probe {
        /// Answered by `Probed` or `Failed` with this id.
        id: RequestNumber,
    },
    /// Prove that the process runs.
    Ping {
        /// Returned in the answer.
        nonce: u64,
    },
}

/// How a worker loads its model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// For messages only.
    pub slot: String,
    /// Longest context in tokens; 0 means the model's own.
    pub context_tokens: u32,
    /// Decode threads; 0 means as many as the machine has.
    pub threads: u32,
    /// The process may allocate this much; 0 means no limit of its own.
    pub memory_limit_bytes: u64,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// Repeated in every answer.
    pub id: RequestNumber,
    /// What to continue.
    pub prompt: Prompt,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// The text ends before any of these.
    pub stop: Vec<String>,
    /// Most tokens to make; none means up to the end of the context.
    pub max_tokens: Option<u32>,
}

/// What to continue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Goes through the model's chat template.
    Chat(Vec<ChatTurn>),
    /// Taken as it is.
    Text(String),
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatTurn {
    /// "system", "user", "assistant" or what else the template knows.
    pub role: String,
    /// Text.
    pub content: String,
}

/// How to choose tokens. Ranges are checked where a request enters the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Share of probability to keep, (0, 1].
    pub top_p: f32,
    /// Tokens to keep; 0 keeps all.
    pub top_k: u32,
    /// Least probability relative to the best, \[0, 1\].
    pub min_p: f32,
    /// 1 changes nothing.
    pub repetition_penalty: f32,
    /// Same seed, same request, same text.
    pub seed: u64,
}

/// From a worker to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FromWorker {
    /// The model is in memory.
    Loaded(Loaded),
    /// It is not, and the process ends.
    LoadFailed {
        /// Machine-readable: "format", "memory" or "unsupported".
        reason: String,
        /// For people.
        message: String,
    },
    /// A request left the queue and its prompt has this many tokens.
    Started {
        /// Which request.
        id: RequestNumber,
        /// Tokens of the prompt, template included.
        prompt_tokens: u32,
    },
    /// Text of a request.
    Text {
        /// Which request.
        id: RequestNumber,
        /// Never empty, always whole characters.
        text: String,
        /// Tokens it was made of.
        tokens: u32,
    },
    /// A request ended well.
    Done {
        /// Which request.
        id: RequestNumber,
        /// Why it ended.
        finish: Finish,
        /// What it cost.
        usage: Usage,
    },
    /// A request ended badly.
    Failed {
        /// Which request.
        id: RequestNumber,
        /// What kind of failure.
        failure: Failure,
        /// For people.
        message: String,
    },
    /// The probe passed.
    Probed {
        /// As asked.
        id: RequestNumber,
        /// Seconds from the question to the last token.
        seconds: f64,
        /// Tokens the model made.
        tokens: u32,
    },
    /// The process runs.
    Pong {
        /// As asked.
        nonce: u64,
        /// Steps the decoding thread has made since the start. Standing still while `working` is a hang.
        steps: u64,
        /// Whether the decoding thread has a request.
        working: bool,
    },
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// As the file names it.
    pub architecture: String,
    /// Context in tokens this worker offers.
    pub context_tokens: u32,
    /// Whether the file carries a chat template.
    pub chat: bool,
    /// Seconds from the first byte to the last tensor.
    pub seconds: f64,
    /// Whether the weights may leave memory.
    pub paging: Paging,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended it, or a stop string.
    Stop,
    /// The limit or the context is used up.
    Length,
}

/// What a request cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, tokens whose keys and values were still there from an earlier request.
    pub cached_tokens: u32,
    /// Tokens made.
    pub completion_tokens: u32,
}

/// Kinds of failure of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The queue is full.
    Busy,
    /// The request cannot be run, e.g. for lack of a chat template.
    Invalid,
    /// The prompt does not fit into the context.
    ContextLength,
    /// It was cancelled.
    Cancelled,
    /// The engine failed.
    Engine,
}

/// A frame that is no message, or a message that is no frame.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The frame itself.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Its JSON.
    #[error("a control message does not parse: {0}")]
    Json(#[from] serde_json::Error),
    /// A message that has no place in this direction or at this time.
    #[error("a message came where it has no place")]
    Misplaced,
}

impl ToWorker {
    /// As a frame.
    pub fn to_frame(&self) -> Result<Frame, MessageError> {
        match self {
            ToWorker::Payload(body) => Ok(Frame { kind: Kind::Payload, body: body.clone() }),
            control => Ok(Frame { kind: Kind::Control, body: serde_json::to_vec(control)?.into() }),
        }
    }

    /// From a frame.
    pub fn from_frame(frame: Frame) -> Result<Self, MessageError> {
        match frame.kind {
            Kind::Payload => Ok(ToWorker::Payload(frame.body)),
            Kind::Control => Ok(serde_json::from_slice(&frame.body)?),
        }
    }
}

impl FromWorker {
    /// As a frame.
    pub fn to_frame(&self) -> Result<Frame, MessageError> {
        Ok(Frame { kind: Kind::Control, body: serde_json::to_vec(self)?.into() })
    }

    /// From a frame.
    pub fn from_frame(frame: Frame) -> Result<Self, MessageError> {
        match frame.kind {
            Kind::Payload => Err(MessageError::Misplaced),
            Kind::Control => Ok(serde_json::from_slice(&frame.body)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_what_was_written() {
        let sampling = Sampling {
            temperature: 0.7,
            top_p: 0.9,
            top_k: 40,
            min_p: 0.05,
            repetition_penalty: 1.1,
            seed: u64::MAX,
        };
        let turn = ChatTurn { role: "user".into(), content: "Grüße \"\u{0}\u{1F600}\"".into() };
        let request = Generate {
            id: u64::MAX,
            prompt: Prompt::Chat(vec![turn]),
            sampling,
            stop: vec!["\n".into()],
            max_tokens: None,
        };
        for message in [
            ToWorker::Payload(Bytes::from_static(&[0, 255, 123])),
            ToWorker::PayloadEnd,
            ToWorker::Generate(request),
            ToWorker::Cancel { id: 3 },
        ] {
            let frame = message.to_frame().unwrap();
            assert_eq!(ToWorker::from_frame(frame).unwrap(), message);
        }
        let done = FromWorker::Done { id: 1, finish: Finish::Length, usage: Usage::default() };
        assert_eq!(FromWorker::from_frame(done.to_frame().unwrap()).unwrap(), done);
    }

    #[test]
    fn weights_from_a_worker_are_refused() {
        let frame = ToWorker::Payload(Bytes::from_static(b"x")).to_frame().unwrap();
        assert!(matches!(FromWorker::from_frame(frame), Err(MessageError::Misplaced)));
    }
}
