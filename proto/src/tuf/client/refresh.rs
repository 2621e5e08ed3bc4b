//! Sections 5.1 to 5.6.6: from the root that is trusted to the newest targets.

use super::super::error::{Problem, TufError};
use super::super::metadata::{MetaFile, Root, Snapshot, Targets, Timestamp, TopLevel};
use super::check::{self, Delegator};
use super::{Change, Limits, Next, Progress, Request};

/// Metadata that is to be believed, as of one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    pub(super) now_s: i64,
    pub(super) limits: Limits,
    pub(super) root: Root,
    pub(super) timestamp: Timestamp,
    pub(super) snapshot: Snapshot,
    pub(super) targets: Targets,
}

impl Trusted {
    /// Who may say what.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The newest word of the repository.
    pub fn timestamp(&self) -> &Timestamp {
        &self.timestamp
    }

    /// Which versions belong together.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What there is.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The time that all of it was checked at, in seconds since the Unix epoch.
    pub fn checked_at_s(&self) -> i64 {
        self.now_s
    }

    /// Whether names in the repository carry versions and hashes.
    pub fn is_consistent(&self) -> bool {
        self.root.consistent_snapshot == Some(true)
    }
}

/// A refresh under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    now_s: i64,
    limits: Limits,
    root: Root,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The next version of root, if there is one.
    Root { seen: u32, forgotten: bool },
    /// What is stored of the timestamp. `forgotten`: it is not to be looked at.
    StoredTimestamp { forgotten: bool },
    /// The timestamp; what is stored must not be newer.
    Timestamp { old: Option<Timestamp>, keep_snapshot: bool },
    /// What is stored of the snapshot.
    StoredSnapshot { timestamp: Timestamp },
    /// The snapshot; what is stored must not be newer.
    Snapshot { timestamp: Timestamp, old: Option<Snapshot> },
    /// What is stored of the targets.
    StoredTargets { timestamp: Timestamp, snapshot: Snapshot },
    /// The targets.
    Targets { timestamp: Timestamp, snapshot: Snapshot },
}

type Step = Result<Progress<Refresh, Trusted>, TufError>;

impl Refresh {
    /// Begins with the root that is trusted: the one stored last, or the one that the device was
    /// given. `now_s`, in seconds since the Unix epoch, is the time of the whole refresh.
    ///
    /// # Errors
    /// The root is not signed by itself or not readable.
    pub fn begin(root: &[u8], now_s: i64, limits: Limits) -> Result<Self, TufError> {
        // 5.1: the time is fixed. 5.2: the trusted root; that it may be expired does not matter.
        let root = check::check_initial_root(root, &limits)?;
        Ok(Self { now_s, limits, root, stage: Stage::Root { seen: 0, forgotten: false } })
    }

    /// What it needs now.
    pub fn request(&self) -> Request {
        let limits = &self.limits;
        match &self.stage {
            // 5.3.3: always with its version, up to W bytes.
            Stage::Root { .. } => {
                let next = self.root.common.version.saturating_add(1);
                Request::fetch("root", Some(next), limits.root_bytes)
            }
            Stage::StoredTimestamp { .. } => Request::stored("timestamp", limits.timestamp_bytes),
            // 5.4.1: always without a version, up to X bytes.
            Stage::Timestamp { .. } => Request::fetch("timestamp", None, limits.timestamp_bytes),
            Stage::StoredSnapshot { .. } => Request::stored("snapshot", limits.snapshot_bytes),
            // 5.5.1
            Stage::Snapshot { timestamp, .. } => {
                self.fetch("snapshot", &timestamp.snapshot, limits.snapshot_bytes)
            }
            Stage::StoredTargets { .. } => Request::stored("targets", limits.targets_bytes),
            // 5.6.1
            Stage::Targets { snapshot, .. } => {
                self.fetch("targets", &snapshot.meta["targets"], limits.targets_bytes)
            }
        }
    }

    fn fetch(&self, role: &str, listed: &MetaFile, limit: usize) -> Request {
        fetch_listed(&self.root, role, listed, limit)
    }

    /// Takes what was asked for, or that there is no such file. To be called once what earlier steps
    /// told to store is durable.
    ///
    /// # Errors
    /// What was given is not to be believed, or a file that must be there is not. The refresh is
    /// over; the next one begins with what is stored.
    pub fn answer(self, answer: Option<Vec<u8>>) -> Step {
        let Self { now_s, limits, root, stage } = self;
        let state = |root: Root, stage: Stage| Self { now_s, limits, root, stage };
        match (stage, answer) {
            (Stage::Root { seen, forgotten }, answer) => {
                next_root(now_s, limits, root, (seen, forgotten), answer)
            }
            (Stage::StoredTimestamp { forgotten }, answer) => {
                // 5.3.10: every root was stored by now, so that an error here loses none.
                check::check_final_root(&root, now_s)?;
                // 5.3.12 is `Trusted::is_consistent`.
                let answer = answer.filter(|_| !forgotten);
                let old = answer.and_then(|b| check::stored_timestamp(&root, &b, &limits));
                let stage = Stage::Timestamp { old, keep_snapshot: !forgotten };
                Ok(Progress::ask(Vec::new(), state(root, stage)))
            }
            (Stage::Timestamp { old, keep_snapshot }, Some(bytes)) => {
                let (changes, timestamp) = timestamp(now_s, &limits, &root, old, bytes)?;
                let stage = match keep_snapshot {
                    true => Stage::StoredSnapshot { timestamp },
                    false => Stage::Snapshot { timestamp, old: None },
                };
                Ok(Progress::ask(changes, state(root, stage)))
            }
            (Stage::Timestamp { .. }, None) => Err(missing("timestamp", None, "5.4.1")),
            (Stage::StoredSnapshot { timestamp }, answer) => {
                let stage = stored_snapshot(now_s, &limits, &root, timestamp, answer);
                Ok(Progress::ask(Vec::new(), state(root, stage)))
            }
            (Stage::Snapshot { timestamp, old }, Some(bytes)) => {
                let listed = &timestamp.snapshot;
                let old = old.as_ref();
                let snapshot = check::check_snapshot(&root, listed, old, &bytes, now_s, &limits)?;
                // 5.5.7
                let changes = vec![store("snapshot", snapshot.common.version, bytes)];
                let stage = Stage::StoredTargets { timestamp, snapshot };
                Ok(Progress::ask(changes, state(root, stage)))
            }
            (Stage::Snapshot { timestamp, .. }, None) => {
                Err(missing("snapshot", Some(timestamp.snapshot.version), "5.5.1"))
            }
            (Stage::StoredTargets { timestamp, snapshot }, answer) => {
                let listed = &snapshot.meta["targets"];
                let by = Delegator::Root(&root);
                let check = |b: Vec<u8>| check::check_targets(&by, listed, &b, now_s, &limits).ok();
                if let Some(targets) = answer.and_then(check) {
                    let end = Trusted { now_s, limits, root, timestamp, snapshot, targets };
                    return Ok(Progress::done(Vec::new(), end));
                }
                Ok(Progress::ask(Vec::new(), state(root, Stage::Targets { timestamp, snapshot })))
            }
            (Stage::Targets { timestamp, snapshot }, Some(bytes)) => {
                let listed = &snapshot.meta["targets"];
                let by = Delegator::Root(&root);
                let targets = check::check_targets(&by, listed, &bytes, now_s, &limits)?;
                // 5.6.6
                let changes = vec![store("targets", targets.common.version, bytes)];
                let end = Trusted { now_s, limits, root, timestamp, snapshot, targets };
                Ok(Progress::done(changes, end))
            }
            (Stage::Targets { snapshot, .. }, None) => {
                Err(missing("targets", Some(snapshot.meta["targets"].version), "5.6.1"))
            }
        }
    }

    /// Answers every request with `give`, and has `keep` store what is to be stored: for whoever
    /// needs no more than that.
    ///
    /// # Errors
    /// Those of [`Self::answer`], and what `give` and `keep` return.
    pub fn run<E: From<TufError>>(
        self,
        mut give: impl FnMut(&Request) -> Result<Option<Vec<u8>>, E>,
        mut keep: impl FnMut(Change) -> Result<(), E>,
    ) -> Result<Trusted, E> {
        let mut state = self;
        loop {
            let answer = give(&state.request())?;
            let Progress { changes, next } = state.answer(answer)?;
            changes.into_iter().try_for_each(&mut keep)?;
            match next {
                Next::Ask(next) => state = next,
                Next::Done(trusted) => return Ok(trusted),
            }
        }
    }
}

/// 5.3.2 to 5.3.9 and 5.3.11.
fn next_root(
    now_s: i64,
    limits: Limits,
    root: Root,
    (seen, mut forgotten): (u32, bool),
    answer: Option<Vec<u8>>,
) -> Step {
    let state = |root: Root, stage: Stage| Refresh { now_s, limits, root, stage };
    let new = match &answer {
        Some(bytes) => check::check_root(&root, bytes, &limits)?,
        None => None,
    };
    let (Some(bytes), Some(new)) = (answer, new) else {
        return Ok(Progress::ask(Vec::new(), state(root, Stage::StoredTimestamp { forgotten })));
    };
    let mut changes = Vec::new();
    // 5.3.11, at every root that takes a key away from one of the two roles, and before that root is
    // stored: a crash in between must not leave what should be forgotten.
    if lost_key(&root, &new) {
        forgotten = true;
        changes.push(Change::Forget { role: "timestamp" });
        changes.push(Change::Forget { role: "snapshot" });
    }
    // 5.3.7 and 5.3.8
    changes.push(store("root", new.common.version, bytes));
    // 5.3.9, up to Y times; a device that is further behind goes on at its next refresh.
    let seen = seen + 1;
    let stage = match seen < limits.roots {
        true => Stage::Root { seen, forgotten },
        false => Stage::StoredTimestamp { forgotten },
    };
    Ok(Progress::ask(changes, state(new, stage)))
}

/// 5.4.2 to 5.4.5.
fn timestamp(
    now_s: i64,
    limits: &Limits,
    root: &Root,
    old: Option<Timestamp>,
    bytes: Vec<u8>,
) -> Result<(Vec<Change>, Timestamp), TufError> {
    match (check::check_timestamp(root, old.as_ref(), &bytes, now_s, limits)?, old) {
        // 5.4.5
        (Some(new), _) => Ok((vec![store("timestamp", new.common.version, bytes)], new)),
        // 5.4.3.1: nothing changed. What is stored is checked all the same, as an earlier refresh
        // may have ended half way.
        (None, Some(old)) => {
            check::check_timestamp_time(&old, now_s)?;
            Ok((Vec::new(), old))
        }
        (None, None) => Err(missing("timestamp", None, "5.4.3.1")),
    }
}

/// A stored snapshot is used if it is the one that the timestamp lists, and otherwise is what a new
/// one must not fall behind.
fn stored_snapshot(
    now_s: i64,
    limits: &Limits,
    root: &Root,
    timestamp: Timestamp,
    answer: Option<Vec<u8>>,
) -> Stage {
    let Some(bytes) = answer else { return Stage::Snapshot { timestamp, old: None } };
    let listed = &timestamp.snapshot;
    match check::check_snapshot(root, listed, None, &bytes, now_s, limits) {
        Ok(snapshot) => Stage::StoredTargets { timestamp, snapshot },
        Err(_) => {
            let old = check::stored_snapshot(root, &bytes, limits);
            Stage::Snapshot { timestamp, old }
        }
    }
}

/// Whether a key that could sign timestamps or snapshots no longer may.
fn lost_key(old: &Root, new: &Root) -> bool {
    [TopLevel::Timestamp, TopLevel::Snapshot].into_iter().any(|role| {
        let kept = &new.role(role).key_ids;
        old.role(role).key_ids.iter().any(|id| !kept.contains(id))
    })
}

fn store(role: &str, version: u64, bytes: Vec<u8>) -> Change {
    Change::Store { role: role.to_owned(), version, bytes }
}

pub(super) fn missing(role: &str, version: Option<u64>, step: &'static str) -> TufError {
    TufError::new(role, version, step, Problem::Missing)
}

/// 5.5.1 and 5.6.1: with its version if snapshots are consistent, and no more bytes than are listed.
pub(super) fn fetch_listed(root: &Root, role: &str, listed: &MetaFile, limit: usize) -> Request {
    let version = (root.consistent_snapshot == Some(true)).then_some(listed.version);
    let length = listed.length.and_then(|length| usize::try_from(length).ok());
    Request::fetch(role, version, length.map_or(limit, |length| length.min(limit)))
}
