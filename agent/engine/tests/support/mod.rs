//! A tiny model made of seeded random weights, so that tests need no download.
#![allow(dead_code)]

use edgeformer_engine::{LoadOptions, Model, TensorType, requantize};
use edgeformer_gguf::{Array, TensorSpec, Value, Writer};
use std::io::Cursor;
use std::sync::Arc;

/// Shape of the tiny model: 3 heads share each KV head, rows are not a multiple of 8 everywhere.
pub const DIM: u64 = 96;
pub const HEADS: u64 = 6;
pub const KV_HEADS: u64 = 2;
pub const HEAD_DIM: u64 = 16;
pub const FF: u64 = 160;
pub const LAYERS: u64 = 2;
pub const CONTEXT: u32 = 256;
/// 256 bytes, three merges, three special tokens.
pub const VOCAB: u64 = 262;
pub const END: u32 = 261;

const TEMPLATE: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}\
                        {% if add_generation_prompt %}<|assistant|>{% endif %}";

/// SplitMix64, as floats around 0.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// The character that stands for a byte in byte-level vocabularies.
fn byte_char(byte: u32) -> char {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = match printable(byte) {
        true => byte,
        false => 0x100 + (0..byte).filter(|&b| !printable(b)).count() as u32,
    };
    char::from_u32(code).unwrap()
}

fn metadata() -> Vec<(String, Value)> {
    let mut tokens: Vec<String> = (0..256).map(|byte| byte_char(byte).to_string()).collect();
    tokens.extend(["th", "the", "Ġthe", "<|user|>", "<|assistant|>", "<|end|>"].map(String::from));
    let types = (0..VOCAB).map(|id| if id < 259 { 1 } else { 3 }).collect();
    let strings = |texts: &[String]| Value::Array(Array::String(texts.iter().collect()));
    let merges: Vec<String> = ["t h", "th e", "Ġ the"].map(String::from).to_vec();
    let text = |text: &str| Value::String(text.to_owned());
    [
        ("general.architecture", text("llama")),
        ("llama.block_count", Value::U32(LAYERS as u32)),
        ("llama.context_length", Value::U32(CONTEXT)),
        ("llama.embedding_length", Value::U32(DIM as u32)),
        ("llama.feed_forward_length", Value::U32(FF as u32)),
        ("llama.attention.head_count", Value::U32(HEADS as u32)),
        ("llama.attention.head_count_kv", Value::U32(KV_HEADS as u32)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.dimension_count", Value::U32(HEAD_DIM as u32)),
        ("general.file_type", Value::U32(0)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", strings(&tokens)),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(types))),
        ("tokenizer.ggml.merges", strings(&merges)),
        ("tokenizer.ggml.eos_token_id", Value::U32(END)),
        ("tokenizer.chat_template", text(TEMPLATE)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

fn tensors() -> Vec<TensorSpec> {
    let mut all = Vec::new();
    let mut add = |name: String, dims: &[u64]| {
        all.push(TensorSpec { name, dims: dims.to_vec(), ty: TensorType::F32 });
    };
    add("token_embd.weight".into(), &[DIM, VOCAB]);
    let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    for layer in 0..LAYERS {
        let mut add = |name: &str, dims: &[u64]| add(format!("blk.{layer}.{name}.weight"), dims);
        add("attn_norm", &[DIM]);
        add("attn_q", &[DIM, q]);
        add("attn_k", &[DIM, kv]);
        add("attn_v", &[DIM, kv]);
        add("attn_output", &[q, DIM]);
        add("ffn_norm", &[DIM]);
        add("ffn_gate", &[DIM, FF]);
        add("ffn_up", &[DIM, FF]);
        add("ffn_down", &[FF, DIM]);
    }
    add("output_norm.weight".into(), &[DIM]);
    add("output.weight".into(), &[DIM, VOCAB]);
    all
}

/// The tiny model in F32, with changes to the metadata applied.
pub fn file_with(change: impl FnOnce(&mut Vec<(String, Value)>)) -> Vec<u8> {
    let mut metadata = metadata();
    change(&mut metadata);
    let specs = tensors();
    let mut writer = Writer::new(Vec::new(), &metadata, &specs).unwrap();
    let mut random = Random(42);
    for spec in &specs {
        let scale = if spec.dims.len() == 1 { 0.1 } else { 2.0 / (spec.dims[0] as f32).sqrt() };
        let offset = if spec.dims.len() == 1 { 1.0 } else { 0.0 };
        for _ in 0..spec.dims.iter().product() {
            writer.write_data(&(offset + random.next() * scale).to_le_bytes()).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// The tiny model in F32.
pub fn file() -> Vec<u8> {
    file_with(|_| {})
}

/// The tiny model with matrices of a type.
pub fn quantized(ty: TensorType) -> Vec<u8> {
    let mut out = Vec::new();
    requantize(Cursor::new(file()), &mut out, ty, &mut |_, _| {}).unwrap();
    out
}

pub fn load(file: &[u8], options: &LoadOptions) -> Arc<Model> {
    Arc::new(Model::load(file, options).unwrap())
}

/// A varied sequence of tokens.
pub fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| (i * 37 + i * i % 11) % VOCAB as u32).collect()
}
