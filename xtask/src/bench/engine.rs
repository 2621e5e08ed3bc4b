//! Our engine against llama.cpp: same model file, same thread count, same numbers of tokens, in
//! turn.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Effort;
use super::report::Row;
use crate::paths::{repo_root, target_dir};
use crate::progress::waiting;
use crate::setup::{self, Needs, Tools};
use crate::shell;

/// The copy of llama.cpp in this package, built here for this machine's instructions.
const REFERENCE: &str = "llama-cpp-python==0.3.36";
/// Tokens of the prompt, as llama.cpp's own `pp128`.
const PROMPT_TOKENS: u32 = 128;
/// Tokens decoded after it.
const TOKENS: u32 = 64;
/// Runs of each side; the first, which warms the page cache, is not counted.
const PAIRS_FULL: usize = 7;
const PAIRS_QUICK: usize = 5;

/// Prints one line `prefill decode` in tokens per second: medians of three, as `edgeformer-agent
/// bench` reports them. Straight to llama.cpp's C functions, which compute the logits after the last
/// token of each call, as ours do; nothing is sampled and no Python is between the tokens but a loop.
const REFERENCE_RUN: &str = r"
import sys, time
import llama_cpp as ll
model, threads, prompt, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
llm = ll.Llama(model, n_ctx=prompt + tokens, n_batch=prompt, n_ubatch=prompt, n_threads=threads,
               n_threads_batch=threads, flash_attn=True, verbose=False)
context, vocab = llm._ctx.ctx, llm.n_vocab()
words = (ll.llama_token * prompt)(*[at * 31 % vocab for at in range(prompt)])
def feed(words, count):
    if ll.llama_decode(context, ll.llama_batch_get_one(words, count)) != 0:
        sys.exit('llama_decode failed')
    ll.llama_synchronize(context)
def measure():
    ll.llama_memory_clear(ll.llama_get_memory(context), True)
    start = time.perf_counter()
    feed(words, prompt)
    middle = time.perf_counter()
    for at in range(tokens):
        feed((ll.llama_token * 1)(words[at % prompt]), 1)
    end = time.perf_counter()
    return prompt / (middle - start), tokens / (end - middle)
runs = [measure() for _ in range(3)]
print(*(sorted(column)[1] for column in zip(*runs)))
";

/// Speeds of one run in tokens per second.
#[derive(Debug, Clone, Copy)]
struct Speeds {
    prefill: f64,
    decode: f64,
}

pub(super) fn run(effort: Effort) -> Result<Vec<Row>> {
    let tools = setup::run(Needs::Demo)?;
    // Its own thread pool instead of OpenMP, whose threads spin after each operator.
    let flags = [("CMAKE_ARGS", "-DGGML_NATIVE=ON -DGGML_OPENMP=OFF"), ("FORCE_CMAKE", "1")];
    waiting("llama.cpp, built natively (once, about 10 min)", || {
        setup::pip_install(&[REFERENCE], &flags)
    })?;
    println!("building edgeformer-agent with optimisation");
    let mut build = Command::new("cargo");
    build.current_dir(repo_root()).args(["build", "--workspace", "--release", "--locked"]);
    shell::run_shown(&mut build)?;
    let pairs = match effort {
        Effort::Quick => PAIRS_QUICK,
        Effort::Full => PAIRS_FULL,
    };
    let mut rows = Vec::new();
    for threads in thread_counts() {
        rows.extend(compare(&tools, threads, pairs)?);
    }
    Ok(rows)
}

/// One thread, and all of them.
fn thread_counts() -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if all == 1 { vec![1] } else { vec![1, all] }
}

fn compare(tools: &Tools, threads: usize, pairs: usize) -> Result<[Row; 2]> {
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for pair in 0..=pairs {
        let name = format!("{threads} thread(s), pair {pair} of {pairs}");
        let (ours, reference) =
            waiting(&name, || Ok((ours(tools, threads)?, reference(tools, threads)?)))?;
        if pair > 0 {
            prefill.push((ours.prefill, reference.prefill));
            decode.push((ours.decode, reference.decode));
        }
    }
    let note = "SmolLM2-135M Q4_1, llama.cpp of llama-cpp-python 0.3.36".to_string();
    let row = |case: &str, pairs: &[(f64, f64)]| {
        let case = format!("{case}, {threads} thread(s)");
        Row::from_pairs("engine", case, "tokens/s", 1.0, pairs, note.clone())
    };
    Ok([
        row(&format!("prefill {PROMPT_TOKENS}"), &prefill),
        row(&format!("decode {TOKENS}"), &decode),
    ])
}

fn ours(tools: &Tools, threads: usize) -> Result<Speeds> {
    let mut bench = Command::new(target_dir().join("release/edgeformer-agent"));
    bench.args(["bench", "--json", "--threads", &threads.to_string()]);
    bench.args(["--prompt-tokens", &PROMPT_TOKENS.to_string(), "--tokens", &TOKENS.to_string()]);
    bench.arg("--model").arg(&tools.model);
    let text = shell::output(&mut bench)?;
    let value: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
    let field = |name: &str| {
        value[name].as_f64().with_context(|| format!("edgeformer-agent bench gave no {name}"))
    };
    Ok(Speeds { prefill: field("prefill_tokens_per_s")?, decode: field("decode_tokens_per_s")? })
}

fn reference(tools: &Tools, threads: usize) -> Result<Speeds> {
    let mut python = Command::new(&tools.python);
    python.args(["-c", REFERENCE_RUN]).arg(&tools.model);
    python.args([threads.to_string(), PROMPT_TOKENS.to_string(), TOKENS.to_string()]);
    let text = shell::output(&mut python)?;
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    let speeds = numbers.next().zip(numbers.next());
    let (prefill, decode) = speeds.with_context(|| format!("two numbers expected: {text}"))?;
    Ok(Speeds { prefill, decode })
}
