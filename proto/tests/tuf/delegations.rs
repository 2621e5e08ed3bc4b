//! Delegations: who may say what a target is, and in which order they are asked (5.6.7).

use edgeformer_proto::tuf::{KeyKind, Paths, Problem};

use crate::repo::{Device, Repo, new_key, said};

/// `(from, to, pattern, terminating)`.
type Edge = (&'static str, &'static str, &'static str, bool);

fn graph(edges: &[Edge]) -> Repo {
    let mut repo = Repo::unpublished();
    for (from, to, pattern, terminating) in edges {
        repo.delegate(from, to, &[pattern], *terminating);
    }
    repo.publish_root();
    repo
}

/// Roles that a search for something that nobody has visits.
fn check(edges: &[Edge], visited: &[&str]) {
    let mut repo = graph(edges);
    repo.publish();
    let mut device = Device::new(&repo);
    let found = device.find(&repo, "missing").unwrap();
    assert_eq!(found.target, None);
    let expected: Vec<String> = visited.iter().map(|role| format!("1.{role}.json")).collect();
    assert_eq!(device.asked, expected);
    // All of it is stored by now.
    device.look_up(&repo, found.trusted, "missing").unwrap();
    assert!(device.asked.is_empty());
}

#[test]
fn roles_are_visited_depth_first_in_their_order() {
    check(&[("targets", "A", "*", false), ("targets", "B", "*", false)], &["A", "B"]);
    check(
        &[
            ("targets", "A", "*", false),
            ("targets", "B", "*", false),
            ("A", "C", "*", false),
            ("A", "D", "*", false),
        ],
        &["A", "C", "D", "B"],
    );
    // Nobody is asked after a terminating role and what is below it.
    check(
        &[
            ("targets", "A", "*", false),
            ("targets", "B", "*", false),
            ("A", "C", "*", true),
            ("A", "D", "*", false),
            ("C", "E", "*", false),
        ],
        &["A", "C", "E"],
    );
    // Only whose pattern matches.
    check(
        &[("targets", "A", "*.py", false), ("targets", "B", "*", false), ("A", "C", "*", false)],
        &["B"],
    );
    // In circles nobody is asked twice.
    check(
        &[
            ("targets", "A", "*", false),
            ("targets", "B", "*", false),
            ("B", "C", "*", false),
            ("C", "D", "*", false),
            ("D", "B", "*", false),
        ],
        &["A", "B", "C", "D"],
    );
    check(
        &[
            ("targets", "A", "*", false),
            ("targets", "B", "*", false),
            ("B", "C", "*", false),
            ("A", "C", "*.py", false),
        ],
        &["A", "B", "C"],
    );
}

#[test]
fn a_role_speaks_only_for_what_the_whole_chain_lets_it() {
    let mut repo = graph(&[
        ("targets", "A", "*.md", false),
        ("targets", "B", "releases/*/*", false),
        ("B", "C", "releases/x/*", false),
        ("B", "D", "releases/y/*.zip", false),
    ]);
    repo.add_target("A", "README.md", b"a");
    repo.add_target("C", "releases/x/v1", b"c");
    repo.add_target("D", "releases/y/v1.zip", b"d");
    repo.add_target("D", "releases/z/v1.zip", b"z");
    repo.add_target("A", "releases/x/v2", b"not A's");
    repo.publish();
    let mut device = Device::new(&repo);
    for (path, role) in [
        ("README.md", Some("A")),
        ("releases/x/v1", Some("C")),
        ("releases/y/v1.zip", Some("D")),
        ("releases/z/v1.zip", None),
        ("releases/x/v2", None),
    ] {
        let found = device.find(&repo, path).unwrap().target;
        assert_eq!(found.map(|t| t.role).as_deref(), role, "{path}");
    }
}

#[test]
fn the_first_that_lists_a_target_is_believed() {
    let mut repo = graph(&[("targets", "A", "*", false), ("targets", "B", "*", false)]);
    repo.add_target("B", "x", b"of B");
    repo.add_target("A", "x", b"of A");
    repo.publish();
    assert_eq!(Device::new(&repo).find(&repo, "x").unwrap().target.unwrap().role, "A");
}

#[test]
fn hash_prefixes_name_bins() {
    let mut repo = Repo::unpublished();
    for bin in 0..16 {
        let (name, prefix) = (format!("bin{bin}"), format!("{bin:x}"));
        let prefixes = if bin == 7 { vec![prefix.to_uppercase()] } else { vec![prefix] };
        repo.delegate_paths("targets", &name, Paths::HashPrefixes(prefixes), true);
    }
    // SHA-256 of "model" begins with 9.
    repo.add_target("bin9", "model", b"x");
    repo.add_target("bin8", "other", b"x");
    repo.publish_root();
    repo.publish();
    let mut device = Device::new(&repo);
    assert_eq!(device.find(&repo, "model").unwrap().target.unwrap().role, "bin9");
    assert_eq!(device.asked, ["1.bin9.json"]);
    assert_eq!(device.find(&repo, "other").unwrap().target, None);
}

#[test]
fn names_of_roles_lead_nowhere_else() {
    for name in ["?", "#", "/role", "../role", "..", "a b", "é"] {
        let mut repo = graph(&[("targets", "A", "*", false)]);
        repo.delegate("targets", name, &["*"], false);
        repo.publish();
        let mut device = Device::new(&repo);
        device.find(&repo, "missing").unwrap();
        let asked = &device.asked[1];
        assert!(device.stored.contains_key(&asked[2..]), "{asked}");
        assert!(asked.bytes().all(|b| b.is_ascii_alphanumeric() || b".%-_~".contains(&b)));
    }
}

#[test]
fn what_a_delegator_did_not_say_is_refused_and_ends_the_search() {
    let fresh = || {
        let mut repo = graph(&[("targets", "A", "*", false), ("targets", "B", "*", false)]);
        repo.add_target("B", "x", b"x");
        repo
    };
    // Signed by somebody else.
    let mut repo = fresh();
    repo.signers.insert("A".into(), vec![new_key(KeyKind::Ed25519)]);
    repo.publish();
    assert_eq!(said(Device::new(&repo).find(&repo, "x")), ("A".to_owned(), "5.6.3"));
    // Expired.
    let mut repo = fresh();
    repo.role_mut("A").common.expires_s = 0;
    repo.publish();
    assert_eq!(said(Device::new(&repo).find(&repo, "x")), ("A".to_owned(), "5.6.5"));
    // Gone.
    let mut repo = fresh();
    repo.publish();
    repo.files.remove("1.A.json");
    assert_eq!(said(Device::new(&repo).find(&repo, "x")), ("A".to_owned(), "5.6.7"));
    // Not in the snapshot.
    let mut repo = fresh();
    repo.delegated.remove("A");
    repo.publish();
    let error = Device::new(&repo).find(&repo, "x").unwrap_err();
    assert_eq!(error.problem, Problem::NotInSnapshot);
}

/// A role that was read with one delegator's keys is read again with those of another.
#[test]
fn stored_metadata_is_verified_by_who_delegates_now() {
    let mut repo = graph(&[("targets", "A", "*", false)]);
    repo.add_target("A", "x", b"x");
    repo.publish();
    let mut device = Device::new(&repo);
    assert!(device.find(&repo, "x").unwrap().target.is_some());
    // The delegation now names another key; the file and its version stay.
    repo.bump_targets();
    let delegations = repo.targets.delegations.as_mut().unwrap();
    let other = new_key(KeyKind::EcdsaP256);
    let key = edgeformer_proto::tuf::Signer::key(&other).clone();
    delegations.roles[0].keys.key_ids = vec![key.id().clone()];
    delegations.keys.insert(key.id().clone(), key);
    repo.publish();
    assert_eq!(said(device.find(&repo, "x")), ("A".to_owned(), "5.6.3"));
    repo.signers.insert("A".into(), vec![other]);
    repo.delegated.get_mut("A").unwrap().common.version = 2;
    repo.publish();
    assert!(device.find(&repo, "x").unwrap().target.is_some());
}

#[test]
fn a_search_visits_so_many_roles_at_most() {
    let mut repo = Repo::unpublished();
    let mut above = "targets".to_owned();
    for at in 0..40 {
        let name = format!("r{at}");
        repo.delegate(&above, &name, &["*"], false);
        above = name;
    }
    repo.publish_root();
    repo.publish();
    let mut device = Device::new(&repo);
    let error = device.find(&repo, "x").unwrap_err();
    assert!(matches!(error.problem, Problem::SearchTooLong { visited: 33, .. }), "{error}");
    assert_eq!(device.asked.len(), 32);
}
