//! Runs requests on the model, one at a time, in one session: keys and values of a common beginning
//! are kept from request to request. Knows nothing of sockets and queues.

use std::sync::Arc;
use std::time::Instant;

use edgeformer_engine::{
    ChatMessage, FinishReason, Generation, Model, SamplingParams, Session, SessionError, Step,
    StopRules,
};

use super::message::{
    Failure, Finish, FromWorker, Generate, Prompt, RequestNumber, Sampling, Usage,
};

/// Enough to go through reading a prompt and decoding behind it.
const PROBE_TOKENS: u32 = 4;
const PROBE_PROMPT: &str = "Hello, world";

/// A model with its session.
#[derive(Debug)]
pub struct Decoder {
    model: Arc<Model>,
    session: Session,
}

/// Why a request ended badly.
type Refusal = (Failure, String);

impl Decoder {
    /// Of a fresh session.
    pub fn new(model: Arc<Model>, session: Session) -> Self {
        Self { model, session }
    }

    /// Runs a request to its end and emits everything that is said about it.
    pub fn generate(
        &mut self,
        request: &Generate,
        cancelled: &dyn Fn() -> bool,
        emit: &mut dyn FnMut(FromWorker),
    ) {
        let id = request.id;
        let end = match self.try_generate(request, cancelled, emit) {
            Ok((finish, usage)) => FromWorker::Done { id, finish, usage },
            Err((failure, message)) => FromWorker::Failed { id, failure, message },
        };
        emit(end);
    }

    /// Decodes a few tokens and checks that the model computes.
    pub fn probe(&mut self, id: RequestNumber, cancelled: &dyn Fn() -> bool) -> FromWorker {
        let started = Instant::now();
        let result = self.try_probe(cancelled);
        self.session.truncate(0);
        match result {
            Ok(()) => {
                let seconds = started.elapsed().as_secs_f64();
                FromWorker::Probed { id, seconds, tokens: PROBE_TOKENS }
            }
            Err(message) => FromWorker::Failed { id, failure: Failure::Engine, message },
        }
    }

    fn try_generate(
        &mut self,
        request: &Generate,
        cancelled: &dyn Fn() -> bool,
        emit: &mut dyn FnMut(FromWorker),
    ) -> Result<(Finish, Usage), Refusal> {
        let id = request.id;
        let prompt = self.tokens_of(&request.prompt)?;
        let context = self.session.max_context();
        let stop = StopRules {
            max_tokens: request.max_tokens.map_or(context, |asked| asked as usize),
            stop_strings: request.stop.clone(),
            ignore_eos: false,
        };
        let params = params_of(&request.sampling);
        let mut generation = Generation::start(&mut self.session, &prompt, &params, stop)
            .map_err(|error| refusal_of(error, prompt.len(), context))?;
        emit(FromWorker::Started { id, prompt_tokens: prompt.len() as u32 });
        let mut unsaid = 0;
        loop {
            let step = generation
                .next(&mut self.session, cancelled)
                .map_err(|error| refusal_of(error, prompt.len(), context))?;
            match step {
                Step::Text { text, tokens } => {
                    unsaid += tokens as u32;
                    if !text.is_empty() {
                        emit(FromWorker::Text { id, text, tokens: std::mem::take(&mut unsaid) });
                    }
                }
                Step::Done { reason, usage } => {
                    let usage = Usage {
                        prompt_tokens: usage.prompt_tokens as u32,
                        cached_tokens: generation.reused_tokens() as u32,
                        completion_tokens: usage.completion_tokens as u32,
                    };
                    return match reason {
                        FinishReason::Stop => Ok((Finish::Stop, usage)),
                        FinishReason::Length | FinishReason::ContextFull => {
                            Ok((Finish::Length, usage))
                        }
                        FinishReason::Cancelled => {
                            Err((Failure::Cancelled, "the request was cancelled".into()))
                        }
                    };
                }
            }
        }
    }

    fn try_probe(&mut self, cancelled: &dyn Fn() -> bool) -> Result<(), String> {
        let mut next = self.model.tokenizer().encode(PROBE_PROMPT, true, false);
        next.truncate(self.session.max_context().saturating_sub(PROBE_TOKENS as usize).max(1));
        if next.is_empty() {
            return Err("the tokenizer makes no tokens of a plain text".into());
        }
        for _ in 0..PROBE_TOKENS {
            let logits = self.session.feed(&next, cancelled).map_err(|error| error.to_string())?;
            if logits.iter().any(|logit| !logit.is_finite()) {
                return Err(
                    "the model computes numbers that are not finite: its file is damaged, or \
                            made for another engine"
                        .into(),
                );
            }
            let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            next = vec![best.map_or(0, |(token, _)| token as u32)];
        }
        Ok(())
    }

    fn tokens_of(&self, prompt: &Prompt) -> Result<Vec<u32>, Refusal> {
        prompt_tokens(&self.model, prompt).map_err(|message| (Failure::Invalid, message))
    }
}

/// Tokens of a prompt; a conversation goes through the model's template.
pub fn prompt_tokens(model: &Model, prompt: &Prompt) -> Result<Vec<u32>, String> {
    let tokenizer = model.tokenizer();
    let turns = match prompt {
        Prompt::Text(text) => return Ok(tokenizer.encode(text, true, true)),
        Prompt::Chat(turns) => turns,
    };
    let template = model.chat_template().ok_or(
        "this model has no chat template: use /v1/completions, which takes the prompt as it is",
    )?;
    let messages: Vec<ChatMessage> = turns
        .iter()
        .map(|turn| ChatMessage { role: turn.role.clone(), content: turn.content.clone() })
        .collect();
    let text = template.render(&messages, true).map_err(|error| error.to_string())?;
    // Templates that write the first special token themselves must not get it twice.
    let first = tokenizer.bos().map(|bos| String::from_utf8_lossy(tokenizer.decode_piece(bos)));
    let has_first = first.is_some_and(|first| !first.is_empty() && text.starts_with(&*first));
    Ok(tokenizer.encode(&text, !has_first, true))
}

/// The engine's parameters.
pub fn params_of(sampling: &Sampling) -> SamplingParams {
    SamplingParams {
        temperature: sampling.temperature,
        top_k: sampling.top_k as usize,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        seed: sampling.seed,
        ..SamplingParams::default()
    }
}

fn refusal_of(error: SessionError, prompt_tokens: usize, context: usize) -> Refusal {
    match error {
        SessionError::ContextFull { .. } => {
            let message = format!(
                "the prompt has {prompt_tokens} tokens and this model's context here holds {context}: \
                 shorten the prompt, or roll the model out with a longer context"
            );
            (Failure::ContextLength, message)
        }
        SessionError::NoTokens => (Failure::Invalid, "the prompt is empty".into()),
        SessionError::Cancelled => (Failure::Cancelled, "the request was cancelled".into()),
        error => (Failure::Engine, error.to_string()),
    }
}
