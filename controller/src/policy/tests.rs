use cedar_policy::{Effect, PolicySet};
use edgeformer_proto::ids::{DeviceId, TokenId};
use jiff::tz::TimeZone;

use super::engine::{ROLES, Source};
use super::*;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::store::{Store, StoreError, connect};

/// Monday, 2026-11-23, 09:30 UTC.
const MONDAY: Timestamp = Timestamp(1_795_426_200_000_000);

fn asker_of(roles: &[Role], tenant: Option<TenantId>, policies: Arc<Policies>) -> Asker {
    let mut principal = Principal::of_token(TokenId::new(), "t", roles[0], tenant, MONDAY);
    principal.roles = roles.iter().copied().collect();
    let circumstances = Circumstances { at: MONDAY, source: None, approvals: 0, justified: false };
    Asker { principal, policies, circumstances, approval: None }
}

fn asker(role: Role, tenant: Option<TenantId>) -> Asker {
    asker_of(&[role], tenant, Policies::roles())
}

fn own(text: &str) -> Arc<Policies> {
    own_in(text, TimeZone::UTC)
}

fn own_in(text: &str, zone: TimeZone) -> Arc<Policies> {
    let source = Source { name: "p".to_owned(), text: text.to_owned() };
    Arc::new(Policies::new(&[source], zone).unwrap())
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn rollout(devices: u64, pairs: &[(&str, &str)]) -> Facts {
    let (model, version, slot) = ("m".to_owned(), "1.0.0".to_owned(), "m".to_owned());
    Facts::Rollout { model, version, slot, devices, labels: labels(pairs) }
}

#[test]
fn every_action_is_decided_for_every_role() {
    let tenant = TenantId::new();
    for &action in Action::ALL {
        let allows = |role: Role| {
            let of = (role != Role::Installation).then_some(tenant);
            matches!(authorise(&asker(role, of), action, of), Decision::Allow(_))
        };
        let who = |action: Action| -> &[Role] {
            use Role::{Admin, Auditor, Installation, Owner, Security};
            match action.group() {
                Group::Public | Group::Own => &Role::ALL,
                Group::Read => &Role::ALL[..7],
                Group::Audit => &[Owner, Admin, Auditor, Security],
                // More may some of it: the file says which, and the test below checks the bounds.
                Group::Write => &[Owner, Admin],
                Group::Govern => &[Owner],
                Group::Installation => &[Installation],
                Group::Internal => &[],
            }
        };
        for role in Role::ALL {
            let expected = who(action).contains(&role);
            if action.group() == Group::Write && !expected {
                continue;
            }
            assert_eq!(allows(role), expected, "{action:?} as {role:?}");
        }
    }
}

#[test]
fn roles_that_only_look_change_nothing_and_the_others_what_they_are_for() {
    let tenant = Some(TenantId::new());
    let may = |role: Role| -> Vec<&str> {
        let allows = |action: &&Action| {
            action.group() == Group::Write
                && matches!(authorise(&asker(role, tenant), **action, tenant), Decision::Allow(_))
        };
        Action::ALL.iter().filter(allows).map(|action| action.as_str()).collect()
    };
    for role in [Role::Viewer, Role::Auditor, Role::Installation] {
        assert!(may(role).is_empty(), "{role:?}: {:?}", may(role));
    }
    let release = [
        "version:publish",
        "bundle:export",
        "rollout:create",
        "rollout:abort",
        "rollout:rollback",
        "approval:sign",
    ];
    assert_eq!(may(Role::ReleaseManager), release);
    assert!(may(Role::Operator).contains(&"device:update"));
    assert!(!may(Role::Operator).contains(&"version:publish"));
    let ends = [":revoke", ":list", ":sign_out", ":decommission", ":release"];
    assert!(may(Role::Security).iter().all(|name| ends.iter().any(|end| name.ends_with(end))));
}

#[test]
fn the_roles_only_permit_and_look_at_nothing_but_role_and_action() {
    let set: PolicySet = ROLES.parse().unwrap();
    assert_eq!(set.num_of_policies(), Role::ALL.len());
    for policy in set.policies() {
        assert_eq!(policy.effect(), Effect::Permit);
        assert!(!policy.has_non_scope_constraint(), "{policy}");
        assert!(policy.annotation("id").is_some() && policy.annotation("description").is_some());
    }
    // The tenant's policies are checked against the schema when they are saved; so are these here.
    let text = ROLES.to_owned();
    Policies::new(&[Source { name: "roles".to_owned(), text }], TimeZone::UTC).unwrap();
}

#[test]
fn another_tenant_is_hidden_and_not_merely_refused() {
    let admin = asker(Role::Admin, Some(TenantId::new()));
    for action in [Action::DeviceRead, Action::DeviceRevoke, Action::AuditRead] {
        let decision = authorise(&admin, action, Some(TenantId::new()));
        assert!(matches!(decision, Decision::Hide(_)), "{action:?}: {decision:?}");
    }
    let homeless = asker(Role::Admin, None);
    assert!(matches!(authorise(&homeless, Action::DeviceRead, None), Decision::Hide(_)));
}

#[test]
fn no_policy_opens_a_wall_or_locks_an_owner_out() {
    let tenant = Some(TenantId::new());
    let open = own("permit (principal, action, resource);");
    let viewer = asker_of(&[Role::Viewer], tenant, open.clone());
    let refused = |asker: &Asker, action| {
        matches!(authorise(asker, action, tenant), Decision::Deny(_) | Decision::Hide(_))
    };
    for action in [Action::TenantCreate, Action::DeviceEnrol, Action::PolicyUpdate] {
        assert!(refused(&viewer, action), "{action:?}");
    }
    // Anything else it opens.
    assert!(matches!(authorise(&viewer, Action::TokenCreate, tenant), Decision::Allow(_)));
    let mut scoped = asker_of(&[Role::Owner], tenant, open);
    scoped.principal.scopes = Some(TokenScopes::new(["device:read".to_owned()]));
    assert!(refused(&scoped, Action::DeviceUpdate));
    assert!(scoped.decide(Action::DeviceUpdate, &Facts::unknown(About::Device)).is_err());

    let closed = own("forbid (principal, action, resource);");
    let owner = asker_of(&[Role::Owner], tenant, closed);
    assert!(refused(&owner, Action::DeviceRead));
    assert!(matches!(authorise(&owner, Action::PolicyDelete, tenant), Decision::Allow(_)));
}

#[test]
fn policies_look_at_labels_of_the_thing() {
    let tenant = Some(TenantId::new());
    let berlin = r#"permit (principal in Role::"viewer", action == Action::"device:update", resource)
        when { resource.hasTag("site") && resource.getTag("site") == "berlin" };"#;
    let viewer = asker_of(&[Role::Viewer], tenant, own(berlin));
    let on = |site| Facts::device(DeviceId::new(), "d", &labels(&[("site", site)]));
    assert_eq!(authorise(&viewer, Action::DeviceUpdate, tenant), Decision::Depends);
    assert_eq!(viewer.decide(Action::DeviceUpdate, &on("berlin")).unwrap(), "tenant/p");
    let refused = viewer.decide(Action::DeviceUpdate, &on("paris")).unwrap_err();
    assert_eq!(refused.why, "role viewer does not permit it");
    // What no policy of the tenant could permit is settled before anything is looked at.
    assert!(matches!(authorise(&viewer, Action::DeviceRevoke, tenant), Decision::Deny(_)));
    // A decision about the wrong kind of thing is none.
    assert!(viewer.decide(Action::DeviceUpdate, &Facts::Tenant).is_err());
}

#[test]
fn working_hours_are_those_of_the_tenants_time_zone() {
    let tenant = Some(TenantId::new());
    let text = r#"@description("no changes in working hours")
        forbid (principal in Role::"operator", action == Action::"rollout:abort", resource)
        when { context.time.weekday <= 5 && context.time.hour >= 9 && context.time.hour < 17 };"#;
    let decide = |zone: &str, at: Timestamp| {
        let zone = TimeZone::get(zone).unwrap();
        let mut asker = asker_of(&[Role::Operator], tenant, own_in(text, zone));
        asker.circumstances.at = at;
        asker.decide(Action::RolloutAbort, &rollout(3, &[]))
    };
    let hours = |n: u64| MONDAY.plus(std::time::Duration::from_secs(n * 3600));
    let refused = decide("UTC", MONDAY).unwrap_err();
    assert_eq!(refused.why, "policy tenant/p forbids it (no changes in working hours)");
    assert!(decide("UTC", hours(8)).is_ok());
    // 09:30 in London is 04:30 in New York.
    assert!(decide("America/New_York", MONDAY).is_ok());
    assert!(decide("America/New_York", hours(8)).is_err());
    // Saturday.
    assert!(decide("UTC", hours(5 * 24)).is_ok());
}

#[test]
fn a_large_rollout_waits_for_approvals_and_says_how_many() {
    let tenant = Some(TenantId::new());
    let text = r#"forbid (principal, action == Action::"rollout:create", resource)
        when { resource.devices > 1000 && context.approvals < 2 };"#;
    let mut asker = asker_of(&[Role::Admin], tenant, own(text));
    assert!(asker.decide(Action::RolloutCreate, &rollout(1000, &[])).is_ok());
    let refused = asker.decide(Action::RolloutCreate, &rollout(1001, &[])).unwrap_err();
    assert_eq!(
        (refused.needed, refused.policies.as_slice()),
        (Some(2), &["tenant/p".to_owned()][..])
    );
    asker.circumstances.approvals = 1;
    let refused = asker.decide(Action::RolloutCreate, &rollout(1001, &[])).unwrap_err();
    assert_eq!(refused.needed, Some(2));
    asker.circumstances.approvals = 2;
    assert!(asker.decide(Action::RolloutCreate, &rollout(1001, &[])).is_ok());
    // What no approval helps is refused for good, and so is what nobody permits.
    let never = own(r#"forbid (principal, action == Action::"rollout:create", resource);"#);
    let asker = asker_of(&[Role::Admin], tenant, never);
    assert_eq!(asker.decide(Action::RolloutCreate, &rollout(1, &[])).unwrap_err().needed, None);
    let viewer = asker_of(&[Role::Viewer], tenant, own(text));
    assert_eq!(viewer.decide(Action::RolloutCreate, &rollout(1, &[])).unwrap_err().needed, None);
}

#[test]
fn a_policy_that_cannot_be_evaluated_lets_nobody_through() {
    let tenant = Some(TenantId::new());
    // Valid by type; overflows when it is evaluated.
    let text = r#"forbid (principal, action == Action::"rollout:create", resource)
        when { resource.devices + 9223372036854775807 > 0 };"#;
    let asker = asker_of(&[Role::Owner], tenant, own(text));
    let refused = asker.decide(Action::RolloutCreate, &rollout(5, &[])).unwrap_err();
    assert!(refused.why.contains("cannot be evaluated") && refused.needed.is_none(), "{refused}");
}

#[test]
fn what_is_no_valid_policy_is_refused_with_the_place() {
    let fails = |text: &str, with: &str| {
        let source = Source { name: "night".to_owned(), text: text.to_owned() };
        let error = Policies::new(&[source], TimeZone::UTC).unwrap_err().to_string();
        assert!(error.contains(with) && error.contains("night"), "{error}");
    };
    fails("permit (principal, action, resource)", "line 1");
    fails("permit (principal, action, resource);\nforbid(x", "line 2");
    fails(r#"permit (principal, action == Action::"device:fly", resource);"#, "device:fly");
    fails(r#"permit (principal in Rolle::"x", action, resource);"#, "Rolle");
    let untyped = r#"permit (principal, action == Action::"rollout:create", resource)
        when { resource.devices > "1000" };"#;
    fails(untyped, "type");
    let unsafe_tag = r#"permit (principal, action == Action::"device:update", resource)
        when { resource.getTag("site") == "berlin" };"#;
    fails(unsafe_tag, "tag");
    fails("permit (principal == ?principal, action, resource);", "slots");
    // It could never apply, and somebody would rely on it.
    let never = r#"forbid (principal, action == Action::"device:update", resource is Rollout);"#;
    fails(never, "");
}

#[test]
fn several_statements_of_one_policy_are_told_apart() {
    let two = own("permit (principal, action == Action::\"device:read\", resource);\n\
         forbid (principal, action == Action::\"device:read\", resource) when { context.justified };");
    let ids: Vec<_> =
        two.statements().map(|one| one.id.as_str()).filter(|id| id.contains('/')).collect();
    assert_eq!(ids, ["tenant/p#1", "tenant/p#2"]);
    assert!(!two.statement("tenant/p#2").unwrap().permits);
    assert_ne!(two.version(), Policies::roles().version());
}

/// The last wall: a use-case that forgets to ask does not commit.
#[tokio::test]
async fn a_change_of_a_certain_thing_is_not_committed_undecided() {
    let folder = tempfile::tempdir().unwrap();
    let url = connect::sqlite_url(&folder.path().join("x.db"), true);
    let store = Store::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let asker = asker(Role::Admin, Some(TenantId::new()));
    let granted = grant(asker, Action::DeviceRevoke, Origin::default()).unwrap();
    let Granted::Tenant(scope) = granted else { panic!("{granted:?}") };
    let intent = || Intent::new(Action::DeviceRevoke, Resource::new("device", "d"));
    let write = store.write(&scope, intent()).await.unwrap();
    let error = write.commit(MONDAY).await.unwrap_err();
    assert!(matches!(error, StoreError::Undecided(Action::DeviceRevoke)), "{error}");
    let mut write = store.write(&scope, intent()).await.unwrap();
    write.decide(&Facts::device(DeviceId::new(), "d", &Labels::new())).unwrap();
    write.commit(MONDAY).await.unwrap();
    // Components are not asked.
    let component = TenantScope::system(scope.tenant(), "test");
    store.write(&component, intent()).await.unwrap().commit(MONDAY).await.unwrap();
    // One action's decision is not another's.
    let mut decided = scope.clone();
    let version = Facts::Version { model: "m".to_owned(), version: "1.0.0".to_owned() };
    decided.decide(Action::VersionPublish, &version).unwrap();
    let write = store.write(&decided, intent()).await.unwrap();
    assert!(matches!(write.commit(MONDAY).await, Err(StoreError::Undecided(_))));
    store.close().await;
}

#[test]
fn only_owners_make_owners() {
    let tenant = Some(TenantId::new());
    assert!(asker(Role::Owner, tenant).may_give(Role::Owner));
    assert!(!asker(Role::Admin, tenant).may_give(Role::Owner));
    assert!(asker(Role::Admin, tenant).may_give(Role::Security));
    assert!(!asker(Role::Owner, tenant).may_give(Role::Installation));
    // Where a policy lets others give roles, they give no more than they have.
    assert!(asker(Role::Operator, tenant).may_give(Role::Viewer));
    assert!(!asker(Role::Operator, tenant).may_give(Role::Admin));
    assert!(!asker(Role::Viewer, tenant).may_give(Role::Auditor));
    assert!(asker(Role::Auditor, tenant).may_give(Role::Viewer));
}

#[test]
fn names_of_actions_are_unique_and_shaped_kind_verb() {
    let mut names: Vec<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
    assert!(names.iter().all(|name| name.split(':').count() == 2));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Action::ALL.len());
}
