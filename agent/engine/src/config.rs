//! The shape of a model, from GGUF metadata. Every number is checked here, so that the rest of the
//! engine can multiply them without fear.

use crate::error::LoadError;
use edgeformer_gguf::Header;

/// Architectures the forward pass implements.
pub(crate) const ARCHITECTURES: &str = "llama";

/// Far above published dense models (126 layers, width 16,384, 128 heads, vocabulary 262,144), and
/// low enough that products of any three fit 64 bits with room.
const MAX_LAYERS: u32 = 1 << 10;
const MAX_WIDTH: u32 = 1 << 17;
const MAX_HEADS: u32 = 1 << 10;
const MAX_HEAD_DIM: u32 = 1 << 10;
const MAX_VOCAB: u32 = 1 << 22;
const MAX_CONTEXT: u32 = 1 << 26;

/// Shape and constants of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `general.architecture`.
    pub architecture: String,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Width inside the feed-forward part.
    pub ff_dim: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads` (grouped-query attention).
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Tokens of context the model was trained for.
    pub context_length: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Dimensions of a head that are rotated.
    pub rope_dims: usize,
    /// Positions are divided by it (linear scaling); 1 without.
    pub rope_scale: f32,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f32,
    /// Factor on attention scores.
    pub attention_scale: f32,
}

impl Config {
    /// Reads and checks the shape.
    pub fn from_header(header: &Header) -> Result<Self, LoadError> {
        let keys = Keys { header, prefix: "llama" };
        let architecture = keys.text("general.architecture")?;
        if architecture != "llama" {
            let found = architecture.to_owned();
            return Err(LoadError::UnknownArchitecture { found, supported: ARCHITECTURES });
        }
        let dim = keys.number("embedding_length", 32, MAX_WIDTH, 32)?;
        let heads = keys.number("attention.head_count", 1, MAX_HEADS, 1)?;
        let kv_heads = keys.optional("attention.head_count_kv", heads, MAX_HEADS)?;
        if heads % kv_heads != 0 {
            return Err(keys.bad(
                "attention.head_count_kv",
                kv_heads,
                "must divide the head count",
            ));
        }
        let head_dim = keys.optional("attention.key_length", dim / heads, MAX_HEAD_DIM)?;
        let value_dim = keys.optional("attention.value_length", head_dim, MAX_HEAD_DIM)?;
        if head_dim % 8 != 0 || value_dim != head_dim || heads * head_dim % 32 != 0 {
            let expected = "heads must be equally wide, a multiple of 8, and together of 32";
            return Err(keys.bad("attention.key_length", head_dim, expected));
        }
        let rope_dims = keys.optional("rope.dimension_count", head_dim, MAX_HEAD_DIM)?;
        if rope_dims % 2 != 0 || rope_dims > head_dim {
            let expected = "must be even and at most the head width";
            return Err(keys.bad("rope.dimension_count", rope_dims, expected));
        }
        if keys.header.u32("llama.expert_count").is_some_and(|count| count > 0) {
            return Err(keys.bad("expert_count", 1, "mixtures of experts are not supported"));
        }
        Ok(Self {
            architecture: architecture.to_owned(),
            layers: keys.number("block_count", 1, MAX_LAYERS, 1)?,
            dim,
            ff_dim: keys.number("feed_forward_length", 32, MAX_WIDTH * 8, 32)?,
            heads,
            kv_heads,
            head_dim,
            vocab: vocab_of(header)?,
            context_length: keys.number("context_length", 1, MAX_CONTEXT, 1)?,
            rope_base: keys.positive("rope.freq_base", Some(10_000.0))?,
            rope_dims,
            rope_scale: keys.rope_scale()?,
            norm_eps: keys.positive("attention.layer_norm_rms_epsilon", None)?,
            attention_scale: 1.0 / (head_dim as f32).sqrt(),
        })
    }

    /// Width of the keys (and of the values) of one token.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Width of the queries of one token.
    pub fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }
}

fn vocab_of(header: &Header) -> Result<usize, LoadError> {
    let name = "token_embd.weight";
    let tensor =
        header.tensor(name).ok_or_else(|| LoadError::MissingTensor { tensor: name.to_owned() })?;
    match tensor.dims.get(1) {
        Some(&rows) if (1..=u64::from(MAX_VOCAB)).contains(&rows) => Ok(rows as usize),
        _ => Err(LoadError::TensorShape {
            tensor: name.to_owned(),
            found: tensor.dims.clone(),
            expected: vec![],
        }),
    }
}

/// Metadata under the architecture's prefix.
struct Keys<'a> {
    header: &'a Header,
    prefix: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn bad(&self, name: &str, found: impl ToString, expected: &str) -> LoadError {
        let (found, expected) = (found.to_string(), expected.to_owned());
        LoadError::BadValue { key: self.key(name), found, expected }
    }

    fn text(&self, key: &str) -> Result<&str, LoadError> {
        self.header.str(key).ok_or_else(|| LoadError::MissingKey { key: key.to_owned() })
    }

    fn number(&self, name: &str, min: u32, max: u32, multiple: u32) -> Result<usize, LoadError> {
        let missing = || LoadError::MissingKey { key: self.key(name) };
        let found = self.header.u32(&self.key(name)).ok_or_else(missing)?;
        if !(min..=max).contains(&found) || found % multiple != 0 {
            let expected = format!("must be from {min} to {max}, a multiple of {multiple}");
            return Err(self.bad(name, found, &expected));
        }
        Ok(found as usize)
    }

    fn optional(&self, name: &str, default: usize, max: u32) -> Result<usize, LoadError> {
        if self.header.get(&self.key(name)).is_some() {
            return self.number(name, 1, max, 1);
        }
        if !(1..=max as usize).contains(&default) {
            return Err(self.bad(name, default, &format!("must be from 1 to {max}")));
        }
        Ok(default)
    }

    fn positive(&self, name: &str, default: Option<f32>) -> Result<f32, LoadError> {
        let missing = || LoadError::MissingKey { key: self.key(name) };
        let found = self.header.f32(&self.key(name)).or(default).ok_or_else(missing)?;
        // Normal: the engine's own logarithm takes it.
        if found.is_normal() && found > 0.0 {
            Ok(found)
        } else {
            Err(self.bad(name, found, "must be a positive number"))
        }
    }

    fn rope_scale(&self) -> Result<f32, LoadError> {
        match self.header.str(&self.key("rope.scaling.type")) {
            None | Some("none") => Ok(1.0),
            Some("linear") => self.positive("rope.scaling.factor", Some(1.0)),
            Some(other) => Err(self.bad(
                "rope.scaling.type",
                other,
                "supported: none, linear, and factors in rope_freqs.weight",
            )),
        }
    }
}
