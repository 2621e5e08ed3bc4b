//! `cargo xtask bench`: ours and a reference in turn, in one run, as a table and as JSON rows.
//!
//! A number without its reference from the same run says nothing on machines like these, so a
//! bench that cannot run its reference fails instead of printing half.

mod access;
mod distribution;
mod engine;
mod program;
mod report;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use report::Row;

/// One bench.
struct Bench {
    name: &'static str,
    about: &'static str,
    /// Expected duration in full and with `--quick`, first fetch and build of the reference aside.
    takes: (&'static str, &'static str),
    run: fn(Effort) -> Result<Vec<Row>>,
}

/// How much to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    Quick,
    Full,
}

const BENCHES: [Bench; 3] = [ACCESS, DISTRIBUTION, ENGINE];

const ACCESS: Bench = Bench {
    name: "access",
    about: "pages, audited writes and the audit log against bare axum and sqlx",
    takes: ("6 min", "4 min"),
    run: access::run,
};

const DISTRIBUTION: Bench = Bench {
    name: "distribution",
    about: "publish, open, a second version and memory against zstd, AES-GCM, SHA-256 and xdelta3",
    takes: ("15 min", "7 min"),
    run: distribution::run,
};

const ENGINE: Bench = Bench {
    name: "engine",
    about: "prefill and decode of SmolLM2-135M against llama.cpp (PyPI llama-cpp-python, native)",
    takes: ("6 min", "2 min"),
    run: engine::run,
};

/// What the command line asked for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    List,
    Run { name: String, quick: bool, json: Option<PathBuf> },
}

/// Lists the benches, or runs one.
pub fn command(words: &[&str]) -> Result<()> {
    match parse(words)? {
        Request::List => {
            for bench in &BENCHES {
                println!("{:<12} {}", bench.name, bench.about);
                println!("{:<12} takes {}, {} with --quick", "", bench.takes.0, bench.takes.1);
            }
            Ok(())
        }
        Request::Run { name, quick, json } => {
            let bench = BENCHES.iter().find(|bench| bench.name == name);
            let bench = bench.with_context(|| {
                let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
                format!("no bench is called `{name}`; there are: {}", names.join(", "))
            })?;
            let rows = (bench.run)(if quick { Effort::Quick } else { Effort::Full })?;
            print!("{}", report::table(&rows));
            if let Some(file) = json {
                std::fs::write(&file, report::json_lines(&rows))
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
            Ok(())
        }
    }
}

fn parse(words: &[&str]) -> Result<Request> {
    let usage = "usage: cargo xtask bench --list | NAME [--quick] [--json FILE]";
    if words == ["--list"] {
        return Ok(Request::List);
    }
    let Some((name, options)) = words.split_first().filter(|(name, _)| !name.starts_with('-'))
    else {
        bail!("{usage}");
    };
    let (mut quick, mut json) = (false, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--quick" => quick = true,
            "--json" => json = Some(PathBuf::from(options.next().context(usage)?)),
            other => bail!("unknown option `{other}`\n{usage}"),
        }
    }
    Ok(Request::Run { name: (*name).to_string(), quick, json })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read() {
        assert_eq!(parse(&["--list"]).unwrap(), Request::List);
        let json = Some(PathBuf::from("rows.json"));
        let expected = Request::Run { name: "engine".into(), quick: true, json };
        assert_eq!(parse(&["engine", "--quick", "--json", "rows.json"]).unwrap(), expected);
        assert!(parse(&["--quick"]).is_err());
        assert!(parse(&["engine", "--json"]).is_err());
    }
}
