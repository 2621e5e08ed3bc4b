//! The repository's side: what follows what, and whether it may.

use std::collections::BTreeMap;

use super::error::{FormError, Problem, TufError};
use super::metadata::{
    Common, MetaFile, Role, RoleKeys, Root, Signed, Snapshot, Timestamp, TopLevel,
};

/// An edit that would make a repository that nobody can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Fewer keys than must sign.
    #[error("{role} has {keys} keys, but {threshold} must sign: add keys or lower its threshold")]
    Unreachable {
        /// Role.
        role: &'static str,
        /// Distinct keys of a kind that is known.
        keys: usize,
        /// Keys that must sign.
        threshold: u32,
    },
    /// Not the version that follows.
    #[error("version {found} does not follow version {trusted}")]
    NotNext {
        /// What there is.
        trusted: u64,
        /// What is offered.
        found: u64,
    },
    /// The rest of a role's list goes back.
    #[error("{0}")]
    Refused(#[from] TufError),
}

/// Whether `new` may follow `old` (or begin, without one), leaving signatures aside: its version is
/// the next one and every role can reach its threshold.
pub fn check_root_change(old: Option<&Root>, new: &Root) -> Result<(), EditError> {
    let trusted = old.map_or(0, |old| old.common.version);
    let found = new.common.version;
    if found != trusted.saturating_add(1) {
        return Err(EditError::NotNext { trusted, found });
    }
    for role in TopLevel::ALL {
        let by = new.role(role);
        let keys = distinct_keys(new, by);
        if (keys as u64) < u64::from(by.threshold) || by.threshold == 0 {
            let (role, threshold) = (role.name(), by.threshold);
            return Err(EditError::Unreachable { role, keys, threshold });
        }
    }
    Ok(())
}

fn distinct_keys(root: &Root, by: &RoleKeys) -> usize {
    let keys = by.key_ids.iter().filter_map(|id| root.keys().get(id)?.public());
    keys.collect::<std::collections::BTreeSet<_>>().len()
}

/// The snapshot that follows `old` and lists these files (by role, without `.json`).
///
/// # Errors
/// A file that `old` lists is gone or older, which clients refuse; or there are no targets.
pub fn next_snapshot(
    old: Option<&Snapshot>,
    meta: BTreeMap<String, MetaFile>,
    expires_s: i64,
) -> Result<Snapshot, EditError> {
    let version = old.map_or(1, |old| old.common.version.saturating_add(1));
    let refused = |problem: Problem| {
        EditError::Refused(TufError::new("snapshot", Some(version), "5.5.5", problem))
    };
    if !meta.contains_key("targets") {
        let field = "targets.json".to_owned();
        return Err(refused(Problem::Form(FormError::Field { field, expected: "there" })));
    }
    for (role, before) in old.iter().flat_map(|old| &old.meta) {
        let Some(now) = meta.get(role) else {
            return Err(refused(Problem::Unlisted(format!("{role}.json"))));
        };
        if now.version < before.version {
            let (trusted, offered) = (before.version, now.version);
            return Err(refused(Problem::Rollback { what: role.clone(), trusted, offered }));
        }
    }
    Ok(match old {
        Some(old) => Snapshot { meta, ..old.next(expires_s) },
        None => Snapshot { common: Common::new(1, expires_s), meta },
    })
}

/// The timestamp that follows `old` and names this snapshot, given as the file that is served.
///
/// # Errors
/// The snapshot is older than the one named before.
pub fn next_timestamp(
    old: Option<&Timestamp>,
    snapshot: &Signed<Snapshot>,
    expires_s: i64,
) -> Result<Timestamp, EditError> {
    let version = snapshot.role().common.version;
    let snapshot = MetaFile::of(version, &snapshot.to_file());
    let Some(old) = old else {
        return Ok(Timestamp { common: Common::new(1, expires_s), snapshot });
    };
    let (trusted, offered) = (old.snapshot.version, version);
    if offered < trusted {
        let problem = Problem::Rollback { what: "snapshot".to_owned(), trusted, offered };
        let next = Some(old.common.version.saturating_add(1));
        return Err(EditError::Refused(TufError::new("timestamp", next, "5.4.3.2", problem)));
    }
    Ok(Timestamp { snapshot, ..old.next(expires_s) })
}
