//! Keys of people: the private half in PKCS#8, PEM, encrypted with a passphrase (PBES2: scrypt and
//! AES-256-CBC, which `openssl pkey` reads too); the public half as metadata carries it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use edgeformer_proto::tuf::{Key, KeyKind, PrivateKey, Signer as _};
use pkcs8::der::{Decode as _, SecretDocument};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::scrypt;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::TrustError;

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const PLAIN: &str = "PRIVATE KEY";
/// Longest key file read.
const MAX_KEY_BYTES: u64 = 16 << 10;
/// scrypt: 2^14 blocks of 1 KiB, five times (about half a second). OpenSSL takes no more memory.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);
/// Most that a key file may ask for to be opened: bytes of memory, and rounds.
const MAX_SCRYPT_BYTES: u64 = 256 << 20;
const MAX_ROUNDS: u64 = 10_000_000;

/// How a private key is kept.
pub enum Protection {
    Passphrase(Zeroizing<String>),
    /// By the mode of its file alone.
    FileMode,
}

/// Makes a key in a new file, and beside it, with `.pub` after its name, its public half.
pub fn make_key(
    path: &Path,
    kind: KeyKind,
    how: &Protection,
) -> Result<(Key, PathBuf), TrustError> {
    let der = PrivateKey::generate_pkcs8(kind)?;
    let key = PrivateKey::from_pkcs8(&der)?.key().clone();
    let bad = |why: String| TrustError::Key { path: path.to_owned(), why };
    let pem = match how {
        Protection::FileMode => SecretDocument::try_from(der.as_slice())
            .and_then(|document| document.to_pem(PLAIN, LineEnding::LF))
            .map_err(|e| bad(e.to_string()))?,
        Protection::Passphrase(passphrase) => encrypt(&der, passphrase).map_err(bad)?,
    };
    let public = PathBuf::from(format!("{}.pub", path.display()));
    if public.exists() {
        return Err(TrustError::Exists(public));
    }
    create(path, pem.as_bytes(), 0o600)?;
    create(&public, &key.to_json().to_file(), 0o644)?;
    Ok((key, public))
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TrustError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = made.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => TrustError::Exists(path.to_owned()),
        _ => TrustError::File { doing: "write", path: path.to_owned(), source },
    })
}

fn encrypt(der: &[u8], passphrase: &str) -> Result<Zeroizing<String>, String> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    let random = SystemRandom::new();
    let filled = random.fill(&mut salt).and_then(|()| random.fill(&mut iv));
    filled.map_err(|_| "the system gives no randomness".to_owned())?;
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let (log_n, r, p) = SCRYPT;
    let cost = scrypt::Params::new(log_n, r, p).map_err(|e| said(&e))?;
    let how = Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(|e| said(&e))?;
    let info = PrivateKeyInfoRef::from_der(der).map_err(|e| said(&e))?;
    let document = info.encrypt_with_params(how, passphrase).map_err(|e| said(&e))?;
    document.to_pem(ENCRYPTED, LineEnding::LF).map_err(|e| said(&e))
}

/// Reads a private key; `passphrase` is asked only for one that has one.
pub fn private_key<E: From<TrustError>>(
    path: &Path,
    passphrase: impl FnOnce() -> Result<Zeroizing<String>, E>,
) -> Result<PrivateKey, E> {
    let bad = |why: &str| TrustError::Key { path: path.to_owned(), why: why.to_owned() };
    let mode = path.metadata().map(|meta| meta.permissions().mode() & 0o777).unwrap_or(0);
    let text = Zeroizing::new(read(path)?);
    let (label, document) =
        SecretDocument::from_pem(&text).map_err(|_| bad("this is no private key in PEM"))?;
    let key = match label {
        ENCRYPTED => {
            let info = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes())
                .map_err(|_| bad("this is no encrypted key in PKCS#8"))?;
            if !is_bounded(&info.encryption_algorithm) {
                return Err(bad("it asks for more memory or rounds than a key does").into());
            }
            let passphrase = passphrase()?;
            let opened = info.decrypt(passphrase.as_bytes());
            let opened = opened.map_err(|_| bad("the passphrase does not open it"))?;
            PrivateKey::from_pkcs8(opened.as_bytes())
        }
        PLAIN if mode & 0o077 != 0 => {
            return Err(TrustError::Readable { path: path.to_owned(), mode }.into());
        }
        PLAIN => PrivateKey::from_pkcs8(document.as_bytes()),
        _ => return Err(bad("this is no private key in PKCS#8").into()),
    };
    Ok(key.map_err(|error| bad(&error.to_string()))?)
}

fn is_bounded(scheme: &EncryptionScheme) -> bool {
    let EncryptionScheme::Pbes2(how) = scheme else { return false };
    match &how.kdf {
        Kdf::Scrypt(cost) => {
            let (r, p) = (u64::from(cost.block_size), u64::from(cost.parallelization));
            let bytes = cost.cost_parameter.checked_mul(128 * r);
            bytes.is_some_and(|bytes| bytes <= MAX_SCRYPT_BYTES) && p <= 16
        }
        Kdf::Pbkdf2(cost) => u64::from(cost.iteration_count) <= MAX_ROUNDS,
        _ => false,
    }
}

/// Reads the public half of a key.
pub fn public_key(path: &Path) -> Result<Key, TrustError> {
    let text = read(path)?;
    let key = Key::from_bytes(text.as_bytes())
        .map_err(|source| TrustError::Form { path: path.to_owned(), source })?;
    match key.is_known() {
        true => Ok(key),
        false => Err(TrustError::Key {
            path: path.to_owned(),
            why: format!("keys of kind {} cannot be verified here", key.scheme()),
        }),
    }
}

fn read(path: &Path) -> Result<String, TrustError> {
    let mut text = String::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(MAX_KEY_BYTES).read_to_string(&mut text));
    read.map_err(|source| TrustError::File { doing: "read", path: path.to_owned(), source })?;
    Ok(text)
}
