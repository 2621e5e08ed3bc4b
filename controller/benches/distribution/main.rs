//! What publishing and opening a model cost: the controller's and the agent's own code against zstd,
//! AES-256-GCM and SHA-256 alone, over the same bytes, in turn; and what a second version costs.
//! Started by `cargo xtask bench distribution`, which makes the table; prints one JSON object a line.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod data;
mod open;
mod publish;
mod raw;

/// What the command line asks for.
#[derive(Debug)]
struct Settings {
    what: String,
    /// Models: the one at hand, and for `second` the one after it.
    model: PathBuf,
    second: PathBuf,
    pairs: usize,
    /// Cores that this process keeps to; 0 means all.
    cores: usize,
    /// Size of a model to make.
    mib: u64,
}

fn settings() -> Settings {
    let mut settings = Settings {
        what: String::new(),
        model: PathBuf::new(),
        second: PathBuf::new(),
        pairs: 5,
        cores: 0,
        mib: 0,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--what" => settings.what = value(),
            "--model" => settings.model = value().into(),
            "--second" => settings.second = value().into(),
            "--pairs" => settings.pairs = value().parse().expect("a number of pairs"),
            "--cores" => settings.cores = value().parse().expect("a number of cores"),
            "--mib" => settings.mib = value().parse().expect("a number of MiB"),
            // `cargo bench` says that it is one.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    settings
}

fn main() {
    let settings = settings();
    keep_to(settings.cores);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match settings.what.as_str() {
        "tile" => data::tile(&settings.model, &settings.second, settings.mib << 20),
        "tensors" => data::change(&settings.model, &settings.second, data::Change::WholeTensors),
        "spread" => data::change(&settings.model, &settings.second, data::Change::Spread),
        "publish" => publish::compare(&runtime, &settings),
        "open" => open::compare(&runtime, &settings),
        "second" => publish::second(&runtime, &settings),
        other => panic!("nothing is called {other}"),
    }
}

/// Keeps this process, and the threads that it will start, to so many of its cores.
fn keep_to(cores: usize) {
    if cores == 0 {
        return;
    }
    let may = rustix::thread::sched_getaffinity(None).expect("the cores of this process");
    let mut chosen = rustix::thread::CpuSet::new();
    let allowed = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| may.is_set(*cpu));
    for cpu in allowed.take(cores) {
        chosen.set(cpu);
    }
    rustix::thread::sched_setaffinity(None, &chosen).expect("fewer cores");
}

/// What one run took.
struct Took {
    wall: Duration,
    /// Of this process, on all cores.
    cpu: Duration,
}

fn measure<T>(work: impl FnOnce() -> T) -> (T, Took) {
    let cpu = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
    };
    let (started, cpu_before) = (Instant::now(), cpu());
    let done = work();
    (done, Took { wall: started.elapsed(), cpu: cpu() - cpu_before })
}

/// One pair, in MB/s of the payload.
fn print_pair(case: &str, bytes: u64, ours: &Took, reference: &Took) {
    let speed = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    print(&json!({
        "case": case, "ours": speed(ours.wall), "reference": speed(reference.wall),
        "ours_cpu": speed(ours.cpu), "reference_cpu": speed(reference.cpu),
    }));
}

fn print(line: &Value) {
    println!("{line}");
}
