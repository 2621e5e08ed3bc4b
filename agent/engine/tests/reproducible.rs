//! Logits are the same bits on every path: instruction set, threads, chunking, prefix reuse.

mod support;

use edgeformer_engine::{
    Isa, LoadOptions, Model, Session, SessionError, SessionOptions, TensorType,
};
use std::cell::Cell;
use std::sync::Arc;
use support::{file, load, quantized, tokens};

const NEVER: &dyn Fn() -> bool = &|| false;

fn session(model: &Arc<Model>, prefill_chunk: usize) -> Session {
    let options = SessionOptions { max_context: 200, prefill_chunk };
    Session::new(model.clone(), options).unwrap()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    assert!(logits.iter().all(|logit| logit.is_finite()));
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// Logits after a prompt of 150 tokens and after ten more, one at a time.
fn run(model: &Arc<Model>, chunk: usize) -> Vec<Vec<u32>> {
    let mut session = session(model, chunk);
    let all = tokens(160);
    let mut logits = vec![bits(session.feed(&all[..150], NEVER).unwrap())];
    for token in &all[150..] {
        logits.push(bits(session.feed(&[*token], NEVER).unwrap()));
    }
    logits
}

#[test]
fn every_path_gives_the_same_bits() {
    for ty in
        [TensorType::Q4_0, TensorType::Q4_1, TensorType::Q8_0, TensorType::F16, TensorType::F32]
    {
        let file = quantized(ty);
        let model = |isa, threads| load(&file, &LoadOptions { isa, threads, ..Default::default() });
        let reference = run(&model(Isa::Scalar, 1), 1);
        for (isa, threads, chunk) in
            [(Isa::Scalar, 3, 64), (Isa::Auto, 1, 1), (Isa::Auto, 2, 7), (Isa::Auto, 5, 150)]
        {
            let found = run(&model(isa, threads), chunk);
            assert!(found == reference, "{ty} {isa:?} {threads} threads, chunks of {chunk}");
        }
    }
}

#[test]
fn truncating_and_feeding_again_is_like_a_fresh_session() {
    let model = load(&quantized(TensorType::Q4_1), &LoadOptions::default());
    let mut session = session(&model, 16);
    let all = tokens(100);
    let expected = bits(session.feed(&all, NEVER).unwrap());
    session.truncate(37);
    assert_eq!(session.len(), 37);
    session.feed(&tokens(120)[90..], NEVER).unwrap();
    session.truncate(37);
    assert_eq!(bits(session.feed(&all[37..], NEVER).unwrap()), expected);
    session.truncate(1000);
    assert_eq!(session.tokens(), all);
}

#[test]
fn sessions_of_one_model_run_at_the_same_time() {
    let model =
        load(&quantized(TensorType::Q8_0), &LoadOptions { threads: 3, ..Default::default() });
    let expected = run(&model, 32);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(run(&model, 32) == expected));
        }
    });
}

#[test]
fn errors_leave_the_session_intact() {
    let model = load(&file(), &LoadOptions::default());
    let mut session = session(&model, 10);
    let all = tokens(100);
    let expected = bits(session.feed(&all, NEVER).unwrap());
    session.truncate(30);

    assert!(matches!(session.feed(&[], NEVER), Err(SessionError::NoTokens)));
    let unknown = session.feed(&[1, 5000], NEVER);
    assert!(matches!(unknown, Err(SessionError::UnknownToken { token: 5000, vocab: 262 })));
    let full = session.feed(&tokens(171), NEVER);
    assert!(matches!(
        full,
        Err(SessionError::ContextFull { context: 200, used: 30, requested: 171 })
    ));
    assert_eq!(session.len(), 30);

    // Two layers per chunk: the fifth question comes in the third chunk.
    let questions = Cell::new(0);
    let cancelled = || {
        questions.set(questions.get() + 1);
        questions.get() == 5
    };
    let result = session.feed(&all[30..], &cancelled);
    assert!(matches!(result, Err(SessionError::Cancelled)));
    assert_eq!(session.len(), 50);
    assert_eq!(bits(session.feed(&all[50..], NEVER).unwrap()), expected);
}

#[test]
fn a_session_takes_at_most_the_context_of_the_model() {
    let model = load(&file(), &LoadOptions::default());
    let options = SessionOptions { max_context: 1 << 40, ..Default::default() };
    assert_eq!(Session::new(model.clone(), options).unwrap().max_context(), 256);
    let options = SessionOptions { prefill_chunk: 0, ..Default::default() };
    assert!(Session::new(model, options).is_err());
}
