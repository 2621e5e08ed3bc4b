//! Entry point: picks the command and turns its error into one message and an exit code.
#![forbid(unsafe_code)]

use clap::Parser;
use edgeformer_agent::cli::{Cli, Command};
use edgeformer_agent::{local_commands, worker};

fn main() -> std::process::ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgeformer-agent: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Generate(args) => local_commands::generate(args),
        Command::Bench(args) => local_commands::bench(args),
        Command::Quantize(args) => local_commands::quantize(args),
        Command::Key(command) => local_commands::key(command),
        Command::Worker(args) => worker::run(args),
        Command::Enroll(_) | Command::Run(_) | Command::Status(_) | Command::SupportBundle(_) => {
            anyhow::bail!("this build has no daemon")
        }
    }
}
