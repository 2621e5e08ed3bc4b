//! Device keys in a TPM 2.0. What lies in the state directory is wrapped by that TPM and of use with it
//! alone: a copy of the disk has no keys.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::keywrap::{Agreed, HpkeError, HpkePublic, KeyAgreement, PUBLIC_BYTES};
use serde::{Deserialize, Serialize};

use super::keys::{DeviceKeys, KeyError};
use crate::durable::Folder;
use crate::tpm::{Fault, Kind, Place, Tpm, WrappedKey};

/// The signing key. Its file also says where the TPM is.
pub(super) const SIGNING: &str = "device.tpm";
/// The key that data keys are sealed to.
pub(super) const HPKE: &str = "hpke.tpm";
/// Both files.
pub(super) const NAMES: [&str; 2] = [SIGNING, HPKE];

/// A key file is a tenth of this.
const MAX_FILE_BYTES: u64 = 8 * 1024;
const FORMAT: u32 = 1;

/// A wrapped key as it is stored; parts in base64.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// Where the TPM was when the key was made.
    tpm: String,
    /// Name of the storage key that wraps it: of this TPM, until it is cleared.
    storage_name: String,
    /// TPMT_PUBLIC.
    public: String,
    /// TPM2B_PRIVATE.
    private: String,
}

/// Keys in a TPM.
pub struct TpmKeys {
    tpm: Tpm,
    signing: WrappedKey,
    hpke: WrappedKey,
}

impl TpmKeys {
    /// Uses the keys in `folder` with the TPM at `place`, or else where it was; makes those that are
    /// missing. Waits for the TPM.
    pub fn open_or_create(
        folder: impl Into<Folder>,
        place: Option<Place>,
    ) -> Result<Self, KeyError> {
        let folder = folder.into();
        let recorded = place_in(&folder)?;
        let Some(place) = place.or(recorded) else {
            return Err(KeyError::Missing { path: folder.join(SIGNING) });
        };
        let tpm = Tpm::at(place);
        let signing = read_or_make(&folder, SIGNING, Kind::Signing, &tpm)?;
        let hpke = read_or_make(&folder, HPKE, Kind::Agreement, &tpm)?;
        Ok(Self { tpm, signing, hpke })
    }
}

impl DeviceKeys for TpmKeys {
    fn public_point(&self) -> &[u8] {
        self.signing.point()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(to_asn1(&self.tpm.sign(&self.signing, message)?))
    }

    fn kept_in(&self) -> String {
        self.tpm.place().to_string()
    }
}

impl KeyAgreement for TpmKeys {
    fn hpke_public(&self) -> [u8; PUBLIC_BYTES] {
        *self.hpke.point()
    }

    fn agree(&self, peer: &HpkePublic) -> Result<Agreed, HpkeError> {
        let agreed = self.tpm.agree(&self.hpke, &peer.to_bytes());
        agreed.map_err(|error| HpkeError::Agreement(error.to_string()))
    }
}

impl fmt::Debug for TpmKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TpmKeys({})", self.tpm.place())
    }
}

/// Where the TPM was when the keys in `folder` were made; none if they are not in one.
pub(super) fn place_in(folder: &Folder) -> Result<Option<Place>, KeyError> {
    let Some(stored) = read(folder, SIGNING)? else { return Ok(None) };
    let place = stored.tpm.parse().map_err(|_| malformed(folder, SIGNING))?;
    Ok(Some(place))
}

fn read_or_make(
    folder: &Folder,
    name: &str,
    kind: Kind,
    tpm: &Tpm,
) -> Result<WrappedKey, KeyError> {
    if let Some(stored) = read(folder, name)? {
        let key = parse(kind, &stored).ok_or_else(|| malformed(folder, name))?;
        tpm.check(&key)?;
        return Ok(key);
    }
    let key = tpm.make(kind)?;
    let stored = Stored {
        format: FORMAT,
        tpm: tpm.place().to_string(),
        storage_name: BASE64.encode(key.storage_name()),
        public: BASE64.encode(key.public()),
        private: BASE64.encode(key.private()),
    };
    serde_json::to_vec_pretty(&stored)
        .map_err(io::Error::other)
        .and_then(|bytes| folder.write(name, &bytes))
        .map_err(|source| KeyError::File { path: folder.join(name), source })?;
    Ok(key)
}

fn read(folder: &Folder, name: &str) -> Result<Option<Stored>, KeyError> {
    match folder.read(name, MAX_FILE_BYTES) {
        Ok(bytes) => match serde_json::from_slice::<Stored>(&bytes) {
            Ok(stored) if stored.format == FORMAT => Ok(Some(stored)),
            _ => Err(malformed(folder, name)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyError::File { path: folder.join(name), source }),
    }
}

fn parse(kind: Kind, stored: &Stored) -> Option<WrappedKey> {
    let part = |text: &str| BASE64.decode(text).ok();
    let (public, private) = (part(&stored.public)?, part(&stored.private)?);
    let made: Result<_, Fault> =
        WrappedKey::new(kind, &public, &private, &part(&stored.storage_name)?);
    made.ok()
}

fn malformed(folder: &Folder, name: &str) -> KeyError {
    KeyError::MalformedTpm { path: folder.join(name) }
}

/// A signature of r and s as a DER sequence of two integers (RFC 3279, section 2.2.3).
fn to_asn1(signature: &[u8; 64]) -> Vec<u8> {
    let mut content = Vec::with_capacity(72);
    for number in signature.chunks_exact(32) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        // One digit at least, and a zero before what would otherwise be negative.
        let digits = &number[zeros.min(31)..];
        let pad = digits.first().is_some_and(|first| first & 0x80 != 0);
        let length = u8::try_from(digits.len()).expect("32 at most") + u8::from(pad);
        content.extend_from_slice(&[0x02, length]);
        content.extend_from_slice(&[0][..usize::from(pad)]);
        content.extend_from_slice(digits);
    }
    let length = u8::try_from(content.len()).expect("two integers of 35 bytes at most");
    [&[0x30, length][..], &content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_written_as_the_shortest_positive_integers() {
        let check = |r: &[u8], s: &[u8], expected: &[u8]| {
            let mut signature = [0; 64];
            signature[32 - r.len()..32].copy_from_slice(r);
            signature[64 - s.len()..].copy_from_slice(s);
            assert_eq!(to_asn1(&signature), expected);
        };
        check(&[1], &[0x7f], &[0x30, 6, 2, 1, 1, 2, 1, 0x7f]);
        check(&[0x80], &[1, 0], &[0x30, 8, 2, 2, 0, 0x80, 2, 2, 1, 0]);
        check(&[], &[1], &[0x30, 6, 2, 1, 0, 2, 1, 1]);
        let longest = to_asn1(&[0xff; 64]);
        assert_eq!((longest.len(), longest[1], longest[3], longest[4]), (72, 70, 33, 0));
    }
}
