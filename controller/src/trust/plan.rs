//! What a tenant's repository needs next. A function of what is signed, of what was published, and of
//! the time; one step at a time, since each role names the signed file of the one before.

use std::collections::BTreeMap;

use edgeformer_proto::tuf::{
    MetaFile, Role, Root, Signed, Snapshot, TargetFile, Targets, Timestamp, next_snapshot,
    next_timestamp,
};

const DAY_S: i64 = 24 * 3600;

/// How long a role's metadata is believed, and how long before its end it is signed anew: a controller
/// that is down for less than that stops nobody.
#[derive(Debug, Clone, Copy)]
struct Life {
    days: i64,
    renew_days: i64,
}

/// Old roots are what a device that was off for long goes by, one after the other.
const ROOT: Life = Life { days: 730, renew_days: 180 };
const TARGETS: Life = Life { days: 365, renew_days: 90 };
const SNAPSHOT: Life = Life { days: 30, renew_days: 15 };
/// How long an attacker between controller and device can hide that there is something newer.
const TIMESTAMP: Life = Life { days: 7, renew_days: 6 };

impl Life {
    fn end(self, now_s: i64) -> i64 {
        now_s.saturating_add(self.days * DAY_S)
    }

    fn is_due(self, expires_s: i64, now_s: i64) -> bool {
        expires_s.saturating_sub(self.renew_days * DAY_S) <= now_s
    }
}

/// The newest signed metadata.
#[derive(Debug, Clone, Default)]
pub struct Current {
    /// Who signs.
    pub root: Option<Signed<Root>>,
    /// What there is.
    pub targets: Option<Signed<Targets>>,
    /// What belongs together.
    pub snapshot: Option<Signed<Snapshot>>,
    /// What is newest.
    pub timestamp: Option<Signed<Timestamp>>,
}

/// Metadata to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Make {
    /// The first root: keys are to be made.
    FirstRoot(Root),
    /// A root with the same keys.
    Root(Root),
    /// What there is.
    Targets(Targets),
    /// What belongs together.
    Snapshot(Snapshot),
    /// What is newest.
    Timestamp(Timestamp),
}

/// What the controller can sign, and by when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signs {
    /// Roots; otherwise people do, and the controller has none to make.
    pub root: bool,
    /// Targets; the same.
    pub targets: bool,
    /// A version that all that it signs but roots stands above: after a restore devices may hold newer
    /// metadata than the backup, and refuse what is not newer than that.
    pub floor: u64,
    /// The time.
    pub now_s: i64,
}

/// What to make next; nothing when all is as it should be. `published` is what is to be listed.
pub fn next(
    current: &Current,
    published: &BTreeMap<String, TargetFile>,
    signs: Signs,
) -> Option<Make> {
    let Signs { floor, now_s, .. } = signs;
    let Some(root) = &current.root else {
        return Some(Make::FirstRoot(Root::new(ROOT.end(now_s))));
    };
    if signs.root && ROOT.is_due(root.role().common.expires_s, now_s) {
        return Some(Make::Root(root.role().next(ROOT.end(now_s))));
    }
    let targets = match &current.targets {
        targets if !signs.targets => targets.as_ref()?,
        Some(signed) => {
            let old = signed.role();
            let is_good = old.targets == *published && !is_old(old, TARGETS, floor, now_s);
            let made = Targets { targets: published.clone(), ..old.next(TARGETS.end(now_s)) };
            if !is_good {
                return Some(Make::Targets(above(floor, made)));
            }
            signed
        }
        None => {
            let made = Targets { targets: published.clone(), ..Targets::new(TARGETS.end(now_s)) };
            return Some(Make::Targets(above(floor, made)));
        }
    };
    let described = MetaFile::of(targets.role().common.version, &targets.to_file());
    let old = current.snapshot.as_ref().map(Signed::role);
    let is_good = old.is_some_and(|old| {
        old.meta.get("targets") == Some(&described) && !is_old(old, SNAPSHOT, floor, now_s)
    });
    let Some(snapshot) = current.snapshot.as_ref().filter(|_| is_good) else {
        let meta = BTreeMap::from([("targets".to_owned(), described)]);
        // What it lists only grows, so it is not refused.
        let made = next_snapshot(old, meta, SNAPSHOT.end(now_s)).ok()?;
        return Some(Make::Snapshot(above(floor, made)));
    };
    let old = current.timestamp.as_ref().map(Signed::role);
    let version = snapshot.role().common.version;
    if old.is_some_and(|old| {
        old.snapshot == MetaFile::of(version, &snapshot.to_file())
            && !is_old(old, TIMESTAMP, floor, now_s)
    }) {
        return None;
    }
    let made = next_timestamp(old, snapshot, TIMESTAMP.end(now_s)).ok()?;
    Some(Make::Timestamp(above(floor, made)))
}

fn is_old<T: Role>(role: &T, life: Life, floor: u64, now_s: i64) -> bool {
    let common = role.common();
    life.is_due(common.expires_s, now_s) || common.version < floor
}

fn above<T: Role>(floor: u64, mut role: T) -> T {
    let common = role.common_mut();
    common.version = common.version.max(floor);
    role
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// Signs nothing: the plan does not look at signatures.
    fn take(current: &mut Current, make: Make) -> (&'static str, u64) {
        fn put<T: Role>(place: &mut Option<Signed<T>>, role: T) -> (&'static str, u64) {
            let version = role.common().version;
            *place = Some(Signed::new(role));
            (T::KIND.name(), version)
        }
        match make {
            Make::FirstRoot(role) | Make::Root(role) => put(&mut current.root, role),
            Make::Targets(role) => put(&mut current.targets, role),
            Make::Snapshot(role) => put(&mut current.snapshot, role),
            Make::Timestamp(role) => put(&mut current.timestamp, role),
        }
    }

    /// What is made until nothing is left to make.
    fn settle(
        current: &mut Current,
        published: &[&str],
        floor: u64,
        now_s: i64,
    ) -> Vec<(&'static str, u64)> {
        let file = |path: &&str| ((*path).to_owned(), TargetFile::new(1, [1; 32]));
        let published: BTreeMap<_, _> = published.iter().map(file).collect();
        let signs = Signs { root: true, targets: true, floor, now_s };
        let mut made = Vec::new();
        while let Some(make) = next(current, &published, signs) {
            made.push(take(current, make));
            assert!(made.len() < 10, "{made:?}");
        }
        made
    }

    #[test]
    fn what_is_published_goes_through_every_role_once() {
        let mut current = Current::default();
        let all = [("root", 1), ("targets", 1), ("snapshot", 1), ("timestamp", 1)];
        assert_eq!(settle(&mut current, &[], 0, NOW), all);
        assert_eq!(settle(&mut current, &[], 0, NOW), []);
        let changed = [("targets", 2), ("snapshot", 2), ("timestamp", 2)];
        assert_eq!(settle(&mut current, &["a"], 0, NOW), changed);
        assert_eq!(settle(&mut current, &["a"], 0, NOW + DAY_S / 2), []);
    }

    #[test]
    fn every_role_is_signed_anew_long_before_its_end() {
        let mut current = Current::default();
        settle(&mut current, &[], 0, NOW);
        let mut now_s = NOW;
        let mut count = BTreeMap::new();
        for _ in 0..3 * 365 {
            now_s += DAY_S;
            for (role, _) in settle(&mut current, &[], 0, now_s) {
                *count.entry(role).or_insert(0) += 1;
            }
            let left = current.timestamp.as_ref().unwrap().role().common.expires_s - now_s;
            assert!(left >= 6 * DAY_S, "{left}");
        }
        assert_eq!((count["root"], count["targets"]), (1, 3));
        assert_eq!(count["timestamp"], 3 * 365);
    }

    #[test]
    fn what_people_sign_is_left_to_them_and_the_rest_goes_on() {
        let mut current = Current::default();
        settle(&mut current, &["a"], 0, NOW);
        let published = BTreeMap::from([("b".to_owned(), TargetFile::new(1, [1; 32]))]);
        let mut made = Vec::new();
        for (root, targets, days) in [(false, false, 1), (false, false, 800), (true, false, 800)] {
            let now_s = NOW + days * DAY_S;
            let signs = Signs { root, targets, floor: 0, now_s };
            while let Some(make) = next(&current, &published, signs) {
                made.push(take(&mut current, make).0);
            }
        }
        assert_eq!(made, ["timestamp", "snapshot", "timestamp", "root"]);
    }

    #[test]
    fn after_a_restore_versions_stand_above_all_that_devices_may_hold() {
        let mut current = Current::default();
        settle(&mut current, &["a"], 0, NOW);
        let floor = NOW.unsigned_abs();
        let raised = [("targets", floor), ("snapshot", floor), ("timestamp", floor)];
        assert_eq!(settle(&mut current, &["a"], floor, NOW), raised);
        assert_eq!(settle(&mut current, &["a"], floor, NOW), []);
        let next = [("targets", floor + 1), ("snapshot", floor + 1), ("timestamp", floor + 1)];
        assert_eq!(settle(&mut current, &["a", "b"], floor, NOW), next);
    }
}
