//! Device keys in a TPM, against a TPM in software: what it makes, that nothing else can use it, and what
//! is said when it is gone.

#[path = "../support/swtpm.rs"]
mod swtpm;

use std::path::Path;
use std::sync::Arc;

use edgeformer_agent::identity::key_place::{self, Missing};
use edgeformer_agent::identity::{DeviceKeys, KeyError, KeyPlace, TpmKeys, csr};
use edgeformer_agent::tpm::{Kind, Place, Tpm};
use edgeformer_proto::hpke::{self, Aead, Purpose};
use edgeformer_proto::keywrap::{HpkePrivate, HpkePublic, KeyAgreement};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use swtpm::Swtpm;

fn keys(folder: &Path, place: &Place) -> TpmKeys {
    TpmKeys::open_or_create(folder, Some(place.clone())).unwrap()
}

/// The error of opening the keys in `folder`, as a person reads it.
fn refusal(folder: &Path, asked: Option<&KeyPlace>, missing: Missing) -> String {
    key_place::open(folder, asked, missing).unwrap_err().to_string()
}

#[test]
fn keys_are_made_once_sign_and_agree_as_software_does() {
    let tpm = Swtpm::start();
    let directory = tempfile::tempdir().unwrap();
    let first = keys(directory.path(), &tpm.place());
    // Without being told: where they are is kept with them.
    let again = TpmKeys::open_or_create(directory.path(), None).unwrap();
    assert_eq!(first.public_point(), again.public_point());
    assert_eq!(first.hpke_public(), again.hpke_public());
    assert_eq!(again.kept_in(), tpm.place().to_string());
    // Enough that r or s begin with zeros and with ones.
    for number in 0_u32..40 {
        let message = number.to_be_bytes();
        let signature = again.sign(&message).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, first.public_point());
        public.verify(&message, &signature).unwrap();
    }
    for _ in 0..10 {
        let peer = HpkePrivate::generate();
        let ours = HpkePublic::try_from(&first.hpke_public()[..]).unwrap();
        let in_tpm = again.agree(&peer.public()).unwrap();
        assert_eq!(in_tpm[..], peer.agree(&ours).unwrap()[..]);
    }
    let shared: Arc<dyn DeviceKeys> = Arc::new(again);
    let der = csr::request(&shared).unwrap();
    use x509_parser::prelude::{FromDer, X509CertificationRequest};
    let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
    request.verify_signature().unwrap();
}

#[test]
fn what_is_sealed_to_a_key_in_a_tpm_opens_with_it_for_its_purpose_alone() {
    let tpm = Swtpm::start();
    let directory = tempfile::tempdir().unwrap();
    let keys = keys(directory.path(), &tpm.place());
    let to = HpkePublic::try_from(&keys.hpke_public()[..]).unwrap();
    for aead in [Aead::Aes128Gcm, Aead::Aes256Gcm] {
        let purpose = Purpose { aead, info: b"info", aad: b"aad" };
        let (encapsulated, sealed) = hpke::seal(&to, &purpose, b"a data key").unwrap();
        let opened = hpke::open(&keys, &encapsulated, &purpose, &sealed).unwrap();
        assert_eq!(opened[..], *b"a data key");
        let other = Purpose { info: b"other", ..purpose };
        assert!(hpke::open(&keys, &encapsulated, &other, &sealed).is_err());
    }
}

#[test]
fn a_copy_of_the_disk_is_of_no_use_with_another_tpm() {
    let (own, other) = (Swtpm::start(), Swtpm::start());
    let directory = tempfile::tempdir().unwrap();
    keys(directory.path(), &own.place());
    let mut names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["device.tpm", "hpke.tpm"]);
    let asked = KeyPlace::Tpm(other.place());
    let text = refusal(directory.path(), Some(&asked), Missing::Refuse);
    assert!(text.contains("did not make this device's keys, or was cleared"), "{text}");
    assert!(text.contains(&other.place().to_string()), "{text}");
    // Nor when the file claims that the other TPM's storage key wraps it.
    let theirs = tempfile::tempdir().unwrap();
    keys(theirs.path(), &other.place());
    let read = |folder: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(folder.join("device.tpm")).unwrap()).unwrap()
    };
    let mut forged = read(directory.path());
    forged["storage_name"] = read(theirs.path())["storage_name"].clone();
    std::fs::write(directory.path().join("device.tpm"), forged.to_string()).unwrap();
    let text = refusal(directory.path(), Some(&asked), Missing::Refuse);
    assert!(text.contains("does not take the wrapped key"), "{text}");
    assert!(text.contains("TPM2_Load"), "{text}");
}

#[test]
fn every_changed_bit_of_a_key_file_is_noticed() {
    let tpm = Swtpm::start();
    let device = Tpm::at(tpm.place());
    let key = device.make(Kind::Signing).unwrap();
    let check = |public: &[u8], private: &[u8]| {
        let changed = edgeformer_agent::tpm::WrappedKey::new(
            Kind::Signing,
            public,
            private,
            key.storage_name(),
        );
        changed.is_ok_and(|key| device.check(&key).is_ok())
    };
    assert!(check(key.public(), key.private()));
    for at in (0..key.private().len()).step_by(7) {
        let mut private = key.private().to_vec();
        private[at] ^= 1 << (at % 8);
        assert!(!check(key.public(), &private), "private byte {at}");
    }
    for at in 0..key.public().len() {
        let mut public = key.public().to_vec();
        public[at] ^= 1 << (at % 8);
        assert!(!check(&public, key.private()), "public byte {at}");
    }
}

#[test]
fn a_tpm_that_is_gone_is_named_with_what_to_do_and_one_that_was_reset_serves_on() {
    let mut tpm = Swtpm::start();
    let directory = tempfile::tempdir().unwrap();
    let device = keys(directory.path(), &tpm.place());
    tpm.stop();
    let text = refusal(directory.path(), None, Missing::Refuse);
    assert!(text.contains(&tpm.place().to_string()), "{text}");
    assert!(text.contains("is not there") && text.contains("start it first"), "{text}");
    let error = device.sign(b"message").unwrap_err();
    assert!(matches!(&error, KeyError::Tpm(_)), "{error}");
    let peer = HpkePrivate::generate();
    let error = device.agree(&peer.public()).unwrap_err().to_string();
    assert!(error.contains("is not there"), "{error}");
    tpm.restart();
    device.sign(b"message").unwrap();
    device.agree(&peer.public()).unwrap();
    tpm.replace();
    let error = device.sign(b"message").unwrap_err().to_string();
    assert!(error.contains("was cleared since"), "{error}");
}

#[test]
fn many_use_one_tpm_at_a_time_and_leave_it_empty() {
    let tpm = Swtpm::start_unstarted_on_tcp();
    let directory = tempfile::tempdir().unwrap();
    keys(directory.path(), &tpm.place());
    let place = tpm.place();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            // As another process: what is held in common is the TPM alone.
            let (folder, place) = (directory.path(), place.clone());
            scope.spawn(move || {
                let device = keys(folder, &place);
                for _ in 0..5 {
                    device.sign(b"message").unwrap();
                }
            });
        }
    });
    assert_eq!(tpm.loaded(), 0);
}

#[test]
fn a_tpm_full_of_what_others_left_is_emptied() {
    let tpm = Swtpm::start();
    let device = Tpm::at(tpm.place());
    let key = device.make(Kind::Signing).unwrap();
    tpm.fill();
    assert!(tpm.loaded() > 1);
    device.sign(&key, b"message").unwrap();
    assert_eq!(tpm.loaded(), 0);
}

#[test]
fn keys_stay_where_they_were_made() {
    let tpm = Swtpm::start();
    let asked = KeyPlace::Tpm(tpm.place());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let text = refusal(path, None, Missing::Refuse);
    assert!(text.contains("device.p8 is missing"), "{text}");
    key_place::open(path, None, Missing::Make).unwrap();
    let text = refusal(path, Some(&asked), Missing::Make);
    assert!(text.contains("keys are in files") && text.contains("enrol it again"), "{text}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    key_place::open(path, Some(&asked), Missing::Make).unwrap();
    let text = refusal(path, Some(&KeyPlace::File), Missing::Refuse);
    assert!(text.contains("do not come out of it"), "{text}");
    std::fs::remove_file(path.join("hpke.tpm")).unwrap();
    let text = refusal(path, None, Missing::Refuse);
    assert!(text.contains("hpke.tpm is missing"), "{text}");
    key_place::open(path, None, Missing::Make).unwrap();
    std::fs::write(path.join("device.tpm"), b"{}").unwrap();
    let text = refusal(path, None, Missing::Refuse);
    assert!(text.contains("device.tpm does not hold a key of a TPM"), "{text}");
}

#[test]
fn nothing_is_written_to_what_is_no_tpm() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mine");
    std::fs::write(&file, b"mine").unwrap();
    let error = Tpm::at(Place::Device(file.clone())).make(Kind::Signing).unwrap_err().to_string();
    assert!(error.contains("is not a device"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let error = Tpm::at(Place::Device("/dev/null".into())).make(Kind::Signing).unwrap_err();
    assert!(error.to_string().contains("as no TPM 2.0 should"), "{error}");
    let far = Place::Tcp { host: "192.0.2.1".to_owned(), port: 2321 };
    let error = Tpm::at(far).make(Kind::Signing).unwrap_err().to_string();
    assert!(error.contains("is not on this machine"), "{error}");
}
