//! Where output goes: results to standard output, everything else to standard error. A reader that
//! closes the pipe early ends the program quietly.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::args::Format;
use crate::client::{Answer, List};
use crate::failure::printable;
use crate::view::{Style, json};

/// Narrower terminals get wrapped cells no matter what.
const MIN_WIDTH: u16 = 60;

/// The output side of a command.
pub struct Screen {
    format: Format,
    /// Columns of the terminal; None when standard output is not one.
    width: Option<u16>,
}

impl Screen {
    pub fn new(format: Format) -> Self {
        let width = rustix::termios::tcgetwinsize(std::io::stdout())
            .ok()
            .map(|size| size.ws_col)
            .filter(|&columns| columns > 0)
            .map(|columns| columns.max(MIN_WIDTH));
        Self { format, width }
    }

    /// How views are to be made at this moment: a command that waits shows its end later.
    pub fn style(&self) -> Style {
        Style { now: OffsetDateTime::now_utc(), width: self.width }
    }

    /// One resource: its view, or its JSON as it came.
    pub fn one<T>(&self, answer: &Answer<T>, view: impl FnOnce(&T) -> String) {
        match self.format {
            Format::Table => print(&view(&answer.value)),
            Format::Json => print(&json::indent(&answer.raw)),
        }
    }

    /// A list: its view, or a JSON array of the items as they came.
    pub fn list<T>(&self, list: &List<T>, view: impl FnOnce(&[T]) -> String) {
        match self.format {
            Format::Table => print(&view(&list.items)),
            Format::Json => self.array(&list.raw),
        }
        if list.more {
            let shown = list.items.len();
            self.note(&format!("only the first {shown} are shown; --limit N shows more"));
        }
    }

    fn array(&self, items: &[Box<RawValue>]) {
        let items: Vec<&str> = items.iter().map(|item| item.get()).collect();
        print(&json::indent(&format!("[{}]", items.join(","))));
    }

    /// A sentence about what was done; programs that asked for JSON do not get it.
    pub fn say(&self, text: &str) {
        if self.format == Format::Table {
            print(text);
        }
    }

    /// Whether a program reads the output.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A remark for the person, never part of the result.
    pub fn note(&self, text: &str) {
        note(text);
    }

    /// Whether a person can be asked.
    pub fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }
}

/// To standard output, with a line end.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let text = printable(text.trim_end_matches('\n'));
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        // The reader has what it wanted, or the disk is full.
        let done = error.kind() == std::io::ErrorKind::BrokenPipe;
        if !done {
            note(&format!("error: the output cannot be written: {error}"));
        }
        std::process::exit(i32::from(!done));
    }
}

/// To standard output as it is: for programs that read a stream.
///
/// # Errors
/// When it cannot be written. A reader that left ends the program quietly.
pub fn raw(piece: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(piece).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written,
    }
}

/// To standard error, with a line end. Nobody can be told when that fails.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(text));
}

/// A progress bar on standard error: redrawn in place on a terminal, a line per tenth elsewhere,
/// where the quick parts are left out.
pub struct Progress {
    label: &'static str,
    total_bytes: u64,
    began: Instant,
    terminal: bool,
    quick: bool,
    drawn: std::sync::Mutex<Option<u64>>,
}

impl Progress {
    pub fn new(label: &'static str, total_bytes: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            label,
            total_bytes,
            began: Instant::now(),
            terminal,
            quick: false,
            drawn: None.into(),
        }
    }

    /// Of something so quick that only somebody who watches wants to see it.
    pub fn quick(label: &'static str, total_bytes: u64) -> Self {
        Self { quick: true, ..Self::new(label, total_bytes) }
    }

    /// `done_bytes` so far.
    pub fn at(&self, done_bytes: u64) {
        if self.quick && !self.terminal {
            return;
        }
        let steps = if self.terminal { 200 } else { 10 };
        let step = done_bytes.saturating_mul(steps).checked_div(self.total_bytes).unwrap_or(steps);
        let Ok(mut drawn) = self.drawn.lock() else { return };
        if *drawn == Some(step) || (!self.terminal && step == 0) {
            return;
        }
        *drawn = Some(step);
        let elapsed_s = self.began.elapsed().as_secs_f64();
        let line = crate::view::progress_line(self.label, done_bytes, self.total_bytes, elapsed_s);
        let mut err = std::io::stderr().lock();
        let _ = if self.terminal {
            write!(err, "\r\x1b[K{line}").and_then(|()| err.flush())
        } else {
            writeln!(err, "{line}")
        };
    }

    /// Leaves the last state on its line.
    pub fn finish(&self) {
        let drawn = self.drawn.lock().is_ok_and(|drawn| drawn.is_some());
        if self.terminal && drawn {
            let _ = writeln!(std::io::stderr().lock());
        }
    }
}
