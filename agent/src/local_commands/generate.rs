//! `generate`: one prompt, streamed to stdout; what it took, on stderr.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use edgeformer_engine::{Generation, Session, SessionOptions, Step, StopRules};

use super::load;
use crate::cli::GenerateArgs;
use crate::worker::message::{ChatTurn, Prompt, Sampling};
use crate::worker::{params_of, prompt_tokens};

/// Generates text with a model file.
pub fn generate(args: GenerateArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let model = Arc::new(load(&args.model, 0)?);
    let loaded = begun.elapsed();
    let prompt = if args.raw || model.chat_template().is_none() {
        Prompt::Text(args.prompt)
    } else {
        Prompt::Chat(vec![ChatTurn { role: "user".into(), content: args.prompt }])
    };
    let tokens = prompt_tokens(&model, &prompt).map_err(anyhow::Error::msg)?;
    let wanted = tokens.len() + args.max_tokens as usize;
    let size = SessionOptions { max_context: wanted, ..SessionOptions::default() };
    let mut session = Session::new(model, size)?;
    let params = params_of(&Sampling {
        temperature: args.temperature,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        seed: args.seed,
    });
    let stop = StopRules { max_tokens: args.max_tokens as usize, ..StopRules::default() };
    let mut generation = Generation::start(&mut session, &tokens, &params, stop)?;
    let started = Instant::now();
    let mut first_token = None;
    let mut out = std::io::stdout().lock();
    let usage = loop {
        match generation.next(&mut session, &|| false)? {
            Step::Text { text, .. } => {
                first_token.get_or_insert_with(|| started.elapsed());
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
            Step::Done { usage, .. } => break usage,
        }
    };
    writeln!(out)?;
    let prefill = first_token.unwrap_or_default();
    let decode = (started.elapsed() - prefill).as_secs_f64();
    let decoded = usage.completion_tokens.saturating_sub(1);
    eprintln!(
        "loaded in {:.2} s; {} prompt tokens in {:.2} s; {} tokens, {:.1} tokens/s",
        loaded.as_secs_f64(),
        usage.prompt_tokens,
        prefill.as_secs_f64(),
        usage.completion_tokens,
        if decode > 0.0 { decoded as f64 / decode } else { 0.0 },
    );
    Ok(())
}
