//! `bench`: how fast a model file reads a prompt and decodes on this machine. Medians of several
//! runs, as a single one says little on a busy device.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use edgeformer_engine::{Model, Session, SessionOptions};
use serde::Serialize;

use super::load;
use crate::cli::BenchArgs;

/// Odd, so that the median is a run that happened.
const RUNS: usize = 3;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    architecture: String,
    threads: usize,
    weight_bytes: u64,
    load_s: f64,
    prompt_tokens: usize,
    prefill_tokens_per_s: f64,
    tokens: usize,
    decode_tokens_per_s: f64,
    runs: usize,
}

/// Measures a model file.
pub fn bench(args: BenchArgs) -> anyhow::Result<()> {
    let (prompt_tokens, tokens) = (args.prompt_tokens as usize, args.tokens as usize);
    ensure!(prompt_tokens > 0 && tokens > 0, "--prompt-tokens and --tokens must be at least 1");
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = args.threads.unwrap_or(cores).max(1);
    let begun = Instant::now();
    let model = Arc::new(load(&args.model, threads)?);
    let load_s = begun.elapsed().as_secs_f64();
    let runs = measure(&model, prompt_tokens, tokens)
        .with_context(|| format!("cannot run {}", args.model.display()))?;
    let report = Report {
        model: file_name(&args.model),
        architecture: model.config().architecture.clone(),
        threads,
        weight_bytes: model.weight_bytes(),
        load_s,
        prompt_tokens,
        prefill_tokens_per_s: rate(prompt_tokens, median(runs.iter().map(|run| run.0).collect())),
        tokens,
        decode_tokens_per_s: rate(tokens, median(runs.iter().map(|run| run.1).collect())),
        runs: RUNS,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?)
    } else {
        print(&report)
    }
    Ok(())
}

/// Time for the prompt and for the tokens behind it, per run.
fn measure(
    model: &Arc<Model>,
    prompt_tokens: usize,
    tokens: usize,
) -> anyhow::Result<Vec<(Duration, Duration)>> {
    let context = model.config().context_length;
    let wanted = prompt_tokens + tokens;
    ensure!(wanted <= context, "{wanted} tokens do not fit into the model's context of {context}");
    let size = SessionOptions { max_context: wanted, ..SessionOptions::default() };
    let mut session = Session::new(model.clone(), size)?;
    let vocab = model.tokenizer().vocab();
    // Which tokens they are does not change the time.
    let prompt: Vec<u32> = (0..prompt_tokens).map(|at| (at * 31 % vocab) as u32).collect();
    let never = || false;
    let mut runs = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        session.truncate(0);
        let begun = Instant::now();
        session.feed(&prompt, &never)?;
        let prefill = begun.elapsed();
        let begun = Instant::now();
        for at in 0..tokens {
            session.feed(&[prompt[at % prompt_tokens]], &never)?;
        }
        runs.push((prefill, begun.elapsed()));
    }
    Ok(runs)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn rate(tokens: usize, time: Duration) -> f64 {
    tokens as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn print(report: &Report) {
    let mib = report.weight_bytes as f64 / f64::from(1 << 20);
    println!("{} ({}, {mib:.0} MiB of weights)", report.model, report.architecture);
    println!("threads  {:>10}", report.threads);
    println!("load     {:>10.2} s", report.load_s);
    println!(
        "prefill  {:>10.1} tokens/s  ({} tokens)",
        report.prefill_tokens_per_s, report.prompt_tokens
    );
    println!("decode   {:>10.1} tokens/s  ({} tokens)", report.decode_tokens_per_s, report.tokens);
    println!("medians of {} runs", report.runs);
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_run_and_rates_are_per_second() {
        let ms = Duration::from_millis;
        assert_eq!(median(vec![ms(9), ms(1), ms(5)]), ms(5));
        assert_eq!(rate(10, ms(500)), 20.0);
    }
}
