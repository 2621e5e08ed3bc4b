//! The engine against llama.cpp on a real model: tokens, rendered chats and greedy answers.
//!
//! The reference was recorded by `golden/make.py`. The model is not in the repository; its path
//! comes in `EDGEFORMER_TEST_MODEL`, which `cargo xtask test` sets.

use edgeformer_engine::{ChatMessage, LoadOptions, Model, Session, SessionOptions};
use serde_json::Value;
use std::fs::File;
use std::sync::{Arc, LazyLock};

/// The largest logit gap at which the engine may choose another token than the reference.
///
/// Both quantize activations to 8 bits per block of 32, but not with the same bits: the reference
/// rounds each block's scale to half precision (relative error up to 2^-11) and sums in another
/// order, and an activation that lies at a rounding boundary then moves by a whole step. These
/// errors are independent over some 600 blocks per layer and 30 layers. Measured over all steps of
/// the record, the gap between two tokens differs by less than this; a wrong kernel, rope or norm
/// moves logits by whole units.
const GAP_BOUND: f64 = 0.35;

fn json() -> &'static Value {
    static JSON: LazyLock<Value> = LazyLock::new(|| {
        serde_json::from_str(include_str!("golden/smollm2-135m-instruct-q4_1.json")).unwrap()
    });
    &JSON
}

fn model() -> Arc<Model> {
    static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| {
        let path = std::env::var_os("EDGEFORMER_TEST_MODEL").expect(
            "EDGEFORMER_TEST_MODEL must hold the path of SmolLM2-135M-Instruct.Q4_1.gguf; \
             `cargo xtask test` fetches the model and sets it",
        );
        let file = File::open(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        Arc::new(Model::load(file, &LoadOptions::default()).unwrap())
    });
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

#[test]
fn answers_like_the_reference() {
    let model = model();
    let options = SessionOptions { max_context: 512, ..SessionOptions::default() };
    let mut session = Session::new(model, options).unwrap();
    let mut differences = Vec::new();
    for case in json()["generations"].as_array().unwrap() {
        let expected = ids(&case["tokens"]);
        session.truncate(0);
        let mut feed = ids(&case["ids"]);
        for (step, &token) in expected.iter().enumerate() {
            let logits = session.feed(&feed, &|| false).unwrap();
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            if best as u32 != token {
                let gap = case["gaps"][step].as_f64().unwrap();
                let ours = f64::from(logits[best] - logits[token as usize]);
                differences.push((gap, ours, step, case["prompt"].as_str().unwrap()));
            }
            // Going on with the reference's token compares every step, not only the first ones.
            feed = vec![token];
        }
    }
    for (gap, ours, step, prompt) in &differences {
        println!("step {step} of {prompt:?}: reference gap {gap}, ours the other way {ours:.5}");
        assert!(gap + ours < GAP_BOUND, "step {step} of {prompt:?}: {gap} + {ours}");
    }
    let steps: usize =
        json()["generations"].as_array().unwrap().iter().map(|g| ids(&g["tokens"]).len()).sum();
    println!("{} of {steps} steps differ", differences.len());
    assert!(differences.len() * 50 <= steps, "more than 2 % of all steps differ");
}
