//! Entry point: picks the command and turns its error into one message and an exit code.
#![forbid(unsafe_code)]

use clap::Parser;
use edgeformer_agent::cli::{Cli, Command};
use edgeformer_agent::identity::dial::chain;
use edgeformer_agent::{commands, daemon, import, local_commands, tuf, worker};

fn main() -> std::process::ExitCode {
    // Before any TLS: a second provider in the process would make the choice ambiguous.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    match run(Cli::parse().command) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgeformer-agent: {}", chain(error.as_ref()));
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
        Command::Privacy(command) => local_commands::privacy(command),
        Command::Worker(args) => worker::run(args),
        Command::Tuf(args) => block_on(tuf::run(args)),
        Command::Enroll(args) => block_on(commands::enroll(args)),
        Command::Run(args) => block_on(daemon::run(args)),
        Command::Import(args) => block_on(import::import(args)),
        Command::Status(args) => commands::status(args),
        Command::SupportBundle(args) => commands::support_bundle(args),
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
