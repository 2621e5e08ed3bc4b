//! Where the parts of an installation lie. The data folder holds what the database must not: the
//! key-encryption key, the server's key and the sealed objects.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;

use crate::store::connect::sqlite_url;

const STAGING: &str = "staging";
const DATABASE: &str = "controller.db";

/// The data folder of an installation.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// This folder; made absolute, so that the SQLite URL does not depend on where we run.
    pub fn new(path: &Path) -> std::io::Result<Self> {
        Ok(Self(std::path::absolute(path)?))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Key-encryption key: 32 bytes.
    pub fn kek(&self) -> PathBuf {
        self.0.join("kek")
    }

    /// Root certificate, which operators and devices trust.
    pub fn root_cert(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// The listeners' certificate.
    pub fn server_cert(&self) -> PathBuf {
        self.0.join("server.pem")
    }

    /// The listeners' key.
    pub fn server_key(&self) -> PathBuf {
        self.0.join("server.key")
    }

    /// The installation's first admin token.
    pub fn admin_token(&self) -> PathBuf {
        self.0.join("admin.token")
    }

    /// Sealed objects.
    pub fn objects(&self) -> PathBuf {
        self.0.join("objects")
    }

    /// Uploads while they are sealed.
    pub fn staging(&self) -> PathBuf {
        self.0.join(STAGING)
    }

    /// The database to use: the one given, or a SQLite file in here.
    pub fn database_url(&self, given: Option<&str>, create: bool) -> String {
        match given {
            Some(url) => url.to_owned(),
            None => sqlite_url(&self.0.join(DATABASE), create),
        }
    }
}

/// Whether this entry of a data folder is copied by a backup. The database is dumped as rows, and
/// uploads that did not finish are worth nothing.
pub fn is_backed_up(name: &str) -> bool {
    !name.starts_with(DATABASE) && name != STAGING && !name.ends_with(".lock")
}

/// PEM (RFC 7468) of some DER.
pub fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in BASE64.encode(der).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn pem_reads_back() {
        let der: Vec<u8> = (0..=255).collect();
        let text = super::pem("CERTIFICATE", &der);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(CertificateDer::from_pem_slice(text.as_bytes()).unwrap().as_ref(), der);
    }
}
