//! What a provider's groups give here. Only the groups that the mapping names are kept, so that what a
//! mapping no longer gives is gone at once, without another log-in.

use std::collections::{BTreeMap, BTreeSet};

use edgeformer_proto::ids::{IdentityProviderId, UserId};

use crate::policy::Role;
use crate::scope::TenantScope;
use crate::store::{Conn, StoreError, identity_providers, user_identities};

/// Roles by group, as settings hold it.
pub type Mapping = BTreeMap<String, BTreeSet<String>>;

/// The groups that the mapping names.
pub fn mapped(mapping: &Mapping, groups: &BTreeSet<String>) -> BTreeSet<String> {
    groups.iter().filter(|group| mapping.contains_key(*group)).cloned().collect()
}

/// What the groups give. A name that this version does not know gives nothing.
pub fn of_groups(mapping: &Mapping, groups: &BTreeSet<String>) -> BTreeSet<Role> {
    let names = groups.iter().filter_map(|group| mapping.get(group)).flatten();
    names.filter_map(|name| Role::parse(name)).filter(|role| *role != Role::Installation).collect()
}

/// What the provider gives to a user of its; none if it is not trusted any more, or does not know them.
pub async fn of_user(
    conn: &mut Conn<TenantScope>,
    provider: IdentityProviderId,
    user: UserId,
) -> Result<Option<BTreeSet<Role>>, StoreError> {
    let Some(provider) = identity_providers::get(conn, provider).await?.filter(|one| one.enabled)
    else {
        return Ok(None);
    };
    let groups = user_identities::groups(conn, provider.id, user).await?;
    Ok(groups.map(|groups| of_groups(&provider.settings.role_mapping, &groups)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_give_what_the_mapping_says_and_nothing_else() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mapping = Mapping::from([
            ("ops".to_owned(), set(&["operator", "viewer"])),
            ("sec".to_owned(), set(&["security"])),
            ("old".to_owned(), set(&["installation", "no_such_role"])),
        ]);
        let roles = |groups: &[&str]| of_groups(&mapping, &set(groups));
        assert_eq!(roles(&["ops", "strangers"]), BTreeSet::from([Role::Operator, Role::Viewer]));
        assert_eq!(roles(&["old", "owner", "admin", "OPS", ""]), BTreeSet::new());
        assert_eq!(mapped(&mapping, &set(&["sec", "strangers"])), set(&["sec"]));
    }
}
