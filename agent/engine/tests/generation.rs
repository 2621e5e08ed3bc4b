//! Requests from prompt to text on the tiny model.

mod support;

use edgeformer_engine::{
    ChatMessage, FinishReason, Generation, LoadOptions, SamplingParams, Session, SessionError,
    SessionOptions, Step, StopRules, TensorType, Usage,
};
use support::{load, quantized};

fn session() -> Session {
    let model = load(&quantized(TensorType::Q8_0), &LoadOptions::default());
    Session::new(model, SessionOptions { max_context: 128, prefill_chunk: 16 }).unwrap()
}

fn hot(seed: u64) -> SamplingParams {
    SamplingParams { temperature: 1.0, seed, ..SamplingParams::default() }
}

fn rules(max_tokens: usize) -> StopRules {
    StopRules { max_tokens, ignore_eos: true, ..StopRules::default() }
}

/// The whole answer, the tokens of its steps, and how it ended.
fn finish(
    session: &mut Session,
    generation: &mut Generation,
    cancelled: &dyn Fn() -> bool,
) -> (String, usize, FinishReason, Usage) {
    let (mut all, mut count) = (String::new(), 0);
    loop {
        match generation.next(session, cancelled).unwrap() {
            Step::Text { text, tokens } => {
                all += &text;
                count += tokens;
            }
            Step::Done { reason, usage } => return (all, count, reason, usage),
        }
    }
}

fn answer(
    session: &mut Session,
    params: &SamplingParams,
    rules: StopRules,
) -> (String, usize, FinishReason, Usage) {
    let prompt = session.model().tokenizer().encode("over the hills", true, false);
    let mut generation = Generation::start(session, &prompt, params, rules).unwrap();
    finish(session, &mut generation, &|| false)
}

#[test]
fn length_and_usage_are_counted() {
    let mut session = session();
    let (text, tokens, reason, usage) = answer(&mut session, &hot(1), rules(20));
    assert_eq!((tokens, reason), (20, FinishReason::Length));
    // "over", " the" merged, " hills"
    assert_eq!(usage, Usage { prompt_tokens: 4 + 1 + 6, completion_tokens: 20 });
    assert!(!text.is_empty());
    let (_, _, reason, usage) = answer(&mut session, &hot(1), rules(0));
    assert_eq!((reason, usage.completion_tokens), (FinishReason::Length, 0));
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let mut session = session();
    let first = answer(&mut session, &hot(5), rules(40)).0;
    assert_eq!(answer(&mut session, &hot(5), rules(40)).0, first);
    assert_ne!(answer(&mut session, &hot(6), rules(40)).0, first);
}

#[test]
fn a_common_beginning_is_not_computed_again() {
    let mut session = session();
    let tokenizer =
        |session: &Session, text: &str| session.model().tokenizer().encode(text, true, false);
    let (one, two) = (tokenizer(&session, "abcdef"), tokenizer(&session, "abcxyz"));
    let params = SamplingParams::default();
    let mut generation = Generation::start(&mut session, &one, &params, rules(5)).unwrap();
    assert_eq!(generation.reused_tokens(), 0);
    finish(&mut session, &mut generation, &|| false);
    let mut generation = Generation::start(&mut session, &two, &params, rules(5)).unwrap();
    assert_eq!(generation.reused_tokens(), 3);
    let reused = finish(&mut session, &mut generation, &|| false);
    session.truncate(0);
    let mut generation = Generation::start(&mut session, &two, &params, rules(5)).unwrap();
    assert_eq!(finish(&mut session, &mut generation, &|| false), reused);
}

#[test]
fn stop_strings_end_the_answer_and_are_not_shown() {
    let mut session = session();
    let (text, ..) = answer(&mut session, &hot(3), rules(40));
    let stop: String = text.chars().skip(10).take(4).collect();
    let expected = &text[..text.find(&stop).unwrap()];
    let rules = StopRules { stop_strings: vec![stop], ..rules(40) };
    let (found, tokens, reason, usage) = answer(&mut session, &hot(3), rules);
    assert_eq!((found.as_str(), reason), (expected, FinishReason::Stop));
    assert!(tokens < 40 && usage.completion_tokens == tokens);
}

#[test]
fn the_end_token_stops_unless_ignored() {
    let mut session = session();
    let seed = (0..).find(|&seed| {
        let rules = StopRules { max_tokens: 100, ..StopRules::default() };
        answer(&mut session, &hot(seed), rules).2 == FinishReason::Stop
    });
    let (text, _, reason, _) = answer(&mut session, &hot(seed.unwrap()), rules(100));
    assert_eq!(reason, FinishReason::Length);
    assert!(!text.contains("<|"), "control tokens are not text: {text:?}");
}

#[test]
fn a_full_context_and_a_cancelled_request_end_properly() {
    let mut session = session();
    let (_, tokens, reason, _) = answer(&mut session, &hot(1), rules(1000));
    // The last token is generated from a full context and never fed.
    assert_eq!((tokens, reason), (128 - 11 + 1, FinishReason::ContextFull));

    session.truncate(0);
    let prompt = vec![7; 100];
    let mut generation = Generation::start(&mut session, &prompt, &hot(1), rules(9)).unwrap();
    let (text, tokens, reason, usage) = finish(&mut session, &mut generation, &|| true);
    assert_eq!((text.as_str(), tokens, reason), ("", 0, FinishReason::Cancelled));
    assert_eq!(usage, Usage { prompt_tokens: 100, completion_tokens: 0 });

    let long = Generation::start(&mut session, &[7; 129], &hot(1), rules(9));
    assert!(matches!(long, Err(SessionError::ContextFull { requested: 129, .. })));
    let empty = Generation::start(&mut session, &[], &hot(1), rules(9));
    assert!(matches!(empty, Err(SessionError::NoTokens)));
}

#[test]
fn users_cannot_write_special_tokens() {
    let session = session();
    let tokenizer = session.model().tokenizer();
    let template = session.model().chat_template().unwrap();
    let message = ChatMessage { role: "user".into(), content: "hi".into() };
    let prompt = template.render(&[message], true).unwrap();
    let parsed = tokenizer.encode(&prompt, true, true);
    assert_eq!(parsed, [259, u32::from(b'h'), u32::from(b'i'), 261, 260]);
    let plain = tokenizer.encode("<|end|>", true, false);
    assert_eq!(plain.len(), 7);
    assert!(tokenizer.is_end_of_generation(261) && tokenizer.is_control(261));
}
