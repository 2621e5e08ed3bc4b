//! What makes the metadata of each role believable, given what is believed already. Numbers are
//! those of the specification's workflow.

use super::super::delegation::{DelegatedRole, Delegations};
use super::super::error::{Problem, TufError};
use super::super::metadata::{
    Common, MetaFile, Role, Root, Signed, Snapshot, Targets, Timestamp, TopLevel,
};
use super::Limits;

/// Reads a file of metadata, whose signatures are not looked at.
fn read<T: Role>(
    name: &str,
    step: &'static str,
    bytes: &[u8],
    max_bytes: usize,
) -> Result<Signed<T>, TufError> {
    Signed::parse(bytes, max_bytes).map_err(|e| TufError::new(name, None, step, e))
}

/// Tells of problems with one file.
struct Of<'a>(&'a str, u64);

impl Of<'_> {
    fn err(&self, step: &'static str, problem: Problem) -> TufError {
        TufError::new(self.0, Some(self.1), step, problem)
    }
}

fn expired(common: &Common, now_s: i64) -> Result<(), Problem> {
    match common.is_expired(now_s) {
        true => Err(Problem::Expired { expires_s: common.expires_s, now_s }),
        false => Ok(()),
    }
}

fn signed_by_root<T: Role>(root: &Root, signed: &Signed<T>) -> Result<(), Problem> {
    let by = format!("root version {}", root.common.version);
    signed.verify(root.keys(), root.role(T::KIND), &by)
}

/// 5.2: the root that is trusted from the start, or from an earlier refresh. It must be signed by
/// itself, so that a damaged file is told apart from an attack later on.
pub fn check_initial_root(bytes: &[u8], limits: &Limits) -> Result<Root, TufError> {
    let signed = read::<Root>("root", "5.2", bytes, limits.root_bytes)?;
    let of = Of("root", signed.role().common.version);
    signed_by_root(signed.role(), &signed).map_err(|e| of.err("5.2", e))?;
    Ok(signed.into_role())
}

/// 5.3.4 to 5.3.6: the root that follows `trusted`. None if it is the trusted version once more.
pub fn check_root(trusted: &Root, bytes: &[u8], limits: &Limits) -> Result<Option<Root>, TufError> {
    let signed = read::<Root>("root", "5.3.3", bytes, limits.root_bytes)?;
    let (old, new) = (trusted.common.version, signed.role().common.version);
    let of = Of("root", new);
    // 5.3.4: by a threshold of the trusted root's keys, and by a threshold of its own.
    signed_by_root(trusted, &signed).map_err(|e| of.err("5.3.4", e))?;
    signed_by_root(signed.role(), &signed).map_err(|e| of.err("5.3.4", e))?;
    // 5.3.5: exactly the next version.
    if new < old {
        let problem = Problem::Rollback { what: "root".to_owned(), trusted: old, offered: new };
        return Err(of.err("5.3.5", problem));
    }
    if new == old {
        return Ok(None);
    }
    if new != old.saturating_add(1) {
        let problem = Problem::Version { listed: old.saturating_add(1), found: new };
        return Err(of.err("5.3.5", problem));
    }
    // 5.3.6: whether it is expired does not matter yet.
    Ok(Some(signed.into_role()))
}

/// 5.3.10: the last root must not be expired.
pub(super) fn check_final_root(root: &Root, now_s: i64) -> Result<(), TufError> {
    let of = Of("root", root.common.version);
    expired(&root.common, now_s).map_err(|e| of.err("5.3.10", e))
}

/// A timestamp that was stored: if the keys that may sign it now have signed it, later ones must not
/// be older. Whether it is expired does not matter for that.
pub(super) fn stored_timestamp(root: &Root, bytes: &[u8], limits: &Limits) -> Option<Timestamp> {
    let signed = Signed::<Timestamp>::parse(bytes, limits.timestamp_bytes).ok()?;
    signed_by_root(root, &signed).ok()?;
    Some(signed.into_role())
}

/// 5.4.2 to 5.4.4. None if it is the trusted version once more, which is then to be kept.
pub(super) fn check_timestamp(
    root: &Root,
    trusted: Option<&Timestamp>,
    bytes: &[u8],
    now_s: i64,
    limits: &Limits,
) -> Result<Option<Timestamp>, TufError> {
    let signed = read::<Timestamp>("timestamp", "5.4.1", bytes, limits.timestamp_bytes)?;
    let new = signed.role();
    let of = Of("timestamp", new.common.version);
    // 5.4.2
    signed_by_root(root, &signed).map_err(|e| of.err("5.4.2", e))?;
    if let Some(old) = trusted {
        // 5.4.3.1
        let (trusted, offered) = (old.common.version, new.common.version);
        if offered < trusted {
            let what = "timestamp".to_owned();
            return Err(of.err("5.4.3.1", Problem::Rollback { what, trusted, offered }));
        }
        if offered == trusted {
            return Ok(None);
        }
        // 5.4.3.2
        let (trusted, offered) = (old.snapshot.version, new.snapshot.version);
        if offered < trusted {
            let what = "snapshot".to_owned();
            return Err(of.err("5.4.3.2", Problem::Rollback { what, trusted, offered }));
        }
    }
    // 5.4.4
    check_timestamp_time(new, now_s)?;
    Ok(Some(signed.into_role()))
}

/// 5.4.4: the timestamp that is used must not be expired.
pub(super) fn check_timestamp_time(timestamp: &Timestamp, now_s: i64) -> Result<(), TufError> {
    let of = Of("timestamp", timestamp.common.version);
    expired(&timestamp.common, now_s).map_err(|e| of.err("5.4.4", e))
}

/// A snapshot that was stored: as [`stored_timestamp`].
pub(super) fn stored_snapshot(root: &Root, bytes: &[u8], limits: &Limits) -> Option<Snapshot> {
    let signed = Signed::<Snapshot>::parse(bytes, limits.snapshot_bytes).ok()?;
    signed_by_root(root, &signed).ok()?;
    Some(signed.into_role())
}

/// 5.5.2 to 5.5.6.
pub(super) fn check_snapshot(
    root: &Root,
    listed: &MetaFile,
    trusted: Option<&Snapshot>,
    bytes: &[u8],
    now_s: i64,
    limits: &Limits,
) -> Result<Snapshot, TufError> {
    // 5.5.2: hashes first, as whoever listed them is believed already.
    listed.check(bytes).map_err(|e| TufError::new("snapshot", None, "5.5.2", e))?;
    let signed = read::<Snapshot>("snapshot", "5.5.1", bytes, limits.snapshot_bytes)?;
    let new = signed.role();
    let of = Of("snapshot", new.common.version);
    // 5.5.3
    signed_by_root(root, &signed).map_err(|e| of.err("5.5.3", e))?;
    // 5.5.4
    same_version(listed, &new.common).map_err(|e| of.err("5.5.4", e))?;
    // 5.5.5: no file that was listed may be older, or gone.
    for (role, old) in trusted.iter().flat_map(|old| &old.meta) {
        let Some(file) = new.meta.get(role) else {
            return Err(of.err("5.5.5", Problem::Unlisted(format!("{role}.json"))));
        };
        if file.version < old.version {
            let (trusted, offered) = (old.version, file.version);
            let what = role.clone();
            return Err(of.err("5.5.5", Problem::Rollback { what, trusted, offered }));
        }
    }
    // 5.5.6
    expired(&new.common, now_s).map_err(|e| of.err("5.5.6", e))?;
    Ok(signed.into_role())
}

fn same_version(listed: &MetaFile, common: &Common) -> Result<(), Problem> {
    match listed.version == common.version {
        true => Ok(()),
        false => Err(Problem::Version { listed: listed.version, found: common.version }),
    }
}

/// Who says whose targets count.
pub(super) enum Delegator<'a> {
    Root(&'a Root),
    Role(&'a str, &'a Delegations, &'a DelegatedRole),
}

impl Delegator<'_> {
    pub(super) fn role(&self) -> &str {
        match self {
            Self::Root(_) => "targets",
            Self::Role(_, _, role) => &role.name,
        }
    }

    fn verify(&self, signed: &Signed<Targets>) -> Result<(), Problem> {
        match self {
            Self::Root(root) => {
                let by = format!("root version {}", root.common.version);
                signed.verify(root.keys(), root.role(TopLevel::Targets), &by)
            }
            Self::Role(by, delegations, role) => signed.verify(&delegations.keys, &role.keys, by),
        }
    }
}

/// 5.6.2 to 5.6.5, for the targets role and for delegated ones.
pub(super) fn check_targets(
    delegator: &Delegator<'_>,
    listed: &MetaFile,
    bytes: &[u8],
    now_s: i64,
    limits: &Limits,
) -> Result<Targets, TufError> {
    let name = delegator.role();
    // 5.6.2
    listed.check(bytes).map_err(|e| TufError::new(name, None, "5.6.2", e))?;
    let signed = read::<Targets>(name, "5.6.1", bytes, limits.targets_bytes)?;
    let new = signed.role();
    let of = Of(name, new.common.version);
    // 5.6.3
    delegator.verify(&signed).map_err(|e| of.err("5.6.3", e))?;
    // 5.6.4
    same_version(listed, &new.common).map_err(|e| of.err("5.6.4", e))?;
    // 5.6.5
    expired(&new.common, now_s).map_err(|e| of.err("5.6.5", e))?;
    Ok(signed.into_role())
}

/// Checks the metadata of a delegated role by what its delegator says alone: for whoever makes or
/// exchanges it. A client also needs the snapshot's word on its version.
pub fn check_delegated(
    delegator: &str,
    delegations: &Delegations,
    role: &DelegatedRole,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Targets, TufError> {
    let signed = read::<Targets>(&role.name, "5.6.1", bytes, limits.targets_bytes)?;
    let of = Of(&role.name, signed.role().common.version);
    let delegator = Delegator::Role(delegator, delegations, role);
    delegator.verify(&signed).map_err(|e| of.err("5.6.3", e))?;
    Ok(signed.into_role())
}
