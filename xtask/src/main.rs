//! `cargo xtask …`: see `cargo xtask help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Result, bail};
use xtask::{bench, check, demo, setup, stack};

const HELP: &str = "\
Commands of the project:
  cargo xtask demo [--keep] [--no-build]   a controller and three devices on this machine, from
                                           publishing a model to streamed answers
  cargo xtask demo --stop                  stop what `demo --keep` left running
  cargo xtask test [FILTER]                setup, build, every test
  cargo xtask bench --list                 benches and how long they take
  cargo xtask bench NAME [--quick] [--json FILE]
  cargo xtask deny                         licences, bans and sources of the dependencies
  cargo xtask setup                        only what demo and test need on this machine";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = run(&words);
    stack::wait_if_interrupted();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        ["demo", options @ ..] => demo::command(options),
        ["test", filters @ ..] => check::command(filters),
        ["bench", options @ ..] => bench::command(options),
        ["deny"] => setup::cargo_deny(),
        ["setup"] => {
            let tools = setup::run(setup::Needs::Tests)?;
            println!("python {}\nmodel  {}", tools.python.display(), tools.model.display());
            Ok(())
        }
        [other, ..] => bail!("unknown command `{other}`\n{HELP}"),
    }
}
