//! A repository that answers with anything: honest files in the wrong place and time, those of another
//! tenant, parts of files, nothing. Whatever it does, a device that comes to an end believes what
//! its own repository said, and nothing older than what it saw.

use std::collections::BTreeMap;

use edgeformer_proto::tuf::client::{LookUp, Refresh, Trusted, stored_name};
use edgeformer_proto::tuf::{Change, Limits, Next, Progress, Request, Role, Source, TufError};

use crate::random::Random;
use crate::repo::{NOW_S, Repo};

const RUNS: usize = 1_500;
const PATH: &str = "models/a";

/// Three versions of everything; the keys of the timestamp are replaced in the last.
fn tenant() -> (Repo, Vec<Vec<u8>>) {
    let mut repo = Repo::unpublished();
    repo.publish_root();
    repo.delegate("targets", "models", &["models/*"], false);
    let mut timestamps = Vec::new();
    for version in 1..=3 {
        repo.add_target("models", PATH, format!("content {version}").as_bytes());
        repo.publish();
        timestamps.push(repo.files["timestamp.json"].clone());
        // The same once more, as it is signed again before it expires.
        let again = Role::next(repo.timestamp.as_ref().unwrap(), repo.expires_s);
        repo.publish_timestamp(again);
        timestamps.push(repo.files["timestamp.json"].clone());
        repo.bump_targets();
        repo.role_mut("models").common.version = version + 1;
        if version == 2 {
            repo.rotate(edgeformer_proto::tuf::TopLevel::Timestamp);
            repo.publish_root();
        }
    }
    (repo, timestamps)
}

struct Device<'a> {
    stored: BTreeMap<String, Vec<u8>>,
    honest: &'a BTreeMap<String, Vec<u8>>,
    pool: &'a [Vec<u8>],
    replay: &'a [Vec<u8>],
    random: Random,
    /// Whether it reads what it stored, or anything.
    keeps: bool,
}

impl Device<'_> {
    fn answer(&mut self, request: &Request) -> Option<Vec<u8>> {
        let right = match request.source {
            Source::Stored => self.stored.get(&request.file),
            Source::Repository => self.honest.get(&request.file),
        };
        if request.source == Source::Stored && self.keeps {
            return right.cloned();
        }
        match self.random.below(12) {
            0 => None,
            // Replayed.
            3 if request.role == "timestamp" => {
                Some(self.replay[self.random.below(self.replay.len())].clone())
            }
            1 => Some(self.pool[self.random.below(self.pool.len())].clone()),
            2 => {
                let file = &self.pool[self.random.below(self.pool.len())];
                Some(file[..self.random.below(file.len())].to_vec())
            }
            _ => right.cloned(),
        }
    }

    fn keep(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Store { role, bytes, .. } => self.stored.insert(stored_name(&role), bytes),
                Change::Forget { role } => self.stored.remove(&stored_name(role)),
            };
        }
    }

    fn refresh(&mut self) -> Result<Trusted, TufError> {
        let mut state = Refresh::begin(&self.stored["root.json"], NOW_S, Limits::default())?;
        loop {
            let answer = self.answer(&state.request());
            let Progress { changes, next } = state.answer(answer)?;
            self.keep(changes);
            match next {
                Next::Ask(next) => state = next,
                Next::Done(trusted) => return Ok(trusted),
            }
        }
    }

    fn look_up(&mut self, trusted: Trusted) -> Result<Option<u64>, TufError> {
        let mut step: Progress<LookUp, _> = trusted.look_up(PATH)?;
        loop {
            self.keep(step.changes);
            match step.next {
                Next::Ask(state) => {
                    let answer = self.answer(&state.request());
                    step = state.answer(answer)?;
                }
                Next::Done(found) => return Ok(found.target.map(|target| target.file.length)),
            }
        }
    }
}

#[test]
fn whatever_a_repository_answers_a_device_believes_its_own_tenant_and_nothing_older() {
    let ((repo, timestamps), (other, others)) = (tenant(), tenant());
    let pool: Vec<Vec<u8>> = repo
        .files
        .values()
        .chain(other.files.values())
        .chain(&timestamps)
        .chain(&others)
        .cloned()
        .collect();
    let (mut ended, mut failed) = (0, 0);
    for run in 0..RUNS {
        let root = repo.files["1.root.json"].clone();
        let mut device = Device {
            stored: BTreeMap::from([("root.json".to_owned(), root)]),
            honest: &repo.files,
            pool: &pool,
            replay: &timestamps,
            random: Random(run as u64),
            keeps: run % 2 == 0,
        };
        // Refreshes of one device follow each other; versions only grow, until keys are taken away.
        let mut before = (0, 0, 0);
        for _ in 0..4 {
            let Ok(trusted) = device.refresh() else {
                failed += 1;
                continue;
            };
            ended += 1;
            let root = trusted.root().common.version;
            let now = (trusted.timestamp().common.version, trusted.snapshot().common.version);
            assert!(root >= before.0, "run {run}");
            if root == before.0 && device.keeps {
                assert!(now.0 >= before.1 && now.1 >= before.2, "run {run}: {before:?} {now:?}");
            }
            before = (root, now.0, now.1);
            let version = trusted.targets().common.version;
            let file = &repo.files[&format!("{version}.targets.json")];
            let honest = edgeformer_proto::tuf::Signed::parse(file, 1 << 20).unwrap();
            assert_eq!(trusted.targets(), honest.role(), "run {run}");
            if let Ok(found) = device.look_up(trusted) {
                assert_eq!(found, Some("content 1".len() as u64), "run {run}");
            }
        }
    }
    assert!(ended > RUNS / 10 && failed > RUNS / 10, "{ended} ended, {failed} failed");
}
