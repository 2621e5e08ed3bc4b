//! Wrapped data keys: what was not wrapped for exactly this device, version and generation does not
//! open, and another implementation of HPKE reads what we write and writes what we read.

#[path = "../support/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use data_encoding::HEXLOWER;
use edgeformer_proto::Generation;
use edgeformer_proto::artifact::DataKey;
use edgeformer_proto::ids::{DeviceId, TenantId, VersionId};
use edgeformer_proto::keywrap::{
    CIPHERTEXT_BYTES, ENCAPSULATED_BYTES, HpkePrivate, KeyAgreement, KeyContext, KeyWrapError,
    STORED_BYTES, WrappedKey, unwrap, wrap,
};
use random::Random;

const INPUTS: u64 = 1_000;
const GENERATION: Generation = Generation { epoch: 3, counter: 41 };
const KEY: [u8; 32] = [7; 32];

fn context() -> KeyContext {
    KeyContext {
        tenant: TenantId::from_bytes([1; 16]),
        device: DeviceId::from_bytes([2; 16]),
        version: VersionId::from_bytes([3; 16]),
    }
}

fn wrapped_for(device: &HpkePrivate) -> WrappedKey {
    wrap(&device.public(), &DataKey::from(KEY), &context(), GENERATION).unwrap()
}

impl Random {
    /// `id` with one bit of its 16 bytes flipped.
    fn near(&mut self, id: &[u8; 16]) -> [u8; 16] {
        let mut other = *id;
        other[self.below(16)] ^= 1 << self.below(8);
        other
    }
}

/// A device that gets `stored`, of which something does not hold; and what was done to it.
fn tampered(kind: u64, random: &mut Random, device: &HpkePrivate) -> (&'static str, Vec<u8>) {
    let right = context();
    let to = |context: KeyContext, generation: Generation| {
        wrap(&device.public(), &DataKey::from(KEY), &context, generation).unwrap()
    };
    let mut wrapped = wrapped_for(device);
    let what = match kind {
        0 => {
            let tenant = TenantId::from_bytes(random.near(right.tenant.as_bytes()));
            wrapped = to(KeyContext { tenant, ..right }, GENERATION);
            "wrapped for another tenant"
        }
        1 => {
            let device = DeviceId::from_bytes(random.near(right.device.as_bytes()));
            wrapped = to(KeyContext { device, ..right }, GENERATION);
            "wrapped for another device"
        }
        2 => {
            let version = VersionId::from_bytes(random.near(right.version.as_bytes()));
            wrapped = to(KeyContext { version, ..right }, GENERATION);
            "wrapped for another version"
        }
        3 => {
            wrapped.generation.counter ^= 1 << random.below(64);
            "said to be of another counter"
        }
        4 => {
            wrapped.generation.epoch ^= 1 << random.below(64);
            "said to be of another epoch"
        }
        5 => {
            let stranger = HpkePrivate::generate();
            wrapped = wrap(&stranger.public(), &DataKey::from(KEY), &right, GENERATION).unwrap();
            "wrapped to another key"
        }
        6 => {
            wrapped.encapsulated = HpkePrivate::generate().hpke_public();
            "with another point"
        }
        7 => {
            let mut stored = wrapped.to_bytes();
            stored.truncate(random.below(STORED_BYTES));
            return ("cut", stored);
        }
        8 => {
            let mut stored = wrapped.to_bytes();
            stored.push(random.next() as u8);
            return ("longer", stored);
        }
        _ => {
            let mut stored = wrapped.to_bytes();
            stored[random.below(STORED_BYTES)] ^= 1 << random.below(8);
            return ("with a bit flipped", stored);
        }
    };
    (what, wrapped.to_bytes())
}

#[test]
fn a_thousand_tampered_keys_do_not_open() {
    let seed = 0x5ea1_0001;
    let mut random = Random(seed);
    let device = HpkePrivate::generate();
    let open = |stored: &[u8]| unwrap(&device, &WrappedKey::from_bytes(stored)?, &context());
    assert_eq!(open(&wrapped_for(&device).to_bytes()).unwrap().expose(), &KEY);
    let mut tried = BTreeMap::new();
    for input in 0..INPUTS {
        let (what, stored) = tampered(input % 10, &mut random, &device);
        *tried.entry(what).or_insert(0) += 1;
        let error = open(&stored).expect_err(&format!("seed {seed:#x}, input {input}: {what}"));
        let expected = match what {
            "cut" | "longer" => KeyWrapError::Malformed,
            _ => KeyWrapError::Open(context().version),
        };
        assert_eq!(error, expected, "seed {seed:#x}, input {input}: {what}");
    }
    assert_eq!(tried.values().copied().collect::<Vec<u64>>(), vec![INPUTS / 10; 10]);
}

#[test]
fn wire_messages_of_another_shape_are_refused() {
    let (encapsulated, ciphertext) = ([4; ENCAPSULATED_BYTES], [0; CIPHERTEXT_BYTES]);
    let parts = |generation, encapsulated: &[u8], ciphertext: &[u8]| {
        WrappedKey::from_parts(generation, encapsulated, ciphertext).map(drop)
    };
    let some = Some(GENERATION);
    assert_eq!(parts(some, &encapsulated, &ciphertext), Ok(()));
    let malformed = Err(KeyWrapError::Malformed);
    assert_eq!(parts(None, &encapsulated, &ciphertext), malformed, "an old controller's");
    assert_eq!(parts(some, &encapsulated[1..], &ciphertext), malformed);
    assert_eq!(parts(some, &encapsulated, &ciphertext[1..]), malformed);
}

/// What another implementation of HPKE answers.
fn ask(request: &[(&str, &str)]) -> BTreeMap<String, String> {
    let python = std::env::var_os("EDGEFORMER_TEST_PYTHON")
        .expect("EDGEFORMER_TEST_PYTHON is not set: run `cargo xtask test`");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keywrap/pyhpke_peer.py");
    let mut peer = Command::new(python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let request: BTreeMap<_, _> = request.iter().copied().collect();
    let request = serde_json::to_vec(&request).unwrap();
    peer.stdin.take().unwrap().write_all(&request).unwrap();
    let output = peer.wait_with_output().unwrap();
    assert!(output.status.success(), "pyhpke refused");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// As the description of the format says, made here from its words alone.
fn associated_data() -> String {
    let (ids, generation) = ([[1; 16], [2; 16], [3; 16]].concat(), [3_u64, 41]);
    let generation = generation.map(u64::to_be_bytes).concat();
    HEXLOWER.encode(&[ids, generation].concat())
}

#[test]
fn pyhpke_opens_what_we_wrap_and_we_unwrap_what_it_seals() {
    let device = HpkePrivate::generate();
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    let (info, aad) = (hex(b"edgeformer data key v2"), associated_data());

    let ours = wrapped_for(&device);
    let opened = ask(&[
        ("do", "open"),
        ("private", &hex(&device.to_bytes()[..])),
        ("info", &info),
        ("aad", &aad),
        ("encapsulated", &hex(&ours.encapsulated)),
        ("ciphertext", &hex(&ours.ciphertext)),
    ]);
    assert_eq!(opened["text"], hex(&KEY));

    let sealed = ask(&[
        ("do", "seal"),
        ("public", &hex(&device.hpke_public())),
        ("info", &info),
        ("aad", &aad),
        ("text", &hex(&[9; 32])),
    ]);
    let part = |name: &str| HEXLOWER.decode(sealed[name].as_bytes()).unwrap();
    let (encapsulated, ciphertext) = (part("encapsulated"), part("ciphertext"));
    let theirs = WrappedKey::from_parts(Some(GENERATION), &encapsulated, &ciphertext).unwrap();
    assert_eq!(unwrap(&device, &theirs, &context()).unwrap().expose(), &[9; 32]);
}
