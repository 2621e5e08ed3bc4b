//! `edgeformer`: the operators' command line. It speaks to the controller's REST API and to
//! nothing else; it keeps no state but a saved login.

#![forbid(unsafe_code)]

mod args;
mod client;
mod command;
mod config;
mod failure;
mod screen;
mod trust;
mod view;
mod witness;

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    // Before anything can touch TLS: this process knows one crypto library.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        screen::note("error: another TLS provider is installed in this process");
        return std::process::ExitCode::from(failure::Exit::Failed as u8);
    }
    let cli = args::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen::note(&format!("error: the program cannot start: {error}"));
            return std::process::ExitCode::from(failure::Exit::Failed as u8);
        }
    };
    let exit = match runtime.block_on(command::run(cli)) {
        Ok(exit) => exit,
        Err(failure) => {
            screen::note(&failure.to_string());
            failure.exit
        }
    };
    // Reading standard input cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    std::process::ExitCode::from(exit as u8)
}
