//! Root rotation: section 5.3, and what it makes of what is stored.

use edgeformer_proto::tuf::{KeyKind, Problem, Root, Signed, TopLevel, check_root_change};

use crate::repo::{DAY_S, Device, NOW_S, Repo, said};

/// Keys of the root (by number), how many must sign, and who does.
type Version = (&'static [usize], u32, &'static [usize]);

/// Roots as given, and whether a device with the first gets to the last.
fn check(versions: &[Version], reached: bool) {
    let mut repo = Repo::unpublished();
    let keys: Vec<_> = (0..10).map(|_| crate::repo::new_key(KeyKind::Ed25519)).collect();
    for (number, (ids, threshold, by)) in versions.iter().enumerate() {
        let old = repo.root.role(TopLevel::Root).key_ids.clone();
        for id in old {
            repo.root.remove_key(TopLevel::Root, &id);
        }
        for at in *ids {
            repo.root.add_key(TopLevel::Root, edgeformer_proto::tuf::Signer::key(&keys[*at]));
        }
        repo.root.set_threshold(TopLevel::Root, *threshold);
        let mut signed = Signed::new(repo.root.clone());
        by.iter().for_each(|at| signed.sign(&keys[*at]).unwrap());
        repo.files.insert(format!("{}.root.json", number + 1), signed.to_file());
        repo.root = edgeformer_proto::tuf::Role::next(&repo.root, repo.expires_s);
    }
    repo.publish();
    let mut device = Device::new(&repo);
    let result = device.refresh(&repo.files);
    match reached {
        true => assert_eq!(result.unwrap().root().common.version, versions.len() as u64),
        false => {
            assert_eq!(said(result), ("root".to_owned(), "5.3.4"));
            assert_eq!(device.version("root"), Some(versions.len() as u64 - 1));
        }
    }
}

#[test]
fn a_root_follows_when_old_and_new_keys_say_so() {
    check(&[(&[1], 1, &[1]), (&[2], 1, &[2, 1]), (&[2], 1, &[2])], true);
    check(&[(&[1], 1, &[3, 1, 4]), (&[2], 1, &[3, 2, 1, 4]), (&[2], 1, &[3, 2, 4])], true);
    check(&[(&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), (&[0, 1, 3, 4, 5], 3, &[0, 4, 1])], true);
    check(&[(&[0, 1, 2], 2, &[0, 2]), (&[5, 6, 7], 2, &[0, 2, 6, 7]), (&[6], 1, &[6, 7])], true);
    check(&[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[1, 2])], true);
    check(&[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1, 2]), (&[1, 2, 3], 1, &[1])], true);
}

#[test]
fn a_root_that_one_side_did_not_sign_is_refused() {
    check(&[(&[1], 1, &[1]), (&[2], 1, &[2, 3, 4])], false);
    check(&[(&[1], 1, &[1]), (&[2], 1, &[1, 3, 4])], false);
    check(&[(&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), (&[0, 1, 3, 4, 5], 3, &[0, 2, 4])], false);
    check(&[(&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), (&[0, 1, 3, 4, 5], 3, &[0, 4, 5])], false);
    check(&[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[2])], false);
    check(&[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1])], false);
}

/// A device that was off for a year: every root it knows and most on the way are expired, all keys
/// were replaced several times.
#[test]
fn a_device_that_was_off_for_a_year_recovers_by_itself() {
    let mut repo = Repo::new();
    let mut device = Device::new(&repo);
    device.refresh(&repo.files).unwrap();
    for month in 1..=12 {
        repo.expires_s = NOW_S + (30 * month + 31) * DAY_S;
        repo.root.common.expires_s = repo.expires_s;
        for role in TopLevel::ALL {
            repo.rotate(role);
        }
        repo.publish_root();
        // The old root keys are gone.
        let keep = repo.signers["root"].len() - 1;
        repo.signers.get_mut("root").unwrap().drain(..keep);
        repo.bump_targets();
        repo.publish();
    }
    device.now_s = NOW_S + 365 * DAY_S;
    let trusted = device.refresh(&repo.files).unwrap();
    assert_eq!((trusted.root().common.version, trusted.targets().common.version), (13, 13));
    assert_eq!(device.asked[..13].last().unwrap(), "14.root.json");
}

#[test]
fn one_refresh_goes_through_so_many_roots_and_the_next_goes_on() {
    let mut repo = Repo::new();
    let mut device = Device::new(&repo);
    device.limits.roots = 3;
    for _ in 0..5 {
        repo.root.common.expires_s = NOW_S - 1;
        repo.publish_root();
    }
    repo.root.common.expires_s = repo.expires_s;
    repo.publish_root();
    assert_eq!(said(device.refresh(&repo.files)), ("root".to_owned(), "5.3.10"));
    assert_eq!(device.version("root"), Some(4));
    assert_eq!(device.refresh(&repo.files).unwrap().root().common.version, 7);
}

#[test]
fn a_root_must_be_the_very_next() {
    let mut repo = Repo::new();
    repo.publish_root();
    repo.publish_root();
    let mut files = repo.files.clone();
    files.insert("2.root.json".into(), files["3.root.json"].clone());
    let error = Device::new(&repo).refresh(&files).unwrap_err();
    assert_eq!((error.step, error.version), ("5.3.5", Some(3)));
    // Older than the trusted one.
    let mut device = Device::new(&repo);
    device.refresh(&repo.files).unwrap();
    files = repo.files.clone();
    files.insert("4.root.json".into(), files["1.root.json"].clone());
    let error = device.refresh(&files).unwrap_err();
    assert!(matches!(error.problem, Problem::Rollback { trusted: 3, offered: 1, .. }));
    // The trusted one once more: that is the end of the chain.
    files.insert("4.root.json".into(), files["3.root.json"].clone());
    assert_eq!(device.refresh(&files).unwrap().root().common.version, 3);
}

/// Somebody had the online keys and moved versions far ahead; new keys let the repository begin again.
#[test]
fn versions_that_were_moved_ahead_are_forgotten_with_the_keys_that_moved_them() {
    for role in [TopLevel::Timestamp, TopLevel::Snapshot] {
        let mut repo = Repo::new();
        let mut device = Device::new(&repo);
        let (snapshot, timestamp) = (repo.snapshot.clone(), repo.timestamp.clone());
        let mut ahead = repo.snapshot.clone().unwrap();
        ahead.common.version = 1 << 40;
        ahead.meta.get_mut("targets").unwrap().version = 1;
        repo.timestamp.as_mut().unwrap().common.version = 1 << 40;
        repo.publish_snapshot(ahead);
        assert!(device.refresh(&repo.files).unwrap().snapshot().common.version == 1 << 40);

        repo.bump_targets();
        (repo.snapshot, repo.timestamp) = (snapshot, timestamp);
        repo.publish();
        assert_eq!(said(device.refresh(&repo.files)).1, "5.4.3.1");
        repo.rotate(role);
        repo.publish_root();
        repo.timestamp.as_mut().unwrap().common.version = 1;
        repo.publish();
        let trusted = device.refresh(&repo.files).unwrap();
        assert_eq!(trusted.targets().common.version, 2, "{role:?}");
        assert_eq!(device.version("snapshot"), Some(3));
    }
}

#[test]
fn a_key_that_is_added_makes_nothing_forgotten() {
    let mut repo = Repo::new();
    let mut device = Device::new(&repo);
    let old = repo.files["timestamp.json"].clone();
    repo.publish();
    device.refresh(&repo.files).unwrap();
    repo.add_key(TopLevel::Timestamp, KeyKind::Ed25519);
    repo.publish_root();
    repo.files.insert("timestamp.json".into(), old);
    assert_eq!(said(device.refresh(&repo.files)), ("timestamp".to_owned(), "5.4.3.1"));
}

#[test]
fn what_is_stored_must_be_signed_by_who_may_sign_now() {
    for role in TopLevel::ALL.into_iter().skip(1) {
        let mut repo = Repo::new();
        let mut device = Device::new(&repo);
        device.refresh(&repo.files).unwrap();
        repo.rotate(role);
        repo.publish_root();
        // Nothing was signed with the new key yet.
        assert!(device.clone().refresh(&repo.files).is_err(), "{role:?}");
        repo.bump_targets();
        repo.publish();
        device.refresh(&repo.files).unwrap();
    }
}

#[test]
fn one_key_counts_once_and_a_threshold_needs_as_many() {
    let mut repo = Repo::unpublished();
    repo.add_key(TopLevel::Snapshot, KeyKind::EcdsaP256);
    repo.root.set_threshold(TopLevel::Snapshot, 3);
    assert!(check_root_change(None, &repo.root).is_err());
    repo.publish_root();
    repo.publish();
    let error = Device::new(&repo).refresh(&repo.files).unwrap_err();
    assert!(matches!(error.problem, Problem::Threshold { have: 2, need: 3, .. }), "{error}");

    // The same public key in upper case is another id for one key.
    let mut root: serde_json::Value = serde_json::from_slice(&repo.files["1.root.json"]).unwrap();
    let ids = root["signed"]["roles"]["root"]["keyids"].clone();
    let key = root["signed"]["keys"][ids[0].as_str().unwrap()].clone();
    let upper = key["keyval"]["public"].as_str().unwrap().to_uppercase();
    let twin = serde_json::json!({"keytype": "ed25519", "scheme": "ed25519",
        "keyval": {"public": upper}});
    let twin = edgeformer_proto::tuf::Key::from_bytes(twin.to_string().as_bytes()).unwrap();
    assert_ne!(twin.id().as_str(), ids[0].as_str().unwrap());
    root["signed"]["keys"] = serde_json::json!({});
    let mut only_root = Signed::<Root>::parse(&repo.files["1.root.json"], 1 << 20).unwrap();
    let mut role = only_root.role().clone();
    role.add_key(TopLevel::Root, &twin);
    role.set_threshold(TopLevel::Root, 2);
    only_root = Signed::new(role.clone());
    let signer = &repo.signers["root"][0];
    only_root.sign(signer).unwrap();
    let signature = only_root.signature_of(edgeformer_proto::tuf::Signer::key(signer).id());
    let signature = signature.unwrap().to_vec();
    assert!(only_root.add_signature(&twin, &signature));
    let found = only_root.signatures(role.keys(), role.role(TopLevel::Root));
    assert_eq!((found.signed.len(), found.have, found.is_enough()), (2, 1, false));
    assert!(check_root_change(None, &role).is_err());
}
