//! Entry point of the controller: reads the command line and says what went wrong in one sentence.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use edgeformer_controller::app::AuditLimits;
use edgeformer_controller::backup;
use edgeformer_controller::cli::{
    BackupArgs, Cli, Command, InitArgs, LogFormat, MigrateArgs, RestoreArgs, ServeArgs,
};
use edgeformer_controller::clock::{Clock, SystemClock};
use edgeformer_controller::config::DataDir;
use edgeformer_controller::init::{self, NewInstallation};
use edgeformer_controller::outbound::OutboundRules;
use edgeformer_controller::serve::{self, Settings};
use edgeformer_controller::store::Store;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    // Before anything that could open a TLS connection. Fails only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match Cli::parse().command {
        Command::Init(args) => init(args).await,
        Command::Migrate(args) => migrate(args).await,
        Command::Serve(args) => serve(args).await,
        Command::Backup(args) => save(args).await,
        Command::Restore(args) => restore(args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgeformer-controller: {}", in_one_sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The chain of causes, without those that the error before has in its own words.
fn in_one_sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

async fn init(args: InitArgs) -> anyhow::Result<()> {
    let new = NewInstallation {
        dir: DataDir::new(&args.place.data_dir).context("reading the working directory")?,
        database_url: args.place.database_url,
        trust_domain: args.trust_domain,
        server_names: args.server_names,
    };
    let written = init::init(&new, SystemClock.now())
        .await
        .context("no installation was made; if this `init` was interrupted before, remove its folder and run it again")?;
    println!("Made an installation of trust domain {}:", new.trust_domain);
    for path in written {
        println!("  {}", path.display());
    }
    println!("Back up the folder: without its file `kek` the database cannot be read.");
    println!(
        "Next: edgeformer-controller serve --data-dir {}{}",
        new.dir.path().display(),
        if new.database_url.is_some() { " --database-url …" } else { "" }
    );
    Ok(())
}

async fn migrate(args: MigrateArgs) -> anyhow::Result<()> {
    let dir = DataDir::new(&args.place.data_dir).context("reading the working directory")?;
    let store =
        Store::connect(&dir.database_url(args.place.database_url.as_deref(), false)).await?;
    let before = store.schema_version().await?;
    store.migrate().await?;
    let after = store.schema_version().await?;
    store.close().await;
    if before == after {
        println!("The database is at schema {after} already.");
    } else {
        println!("Migrated the database from schema {before} to {after}.");
    }
    Ok(())
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    log_to_stderr(args.log_format);
    let ca_pem = args.outbound_ca.as_ref().map(|path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    });
    let outbound = OutboundRules { allow: args.outbound_allow, ca_pem: ca_pem.transpose()? };
    let settings = Settings {
        dir: DataDir::new(&args.place.data_dir).context("reading the working directory")?,
        database_url: args.place.database_url,
        admin_listen: args.admin_listen,
        device_listen: args.device_listen,
        ready_file: args.ready_file,
        cert_lifetime: args.cert_lifetime_s.map(Duration::from_secs),
        device_url: args.device_url,
        public_url: args.public_url,
        outbound,
        audit_limits: AuditLimits {
            min_retention_days: args.audit_min_retention_days,
            record_budget: args.audit_record_budget,
        },
    };
    serve::serve(&settings).await.context("the controller cannot serve")
}

async fn save(args: BackupArgs) -> anyhow::Result<()> {
    let dir = DataDir::new(&args.place.data_dir).context("reading the working directory")?;
    let store =
        Store::connect(&dir.database_url(args.place.database_url.as_deref(), false)).await?;
    store.check_schema().await?;
    let saved = backup::save(&store, &dir, &args.out, SystemClock.now())
        .await
        .context("no backup was written")?;
    store.close().await;
    println!(
        "Wrote {} ({} bytes): {} rows of {} tables, {} files.",
        saved.path.display(),
        saved.size_bytes,
        saved.rows,
        saved.tables,
        saved.files
    );
    println!("It holds the installation's keys: keep it as safe as the installation.");
    Ok(())
}

async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    let dir = DataDir::new(&args.place.data_dir).context("reading the working directory")?;
    let url = args.place.database_url.as_deref();
    let restored = backup::restore(&args.from, &dir, url, SystemClock.now())
        .await
        .context("nothing was restored")?;
    println!(
        "Restored {} rows of the backup made at {} to {}; the epoch is {} now.",
        restored.rows,
        restored.made_at,
        dir.path().display(),
        restored.epoch
    );
    println!(
        "Stop the old controller for good before you serve this one: devices follow the newer epoch."
    );
    Ok(())
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("EDGEFORMER_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
