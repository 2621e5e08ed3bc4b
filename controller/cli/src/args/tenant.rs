//! Tenants of an installation, for whoever operates it.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Consent, Limit};

#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// Create a tenant and its first owner's token
    #[command(after_help = "\
Examples:
  edgeformer tenant create acme
  edgeformer tenant create acme --token-file acme.token   (0600; the token is not printed)")]
    Create {
        /// Name of the tenant
        name: String,
        /// Write the owner's token to this new file instead of printing it
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// List the tenants
    #[command(after_help = "Example:\n  edgeformer tenant list")]
    List(Limit),
    /// Show a tenant with what it uses and may use
    #[command(after_help = "Example:\n  edgeformer tenant show acme")]
    Show {
        /// Name or id of the tenant
        tenant: String,
    },
    /// Keep a tenant's people and programs out; its devices keep serving
    #[command(
        after_help = "Example:\n  edgeformer tenant suspend acme --reason \"invoice 4711 is open\""
    )]
    Suspend {
        /// Name or id of the tenant
        tenant: String,
        /// The tenant's people get to read it
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Let a suspended tenant's people and programs in again
    #[command(after_help = "Example:\n  edgeformer tenant resume acme")]
    Resume {
        /// Name or id of the tenant
        tenant: String,
    },
    /// Set what a tenant may use; what it has beyond stays
    #[command(after_help = "\
Examples:
  edgeformer tenant quota acme --devices 500 --stored 20GiB
  edgeformer tenant quota acme --requests-per-second 50
  edgeformer tenant quota acme --devices none")]
    Quota {
        /// Name or id of the tenant
        tenant: String,
        /// Enrolled devices, or none for no limit; unchanged without it
        #[arg(long, value_name = "N|none", value_parser = count)]
        devices: Option<Limited>,
        /// Sealed bytes of its versions such as 20GiB, or none; unchanged without it
        #[arg(long, value_name = "SIZE|none", value_parser = size)]
        stored: Option<Limited>,
        /// Requests of people and programs, or none; unchanged without it
        #[arg(long, value_name = "N|none", value_parser = count)]
        requests_per_second: Option<Limited>,
    },
    /// Take out everything of a tenant but secrets and model files, as lines of JSON
    #[command(after_help = "Example:\n  edgeformer tenant export acme --file acme.jsonl")]
    Export {
        /// Name or id of the tenant
        tenant: String,
        /// New file to write
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Delete a tenant; it can be restored until its retention is over
    #[command(after_help = "\
Examples:
  edgeformer tenant delete acme
  edgeformer tenant delete acme --retention-days 90 --yes")]
    Delete {
        /// Name of the tenant
        tenant: String,
        /// For how many days it can be restored; 30 without it
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
        retention_days: Option<u32>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Restore a deleted tenant
    #[command(after_help = "Example:\n  edgeformer tenant restore acme")]
    Restore {
        /// Name or id of the tenant
        tenant: String,
    },
}

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited(pub Option<u64>);

fn count(text: &str) -> Result<Limited, String> {
    if text == "none" {
        return Ok(Limited(None));
    }
    let wrong = "it must be a number, or none";
    text.parse().map(|n| Limited(Some(n))).map_err(|_| wrong.to_owned())
}

fn size(text: &str) -> Result<Limited, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];
    let found = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (digits, shift) = found.unwrap_or((text, 0));
    if text == "none" {
        return Ok(Limited(None));
    }
    let bytes = digits.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    let wrong = "it must be bytes, a size such as 500MiB or 20GiB, or none";
    bytes.map(|n| Limited(Some(n))).ok_or_else(|| wrong.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_exactly() {
        let check = |text: &str, expected: Option<Option<u64>>| {
            assert_eq!(size(text).ok().map(|limit| limit.0), expected, "{text}");
        };
        check("20GiB", Some(Some(20 << 30)));
        check("7B", Some(Some(7)));
        check("512", Some(Some(512)));
        check("none", Some(None));
        for wrong in ["", "GiB", "-1", "1.5GiB", "20GB", "99999999999TiB"] {
            check(wrong, None);
        }
    }
}
