//! The engine against llama.cpp on a real model: tokens, rendered chats and greedy answers.
//!
//! The reference was recorded by `golden/make.py`. The model is not in the repository; its path
//! comes in `EDGEFORMER_TEST_MODEL`, which `cargo xtask test` sets.

use edgeformer_engine::{
    ChatMessage, LoadOptions, Model, Session, SessionOptions, TensorType, requantize,
};
use serde_json::Value;
use std::fs::File;
use std::io::BufWriter;
use std::sync::{Arc, LazyLock};

fn json() -> &'static Value {
    static JSON: LazyLock<Value> = LazyLock::new(|| {
        serde_json::from_str(include_str!("golden/smollm2-135m-instruct-q4_1.json")).unwrap()
    });
    &JSON
}

fn model_file() -> File {
    let path = std::env::var_os("EDGEFORMER_TEST_MODEL").expect(
        "EDGEFORMER_TEST_MODEL must hold the path of SmolLM2-135M-Instruct.Q4_1.gguf; \
         `cargo xtask test` fetches the model and sets it",
    );
    File::open(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn model() -> Arc<Model> {
    static MODEL: LazyLock<Arc<Model>> =
        LazyLock::new(|| Arc::new(Model::load(model_file(), &LoadOptions::default()).unwrap()));
    MODEL.clone()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn tokenizes_like_the_reference() {
    let model = model();
    for case in json()["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        for (key, parse_special) in [("plain", false), ("special", true)] {
            let found = model.tokenizer().encode(text, false, parse_special);
            assert_eq!(found, ids(&case[key]), "{text:?} {key}");
        }
    }
}

#[test]
fn tokens_decode_to_the_text() {
    let tokenizer = model();
    let tokenizer = tokenizer.tokenizer();
    for case in json()["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let bytes: Vec<u8> = ids(&case["special"])
            .iter()
            .flat_map(|&id| tokenizer.decode_piece(id))
            .copied()
            .collect();
        assert_eq!(String::from_utf8_lossy(&bytes), text);
    }
}

#[test]
fn renders_chats_like_the_reference() {
    let model = model();
    for case in json()["chats"].as_array().unwrap() {
        let message = |pair: &Value| ChatMessage {
            role: pair[0].as_str().unwrap().into(),
            content: pair[1].as_str().unwrap().into(),
        };
        let messages: Vec<_> = case["messages"].as_array().unwrap().iter().map(message).collect();
        let prompt = model.chat_template().unwrap().render(&messages, true).unwrap();
        assert_eq!(prompt, case["prompt"].as_str().unwrap(), "{}", case["name"]);
    }
}

/// How far a run is from the reference, which recorded at each step its token, the second best
/// one and the gap between their logits.
#[derive(Debug, Default)]
struct Distance {
    steps: usize,
    /// Steps with another most likely token.
    differences: usize,
    /// The largest gap, in the reference, at a step with another token.
    widest_gap: f64,
    /// Root mean square and maximum, over all steps, of the change of the gap.
    rms: f64,
    worst: f64,
}

fn distance(model: Arc<Model>, cases: &Value) -> Distance {
    let options = SessionOptions { max_context: 512, ..SessionOptions::default() };
    let mut session = Session::new(model, options).unwrap();
    let mut found = Distance::default();
    let mut squares = 0.0;
    for case in cases.as_array().unwrap() {
        let (tokens, seconds) = (ids(&case["tokens"]), ids(&case["seconds"]));
        session.truncate(0);
        let mut feed = ids(&case["ids"]);
        for (step, (&token, &second)) in tokens.iter().zip(&seconds).enumerate() {
            let logits = session.feed(&feed, &|| false).unwrap();
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            let gap = case["gaps"][step].as_f64().unwrap();
            let change = f64::from(logits[token as usize] - logits[second as usize]) - gap;
            squares += change * change;
            found.worst = found.worst.max(change.abs());
            found.steps += 1;
            if best as u32 != token {
                found.differences += 1;
                found.widest_gap = found.widest_gap.max(gap);
                println!("step {step} of {}: token {best}, not {token}, gap {gap}", case["prompt"]);
            }
            // Going on with the reference's token compares every step, not only the first ones.
            feed = vec![token];
        }
    }
    found.rms = (squares / found.steps as f64).sqrt();
    println!("{found:?}");
    found
}

/// With weights decoded to F32 nothing is quantized but the KV cache (f16 in both engines), so
/// what remains is the order of additions and the reference's half-precision attention. A wrong
/// frequency, scale, norm or mask is far outside; so is a wrong decoding of the file's blocks,
/// which the reference did with its own code.
#[test]
fn f32_weights_answer_like_the_reference() {
    let (reader, writer) = std::io::pipe().unwrap();
    let decode = std::thread::spawn(|| {
        let sink = BufWriter::with_capacity(1 << 20, writer);
        requantize(model_file(), sink, TensorType::F32, &mut |_, _| {}).unwrap();
    });
    let model = Arc::new(Model::load(reader, &LoadOptions::default()).unwrap());
    decode.join().unwrap();
    let found = distance(model, &json()["exact"]);
    assert!(found.rms < 0.005 && found.worst < 0.02, "{found:?}");
    assert!(found.differences == 0, "{found:?}");
}

/// With 4-bit weights both engines also quantize activations to 8 bits per block of 32, but not to
/// the same bits: the reference rounds each block's scale to half precision and sums in another
/// order, an activation near a rounding boundary then moves by a whole step, and after 30 layers
/// the two errors have little in common. The yardstick is the reference itself: at these 704
/// steps, its answers with 4-bit weights are 0.151 (rms) and 0.70 (worst) from its own with the
/// same weights decoded to F32, and 15 tokens differ. Two engines with independent errors of that
/// size are sqrt(2) * 0.151 = 0.21 apart. Measured here: 0.17.
#[test]
fn quantized_weights_answer_like_the_reference() {
    let found = distance(model(), &json()["generations"]);
    assert!(found.rms < 0.21, "{found:?}");
    // A token may differ only where the reference itself was nearly undecided: two deviations.
    assert!(found.widest_gap < 0.42, "{found:?}");
    assert!(found.differences * 33 <= found.steps, "more than 3 % of the tokens: {found:?}");
}
