//! The controller's own command line: making, serving and looking after an installation.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

/// The controller of an EdgeFormer fleet.
#[derive(Debug, Parser)]
#[command(name = "edgeformer-controller", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the controller can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new installation: keys, certificates, database, first admin token.
    Init(InitArgs),
    /// Bring the database to this version's schema.
    Migrate(MigrateArgs),
    /// Serve operators and devices until stopped.
    Serve(ServeArgs),
    /// Write the whole installation to one file; the controller may be running.
    Backup(BackupArgs),
    /// Make an installation from a backup, in a new folder and an empty database.
    Restore(RestoreArgs),
}

/// Where an installation lives.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Folder of the installation's keys, certificates and objects.
    #[arg(long, env = "EDGEFORMER_DATA_DIR")]
    pub data_dir: PathBuf,
    /// postgres://user:password@host/database; a SQLite file in the data folder unless given.
    #[arg(long, env = "EDGEFORMER_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Name in the devices' identities; it cannot be changed later.
    #[arg(long, default_value = "edgeformer.local")]
    pub trust_domain: String,
    /// DNS name or IP address under which the controller is reached; repeatable.
    #[arg(long = "server-name", default_values = ["localhost", "127.0.0.1", "::1"])]
    pub server_names: Vec<String>,
}

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// The file to write. It holds the installation's keys: keep it as safe as the installation.
    #[arg(long)]
    pub out: PathBuf,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Where; the folder must be new or empty.
    #[command(flatten)]
    pub place: Place,
    /// The file that `backup` wrote.
    #[arg(long)]
    pub from: PathBuf,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Address for operators; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8443")]
    pub admin_listen: SocketAddr,
    /// Address for devices; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8444")]
    pub device_listen: SocketAddr,
    /// Written when both listeners answer: process id and URLs as JSON.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
    /// Lifetime of device certificates in seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub cert_lifetime_s: Option<u64>,
    /// URL under which devices reach this controller, when it is not the listener's own.
    #[arg(long)]
    pub device_url: Option<String>,
    /// URL under which people and their browsers reach this controller, when it is not the admin
    /// listener's own; identity providers send them back to it.
    #[arg(long, value_parser = https_url)]
    pub public_url: Option<String>,
    /// Address or network, such as 10.2.0.0/16, that settings of tenants (identity providers,
    /// witnesses, sinks) may name although it is not public; repeatable.
    #[arg(long = "outbound-allow", value_name = "NETWORK", value_parser = network)]
    pub outbound_allow: Vec<IpNet>,
    /// PEM of authorities that sign for such addresses; trusted beside the system's.
    #[arg(long)]
    pub outbound_ca: Option<PathBuf>,
    /// The shortest time in days that a tenant may have texts of its audit log kept for.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub audit_min_retention_days: u32,
    /// Records of all audit logs together that this installation is made for; it warns at 80, 90 and
    /// 95 percent, as it does for the volume of the data folder.
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub audit_record_budget: Option<u64>,
    /// How to write the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// An origin, perhaps with a path: browsers take its cookies over TLS only.
fn https_url(text: &str) -> Result<String, String> {
    let url: reqwest::Url = text.parse().map_err(|_| "it is not a URL".to_owned())?;
    let bare = url.query().is_none() && url.fragment().is_none() && url.path() == "/";
    match url.scheme() == "https" && url.has_host() && url.username().is_empty() && bare {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err("it must be https://HOST or https://HOST:PORT".to_owned()),
    }
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    let wrong = "it must be an address or a network such as 10.2.0.0/16 or fd00::/8";
    text.parse().or_else(|_| one()).map_err(|_| wrong.to_owned())
}

/// How to write the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
