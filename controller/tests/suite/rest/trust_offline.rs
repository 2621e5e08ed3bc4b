//! Root and targets whose keys the controller does not hold: how they get there, what it takes of them,
//! and what whoever has the whole controller can make of it.

use std::collections::BTreeMap;

use edgeformer_controller::scope::{Scope, TenantScope};
use edgeformer_controller::store::trust::{self as rows, Stored};
use edgeformer_controller::trust;
use edgeformer_controller::vault::SecretKind;
use edgeformer_proto::ids::TenantId;
use edgeformer_proto::tuf::{
    KeyKind, MetaFile, PrivateKey, Role, Root, Signed, Signer, Snapshot, TargetFile, Targets,
    Timestamp, TopLevel, next_snapshot, next_timestamp,
};
use serde_json::{Value, json};

use super::trust::{Device, FIRST, SECOND, publish};
use crate::support::rest::{Answer, Rest};

const DAY_S: i64 = 86_400;
const ROTATE: &str = "/api/v1/trust/roots";
const RELEASE: &str = "/api/v1/trust/release";

fn new_key() -> PrivateKey {
    PrivateKey::from_pkcs8(&PrivateKey::generate_pkcs8(KeyKind::Ed25519).unwrap()).unwrap()
}

fn signed<T: Role>(role: &T, keys: &[&PrivateKey]) -> String {
    let mut signed = Signed::new(role.clone());
    keys.iter().for_each(|key| signed.sign(*key).unwrap());
    String::from_utf8(signed.to_file()).unwrap()
}

/// A tenant, and people with keys.
struct Owner<'r> {
    rest: &'r Rest,
    id: TenantId,
    token: String,
    root: [PrivateKey; 2],
    targets: PrivateKey,
}

impl<'r> Owner<'r> {
    async fn new(rest: &'r Rest) -> Self {
        let (id, token) = rest.tenant("acme").await;
        trust::reconcile_all(&rest.app).await.unwrap();
        let root = [new_key(), new_key()];
        Self { rest, id: id.parse().unwrap(), token, root, targets: new_key() }
    }

    fn expires_s(&self) -> i64 {
        self.rest.app.now().0 / 1_000_000 + 100 * DAY_S
    }

    async fn newest<T: Role>(&self) -> T {
        let state = self.rest.get(&self.token, "/api/v1/trust").await;
        let roles = state.body["roles"].as_array().unwrap();
        let role = roles.iter().find(|role| role["role"] == T::KIND.name()).unwrap();
        let name = match T::KIND {
            TopLevel::Timestamp => "timestamp.json".to_owned(),
            kind => format!("{}.{}.json", role["version"], kind.name()),
        };
        let bytes = self.rest.bytes(&self.token, &format!("/api/v1/trust/metadata/{name}")).await;
        Signed::parse(&bytes, bytes.len()).unwrap().into_role()
    }

    /// The root that takes root and targets away from the controller.
    async fn takes_over(&self) -> Root {
        let mut root: Root = self.newest().await;
        root = root.next(self.expires_s());
        for role in [TopLevel::Root, TopLevel::Targets] {
            for id in root.role(role).key_ids.clone() {
                root.remove_key(role, &id);
            }
        }
        for key in &self.root {
            root.add_key(TopLevel::Root, key.key());
        }
        root.set_threshold(TopLevel::Root, 2);
        root.add_key(TopLevel::Targets, self.targets.key());
        root
    }

    fn root_keys(&self) -> [&PrivateKey; 2] {
        [&self.root[0], &self.root[1]]
    }

    /// Root and targets that are its owner's from now on.
    async fn moves(&self) {
        let root = signed(&self.takes_over().await, &self.root_keys());
        let targets: Targets = self.newest().await;
        let targets = signed(&targets.next(self.expires_s()), &[&self.targets]);
        let body = json!({ "roots": [root], "targets": targets });
        let answer = self.rest.post(&self.token, ROTATE, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The next targets, with everything that is pending.
    async fn lists_what_waits(&self) -> Targets {
        let mut targets: Targets = self.newest::<Targets>().await.next(self.expires_s());
        let pending = self.rest.get(&self.token, "/api/v1/trust/pending").await;
        for item in pending.body["items"].as_array().unwrap() {
            let text = |field: &str| item[field].as_str().unwrap().to_owned();
            let hash = data_encoding::HEXLOWER.decode(text("sha256").as_bytes()).unwrap();
            let length = item["length"].as_u64().unwrap();
            let file = TargetFile::new(length, hash.try_into().unwrap());
            targets.targets.insert(text("path"), file);
        }
        targets
    }

    async fn release(&self, targets: &Targets, key: &PrivateKey) -> Answer {
        let body = json!({ "targets": signed(targets, &[key]) });
        self.rest.post(&self.token, RELEASE, body).await
    }

    async fn rotate(&self, root: String, targets: Option<String>) -> Answer {
        self.rest.post(&self.token, ROTATE, json!({ "roots": [root], "targets": targets })).await
    }

    async fn pending(&self) -> Vec<String> {
        let pending = self.rest.get(&self.token, "/api/v1/trust/pending").await;
        let items = pending.body["items"].as_array().unwrap().iter();
        items.map(|item| item["path"].as_str().unwrap().to_owned()).collect()
    }
}

fn refused(answer: &Answer, part: &str) {
    answer.is_problem(422, "invalid");
    assert!(answer.body.to_string().contains(part), "{part}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_goes_to_its_owner_and_lists_what_the_owner_signs() {
    let rest = Rest::start().await;
    let owner = Owner::new(&rest).await;
    let device = Device::new(&rest, &owner.token).await;
    let first = publish(&rest, &owner.token, "1.0.0").await;
    assert_eq!(device.hash(FIRST).await.unwrap(), Some(first.clone()));
    assert_eq!(owner.pending().await, [""; 0]);
    owner.moves().await;
    assert_eq!(device.hash(FIRST).await.unwrap(), Some(first), "it follows by itself");
    let state = rest.get(&owner.token, "/api/v1/trust").await;
    let managed = |role: &Value| role["managed"].as_bool().unwrap();
    let roles: Vec<bool> = state.body["roles"].as_array().unwrap().iter().map(managed).collect();
    assert_eq!(roles, [false, false, true, true], "root, targets, snapshot, timestamp");

    let second = publish(&rest, &owner.token, "1.1.0-rc.1").await;
    assert_eq!(device.hash(SECOND).await.unwrap(), None, "published and not signed");
    assert_eq!(owner.pending().await, [SECOND]);
    let targets = owner.lists_what_waits().await;
    assert_eq!(owner.release(&targets, &owner.targets).await.status, 200);
    // A lost answer: once more.
    assert_eq!(owner.release(&targets, &owner.targets).await.status, 200);
    assert_eq!(owner.pending().await, [""; 0]);
    assert_eq!(device.hash(SECOND).await.unwrap(), Some(second));

    let log = rest.get(&owner.token, "/api/v1/audit?limit=200").await;
    let items = log.body["items"].as_array().unwrap();
    for (action, outcome) in [("trust:rotate", "success"), ("trust:release", "success")] {
        let is = |item: &&Value| item["action"] == action && item["outcome"] == outcome;
        assert_eq!(items.iter().filter(is).count(), 1, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_device_would_not_believe_is_not_taken() {
    let rest = Rest::start().await;
    let owner = Owner::new(&rest).await;
    let good = owner.takes_over().await;
    let targets: Targets = owner.newest::<Targets>().await.next(owner.expires_s());
    let listed = || Some(signed(&targets, &[&owner.targets]));
    let root = |change: &dyn Fn(&mut Root)| {
        let mut root = good.clone();
        change(&mut root);
        signed(&root, &owner.root_keys())
    };
    let both = owner.root_keys();
    for (file, targets, part) in [
        ("{}".to_owned(), listed(), "cannot be read"),
        (signed(&good, &both[..1]), listed(), "1 of the 2 keys"),
        (root(&|root| root.common.version += 1), listed(), "does not follow"),
        (root(&|root| root.common.expires_s = 1), listed(), "expired at"),
        (root(&|root| root.consistent_snapshot = Some(false)), listed(), "consistent_snapshot"),
        (root(&|root| root.set_threshold(TopLevel::Targets, 2)), listed(), "add keys or lower"),
        (
            root(&|root| assert!(root.add_key(TopLevel::Snapshot, owner.targets.key()))),
            listed(),
            "online",
        ),
        (root(&|root| root.set_threshold(TopLevel::Timestamp, 2)), listed(), "1 keys, but 2"),
        (root(&|_| ()), None, "uploaded with the root"),
        (root(&|_| ()), Some(signed(&targets, &[&owner.root[0]])), "0 of the 1 keys"),
    ] {
        refused(&owner.rotate(file, targets).await, part);
    }
    let state = rest.get(&owner.token, "/api/v1/trust").await;
    assert_eq!(state.body["roles"][0]["version"], 1, "nothing of it was taken");
    let early = owner.release(&targets, &owner.targets).await;
    early.is_problem(409, "not_the_next_version");

    owner.moves().await;
    let old = owner.rotate(root(&|root| root.common.expires_s += 1), listed()).await;
    old.is_problem(409, "not_the_next_version");
    publish(&rest, &owner.token, "1.0.0").await;
    let good = owner.lists_what_waits().await;
    let change = |change: &dyn Fn(&mut Targets)| {
        let mut targets = good.clone();
        change(&mut targets);
        targets
    };
    let other = TargetFile::new(7, [7; 32]);
    for (targets, key, part) in [
        (good.clone(), &owner.root[0], "0 of the 1 keys"),
        (change(&|targets| targets.common.expires_s = 1), &owner.targets, "expired at"),
        (
            change(&|targets| drop(targets.targets.insert(SECOND.to_owned(), other.clone()))),
            &owner.targets,
            "not published here",
        ),
    ] {
        refused(&owner.release(&targets, key).await, part);
    }
    let before = change(&|targets| targets.common.version -= 1);
    owner.release(&before, &owner.targets).await.is_problem(409, "not_the_next_version");
    assert_eq!(owner.release(&good, &owner.targets).await.status, 200);
    let log = rest.get(&owner.token, "/api/v1/audit?limit=200").await;
    let items = log.body["items"].as_array().unwrap().iter();
    let failures = items.filter(|item| {
        item["outcome"] == "failure" && item["action"].as_str().unwrap().starts_with("trust:")
    });
    assert_eq!(failures.count(), 16, "each refusal is on record");
}

/// Somebody with the database, every key that the controller has, and those that it had.
struct Thief<'r> {
    rest: &'r Rest,
    scope: TenantScope,
    keys: BTreeMap<TopLevel, PrivateKey>,
}

impl<'r> Thief<'r> {
    async fn of(owner: &Owner<'r>) -> Self {
        let scope = TenantScope::system(owner.id, "test");
        let mut keys = BTreeMap::new();
        let mut read = owner.rest.app.store.read(&scope).await.unwrap();
        for role in TopLevel::ALL {
            let Some(wrapped) = rows::key(&mut read, role).await.unwrap() else { continue };
            let id = format!("{}/{}", scope.key(), role.name());
            let key = owner.rest.app.vault.unwrap(SecretKind::TrustKey, &id, &wrapped).unwrap();
            keys.insert(role, PrivateKey::from_pkcs8(&key).unwrap());
        }
        drop(read);
        Self { rest: owner.rest, scope, keys }
    }

    async fn put<T: Role>(&self, role: &T, key: &PrivateKey) -> Signed<T> {
        let mut signed = Signed::new(role.clone());
        signed.sign(key).unwrap();
        let now = self.rest.app.now();
        let mut write = self.rest.app.store.write_observation(&self.scope).await.unwrap();
        let stored = Stored { version: role.common().version, file: signed.to_file() };
        rows::insert_metadata(&mut write, T::KIND, stored, now).await.unwrap();
        write.commit(now).await.unwrap();
        signed
    }

    /// Targets with a version of the thief's, and everything that makes them the newest.
    async fn lists(&self, owner: &Owner<'_>, targets_key: &PrivateKey) {
        let mut targets: Targets = owner.newest::<Targets>().await.next(owner.expires_s());
        targets.targets.insert(SECOND.to_owned(), TargetFile::new(9, [9; 32]));
        let targets = self.put(&targets, targets_key).await;
        let file = MetaFile::of(targets.role().common.version, &targets.to_file());
        let meta = BTreeMap::from([("targets".to_owned(), file)]);
        let old: Snapshot = owner.newest().await;
        let snapshot = next_snapshot(Some(&old), meta, owner.expires_s()).unwrap();
        let snapshot = self.put(&snapshot, &self.keys[&TopLevel::Snapshot]).await;
        let old: Timestamp = owner.newest().await;
        let timestamp = next_timestamp(Some(&old), &snapshot, owner.expires_s()).unwrap();
        self.put(&timestamp, &self.keys[&TopLevel::Timestamp]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_controller_cannot_release_what_the_owner_did_not_sign() {
    let rest = Rest::start().await;
    let owner = Owner::new(&rest).await;
    let before = Thief::of(&owner).await;
    assert_eq!(before.keys.len(), 4, "while the keys are managed, they are all here");
    let device = Device::new(&rest, &owner.token).await;
    let first = publish(&rest, &owner.token, "1.0.0").await;
    owner.moves().await;
    assert_eq!(device.hash(FIRST).await.unwrap(), Some(first));
    let thief = Thief::of(&owner).await;
    let held: Vec<_> = thief.keys.keys().copied().collect();
    assert_eq!(
        held,
        [TopLevel::Snapshot, TopLevel::Timestamp],
        "the others are gone from the store"
    );

    // With the keys that it has, and with the targets key of before.
    thief.lists(&owner, &thief.keys[&TopLevel::Snapshot]).await;
    let error = device.hash(SECOND).await.unwrap_err().to_string();
    assert!(error.contains("targets") && error.contains("have signed"), "{error}");
    thief.lists(&owner, &before.keys[&TopLevel::Targets]).await;
    let error = device.hash(SECOND).await.unwrap_err().to_string();
    assert!(error.contains("targets") && error.contains("have signed"), "{error}");

    // A root of its own, signed with the root key of before.
    let mut root: Root = owner.newest().await;
    root = root.next(owner.expires_s());
    root.add_key(TopLevel::Targets, thief.keys[&TopLevel::Snapshot].key());
    thief.put(&root, &before.keys[&TopLevel::Root]).await;
    let error = device.hash(SECOND).await.unwrap_err().to_string();
    assert!(error.contains("root version 3 is refused (step 5.3.4)"), "{error}");

    // Not even the controller's own door takes what follows.
    let root = root.next(owner.expires_s());
    let answer = owner.rotate(signed(&root, &[&before.keys[&TopLevel::Root]]), None).await;
    refused(&answer, "0 of the 2 keys");
}
