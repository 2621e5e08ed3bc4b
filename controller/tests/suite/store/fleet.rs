use std::time::Duration;

use edgeformer_controller::rollout::types::{DeviceState, RolloutState, Selector, Settings};
use edgeformer_controller::rollout::waiting::Waiting;
use edgeformer_controller::scope::{InstallationScope, TenantScope};
use edgeformer_controller::session::report::{Phase, SlotReport};
use edgeformer_controller::store::enrolment_tokens::EnrolmentToken;
use edgeformer_controller::store::enrolments::{self, NewDevice};
use edgeformer_controller::store::presence::{self, Presence};
use edgeformer_controller::store::rollout_devices::{self, NewEntry, Step, Target};
use edgeformer_controller::store::rollouts::{self, Rollout};
use edgeformer_controller::store::versions::{self, StoredVersion};
use edgeformer_controller::store::{assignments, candidates, devices, enrolment_tokens, sessions};
use edgeformer_proto::Generation;
use edgeformer_proto::artifact::{Details, Digest};
use edgeformer_proto::ids::{DeviceId, RolloutId, TokenId, VersionId};

use crate::on_both_databases;
use crate::support::Db;

fn generation(epoch: u64, counter: u64) -> Generation {
    Generation { epoch, counter }
}

async fn device(db: &Db, scope: &TenantScope, name: &str) -> DeviceId {
    let device = NewDevice {
        id: DeviceId::new(),
        name: name.to_owned(),
        labels: [("site".to_owned(), "bergen".to_owned())].into(),
        facts: serde_json::json!({"memory_bytes": 1000}),
        public_key: name.as_bytes().to_vec(),
        hpke_public: vec![4; 65],
        credential: TokenId::new().to_string(),
        cert_expires_at_us: db.now().0,
        ca_id: String::new(),
    };
    let mut write = db.store.write_observation(scope).await.unwrap();
    enrolments::insert_device(&mut write, &device, db.now()).await.unwrap();
    write.commit(db.now()).await.unwrap();
    device.id
}

async fn version(db: &Db, scope: &TenantScope, version: &str) -> VersionId {
    let stored = StoredVersion {
        id: VersionId::new(),
        model: "chat".parse().unwrap(),
        version: version.parse().unwrap(),
        manifest_envelope: vec![0],
        manifest_sha256: Digest::of(version.as_bytes()),
        sealed_index_key: String::new(),
        wrapped_data_key: vec![0],
        payload_bytes: 10,
        payload_sha256: Digest::of(b"payload"),
        stored_bytes: 10,
        chunk_count: 1,
        details: Details {
            architecture: "llama".to_owned(),
            quantization: "Q8_0".to_owned(),
            parameters: 1,
            context_length: 1,
        },
        created_at: db.now(),
    };
    let mut write = db.store.write_observation(scope).await.unwrap();
    let model = versions::ensure_model(&mut write, &stored.model, db.now()).await.unwrap();
    versions::insert(&mut write, model, &stored).await.unwrap();
    write.commit(db.now()).await.unwrap();
    stored.id
}

async fn rollout(db: &Db, scope: &TenantScope, version: VersionId, on: &[DeviceId]) -> RolloutId {
    let rollout = Rollout {
        id: RolloutId::new(),
        slot: "chat".to_owned(),
        version: Some(version),
        selector: Selector::Devices(on.iter().copied().collect()),
        settings: Settings { context_tokens: Some(512), parallel: None },
        state: RolloutState::Running,
        reason: String::new(),
        waiting: Waiting::Nothing,
        rolls_back: None,
        revision: 1,
        created_at: db.now(),
        ended_at: None,
    };
    let target = Target { version: Some(version), settings: rollout.settings.clone() };
    let mut write = db.store.write_observation(scope).await.unwrap();
    rollouts::lock_planning(&mut write).await.unwrap();
    rollouts::insert(&mut write, &rollout).await.unwrap();
    for &device in on {
        let entry = NewEntry { device, target: target.clone(), previous: Target::default() };
        rollout_devices::insert(&mut write, rollout.id, &entry, db.now()).await.unwrap();
    }
    write.commit(db.now()).await.unwrap();
    rollout.id
}

/// What the reconciler does with one pending device.
async fn assign(
    db: &Db,
    scope: &TenantScope,
    rollout: RolloutId,
    device: DeviceId,
    from: Generation,
) -> Option<Generation> {
    let mut write = db.store.write_observation(scope).await.unwrap();
    let entry = rollout_devices::pending(&mut write, rollout, device).await.unwrap()?;
    let next = assignments::assign(&mut write, device, from, &entry.slot, &entry.target, rollout)
        .await
        .unwrap()?;
    assert!(
        rollout_devices::set_assigned(&mut write, rollout, device, next, db.now()).await.unwrap()
    );
    write.commit(db.now()).await.unwrap();
    Some(next)
}

fn report(generation: Generation, phase: Phase, version: VersionId) -> SlotReport {
    SlotReport {
        slot: "chat".to_owned(),
        generation,
        phase,
        target: Some(version),
        serving: (phase == Phase::Confirmed).then_some(version),
        rollout: None,
        reason: String::new(),
        message: String::new(),
        bytes_total: 10,
        bytes_done: 5,
        device_time_us: 1,
    }
}

async fn set_status(db: &Db, scope: &TenantScope, device: DeviceId, report: &SlotReport) {
    let mut write = db.store.write_observation(scope).await.unwrap();
    sessions::set_status(&mut write, device, report, db.now()).await.unwrap();
    write.commit(db.now()).await.unwrap();
}

on_both_databases! {
    async fn a_token_is_redeemed_as_often_as_it_says_also_by_many_at_once(db: Db) {
        let scope = db.tenant("a").await;
        let token = EnrolmentToken {
            replaces: None,
            id: TokenId::new(),
            uses_left: 3,
            labels: Default::default(),
            created_at: db.now(),
            expires_at: db.now().plus(Duration::from_secs(60)),
            revoked_at: None,
        };
        let mut write = db.store.write_observation(&scope).await.unwrap();
        enrolment_tokens::insert(&mut write, &token, &[9; 32]).await.unwrap();
        write.commit(db.now()).await.unwrap();
        let mut tries = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (db, scope, id) = (db.clone(), scope.clone(), token.id);
            tries.spawn(async move {
                let mut write = db.store.write_observation(&scope).await.unwrap();
                let took = enrolments::redeem(&mut write, id, db.now()).await.unwrap();
                write.commit(db.now()).await.unwrap();
                u32::from(took)
            });
        }
        assert_eq!(tries.join_all().await.iter().sum::<u32>(), 3);
        let top = InstallationScope::system("test");
        let mut read = db.store.read_presented(&top, &[9; 32]).await.unwrap();
        let found = enrolments::find_token(&mut read, &[9; 32]).await.unwrap().unwrap();
        assert_eq!((found.tenant, found.id, found.uses_left), (scope.tenant(), token.id, 0));
        assert!(enrolments::find_token(&mut read, &[8; 32]).await.unwrap().is_none());
    }

    async fn a_key_enrols_once_in_a_tenant_and_stands_for_its_device_there_alone(db: Db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let id = device(&db, &a, "one").await;
        let mut write = db.store.write_observation(&a).await.unwrap();
        let twin = NewDevice {
            id: DeviceId::new(),
            name: "twin".to_owned(),
            labels: Default::default(),
            facts: serde_json::json!({}),
            public_key: b"one".to_vec(),
            hpke_public: vec![],
            credential: TokenId::new().to_string(),
            cert_expires_at_us: 0,
            ca_id: String::new(),
        };
        let error = enrolments::insert_device(&mut write, &twin, db.now()).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
        drop(write);
        let mut read = db.store.read(&a).await.unwrap();
        let (found, standing, _) =
            enrolments::device_by_key(&mut read, b"one").await.unwrap().unwrap();
        assert!(found == id && standing.state.may_connect() && standing.name == "one");
        assert_eq!(standing.ca_cert_der, [1, 0, 255]);
        drop(read);
        let mut read = db.store.read(&b).await.unwrap();
        assert!(enrolments::device_by_key(&mut read, b"one").await.unwrap().is_none());
        assert!(enrolments::standing(&mut read, id).await.unwrap().is_none());
        drop(read);
        let mut write = db.store.write_observation(&a).await.unwrap();
        assert!(enrolments::set_certificate(&mut write, id, 7, "ca").await.unwrap());
        assert!(devices::revoke(&mut write, id, "", db.now()).await.unwrap());
        assert!(!enrolments::set_certificate(&mut write, id, 8, "ca").await.unwrap());
        assert!(!enrolments::standing(&mut write, id).await.unwrap().unwrap().state.may_connect());
    }

    async fn presence_of_many_devices_keeps_the_newest_of_each(db: Db) {
        let scope = db.tenant("a").await;
        let ids: Vec<DeviceId> = (0..450).map(|_| DeviceId::new()).collect();
        let one = device(&db, &scope, "one").await;
        let at = |seconds| db.now().plus(Duration::from_secs(seconds));
        for (seconds, memory) in [(10, 1), (20, 2), (5, 3)] {
            let batch: Vec<Presence> = ids
                .iter()
                .chain([&one])
                .map(|&device| Presence {
                    device,
                    at: at(seconds),
                    memory_available_bytes: memory,
                    disk_free_bytes: u64::MAX,
                    agent_version: "0.1.0".to_owned(),
                })
                .collect();
            let mut write = db.store.write_observation(&scope).await.unwrap();
            presence::upsert(&mut write, &batch).await.unwrap();
            write.commit(db.now()).await.unwrap();
        }
        let mut read = db.store.read(&scope).await.unwrap();
        let shown = devices::get(&mut read, one).await.unwrap().unwrap();
        assert_eq!(shown.last_seen_at, Some(at(20)));
    }

    async fn a_desired_state_is_replaced_by_compare_and_set_and_accepted_as_offered(db: Db) {
        let scope = db.tenant("a").await;
        let id = device(&db, &scope, "one").await;
        let first = version(&db, &scope, "1.0.0").await;
        let rollout = rollout(&db, &scope, first, &[id]).await;
        assert_eq!(assign(&db, &scope, rollout, id, generation(1, 9)).await, None);
        assert_eq!(
            assign(&db, &scope, rollout, id, generation(0, 0)).await,
            Some(generation(1, 1))
        );
        assert_eq!(assign(&db, &scope, rollout, id, generation(1, 1)).await, None, "not pending");

        let mut read = db.store.read(&scope).await.unwrap();
        let desired = sessions::desired(&mut read, id).await.unwrap().unwrap();
        assert_eq!((desired.generation, desired.accepted), (generation(1, 1), generation(0, 0)));
        assert_eq!(desired.slots.len(), 1);
        assert_eq!((desired.slots[0].version_id, desired.slots[0].rollout), (first, rollout));
        assert_eq!(desired.slots[0].settings.context_tokens, Some(512));
        assert_eq!(sessions::behind(&mut read).await.unwrap(), [id]);
        drop(read);
        let mut write = db.store.write_observation(&scope).await.unwrap();
        assert!(!sessions::accept(&mut write, id, generation(1, 2)).await.unwrap(), "not offered");
        assert!(sessions::accept(&mut write, id, generation(1, 1)).await.unwrap());
        assert!(!sessions::accept(&mut write, id, generation(1, 1)).await.unwrap(), "known");
        assert!(!sessions::accept(&mut write, id, generation(0, 9)).await.unwrap(), "older");
        assert!(sessions::behind(&mut write).await.unwrap().is_empty());
        let nothing = Target::default();
        let next =
            assignments::assign(&mut write, id, generation(1, 1), "chat", &nothing, rollout).await;
        assert_eq!(next.unwrap(), Some(generation(1, 2)));
        let desired = sessions::desired(&mut write, id).await.unwrap().unwrap();
        assert!(desired.slots.is_empty(), "an emptied slot is absent");
        assert_eq!(sessions::reject(&mut write, id, generation(1, 1), "no", db.now()).await.unwrap(), 1);
        assert_eq!(sessions::reject(&mut write, id, generation(1, 1), "no", db.now()).await.unwrap(), 0);
        devices::revoke(&mut write, id, "", db.now()).await.unwrap();
        assert_eq!(assignments::current(&mut write, id).await.unwrap(), None);
        write.commit(db.now()).await.unwrap();
    }

    async fn a_status_never_goes_back_to_an_older_generation(db: Db) {
        let scope = db.tenant("a").await;
        let id = device(&db, &scope, "one").await;
        let first = version(&db, &scope, "1.0.0").await;
        let rollout = rollout(&db, &scope, first, &[id]).await;
        let phase = async |expected: Phase| {
            let mut read = db.store.read(&scope).await.unwrap();
            let entries = rollout_devices::entries(&mut read, rollout, "chat").await.unwrap();
            let observed = entries[0].observed.clone().unwrap();
            assert_eq!((observed.phase, observed.target), (expected, Some(first)));
            assert_eq!((observed.bytes_done, observed.bytes_total), (5, 10));
        };
        set_status(&db, &scope, id, &report(generation(1, 2), Phase::Trial, first)).await;
        phase(Phase::Trial).await;
        set_status(&db, &scope, id, &report(generation(1, 1), Phase::Failed, first)).await;
        phase(Phase::Trial).await;
        set_status(&db, &scope, id, &report(generation(1, 2), Phase::Active, first)).await;
        phase(Phase::Active).await;
        set_status(&db, &scope, id, &report(generation(2, 0), Phase::Confirmed, first)).await;
        phase(Phase::Confirmed).await;
    }

    async fn a_device_counts_as_serving_only_what_a_rollout_gave_it(db: Db) {
        let scope = db.tenant("a").await;
        let (honest, liar) = (device(&db, &scope, "a").await, device(&db, &scope, "b").await);
        let first = version(&db, &scope, "1.0.0").await;
        let rollout = rollout(&db, &scope, first, &[honest]).await;
        let given = assign(&db, &scope, rollout, honest, generation(0, 0)).await.unwrap();
        for id in [honest, liar] {
            set_status(&db, &scope, id, &report(given, Phase::Confirmed, first)).await;
        }
        let mut read = db.store.read(&scope).await.unwrap();
        let found = candidates::enrolled(&mut read, "chat").await.unwrap();
        assert_eq!(found.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((found[0].serving.version, found[1].serving.version), (Some(first), None));
        assert_eq!(found[0].serving_version.as_deref(), Some("1.0.0"));
        assert_eq!(found[0].serving.settings.context_tokens, Some(512));
        assert_eq!(found[0].facts.memory_bytes, 1000);
        let owned = candidates::owned(&mut read, "chat").await.unwrap();
        assert_eq!(owned.into_iter().collect::<Vec<_>>(), [(honest, rollout.to_string())]);
    }

    async fn a_rollout_is_listed_counted_ended_once_and_undone_where_it_still_owns(db: Db) {
        let (scope, other) = (db.tenant("a").await, db.tenant("b").await);
        let ids = [device(&db, &scope, "a").await, device(&db, &scope, "b").await];
        let first = version(&db, &scope, "1.0.0").await;
        let rollout_id = rollout(&db, &scope, first, &ids).await;
        assign(&db, &scope, rollout_id, ids[0], generation(0, 0)).await.unwrap();
        let mut read = db.store.read(&scope).await.unwrap();
        let named = rollouts::get(&mut read, rollout_id).await.unwrap().unwrap();
        assert_eq!((named.model.as_str(), named.version.as_str()), ("chat", "1.0.0"));
        assert_eq!(rollouts::active(&mut read).await.unwrap().len(), 1);
        let counts = rollouts::counts(&mut read, &[rollout_id]).await.unwrap();
        let counts = &counts[&rollout_id];
        assert_eq!(counts[&DeviceState::Pending] + counts[&DeviceState::Assigned], 2);
        let undo = rollout_devices::to_undo(&mut read, rollout_id, "chat").await.unwrap();
        assert_eq!(undo.len(), 1);
        assert_eq!((undo[0].device, undo[0].target.version), (ids[0], None));
        let page = rollout_devices::list(&mut read, rollout_id, Some(ids[0]), 9).await.unwrap();
        assert_eq!(page.len(), 1);
        assert_eq!((page[0].version.as_deref(), page[0].state), (Some("1.0.0"), DeviceState::Pending));
        drop(read);

        let mut write = db.store.write_observation(&scope).await.unwrap();
        let aborted = RolloutState::Aborted;
        assert!(rollouts::end(&mut write, rollout_id, aborted, "x", db.now()).await.unwrap());
        assert!(!rollouts::end(&mut write, rollout_id, aborted, "y", db.now()).await.unwrap());
        let dropped = rollout_devices::drop_pending(&mut write, rollout_id, "m", db.now()).await;
        assert_eq!(dropped.unwrap(), 1);
        assert_eq!(rollouts::active(&mut write).await.unwrap().len(), 1, "one is under way");
        let (from, to) = (DeviceState::Assigned, DeviceState::Confirmed);
        let step = Step { device: ids[0], from, to, reason: "", message: "" };
        assert!(rollout_devices::advance(&mut write, rollout_id, &step, db.now()).await.unwrap());
        assert!(!rollout_devices::advance(&mut write, rollout_id, &step, db.now()).await.unwrap());
        assert!(rollouts::active(&mut write).await.unwrap().is_empty());
        let waiting = Waiting::Devices { waiting: 1, total: 2, first: vec![] };
        rollouts::set_waiting(&mut write, rollout_id, &waiting).await.unwrap();
        write.commit(db.now()).await.unwrap();
        let mut read = db.store.read(&scope).await.unwrap();
        let shown = rollouts::list(&mut read, Some(aborted), None, 9).await.unwrap();
        assert_eq!(shown.len(), 1);
        let shown = &shown[0].rollout;
        assert_eq!((shown.revision, shown.reason.as_str(), &shown.waiting), (2, "x", &waiting));
        assert!(rollouts::list(&mut read, Some(RolloutState::Running), None, 9).await.unwrap().is_empty());
        drop(read);
        let mut read = db.store.read(&other).await.unwrap();
        assert!(rollouts::get(&mut read, rollout_id).await.unwrap().is_none());
        assert!(rollout_devices::entries(&mut read, rollout_id, "chat").await.unwrap().is_empty());
        assert!(candidates::owned(&mut read, "chat").await.unwrap().is_empty());
    }
}
