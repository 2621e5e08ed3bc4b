//! Where a TPM is: a device of the system, or the socket of a simulator on this machine.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What all places begin with.
const SCHEME: &str = "tpm:";

/// Where a TPM is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A character device, such as `/dev/tpmrm0`.
    Device(PathBuf),
    /// The Unix socket of a simulator.
    Unix(PathBuf),
    /// The TCP socket of a simulator, on this machine.
    Tcp {
        /// A name or address of this machine.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// Text that names no TPM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no TPM: use tpm:/dev/tpmrm0, or tpm:unix:/PATH or tpm:HOST:PORT for a simulator on this machine"
)]
pub struct PlaceError(String);

impl FromStr for Place {
    type Err = PlaceError;
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let wrong = || PlaceError(text.chars().take(200).collect());
        let rest = text.strip_prefix(SCHEME).ok_or_else(wrong)?;
        if rest.starts_with('/') {
            return Ok(Self::Device(PathBuf::from(rest)));
        }
        if let Some(path) = rest.strip_prefix("unix:") {
            // It is kept, and used from other working directories.
            return match path.starts_with('/') {
                true => Ok(Self::Unix(PathBuf::from(path))),
                false => Err(wrong()),
            };
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match (host.is_empty(), port.parse()) {
            (false, Ok(port)) => Ok(Self::Tcp { host: host.to_owned(), port }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "{SCHEME}{}", path.display()),
            Self::Unix(path) => write!(f, "{SCHEME}unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "{SCHEME}[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{SCHEME}{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_they_print_and_others_are_refused() {
        for text in ["tpm:/dev/tpmrm0", "tpm:unix:/run/swtpm", "tpm:localhost:2321", "tpm:[::1]:1"]
        {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in
            ["", "tpm:", "/dev/tpmrm0", "tpm:unix:here", "tpm:host", "tpm::1", "tpm:h:99999"]
        {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
