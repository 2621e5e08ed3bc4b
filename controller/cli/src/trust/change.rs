//! What the next root is, and what it changes, in words for whoever is to sign it.

use std::collections::BTreeSet;

use edgeformer_proto::tuf::{
    Key, KeyId, Role as _, Root, Targets, TopLevel, check_root_change, format_time,
};

use super::TrustError;

/// The root that follows `old`, with keys of one role taken away and added.
pub fn next_root(
    old: &Root,
    role: Option<TopLevel>,
    remove: &[String],
    add: &[Key],
    threshold: Option<u32>,
    expires_s: i64,
) -> Result<Root, TrustError> {
    let mut new = old.next(expires_s);
    if let Some(role) = role {
        for id in remove {
            let known = old.role(role).key_ids.iter().find(|known| known.as_str().starts_with(id));
            let known = known.filter(|_| !id.is_empty()).ok_or_else(|| TrustError::NoSuchKey {
                role: role.name(),
                id: id.chars().take(100).collect(),
            })?;
            new.remove_key(role, known);
        }
        for key in add {
            new.add_key(role, key);
        }
        if let Some(threshold) = threshold {
            new.set_threshold(role, threshold);
        }
    }
    check_root_change(Some(old), &new).map_err(Box::new)?;
    Ok(new)
}

/// Keys of root and targets, and how many of each must sign.
pub type Roles<'a> = [(&'a [Key], u32); 2];

/// A root of version 1.
pub fn first_root(roles: Roles<'_>, online: &[Key], expires_s: i64) -> Result<Root, TrustError> {
    let mut root = Root::new(expires_s);
    put_roles(&mut root, roles, online);
    check_root_change(None, &root).map_err(Box::new)?;
    Ok(root)
}

/// The root that follows `old` with other keys for everything; without `online`, those that it has for
/// snapshots and timestamps.
pub fn following_root(
    old: &Root,
    roles: Roles<'_>,
    online: &[Key],
    expires_s: i64,
) -> Result<Root, TrustError> {
    let mut root = old.next(expires_s);
    let kept = if online.is_empty() { 2 } else { 4 };
    let all = [TopLevel::Root, TopLevel::Targets, TopLevel::Snapshot, TopLevel::Timestamp];
    for role in all.into_iter().take(kept) {
        for id in old.role(role).key_ids.clone() {
            root.remove_key(role, &id);
        }
    }
    put_roles(&mut root, roles, online);
    check_root_change(Some(old), &root).map_err(Box::new)?;
    Ok(root)
}

fn put_roles(root: &mut Root, roles: Roles<'_>, online: &[Key]) {
    for (role, (keys, threshold)) in [TopLevel::Root, TopLevel::Targets].into_iter().zip(roles) {
        for key in keys {
            root.add_key(role, key);
        }
        root.set_threshold(role, threshold);
    }
    for role in [TopLevel::Snapshot, TopLevel::Timestamp] {
        for key in online {
            root.add_key(role, key);
        }
    }
}

/// What a root changes, a line each.
pub fn differences(old: Option<&Root>, new: &Root) -> Vec<String> {
    let mut lines = vec![format!(
        "root version {}, valid until {}",
        new.common.version,
        format_time(new.common.expires_s)
    )];
    for role in TopLevel::ALL {
        let (name, now) = (role.name(), new.role(role));
        let before: BTreeSet<&KeyId> = old.iter().flat_map(|old| &old.role(role).key_ids).collect();
        for id in &now.key_ids {
            let kind = new.keys().get(id).map_or("a key that is not there", |key| key.keytype());
            match before.contains(id) {
                true => {}
                false => lines.push(format!("  + {name}: {kind} {id} may sign")),
            }
        }
        for id in before.iter().filter(|id| !now.key_ids.contains(id)) {
            lines.push(format!("  - {name}: {id} may sign no longer"));
        }
        let threshold = old.map(|old| old.role(role).threshold);
        if threshold != Some(now.threshold) {
            let of = now.key_ids.len();
            lines.push(format!("  {name}: {} of {of} keys must sign", now.threshold));
        }
    }
    lines
}

/// What targets change, a line each; a long list is cut.
pub fn target_differences(old: Option<&Targets>, new: &Targets) -> Vec<String> {
    /// More would not be read.
    const MAX_LINES: usize = 200;
    let mut lines = vec![format!(
        "targets version {}, valid until {}",
        new.common.version,
        format_time(new.common.expires_s)
    )];
    let empty = std::collections::BTreeMap::new();
    let before = old.map_or(&empty, |old| &old.targets);
    for (path, file) in &new.targets {
        if before.get(path) != Some(file) {
            let hash = file.hashes.get("sha256").unwrap_or_default();
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            lines.push(format!("  + {path} ({} bytes, sha256 {hash})", file.length));
        }
    }
    let gone = before.keys().filter(|path| !new.targets.contains_key(*path));
    lines.extend(gone.map(|path| format!("  - {path}")));
    if old.map(|old| &old.delegations) != Some(&new.delegations) && new.delegations.is_some() {
        lines.push("  who else may say what there is (delegations) changes".to_owned());
    }
    let more = lines.len().saturating_sub(MAX_LINES);
    lines.truncate(MAX_LINES);
    if more > 0 {
        lines.push(format!("  and {more} more: read staged/targets.json"));
    }
    lines
}
