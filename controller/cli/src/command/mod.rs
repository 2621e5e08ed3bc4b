//! Carries out what was typed: one function per command, each a few steps of asking the API and
//! showing the answer.

mod access;
mod account;
mod arrivals;
mod audit;
mod bundle;
mod bundle_files;
mod ca;
mod compliance;
mod consent;
mod device;
mod edit;
mod follow;
mod identity;
mod login;
mod model;
mod policy;
mod privacy;
mod program;
mod report;
mod retention;
mod rollout;
mod sink;
mod sso;
mod tenant;
mod trust;
mod trust_exchange;
mod witness;

use clap::CommandFactory as _;

use crate::args::account::Account;
use crate::args::evidence::Compliance;
use crate::args::{Cli, Command};
use crate::client::Client;
use crate::config;
use crate::failure::{Exit, Failure};
use crate::screen::Screen;
use crate::view::Style;

/// What most commands need: the controller and the output.
pub struct Context {
    pub client: Client,
    pub screen: Screen,
}

impl Context {
    pub fn style(&self) -> Style {
        self.screen.style()
    }
}

/// Runs one command.
///
/// # Errors
/// The failure to be shown; its exit code is the program's.
pub async fn run(cli: Cli) -> Result<Exit, Failure> {
    let screen = Screen::new(cli.output);
    let cli = match cli.command {
        Command::Trust(command) if command.is_offline() => {
            return trust::run(&screen, command).await;
        }
        command => Cli { command, ..cli },
    };
    match &cli.command {
        Command::Completion { shell } => {
            completion(*shell);
            return Ok(Exit::Done);
        }
        Command::Login(args) => return login::login(&cli.connection, args, screen).await,
        Command::Logout => return login::logout(&screen).await,
        Command::Audit(args) => {
            if let Some(done) = audit::alone(&screen, &args.command).await {
                return done;
            }
        }
        Command::Compliance(command @ Compliance::Verify { .. }) => {
            return compliance::verify(&screen, command);
        }
        _ => {}
    }
    let saved = match needs_saved(&cli.connection) {
        true => config::load(&config::path()?)?,
        false => None,
    };
    if let Command::Account(Account::SetPassword(args)) = &cli.command {
        let client = Client::new(config::place(&cli.connection, saved.as_ref())?)?;
        return account::set_password(&client, &screen, args).await;
    }
    let saved = match saved {
        // What is given takes its place.
        Some(login) if cli.connection.token.is_none() => {
            Some(login::go_on(&config::path()?, login).await?)
        }
        other => other,
    };
    let client = Client::new(config::resolve(&cli.connection, saved.as_ref())?)?;
    let context = Context { client, screen };
    match cli.command {
        Command::Whoami => access::whoami(&context).await,
        Command::Tenant(command) => tenant::run(&context, command).await,
        Command::Token(command) => program::token(&context, command).await,
        Command::ServiceAccount(command) => program::account(&context, command).await,
        Command::Group(command) => program::group(&context, command).await,
        Command::EnrolmentToken(command) => access::enrolment_token(&context, command).await,
        Command::Enrolment(command) => arrivals::enrolment(&context, command).await,
        Command::ClaimCa(command) => arrivals::claim_ca(&context, command).await,
        Command::Ca(command) => ca::run(&context, command).await,
        Command::Access(command) => policy::run(&context, command).await,
        Command::Approval(command) => policy::approval(&context, command).await,
        Command::User(command) => account::user(&context, command).await,
        Command::IdentityProvider(command) => identity::provider(&context, command).await,
        Command::Account(command) => account::account(&context, command).await,
        Command::Device(command) => device::run(&context, command).await,
        Command::Model(command) => model::run(&context, command).await,
        Command::Bundle(command) => bundle::run(&context, command).await,
        Command::Rollout(command) => rollout::run(&context, command).await,
        Command::Audit(command) => audit::run(&context, command).await,
        Command::Compliance(command) => compliance::run(&context, command).await,
        Command::Privacy(command) => privacy::run(&context, command).await,
        Command::Telemetry(command) => report::telemetry(&context, command).await,
        Command::Trust(command) => trust_exchange::run(&context, command).await,
        Command::Completion { .. } | Command::Login(_) | Command::Logout => Ok(Exit::Done),
    }
}

fn completion(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "edgeformer", &mut script);
    crate::screen::print(&String::from_utf8_lossy(&script));
}

/// A damaged login must not stop a command that does not need it.
fn needs_saved(given: &crate::args::Connection) -> bool {
    given.url.is_none() || given.token.is_none() || given.ca.is_none()
}
