//! Model files: what is refused and how it is named, hostile bytes, memory, and requantizing.

mod support;

use edgeformer_engine::{
    Header, Limits, LoadError, LoadOptions, Model, Session, SessionOptions, TensorType,
    memory_needed, requantize,
};
use edgeformer_gguf::{TensorSpec, Value, Writer};
use proptest::prelude::*;
use std::io::Cursor;
use std::sync::Arc;
use support::{file, file_with, quantized, tokens};

fn load(bytes: &[u8]) -> Result<Model, LoadError> {
    let options = LoadOptions { threads: 1, max_weight_bytes: 64 << 20, ..Default::default() };
    Model::load(bytes, &options)
}

fn header(bytes: &[u8]) -> Header {
    Header::read(&mut &bytes[..], &Limits::DEFAULT).unwrap()
}

fn check_refused(key: &str, value: Value, message: &str) {
    let bytes = file_with(|metadata| {
        metadata.retain(|(name, _)| name != key);
        metadata.push((key.to_owned(), value));
    });
    let error = load(&bytes).unwrap_err().to_string();
    assert!(error.contains(message), "{key}: {error}");
}

#[test]
fn refusals_name_what_was_found_and_what_is_supported() {
    let text = |text: &str| Value::String(text.to_owned());
    check_refused(
        "general.architecture",
        text("mamba"),
        "\"mamba\" is not supported; supported: llama",
    );
    check_refused(
        "tokenizer.ggml.model",
        text("bert"),
        "\"bert\" is not supported; supported: gpt2",
    );
    check_refused(
        "tokenizer.ggml.pre",
        text("tekken"),
        "\"tekken\" is not supported; supported: default",
    );
    check_refused("llama.rope.scaling.type", text("yarn"), "yarn");
    check_refused("llama.block_count", Value::U32(0), "from 1 to");
    check_refused("llama.block_count", Value::U32(3), "lacks tensor \"blk.2.");
    check_refused("llama.block_count", Value::U32(1), "\"blk.1.attn_norm.weight\" is not part");
    check_refused("llama.attention.head_count_kv", Value::U32(5), "must divide");
    check_refused("llama.feed_forward_length", Value::U32(128), "dimensions");
    check_refused("llama.embedding_length", Value::F32(1.0), "lacks metadata key");
    check_refused("tokenizer.ggml.eos_token_id", Value::U32(9999), "beyond the vocabulary");
}

#[test]
fn an_unsupported_tensor_type_is_named() {
    let bytes = file();
    let source = header(&bytes);
    let specs: Vec<_> = source
        .tensors
        .iter()
        .map(|tensor| TensorSpec {
            name: tensor.name.clone(),
            dims: tensor.dims.clone(),
            ty: if tensor.name.contains("ffn_up") { TensorType::Q5_1 } else { tensor.ty },
        })
        .collect();
    let mut out = Vec::new();
    Writer::new(&mut out, &source.metadata, &specs).unwrap();
    let error = load(&out).unwrap_err().to_string();
    assert!(error.contains("Q5_1") && error.contains("Q4_0, Q4_1, Q8_0, F16, F32"), "{error}");
}

#[test]
fn memory_is_known_before_loading_and_bounded() {
    for ty in [TensorType::Q4_1, TensorType::F16] {
        let bytes = quantized(ty);
        let need = memory_needed(&header(&bytes), 100).unwrap();
        assert_eq!(need.weight_bytes, load(&bytes).unwrap().weight_bytes());
        // layers * (K, V) * width * context in whole blocks * f16
        assert_eq!(need.kv_bytes, 2 * 2 * 32 * 128 * 2);
        assert!(need.scratch_bytes > 0);
        let limit = need.weight_bytes - 1;
        let options = LoadOptions { max_weight_bytes: limit, ..Default::default() };
        let refused = Model::load(&bytes[..], &options);
        assert!(matches!(refused, Err(LoadError::TooLarge { .. })));
    }
}

fn logits(bytes: &[u8]) -> Vec<f32> {
    let mut session =
        Session::new(Arc::new(load(bytes).unwrap()), SessionOptions::default()).unwrap();
    session.feed(&tokens(40), &|| false).unwrap().to_vec()
}

#[test]
fn requantized_models_answer_nearly_the_same_and_say_what_they_are() {
    let exact = logits(&file());
    let spread = exact.iter().map(|x| x * x).sum::<f32>() / exact.len() as f32;
    for (ty, id, bound) in [
        (TensorType::F16, 1, 1e-5),
        (TensorType::Q8_0, 7, 1e-3),
        (TensorType::Q4_1, 3, 0.1),
        (TensorType::Q4_0, 2, 0.1),
    ] {
        let bytes = quantized(ty);
        let header = header(&bytes);
        assert_eq!(header.u32("general.file_type"), Some(id));
        assert_eq!(header.str("general.quantized_from"), Some("F32"));
        assert_eq!(header.tensor("blk.0.attn_norm.weight").unwrap().ty, TensorType::F32);
        assert_eq!(header.tensor("blk.0.attn_q.weight").unwrap().ty, ty);
        let found = logits(&bytes);
        let error = exact.iter().zip(&found).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
            / exact.len() as f32;
        assert!(error > 0.0 && error < bound * spread, "{ty}: {error} of {spread}");
    }
}

#[test]
fn requantizing_reports_and_keeps_equal_types() {
    let source = quantized(TensorType::Q4_1);
    let (mut out, mut last) = (Vec::new(), (0, 0));
    let report =
        requantize(Cursor::new(&source), &mut out, TensorType::Q4_1, &mut |done, total| {
            last = (done, total)
        })
        .unwrap();
    assert_eq!(last, (report.source_bytes, report.source_bytes));
    assert_eq!(report.converted, 14);
    let logits: Vec<_> = report.kept.iter().map(|(name, ty)| (name.as_str(), *ty)).collect();
    let q8 = TensorType::Q8_0;
    assert_eq!(logits, [("token_embd.weight", q8), ("output.weight", q8)]);
    let data = |bytes: &[u8]| bytes[header(bytes).data_offset as usize..].to_vec();
    assert_eq!(data(&out), data(&source), "the same type is copied, not rounded again");

    let refused = requantize(Cursor::new(&source), Vec::new(), TensorType::Q6_K, &mut |_, _| {});
    assert!(refused.unwrap_err().to_string().contains("Q6_K"));
    let cut = requantize(Cursor::new(&source[..source.len() / 2]), Vec::new(), q8, &mut |_, _| {});
    assert!(cut.is_err());
}

#[test]
fn every_kind_of_truncation_is_an_error() {
    let bytes = quantized(TensorType::Q4_1);
    let end = header(&bytes).data_offset as usize + header(&bytes).data_bytes() as usize;
    for length in (0..end).step_by(997).chain([end - 1]) {
        assert!(load(&bytes[..length]).is_err(), "cut at {length}");
    }
    assert!(load(&bytes[..end]).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Loads, and if that works, runs: never a panic.
    #[test]
    fn flipped_bytes_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        in_header in any::<bool>(),
    ) {
        let mut bytes = quantized(TensorType::Q4_1);
        let end = if in_header { header(&bytes).data_offset as usize } else { bytes.len() };
        for (index, value) in flips {
            bytes[index.index(end)] = value;
        }
        if let Ok(model) = load(&bytes) {
            let options = SessionOptions { max_context: 32, prefill_chunk: 8 };
            let mut session = Session::new(Arc::new(model), options).unwrap();
            let prompt = session.model().tokenizer().encode("the end<|end|>", true, true);
            let _ = session.feed(&prompt, &|| false);
            let _ = session.model().chat_template().map(|template| template.render(&[], true));
        }
    }
}
