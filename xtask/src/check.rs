//! `cargo xtask test`: everything the tests need, then every test, then one line with the sum.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::paths::{repo_root, target_dir};
use crate::setup::{self, Needs};
use crate::shell;
use crate::stack::Postgres;

/// Sum over the test binaries of one run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// Runs the tests whose name contains `filters` (at most one), or all.
pub fn command(filters: &[&str]) -> Result<()> {
    if filters.len() > 1 || filters.iter().any(|f| f.starts_with('-')) {
        bail!("usage: cargo xtask test [FILTER]");
    }
    let tools = setup::run(Needs::Tests)?;
    println!("building the workspace");
    shell::run_shown(Command::new("cargo").current_dir(repo_root()).args([
        "build",
        "--workspace",
        "--locked",
    ]))?;
    let postgres_bin = tools.postgres_bin.context("setup found no PostgreSQL")?;
    let postgres = Postgres::start(&postgres_bin).context("starting PostgreSQL")?;
    let mut tests = Command::new("cargo");
    tests.current_dir(repo_root()).args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    tests.env("EDGEFORMER_TEST_POSTGRES", postgres.url());
    tests.env("EDGEFORMER_TEST_OIDC", tools.oidc.context("setup found no OpenID provider")?);
    tests.env("EDGEFORMER_TEST_TUF_JS", tools.tuf_js.context("setup found no TUF client")?);
    tests.env("EDGEFORMER_TEST_SWTPM", tools.swtpm.context("setup found no swtpm")?);
    tests.env("EDGEFORMER_TEST_MODEL", &tools.model);
    tests.env("EDGEFORMER_TEST_PYTHON", &tools.python);
    tests.env("EDGEFORMER_BIN_DIR", target_dir().join("debug"));
    if let [filter] = filters {
        tests.arg("--").arg(filter);
    }
    let (tally, success) = run_counting(&mut tests)?;
    drop(postgres);
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 || !success {
        bail!("the tests failed: see above");
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// Runs the tests with their output passed through, and adds up the closing lines.
fn run_counting(tests: &mut Command) -> Result<(Tally, bool)> {
    let mut child = tests.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(one) = closing_line(&line) {
            tally.passed += one.passed;
            tally.failed += one.failed;
        }
    }
    Ok((tally, child.wait()?.success()))
}

/// `test result: ok. 12 passed; 0 failed; 0 ignored; …`
fn closing_line(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| {
        let part = counts.split(';').map(str::trim).find(|p| p.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Tally { passed: count(" passed")?, failed: count(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let ok = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
                  finished in 0.05s";
        assert_eq!(closing_line(ok), Some(Tally { passed: 12, failed: 0 }));
        let bad = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(closing_line(bad), Some(Tally { passed: 3, failed: 2 }));
        assert_eq!(closing_line("test stack::chat ... ok"), None);
    }
}
