//! The weights, and the list of tensors that a file must have, which is the one place that knows
//! their names and shapes. Loading checks a whole header against it before reading any data.

use crate::config::Config;
use crate::error::LoadError;
use crate::kernels::{Matrix, MatrixType};
use edgeformer_gguf::{Header, TensorInfo, TensorType};
use std::collections::HashMap;
use zeroize::Zeroizing;

/// The optional tensors, by name.
const OUTPUT: &str = "output.weight";
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// All weights. `dim` is the residual width, `q` the width of all heads, `kv` that of all KV
/// heads, `ff` the feed-forward width. A matrix `[a][b]` maps b values to a.
#[derive(Debug)]
pub(crate) struct Weights {
    /// `[vocab][dim]`
    pub(crate) embedding: Matrix,
    pub(crate) layers: Vec<Layer>,
    /// `[dim]`
    pub(crate) output_norm: Zeroizing<Vec<f32>>,
    /// `[vocab][dim]`; absent when the embedding is used for output too
    pub(crate) output: Option<Matrix>,
    /// `[rope_dims / 2]`, divisors of the rotary frequencies
    pub(crate) rope_factors: Option<Zeroizing<Vec<f32>>>,
}

/// The weights of one transformer block.
#[derive(Debug)]
pub(crate) struct Layer {
    /// `[dim]`
    pub(crate) attn_norm: Zeroizing<Vec<f32>>,
    /// `[q][dim]`
    pub(crate) query: Matrix,
    /// `[kv][dim]`
    pub(crate) key: Matrix,
    /// `[kv][dim]`
    pub(crate) value: Matrix,
    /// `[dim][q]`
    pub(crate) attn_output: Matrix,
    /// `[dim]`
    pub(crate) ffn_norm: Zeroizing<Vec<f32>>,
    /// `[ff][dim]`
    pub(crate) gate: Matrix,
    /// `[ff][dim]`
    pub(crate) up: Matrix,
    /// `[dim][ff]`
    pub(crate) down: Matrix,
}

/// A tensor as loaded.
#[derive(Debug)]
pub(crate) enum Loaded {
    Matrix(Matrix),
    Vector(Zeroizing<Vec<f32>>),
}

/// Dimensions that each tensor must have: one for a vector, (columns, rows) for a matrix.
fn expected(config: &Config) -> HashMap<String, Vec<usize>> {
    let (dim, ff, q, kv) = (config.dim, config.ff_dim, config.q_dim(), config.kv_dim());
    let mut all = HashMap::new();
    for layer in 0..config.layers {
        let mut add = |name: &str, dims: &[usize]| {
            all.insert(format!("blk.{layer}.{name}.weight"), dims.to_vec());
        };
        add("attn_norm", &[dim]);
        add("attn_q", &[dim, q]);
        add("attn_k", &[dim, kv]);
        add("attn_v", &[dim, kv]);
        add("attn_output", &[q, dim]);
        add("ffn_norm", &[dim]);
        add("ffn_gate", &[dim, ff]);
        add("ffn_up", &[dim, ff]);
        add("ffn_down", &[ff, dim]);
    }
    all.insert("token_embd.weight".to_owned(), vec![dim, config.vocab]);
    all.insert("output_norm.weight".to_owned(), vec![dim]);
    all.insert(OUTPUT.to_owned(), vec![dim, config.vocab]);
    all.insert(ROPE_FACTORS.to_owned(), vec![config.rope_dims / 2]);
    all
}

/// Checks that a file has exactly the tensors of its architecture, each of the right shape and of
/// a supported type. Returns the bytes of all weights once loaded.
pub(crate) fn check(header: &Header, config: &Config) -> Result<u64, LoadError> {
    let mut expected = expected(config);
    let mut total = 0u64;
    for tensor in &header.tensors {
        let Some(dims) = expected.remove(&tensor.name) else {
            return Err(LoadError::UnknownTensor { tensor: tensor.name.clone() });
        };
        let dims: Vec<u64> = dims.iter().map(|&dim| dim as u64).collect();
        if trimmed(&tensor.dims) != trimmed(&dims) {
            let (found, expected) = (tensor.dims.clone(), dims);
            return Err(LoadError::TensorShape { tensor: tensor.name.clone(), found, expected });
        }
        total = total.saturating_add(loaded_bytes(tensor, &dims)?);
    }
    expected.remove(OUTPUT);
    expected.remove(ROPE_FACTORS);
    match expected.into_keys().min() {
        Some(tensor) => Err(LoadError::MissingTensor { tensor }),
        None => Ok(total),
    }
}

/// Dimensions without trailing ones, which writers keep or leave out.
pub(crate) fn trimmed(dims: &[u64]) -> &[u64] {
    &dims[..dims.iter().rposition(|&dim| dim != 1).map_or(0, |at| at + 1)]
}

fn loaded_bytes(tensor: &TensorInfo, dims: &[u64]) -> Result<u64, LoadError> {
    let unsupported = |supported: &[TensorType]| LoadError::UnsupportedTensorType {
        tensor: tensor.name.clone(),
        found: tensor.ty.name(),
        supported: supported.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(", "),
    };
    match *trimmed(dims) {
        [cols, rows] => {
            let ty =
                MatrixType::of(tensor.ty).ok_or_else(|| unsupported(&MatrixType::SUPPORTED))?;
            let bytes = Matrix::size_bytes(ty, rows as usize, cols as usize);
            Ok(bytes.map_or(u64::MAX, |bytes| bytes as u64))
        }
        _ if tensor.ty == TensorType::F32 => Ok(tensor.size_bytes),
        _ => Err(unsupported(&[TensorType::F32])),
    }
}

/// Collects loaded tensors and puts them in their places.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    tensors: HashMap<String, Loaded>,
}

impl Builder {
    pub(crate) fn insert(&mut self, name: &str, tensor: Loaded) {
        self.tensors.insert(name.to_owned(), tensor);
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix, LoadError> {
        match self.tensors.remove(name) {
            Some(Loaded::Matrix(matrix)) => Ok(matrix),
            _ => Err(LoadError::MissingTensor { tensor: name.to_owned() }),
        }
    }

    fn vector(&mut self, name: &str) -> Result<Zeroizing<Vec<f32>>, LoadError> {
        match self.tensors.remove(name) {
            Some(Loaded::Vector(vector)) => Ok(vector),
            _ => Err(LoadError::MissingTensor { tensor: name.to_owned() }),
        }
    }

    /// The weights; a tensor that is missing is an error.
    pub(crate) fn build(mut self, config: &Config) -> Result<Weights, LoadError> {
        let layers = (0..config.layers)
            .map(|layer| {
                let name = |name: &str| format!("blk.{layer}.{name}.weight");
                Ok(Layer {
                    attn_norm: self.vector(&name("attn_norm"))?,
                    query: self.matrix(&name("attn_q"))?,
                    key: self.matrix(&name("attn_k"))?,
                    value: self.matrix(&name("attn_v"))?,
                    attn_output: self.matrix(&name("attn_output"))?,
                    ffn_norm: self.vector(&name("ffn_norm"))?,
                    gate: self.matrix(&name("ffn_gate"))?,
                    up: self.matrix(&name("ffn_up"))?,
                    down: self.matrix(&name("ffn_down"))?,
                })
            })
            .collect::<Result<_, LoadError>>()?;
        Ok(Weights {
            embedding: self.matrix("token_embd.weight")?,
            layers,
            output_norm: self.vector("output_norm.weight")?,
            output: self.matrix(OUTPUT).ok(),
            rope_factors: self.vector(ROPE_FACTORS).ok(),
        })
    }
}

impl Weights {
    /// The matrix that turns the last hidden state into logits.
    pub(crate) fn output_matrix(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Bytes held by matrices and vectors.
    pub(crate) fn bytes(&self) -> u64 {
        let floats = |vector: &[f32]| vector.len() as u64 * 4;
        let layer = |l: &Layer| {
            let matrices = [&l.query, &l.key, &l.value, &l.attn_output, &l.gate, &l.up, &l.down];
            matrices.iter().map(|matrix| matrix.bytes()).sum::<u64>()
                + floats(&l.attn_norm)
                + floats(&l.ffn_norm)
        };
        self.layers.iter().map(layer).sum::<u64>()
            + self.embedding.bytes()
            + self.output.as_ref().map_or(0, Matrix::bytes)
            + floats(&self.output_norm)
            + self.rope_factors.as_ref().map_or(0, |factors| floats(factors))
    }
}
