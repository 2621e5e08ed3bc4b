//! Secrets at rest. The installation's key-encryption key lies in a file beside the database; with it
//! the store's rows are useless alone. A secret is bound to its kind and its row: moved to another
//! row, or taken for another kind, it does not open.
//!
//! Wrapped bytes: `1 ‖ nonce (12) ‖ AES-256-GCM(key, nonce, aad = kind ‖ 0 ‖ id, secret)`. The vault
//! never logs, and never returns a secret that is not erased when dropped.

use std::fmt;
use std::path::{Path, PathBuf};

use ring::aead;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 1 + aead::NONCE_LEN;

/// Why a secret could not be wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be read.
    #[error("cannot read the installation's key {path}: {source}")]
    ReadKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key file has another length.
    #[error(
        "the installation's key {path} has {bytes} bytes, expected 32: restore the file from your backup"
    )]
    KeyLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: try again")]
    Random,
    /// The wrapped bytes do not open.
    #[error(
        "the {kind} of {id} does not open: the installation's key file does not belong to this database, or the row was altered"
    )]
    Open {
        /// What it should be.
        kind: SecretKind,
        /// The row.
        id: String,
    },
}

/// What a wrapped secret is. Part of what it is bound to, so the texts never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// Private key of the installation's root CA (PKCS#8).
    RootCaKey,
    /// Private key of a tenant's issuing CA (PKCS#8).
    TenantCaKey,
    /// A tenant's release key (PKCS#8).
    ReleaseKey,
    /// A tenant's chunk secret (32 bytes).
    ChunkSecret,
    /// A tenant's key-encryption key (32 bytes).
    TenantKek,
    /// A version's data key (32 bytes), wrapped by its tenant's key-encryption key.
    DataKey,
    /// Private key of an audit log (PKCS#8).
    AuditLogKey,
    /// Private key that signs access tokens (PKCS#8).
    SessionKey,
    /// A user's secret for one-time codes (20 bytes).
    TotpSecret,
    /// Private key of a sink: of its client certificate (PEM), or that signs batches (PKCS#8).
    SinkKey,
    /// The answer to a request with an idempotency key: it may hold a token that is shown once.
    Answer,
    /// What the controller proves itself with to an OpenID provider.
    ClientSecret,
    /// Private key of a role of a tenant's TUF repository (PKCS#8).
    TrustKey,
    /// What an OpenID provider said at a log-in: it is shown to it again at the log-out.
    IdToken,
    /// A tenant's key that signs models for others to verify (PKCS#8).
    ModelSigningKey,
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RootCaKey => "root CA key",
            Self::TenantCaKey => "tenant CA key",
            Self::ReleaseKey => "release key",
            Self::ChunkSecret => "chunk secret",
            Self::TenantKek => "tenant key-encryption key",
            Self::DataKey => "data key",
            Self::AuditLogKey => "audit log key",
            Self::SessionKey => "session key",
            Self::TotpSecret => "TOTP secret",
            Self::SinkKey => "sink key",
            Self::Answer => "stored answer",
            Self::ClientSecret => "client secret",
            Self::TrustKey => "trust repository key",
            Self::IdToken => "ID token",
            Self::ModelSigningKey => "model signing key",
        })
    }
}

/// Wraps and unwraps with one key-encryption key.
pub struct Vault {
    key: aead::LessSafeKey,
    random: SystemRandom,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(redacted)")
    }
}

impl Vault {
    /// With this key-encryption key.
    pub fn new(key: &[u8; 32]) -> Self {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, key)
            .expect("AES-256 takes a key of 32 bytes");
        Self { key: aead::LessSafeKey::new(key), random: SystemRandom::new() }
    }

    /// With the key in a file of 32 bytes.
    pub fn from_file(path: &Path) -> Result<Self, VaultError> {
        let bytes = std::fs::read(path)
            .map(Zeroizing::new)
            .map_err(|source| VaultError::ReadKey { path: path.to_owned(), source })?;
        let key: &[u8; 32] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| VaultError::KeyLength { path: path.to_owned(), bytes: bytes.len() })?;
        Ok(Self::new(key))
    }

    /// A new 32-byte secret: a key-encryption key, chunk secret or data key.
    pub fn generate_secret(&self) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let mut secret = Zeroizing::new([0; 32]);
        self.random.fill(secret.as_mut_slice()).map_err(|_| VaultError::Random)?;
        Ok(secret)
    }

    /// Wraps `secret`, which is the `kind` of the row `id`.
    pub fn wrap(&self, kind: SecretKind, id: &str, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; aead::NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| VaultError::Random)?;
        let mut text = secret.to_vec();
        self.key
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(binding(kind, id)),
                &mut text,
            )
            .expect("a secret is far below the limit of AES-GCM");
        let mut wrapped = Vec::with_capacity(HEADER_BYTES + text.len());
        wrapped.push(FORMAT);
        wrapped.extend_from_slice(&nonce);
        wrapped.extend_from_slice(&text);
        Ok(wrapped)
    }

    /// The `kind` of the row `id`, from its wrapped bytes.
    pub fn unwrap(
        &self,
        kind: SecretKind,
        id: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let refused = || VaultError::Open { kind, id: id.to_owned() };
        let (header, text) = wrapped.split_first_chunk::<HEADER_BYTES>().ok_or_else(refused)?;
        let (&format, nonce) = header.split_first().ok_or_else(refused)?;
        if format != FORMAT {
            return Err(refused());
        }
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .key
            .open_in_place(nonce, aead::Aad::from(binding(kind, id)), &mut text)
            .map_err(|_| refused())?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// [`Vault::unwrap`] for secrets of 32 bytes.
    pub fn unwrap_32(
        &self,
        kind: SecretKind,
        id: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let secret = self.unwrap(kind, id, wrapped)?;
        if secret.len() != 32 {
            return Err(VaultError::Open { kind, id: id.to_owned() });
        }
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(&secret);
        Ok(bytes)
    }

    /// The vault of a tenant: opens what its wrapped key-encryption key opens.
    pub fn tenant(&self, tenant_id: &str, wrapped_kek: &[u8]) -> Result<Self, VaultError> {
        self.unwrap_32(SecretKind::TenantKek, tenant_id, wrapped_kek).map(|key| Self::new(&key))
    }
}

/// kind ‖ 0 ‖ id: no kind contains a zero byte, so no two pairs give the same bytes.
fn binding(kind: SecretKind, id: &str) -> Vec<u8> {
    format!("{kind}\0{id}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_in_its_row_only() {
        let vault = Vault::new(&[1; 32]);
        let wrapped = vault.wrap(SecretKind::ChunkSecret, "t1", b"the secret").unwrap();
        let open = |vault: &Vault, kind, id, wrapped: &[u8]| {
            vault.unwrap(kind, id, wrapped).map(|s| s.to_vec()).ok()
        };
        let kind = SecretKind::ChunkSecret;
        assert_eq!(open(&vault, kind, "t1", &wrapped).unwrap(), b"the secret");
        assert_eq!(open(&vault, kind, "t2", &wrapped), None);
        assert_eq!(open(&vault, SecretKind::TenantKek, "t1", &wrapped), None);
        assert_eq!(open(&Vault::new(&[2; 32]), kind, "t1", &wrapped), None);
        for at in 0..wrapped.len() {
            let mut altered = wrapped.clone();
            altered[at] ^= 1;
            assert_eq!(open(&vault, kind, "t1", &altered), None, "byte {at}");
            assert_eq!(open(&vault, kind, "t1", &wrapped[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn the_same_secret_is_never_wrapped_to_the_same_bytes() {
        let vault = Vault::new(&[1; 32]);
        let wrap = || vault.wrap(SecretKind::DataKey, "v", &[0; 32]).unwrap();
        assert_ne!(wrap(), wrap());
    }

    #[test]
    fn a_tenant_vault_opens_what_it_wrapped_and_the_installation_does_not() {
        let vault = Vault::new(&[1; 32]);
        let kek = vault.generate_secret().unwrap();
        let wrapped = vault.wrap(SecretKind::TenantKek, "t", kek.as_slice()).unwrap();
        let tenant = vault.tenant("t", &wrapped).unwrap();
        let key = tenant.wrap(SecretKind::DataKey, "v", &[9; 32]).unwrap();
        assert_eq!(*tenant.unwrap_32(SecretKind::DataKey, "v", &key).unwrap(), [9; 32]);
        assert!(vault.unwrap(SecretKind::DataKey, "v", &key).is_err());
        assert!(vault.tenant("other", &wrapped).is_err());
    }

    #[test]
    fn a_key_file_of_another_length_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kek");
        assert!(matches!(Vault::from_file(&path), Err(VaultError::ReadKey { .. })));
        std::fs::write(&path, [1; 31]).unwrap();
        let error = Vault::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("has 31 bytes"), "{error}");
    }
}
