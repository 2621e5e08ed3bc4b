//! A request in progress: prompt in, text out, a token per step. The caller drives it and measures
//! time around [`Generation::next`]: the first step includes reading the prompt, so its duration
//! is the time to first token.

use crate::error::SessionError;
use crate::sampler::{Sampler, SamplingParams};
use crate::session::Session;
use crate::stop::StopFilter;
use crate::tokenizer::Detokenizer;

/// When to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopRules {
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Texts that end the answer and are not part of it.
    pub stop_strings: Vec<String>,
    /// Go on when the model says it has finished (for measurements).
    pub ignore_eos: bool,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model finished, or a stop string came.
    Stop,
    /// `max_tokens` were generated.
    Length,
    /// The caller cancelled.
    Cancelled,
    /// The session's context is full.
    ContextFull,
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, the one that ended the answer included.
    pub completion_tokens: usize,
}

/// What one step gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Text that can be shown; empty while a character or a possible stop string is incomplete.
    /// `tokens` were generated in this step: one, or none when held-back text is released.
    Text {
        /// Whole characters.
        text: String,
        /// Tokens generated in this step.
        tokens: usize,
    },
    /// The end; every further step gives the same.
    Done {
        /// Why.
        reason: FinishReason,
        /// Tokens in all.
        usage: Usage,
    },
}

/// A generation in progress.
#[derive(Debug)]
pub struct Generation {
    /// What the next step feeds: the rest of the prompt, then the last token.
    pending: Vec<u32>,
    sampler: Sampler,
    detokenizer: Detokenizer,
    stop_filter: StopFilter,
    rules: StopRules,
    usage: Usage,
    reused: usize,
    /// Set when nothing more will be generated.
    finished: Option<FinishReason>,
}

impl Generation {
    /// Prepares a request. Keys and values that the session holds for a common beginning of the
    /// prompt are kept; nothing is computed yet. Fails if the prompt is empty or longer than the
    /// context.
    pub fn start(
        session: &mut Session,
        prompt: &[u32],
        params: &SamplingParams,
        stop: StopRules,
    ) -> Result<Self, SessionError> {
        // The last token is fed again in any case, because its logits are needed.
        let Some((_, before_last)) = prompt.split_last() else {
            return Err(SessionError::NoTokens);
        };
        if prompt.len() > session.max_context() {
            return Err(SessionError::ContextFull {
                context: session.max_context(),
                used: 0,
                requested: prompt.len(),
            });
        }
        let held = session.tokens().iter().zip(before_last);
        let reused = held.take_while(|(held, wanted)| held == wanted).count();
        session.truncate(reused);
        Ok(Self {
            pending: prompt[reused..].to_vec(),
            sampler: Sampler::new(params),
            detokenizer: Detokenizer::default(),
            stop_filter: StopFilter::new(&stop.stop_strings),
            finished: (stop.max_tokens == 0).then_some(FinishReason::Length),
            rules: stop,
            usage: Usage { prompt_tokens: prompt.len(), completion_tokens: 0 },
            reused,
        })
    }

    /// Tokens of the prompt that the session already held.
    pub fn reused_tokens(&self) -> usize {
        self.reused
    }

    /// Generates one token. `session` must be the one given to [`Generation::start`], unchanged.
    /// After an error other than running out of context or being cancelled, which end the
    /// generation as [`Step::Done`], it must not be used further.
    #[allow(clippy::should_implement_trait)]
    pub fn next(
        &mut self,
        session: &mut Session,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Step, SessionError> {
        if let Some(reason) = self.finished {
            let text = self.release();
            return Ok(match text.is_empty() {
                true => Step::Done { reason, usage: self.usage },
                false => Step::Text { text, tokens: 0 },
            });
        }
        match session.feed(&self.pending, cancelled) {
            Ok(_) => {}
            Err(SessionError::Cancelled) => {
                return self.finish_now(FinishReason::Cancelled, session);
            }
            Err(SessionError::ContextFull { .. }) => {
                return self.finish_now(FinishReason::ContextFull, session);
            }
            Err(error) => return Err(error),
        }
        let token = self.sampler.sample(session.logits(), session.tokens());
        self.pending.clear();
        self.pending.push(token);
        self.usage.completion_tokens += 1;
        let tokenizer = session.model().tokenizer();
        if tokenizer.is_end_of_generation(token) && !self.rules.ignore_eos {
            self.finished = Some(FinishReason::Stop);
            return Ok(Step::Text { text: self.release(), tokens: 1 });
        }
        let mut text = String::new();
        if !tokenizer.is_control(token) {
            self.detokenizer.push(tokenizer.decode_piece(token), &mut text);
        }
        let (text, stopped) = self.stop_filter.push(&text);
        if stopped {
            self.finished = Some(FinishReason::Stop);
            self.detokenizer = Detokenizer::default();
        } else if self.usage.completion_tokens >= self.rules.max_tokens {
            self.finished = Some(FinishReason::Length);
        }
        Ok(Step::Text { text, tokens: 1 })
    }

    fn finish_now(
        &mut self,
        reason: FinishReason,
        session: &mut Session,
    ) -> Result<Step, SessionError> {
        self.finished = Some(reason);
        self.next(session, &|| true)
    }

    /// Text that was held back and no longer needs to be.
    fn release(&mut self) -> String {
        let mut text = String::new();
        self.detokenizer.finish(&mut text);
        let (shown, stopped) = self.stop_filter.push(&text);
        if stopped { shown } else { shown + &self.stop_filter.finish() }
    }
}
