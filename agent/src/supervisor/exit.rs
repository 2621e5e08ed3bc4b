//! Says why a worker process ended, in words an operator can act on. Pure.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// What is known about an ended process.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// How it ended; none if the system does not say.
    pub status: Option<ExitStatus>,
    /// Why the supervisor ended it, if it did.
    pub asked: Option<&'a str>,
    /// The last line it wrote to stderr.
    pub last_line: &'a str,
    /// Whether the kernel killed a process for lack of memory while it ran.
    pub oom_kill_seen: bool,
}

/// One sentence without a full stop.
pub fn describe(ending: Ending<'_>) -> String {
    if let Some(reason) = ending.asked {
        return reason.to_owned();
    }
    let said = match ending.last_line {
        "" => String::new(),
        line => format!("; its last words: {line}"),
    };
    let Some(status) = ending.status else {
        return format!("ended, the system does not say how{said}");
    };
    match (status.signal(), status.code()) {
        (Some(9), _) if ending.oom_kill_seen => {
            "out of memory: the kernel killed it; use a smaller model or context, or raise the \
             device's memory"
                .to_owned()
        }
        (Some(9), _) => "killed by SIGKILL, which this agent did not send: by hand or by another \
                         program, or by a memory limit of a container"
            .to_owned(),
        (Some(6), _) if ending.last_line.contains("memory allocation of") => {
            format!("out of memory: it reached its own limit{said}")
        }
        (Some(number), _) => format!("killed by {}{said}", signal_name(number)),
        (None, Some(code)) => format!("exited with code {code}{said}"),
        (None, None) => format!("ended, the system does not say how{said}"),
    }
}

fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL (an instruction that this processor does not have)",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wait_status: i32, last_line: &str, oom_kill_seen: bool, expected: &str) {
        let status = Some(ExitStatus::from_raw(wait_status));
        let said = describe(Ending { status, asked: None, last_line, oom_kill_seen });
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn each_ending_has_its_words() {
        check(9, "", true, "out of memory: the kernel killed it");
        check(9, "", false, "killed by SIGKILL, which this agent did not send");
        check(6, "memory allocation of 1 bytes failed", false, "out of memory: it reached its own");
        check(6, "thread panicked", false, "killed by SIGABRT; its last words: thread panicked");
        check(11, "", false, "killed by SIGSEGV");
        check(64, "", false, "killed by signal 64");
        check(3 << 8, "bad tensor", false, "exited with code 3; its last words: bad tensor");
        let asked = Ending {
            status: Some(ExitStatus::from_raw(9)),
            asked: Some("did not answer"),
            last_line: "",
            oom_kill_seen: true,
        };
        assert_eq!(describe(asked), "did not answer");
    }
}
