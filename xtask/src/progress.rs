//! Says what is going on while it goes on: one line per step, with the time it took.

use std::io::{IsTerminal, Write, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A terminal line is redrawn this often while a step runs.
const REDRAW: Duration = Duration::from_millis(500);
/// Without a terminal a line is added this often, so that a log shows life and stays readable.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Numbers the steps of one command and prints what each took.
pub struct Progress {
    total: usize,
    done: usize,
    started: Instant,
}

impl Progress {
    /// A sequence of `total` steps; printing starts with the first one.
    pub fn new(total: usize) -> Self {
        Self { total, done: 0, started: Instant::now() }
    }

    /// Runs `work` as the next step, showing that it is alive; errors name the step.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let head = self.next_head(name);
        let started = Instant::now();
        if stdout().is_terminal() {
            print!("{head} …");
            flush();
        } else {
            println!("{head} …");
        }
        let ticker = Ticker::start(head.clone(), started);
        let result = work();
        ticker.stop();
        let spent = seconds(started.elapsed());
        let clear = if stdout().is_terminal() { "\r\x1b[K" } else { "" };
        let verdict = if result.is_ok() { "done" } else { "FAILED" };
        println!("{clear}{head}: {verdict} in {spent}");
        result.with_context(|| format!("step {} ({name}) failed", self.done))
    }

    /// Runs `work`, which prints to the terminal itself, as the next step.
    pub fn talking_step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let head = self.next_head(name);
        println!("{head}");
        let started = Instant::now();
        let result = work();
        let verdict = if result.is_ok() { "done" } else { "FAILED" };
        println!("{head}: {verdict} in {}", seconds(started.elapsed()));
        result.with_context(|| format!("step {} ({name}) failed", self.done))
    }

    /// Time since the first step.
    pub fn elapsed(&self) -> String {
        seconds(self.started.elapsed())
    }

    fn next_head(&mut self, name: &str) -> String {
        self.done += 1;
        format!("[{:>2}/{}] {name}", self.done, self.total)
    }
}

/// Runs `work` with a sign of life, outside a numbered sequence.
pub fn waiting<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let ticker = Ticker::start(format!("       {name}"), Instant::now());
    let result = work();
    ticker.stop();
    if stdout().is_terminal() {
        print!("\r\x1b[K");
        flush();
    }
    result.with_context(|| format!("{name} failed"))
}

/// A duration for people: `0.4 s`, `12.3 s`, `2 min 5 s`.
pub fn seconds(spent: Duration) -> String {
    let whole = spent.as_secs();
    if whole < 60 {
        return format!("{:.1} s", spent.as_secs_f64());
    }
    format!("{} min {} s", whole / 60, whole % 60)
}

/// A thread that shows that a step is still running.
struct Ticker {
    stop: Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Ticker {
    fn start(head: String, started: Instant) -> Self {
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || tick(&head, started, &stopped));
        Self { stop, thread }
    }

    fn stop(self) {
        drop(self.stop);
        // A panicking ticker has only spoilt a progress line.
        let _ = self.thread.join();
    }
}

fn tick(head: &str, started: Instant, stopped: &Receiver<()>) {
    let terminal = stdout().is_terminal();
    let every = if terminal { REDRAW } else { LOG_EVERY };
    while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        let spent = seconds(started.elapsed());
        if terminal {
            print!("\r\x1b[K{head} … {spent}");
        } else {
            println!("{head} … {spent}");
        }
        flush();
    }
}

fn flush() {
    // Progress is best effort: a closed pipe must not fail the step itself.
    let _ = stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn a_failed_step_is_named() {
        let mut progress = Progress::new(1);
        let error = progress.step("build", || -> Result<()> { anyhow::bail!("no compiler") });
        let text = format!("{:#}", error.unwrap_err());
        assert_eq!(text, "step 1 (build) failed: no compiler");
    }
}
