//! A thousand tampered inputs of each kind, from a printed seed: none is believed, none panics. Most
//! are validly signed, by somebody who may not say that, or say what does not hold.

use std::collections::BTreeMap;

use edgeformer_proto::tuf::{
    Json, KeyKind, Role, Root, Signed, Snapshot, Targets, Timestamp, TopLevel,
};

use crate::random::Random;
use crate::repo::{Device, MAX_BYTES, NOW_S, Repo, new_key};

const INPUTS: usize = 1_000;
const ROLES: [&str; 5] = ["root", "timestamp", "snapshot", "targets", "models"];

/// Version that the device has, and the one that it is told of.
const SEEN: u64 = 20;
const NEW: u64 = 21;

/// A repository at version [`NEW`], and a device that saw version [`SEEN`] of everything. Each role has two
/// keys that must both sign. Nothing lists hashes or lengths, so that nothing but signatures,
/// versions and times protects the files.
struct Scene {
    repo: Repo,
    device: Device,
}

fn scene() -> Scene {
    let mut repo = Repo::unpublished();
    for role in TopLevel::ALL {
        repo.add_key(role, KeyKind::Ed25519);
        repo.root.set_threshold(role, 2);
    }
    repo.publish_root();
    repo.delegate("targets", "models", &["models/*"], false);
    let second = new_key(KeyKind::Ed25519);
    let delegations = repo.targets.delegations.as_mut().unwrap();
    let key = edgeformer_proto::tuf::Signer::key(&second).clone();
    delegations.roles[0].keys.key_ids.push(key.id().clone());
    delegations.roles[0].keys.threshold = 2;
    delegations.keys.insert(key.id().clone(), key);
    repo.signers.get_mut("models").unwrap().push(second);
    repo.add_target("models", "models/a", b"a");
    let mut device = None;
    for version in [SEEN, NEW] {
        for role in ["targets", "models"] {
            repo.role_mut(role).common.version = version;
        }
        repo.publish();
        let mut snapshot = repo.snapshot.clone().unwrap();
        snapshot.common.version = version;
        snapshot.meta.values_mut().for_each(|file| (file.hashes, file.length) = (None, None));
        let mut timestamp = repo.timestamp.clone().unwrap();
        timestamp.common.version = version;
        timestamp.snapshot.version = version;
        (timestamp.snapshot.hashes, timestamp.snapshot.length) = (None, None);
        repo.files.insert(format!("{version}.snapshot.json"), repo.sign("snapshot", &snapshot));
        repo.snapshot = Some(snapshot);
        repo.publish_timestamp(timestamp);
        device.get_or_insert_with(|| Device::new(&repo)).find(&repo, "models/a").unwrap();
        if version == SEEN {
            repo.publish_root();
        }
    }
    let mut fresh = Device::new(&repo);
    assert!(fresh.find(&repo, "models/a").unwrap().target.is_some());
    // The device goes back to what it saw.
    let mut device = device.unwrap();
    device.stored = seen(&repo);
    assert_eq!(device.version("timestamp"), Some(SEEN));
    Scene { repo, device }
}

fn seen(repo: &Repo) -> BTreeMap<String, Vec<u8>> {
    let mut timestamp = repo.timestamp.clone().unwrap();
    timestamp.common.version = SEEN;
    timestamp.snapshot.version = SEEN;
    let mut stored = BTreeMap::from([
        ("root.json".to_owned(), repo.files["1.root.json"].clone()),
        ("timestamp.json".to_owned(), repo.sign("timestamp", &timestamp)),
    ]);
    for role in ["snapshot", "targets", "models"] {
        stored.insert(format!("{role}.json"), repo.files[&format!("{SEEN}.{role}.json")].clone());
    }
    stored
}

/// The name under which the newest file of a role is served.
fn name(role: &str) -> String {
    match role {
        "timestamp" => "timestamp.json".to_owned(),
        "root" => "2.root.json".to_owned(),
        _ => format!("{NEW}.{role}.json"),
    }
}

impl Scene {
    fn file(&self, role: &str) -> &[u8] {
        &self.repo.files[&name(role)]
    }

    /// The newest file of `role`, changed and signed with the keys of `by`.
    fn signed(&self, role: &str, by: &str, change: impl FnOnce(Fields<'_>)) -> Vec<u8> {
        match role {
            "root" => self.edit::<Root>(role, by, |r| change(Fields::of(r))),
            "timestamp" => self.edit::<Timestamp>(role, by, |r| {
                let snapshot = &mut r.snapshot;
                change(Fields { common: &mut r.common, listed: Some(snapshot) });
            }),
            "snapshot" => self.edit::<Snapshot>(role, by, |r| {
                let listed = r.meta.get_mut("targets");
                change(Fields { common: &mut r.common, listed });
            }),
            _ => self.edit::<Targets>(role, by, |r| change(Fields::of(r))),
        }
    }

    fn edit<T: Role>(&self, role: &str, by: &str, change: impl FnOnce(&mut T)) -> Vec<u8> {
        let mut content = Signed::<T>::parse(self.file(role), MAX_BYTES).unwrap().into_role();
        change(&mut content);
        self.repo.sign(by, &content)
    }
}

struct Fields<'a> {
    common: &'a mut edgeformer_proto::tuf::Common,
    listed: Option<&'a mut edgeformer_proto::tuf::MetaFile>,
}

impl<'a> Fields<'a> {
    fn of<T: Role>(role: &'a mut T) -> Self {
        Self { common: role.common_mut(), listed: None }
    }
}

/// Serves what `make` made in the place of the honest file until there were [`INPUTS`] of them; the
/// device has seen the version before, or nothing.
fn check(seed: u64, make: impl Fn(&Scene, &mut Random) -> Option<(&'static str, Vec<u8>)>) {
    let (scene, mut random, mut inputs) = (scene(), Random(seed), 0);
    while inputs < INPUTS {
        let state = random.0;
        let Some((role, file)) = make(&scene, &mut random) else { continue };
        inputs += 1;
        let honest = scene.repo.files[&name(role)].clone();
        let mut device = scene.device.clone();
        if random.below(2) == 0 {
            // But not where what was seen is what protects.
            device.stored.retain(|name, _| name == "root.json" || seed == OLDER);
        }
        let mut repo = Files { repo: &scene.repo, files: scene.repo.files.clone() };
        repo.files.insert(name(role), file.clone());
        let found = repo.find(&mut device);
        if let Ok(found) = found {
            panic!(
                "state {state:#x}: {role} was believed: {found:?}\n{}",
                String::from_utf8_lossy(&file)
            );
        }
        assert_ne!(file, honest);
        // What the right keys said of another file is believed; that file is not.
        let kept = device.stored.iter().find(|(_, stored)| *stored == &file);
        assert!(kept.is_none() || seed == LENGTHS, "state {state:#x}: {kept:?} was kept");
    }
}

struct Files<'a> {
    repo: &'a Repo,
    files: BTreeMap<String, Vec<u8>>,
}

impl Files<'_> {
    fn find(&self, device: &mut Device) -> Result<String, String> {
        let trusted = device.refresh(&self.files).map_err(|e| e.to_string())?;
        let found = device.look_up_in(&self.files, trusted, "models/a");
        let found = found.map_err(|e| e.to_string())?;
        let versions = (found.trusted.root().common.version, found.trusted.timestamp());
        assert!(self.repo.timestamp.is_some());
        Ok(format!("{versions:?}"))
    }
}

fn any_role(random: &mut Random) -> &'static str {
    ROLES[random.below(ROLES.len())]
}

/// Something that makes each input another.
fn mark(fields: &mut Fields<'_>, random: &mut Random) {
    fields.common.other.insert("x-mark".to_owned(), Json::Int(random.next() as i64));
}

#[test]
fn signed_for_the_wrong_role() {
    check(1, |scene, random| {
        let (role, by) = (any_role(random), any_role(random));
        let file = scene.signed(role, by, |mut fields| mark(&mut fields, random));
        (role != by).then_some((role, file))
    });
}

#[test]
fn the_file_of_another_role() {
    check(2, |scene, random| {
        let (role, by) = (any_role(random), any_role(random));
        let file = scene.signed(by, by, |mut fields| mark(&mut fields, random));
        (role != by).then_some((role, file))
    });
}

#[test]
fn signed_with_the_keys_of_another_tenant() {
    let other = scene();
    check(3, |_, random| {
        let role = any_role(random);
        Some((role, other.signed(role, role, |mut fields| mark(&mut fields, random))))
    });
}

const OLDER: u64 = 4;

#[test]
fn signed_by_the_right_keys_for_an_older_version() {
    check(OLDER, |scene, random| {
        let role = any_role(random);
        let older = 1 + random.below(SEEN as usize - 1) as u64;
        let by_version = random.below(2) == 0;
        let file = scene.signed(role, role, |mut fields| {
            mark(&mut fields, random);
            match fields.listed {
                // A newer file that names older ones.
                Some(listed) if by_version => listed.version = older,
                // The very next version of root is the only one that follows.
                _ if role == "root" => fields.common.version = older + 2,
                _ => fields.common.version = older,
            }
        });
        Some((role, file))
    });
}

#[test]
fn signed_by_the_right_keys_and_expired() {
    check(5, |scene, random| {
        let role = any_role(random);
        let file = scene.signed(role, role, |mut fields| {
            mark(&mut fields, random);
            fields.common.expires_s = NOW_S - random.below(NOW_S as usize) as i64;
        });
        // An expired root is kept, as the next one may follow it; it lets nothing else be believed.
        (role != "root").then_some((role, file))
    });
}

#[test]
fn cut_short() {
    check(6, |scene, random| {
        let role = any_role(random);
        let file = scene.file(role);
        // Without its last byte, a newline, it is whole.
        Some((role, file[..random.below(file.len() - 1)].to_vec()))
    });
}

#[test]
fn one_signature_many_times() {
    check(7, |scene, random| {
        let role = any_role(random);
        let file = scene.signed(role, role, |mut fields| mark(&mut fields, random));
        let mut json: serde_json::Value = serde_json::from_slice(&file).unwrap();
        let list = json["signatures"].as_array_mut().unwrap();
        let all = list.clone();
        let mine = all[random.below(all.len())].clone();
        *list = vec![mine.clone()];
        for _ in 0..random.below(4) {
            let mut copy = mine.clone();
            let id = copy["keyid"].as_str().unwrap();
            copy["keyid"] = match random.below(5) {
                0 => id.into(),
                1 => id.to_uppercase().into(),
                2 => format!("{:064x}", random.next()).into(),
                3 => format!("{id} ").into(),
                // The other key's name over this key's signature.
                _ => all[random.below(all.len())]["keyid"].clone(),
            };
            list.push(copy);
        }
        Some((role, serde_json::to_vec(&json).unwrap()))
    });
}

const LENGTHS: u64 = 8;

#[test]
fn lengths_that_are_not_those_of_any_file() {
    check(LENGTHS, |scene, random| {
        let role = ["timestamp", "snapshot"][random.below(2)];
        let length = match random.below(3) {
            0 => random.next() >> 1,
            1 => i64::MAX as u64,
            _ => random.next() % 300,
        };
        let mut file = scene.signed(role, role, |mut fields| {
            mark(&mut fields, random);
            fields.listed.unwrap().length = Some(length);
        });
        if role == "timestamp" && random.below(20) == 0 {
            // More bytes than are read of a timestamp, all but the first of them white space.
            file.resize((16 << 10) + 1 + random.below(1 << 10), b' ');
        }
        Some((role, file))
    });
}

#[test]
fn nested_deeper_than_is_read() {
    check(9, |scene, random| {
        let role = any_role(random);
        let mut deep = Json::Int(random.next() as i64);
        for _ in 0..25 + random.below(200) {
            deep = match random.below(2) {
                0 => Json::List(vec![deep]),
                _ => Json::Object([("x".to_owned(), deep)].into()),
            };
        }
        let put = |fields: Fields<'_>| {
            fields.common.other.insert("x-deep".to_owned(), deep);
        };
        Some((role, scene.signed(role, role, put)))
    });
}

/// Bytes replaced, put in and taken out: unless it still says the same, it is refused.
#[test]
fn changed_anywhere() {
    check(10, |scene, random| {
        let role = any_role(random);
        let mut file = scene.file(role).to_vec();
        for _ in 0..1 + random.below(3) {
            let at = random.below(file.len());
            match random.below(3) {
                0 => file[at] = random.next() as u8,
                1 => file.insert(at, b"\"{}[],:0a\\"[random.below(10)]),
                _ => drop(file.remove(at)),
            }
        }
        let says = |file: &[u8]| -> Option<serde_json::Value> {
            let mut json: serde_json::Value = serde_json::from_slice(file).ok()?;
            Some(json["signed"].take())
        };
        let same = says(&file).is_some() && says(&file) == says(scene.file(role));
        (!same).then_some((role, file))
    });
}
