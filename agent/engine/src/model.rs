//! A loaded model: shape, weights, tokenizer and the workers that compute with them. Immutable, and
//! shared by any number of sessions.

use crate::config::Config;
use crate::error::LoadError;
use crate::kernels::{Level, Pool};
use crate::load::{LoadOptions, read_weights};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use edgeformer_gguf::{Header, Limits};
use std::io::{BufReader, Read};

/// The stream is read in pieces of this size.
const READ_BUFFER_BYTES: usize = 256 << 10;
/// More threads than this only add contention to jobs of some tens of microseconds.
const MAX_THREADS: usize = 64;

/// A model, ready to run.
#[derive(Debug)]
pub struct Model {
    pub(crate) config: Config,
    pub(crate) weights: Weights,
    pub(crate) level: Level,
    pub(crate) pool: Pool,
    /// Inverse rotary frequency of each pair: `[rope_dims / 2]`.
    pub(crate) rope_frequencies: Vec<f64>,
    tokenizer: Tokenizer,
    chat_template: Option<ChatTemplate>,
}

pub(crate) fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get()).min(MAX_THREADS)
}

impl Model {
    /// Loads a model in one forward pass over `source`, which need not be buffered.
    pub fn load(source: impl Read, options: &LoadOptions) -> Result<Self, LoadError> {
        let level = Level::detect(options.isa)?;
        let mut source = BufReader::with_capacity(READ_BUFFER_BYTES, source);
        let header = Header::read(&mut source, &Limits::DEFAULT)?;
        let config = Config::from_header(&header)?;
        let tokenizer = Tokenizer::from_header(&header, config.vocab)?;
        let chat_template = ChatTemplate::from_header(&header, &tokenizer);
        let weights = read_weights(&mut source, &header, &config, options.max_weight_bytes)?;
        let threads = match options.threads {
            0 => available_threads(),
            threads => threads.min(MAX_THREADS),
        };
        let pool = Pool::new(threads).map_err(LoadError::Threads)?;
        let rope_frequencies = crate::forward::rope_frequencies(&config, &weights);
        Ok(Self { config, weights, level, pool, rope_frequencies, tokenizer, chat_template })
    }

    /// Shape and constants.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tokenizer from the file.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, if the file carries one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// Bytes of weights in memory.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.bytes()
    }
}
