//! Section 5 of the specification, step by step.

use edgeformer_proto::tuf::{Problem, Role, TopLevel, check_root_change};

use crate::repo::{DAY_S, Device, NOW_S, Repo, said};

#[test]
fn a_device_gets_to_the_newest_targets_and_asks_for_nothing_twice() {
    let mut repo = Repo::new();
    let mut device = Device::new(&repo);
    let trusted = device.refresh(&repo.files).unwrap();
    assert_eq!(trusted.targets().common.version, 1);
    assert_eq!(
        device.asked,
        ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    );
    // Byte for byte as served.
    for (stored, served) in
        [("timestamp.json", "timestamp.json"), ("targets.json", "1.targets.json")]
    {
        assert_eq!(device.stored[stored], repo.files[served]);
    }

    assert_eq!(device.refresh(&repo.files).unwrap(), trusted);
    assert_eq!(device.asked, ["2.root.json", "timestamp.json"]);

    repo.bump_targets();
    repo.add_target("targets", "model", b"content");
    repo.publish();
    let found = device.find(&repo, "model").unwrap();
    let target = found.target.unwrap();
    assert_eq!(found.trusted.targets().common.version, 2);
    let hash = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    assert_eq!(target.repository_path(&found.trusted), format!("{hash}.model"));
    let mut check = target.check().unwrap();
    check.update(b"con").and_then(|()| check.update(b"tent")).unwrap();
    check.finish().unwrap();
    for (bytes, step) in [(&b"conten"[..], "5.7.3"), (b"contenT", "5.7.3")] {
        let mut check = target.check().unwrap();
        check.update(bytes).unwrap();
        assert_eq!(said(check.finish()), ("model".to_owned(), step));
    }
    assert_eq!(target.check().unwrap().update(b"content+").unwrap_err().problem, Problem::TooLong);
}

#[test]
fn a_root_that_is_not_signed_by_itself_starts_nothing() {
    let repo = Repo::new();
    let mut device = Device::new(&repo);
    let root = String::from_utf8(device.stored["root.json"].clone()).unwrap();
    let altered = root.replace("\"threshold\": 1", "\"threshold\": 2");
    assert_ne!(altered, root);
    device.stored.insert("root.json".into(), altered.into_bytes());
    assert_eq!(said(device.refresh(&repo.files)), ("root".to_owned(), "5.2"));
    assert!(device.asked.is_empty());
}

#[test]
fn what_is_missing_is_named() {
    let repo = Repo::new();
    for (file, role, step) in [
        ("timestamp.json", "timestamp", "5.4.1"),
        ("1.snapshot.json", "snapshot", "5.5.1"),
        ("1.targets.json", "targets", "5.6.1"),
    ] {
        let mut files = repo.files.clone();
        files.remove(file);
        let result = Device::new(&repo).refresh(&files);
        assert_eq!(said(result), (role.to_owned(), step));
    }
}

#[test]
fn what_is_expired_is_refused_and_not_stored() {
    for (role, step) in
        [("timestamp", "5.4.4"), ("snapshot", "5.5.6"), ("targets", "5.6.5"), ("root", "5.3.10")]
    {
        let mut repo = Repo::new();
        let mut device = Device::new(&repo);
        device.refresh(&repo.files).unwrap();
        repo.expires_s = NOW_S;
        match role {
            "root" => {
                // The version made ready before had another time.
                repo.root.common.expires_s = NOW_S;
                repo.publish_root();
            }
            "targets" => repo.bump_targets(),
            _ => {}
        }
        if role != "root" {
            repo.expires_s = if role == "targets" { NOW_S + DAY_S } else { NOW_S };
            repo.publish();
        }
        if role == "snapshot" {
            repo.expires_s = NOW_S + DAY_S;
            let timestamp = repo.timestamp.clone().unwrap();
            repo.publish_timestamp(timestamp.next(NOW_S + DAY_S));
        }
        let error = device.refresh(&repo.files).unwrap_err();
        assert_eq!((error.role.as_str(), error.step), (role, step));
        assert!(matches!(error.problem, Problem::Expired { expires_s: NOW_S, now_s: NOW_S }));
        // 5.3.8 comes before 5.3.10; the others are stored only if they hold.
        assert_eq!(device.version(role), Some(if role == "root" { 2 } else { 1 }), "{role}");
        // A second earlier it held.
        device.now_s = NOW_S - 1;
        device.refresh(&repo.files).unwrap();
    }
}

#[test]
fn expired_metadata_on_the_device_still_guards_against_older() {
    let mut repo = Repo::new();
    let mut device = Device::new(&repo);
    let old = repo.files.clone();
    repo.publish();
    device.refresh(&repo.files).unwrap();
    repo.expires_s = NOW_S + 100 * DAY_S;
    repo.root.common.expires_s = repo.expires_s;
    repo.publish_root();
    repo.bump_targets();
    repo.publish();
    device.now_s = NOW_S + 40 * DAY_S;
    let mut replayed = repo.files.clone();
    replayed.insert("timestamp.json".into(), old["timestamp.json"].clone());
    assert_eq!(said(device.refresh(&replayed)), ("timestamp".to_owned(), "5.4.3.1"));
    assert_eq!(device.refresh(&repo.files).unwrap().timestamp().common.version, 3);
}

#[test]
fn nothing_goes_back() {
    let mut repo = Repo::new();
    let mut device = Device::new(&repo);
    repo.bump_targets();
    repo.publish();
    device.refresh(&repo.files).unwrap();
    let before = device.stored.clone();

    // A newer timestamp that names an older snapshot.
    let mut timestamp = repo.timestamp.clone().unwrap().next(repo.expires_s);
    let snapshot_v2 = timestamp.snapshot.clone();
    timestamp.snapshot.version = 1;
    repo.publish_timestamp(timestamp.clone());
    assert_eq!(said(device.refresh(&repo.files)), ("timestamp".to_owned(), "5.4.3.2"));
    assert_eq!(device.stored, before);
    timestamp.snapshot = snapshot_v2;
    repo.timestamp = Some(timestamp);

    // A newer snapshot that lists older targets, or does not list what was listed.
    let good = repo.snapshot.clone().unwrap();
    let mut older = good.next(repo.expires_s);
    older.meta.get_mut("targets").unwrap().version = 1;
    repo.publish_snapshot(older);
    let error = device.refresh(&repo.files).unwrap_err();
    assert_eq!(error.step, "5.5.5");
    assert!(matches!(error.problem, Problem::Rollback { trusted: 2, offered: 1, .. }));
    assert_eq!(device.version("snapshot"), Some(2));

    // The same version of the timestamp with other content changes nothing.
    let mut device = Device { stored: before, ..device };
    let mut same = repo.timestamp.clone().unwrap();
    same.common.version = 2;
    same.snapshot.version = 100;
    repo.publish_timestamp(same);
    assert_eq!(device.refresh(&repo.files).unwrap().snapshot().common.version, 2);
}

#[test]
fn files_of_different_snapshots_are_not_mixed() {
    let mut repo = Repo::new();
    repo.bump_targets();
    repo.publish();
    for (serves, instead_of, role, step) in [
        ("1.snapshot.json", "2.snapshot.json", "snapshot", "5.5.2"),
        ("1.targets.json", "2.targets.json", "targets", "5.6.2"),
    ] {
        let mut files = repo.files.clone();
        files.insert(instead_of.into(), files[serves].clone());
        assert_eq!(said(Device::new(&repo).refresh(&files)), (role.to_owned(), step));
    }
    // Without hashes and lengths the version tells.
    let mut snapshot = repo.snapshot.clone().unwrap();
    let targets = snapshot.meta.get_mut("targets").unwrap();
    (targets.hashes, targets.length) = (None, None);
    repo.publish_snapshot(snapshot.next(repo.expires_s));
    let mut files = repo.files.clone();
    files.insert("2.targets.json".into(), files["1.targets.json"].clone());
    assert_eq!(said(Device::new(&repo).refresh(&files)), ("targets".to_owned(), "5.6.4"));
    Device::new(&repo).refresh(&repo.files).unwrap();
}

#[test]
fn lengths_are_bounded_whatever_is_signed() {
    let mut repo = Repo::new();
    let mut timestamp = repo.timestamp.clone().unwrap().next(repo.expires_s);
    timestamp.snapshot.length = Some(u64::from(u32::MAX));
    repo.publish_timestamp(timestamp);
    let mut device = Device::new(&repo);
    let error = device.refresh(&repo.files).unwrap_err();
    assert_eq!(error.step, "5.5.2");
    device.limits.timestamp_bytes = 10;
    assert_eq!(said(device.refresh(&repo.files)), ("timestamp".to_owned(), "5.4.1"));
}

#[test]
fn inconsistent_repositories_have_plain_names() {
    let mut repo = Repo::unpublished();
    repo.root.consistent_snapshot = Some(false);
    repo.add_target("targets", "a/b", b"x");
    repo.publish_root();
    repo.publish();
    for role in ["snapshot", "targets"] {
        let file = repo.files.remove(&format!("1.{role}.json")).unwrap();
        repo.files.insert(format!("{role}.json"), file);
    }
    let found = Device::new(&repo).find(&repo, "a/b").unwrap();
    assert_eq!(found.target.unwrap().repository_path(&found.trusted), "a/b");
}

#[test]
fn an_interrupted_refresh_goes_on() {
    let mut repo = Repo::new();
    let mut device = Device::new(&repo);
    device.refresh(&repo.files).unwrap();
    repo.bump_targets();
    repo.publish();
    let mut files = repo.files.clone();
    files.remove("2.snapshot.json");
    device.refresh(&files).unwrap_err();
    assert_eq!((device.version("timestamp"), device.version("snapshot")), (Some(2), Some(1)));
    assert_eq!(device.refresh(&repo.files).unwrap().targets().common.version, 2);
    // A damaged file on the device is fetched again.
    device.stored.insert("snapshot.json".into(), b"{".to_vec());
    device.stored.insert("targets.json".into(), b"".to_vec());
    assert_eq!(device.refresh(&repo.files).unwrap().targets().common.version, 2);
}

#[test]
fn a_root_that_nobody_could_follow_is_not_made() {
    let repo = Repo::new();
    let old = repo.served_root();
    check_root_change(Some(&old), &old.next(NOW_S)).unwrap();
    assert!(check_root_change(Some(&old), &old).is_err());
    assert!(check_root_change(None, &old.next(NOW_S)).is_err());
    let mut new = old.next(NOW_S);
    new.set_threshold(TopLevel::Targets, 2);
    assert!(check_root_change(Some(&old), &new).is_err());
}
