//! A bundle by hand: what a verifier counts, and what it does not take.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::audit::bundle::{Header, Line, Opening, Verified, Verifier};
use edgeformer_proto::audit::checkpoint::Checkpoint;
use edgeformer_proto::audit::merkle::{Tree, leaf_hash};
use edgeformer_proto::audit::note::{KeyKind, SignerKey};
use edgeformer_proto::audit::opening::commit;
use serde_json::json;

/// Verifies a log of one record that commits to three values, of which `openings` show some.
fn verify(openings: &[&[&str]]) -> Verified {
    let key = SignerKey::from_seed("a/log", KeyKind::Note, &[7; 32]).unwrap();
    let hash = |field: &str| json!({"hash": commit(None, field, "x")});
    let sealed = json!({"a": hash("a"), "b": hash("b"), "c": hash("c")});
    let record = json!({"at": "2026-07-01T00:00:00Z", "sealed": sealed}).to_string();
    let leaf = leaf_hash(record.as_bytes());
    let mut tree = Tree::default();
    tree.append(leaf);
    let checkpoint = Checkpoint { origin: "a/log".into(), size: 1, root: tree.root() };
    let header = Header {
        format: "edgeformer-audit-bundle/1".into(),
        checkpoint: checkpoint.sign(&key),
        from: 0,
        to: 1,
        left: Vec::new(),
        right: Vec::new(),
    };
    let shown = |fields: &&[&str]| {
        let values: BTreeMap<String, String> =
            fields.iter().map(|field| ((*field).to_owned(), "x".to_owned())).collect();
        Opening { subject: String::new(), salt: None, values }
    };
    let openings = openings.iter().map(shown).collect();
    let line = Line { sequence: 0, record, leaf: BASE64.encode(leaf), openings };
    let header = serde_json::to_string(&header).unwrap();
    let mut verifier = Verifier::new(&header, key.verifier(), &[], Vec::new()).unwrap();
    verifier.record(&serde_json::to_string(&line).unwrap()).unwrap();
    verifier.finish().unwrap()
}

#[test]
fn what_is_shown_twice_hides_nothing_that_is_withheld() {
    let counted = |openings: &[&[&str]]| {
        let Verified { opened, withheld, .. } = verify(openings);
        (opened, withheld)
    };
    assert_eq!(counted(&[&["a", "b", "c"]]), (3, 0));
    assert_eq!(counted(&[&["a"]]), (1, 2));
    assert_eq!(counted(&[&["a"], &["a"], &["a"]]), (1, 2));
}
