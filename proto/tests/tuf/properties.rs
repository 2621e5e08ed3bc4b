//! What holds for any metadata: writing and reading are inverse, signatures hold over what was
//! written whatever else is in it, and no bytes make a reader panic.

use edgeformer_proto::tuf::{
    Json, Key, KeyKind, Root, Signed, Signer, Snapshot, TargetFile, Targets, Timestamp, TopLevel,
    format_time, parse_time,
};
use proptest::prelude::*;

use crate::repo::{MAX_BYTES, NOW_S, Repo, new_key};

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(Json::Int),
        ".{0,20}".prop_map(Json::Text),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::List),
            prop::collection::btree_map(".{0,8}", inner, 0..6).prop_map(Json::Object),
        ]
    })
}

proptest! {
    #[test]
    fn json_reads_back_and_its_canonical_form_is_its_own(value in json(), other in json()) {
        let read = Json::parse(&value.to_file(), MAX_BYTES).unwrap();
        prop_assert_eq!(read.canonical(), value.canonical());
        prop_assert_eq!(value == other, value.canonical() == other.canonical());
        prop_assert_eq!(read, value);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Signed::<Root>::parse(&bytes, MAX_BYTES);
        let _ = Signed::<Targets>::parse(&bytes, MAX_BYTES);
        let _ = Key::from_bytes(&bytes);
    }

    #[test]
    fn no_json_makes_a_reader_panic(value in json()) {
        let file = Json::Object([("signed".to_owned(), value.clone()),
            ("signatures".to_owned(), Json::List(vec![]))].into()).to_file();
        prop_assert!(Signed::<Root>::parse(&file, MAX_BYTES).is_err());
        prop_assert!(Signed::<Targets>::parse(&file, MAX_BYTES).is_err());
        prop_assert!(Signed::<Snapshot>::parse(&file, MAX_BYTES).is_err());
        prop_assert!(Signed::<Timestamp>::parse(&file, MAX_BYTES).is_err());
        let _ = Key::from_bytes(&value.to_file());
    }

    #[test]
    fn times_read_back(time_s in 0i64..253_402_300_800) {
        prop_assert_eq!(parse_time(&format_time(time_s)), Some(time_s));
    }

    #[test]
    fn texts_that_are_no_time_do_not_panic(text in ".{0,24}") {
        let _ = parse_time(&text);
    }

    #[test]
    fn targets_read_back_as_written(
        paths in prop::collection::btree_map(".{1,30}", (any::<u32>(), any::<[u8; 32]>()), 0..8),
        custom in json(),
    ) {
        let mut targets = Targets::new(NOW_S);
        for (path, (length, hash)) in paths {
            let mut file = TargetFile::new(u64::from(length), hash);
            file.custom = Some([("x".to_owned(), custom.clone())].into());
            targets.targets.insert(path, file);
        }
        targets.common.other.insert("x-other".to_owned(), custom);
        let signed = Signed::new(targets.clone());
        let read = Signed::<Targets>::parse(&signed.to_file(), MAX_BYTES).unwrap();
        prop_assert_eq!(read.canonical(), signed.canonical());
        prop_assert_eq!(read.into_role(), targets);
    }
}

/// Fields that nobody asked for are part of what is signed.
#[test]
fn unknown_fields_are_signed_and_survive_an_edit() {
    let mut repo = Repo::unpublished();
    let field = || ("x-field".to_owned(), Json::text("a"));
    repo.root.common.other.extend([field()]);
    let file = repo.sign("root", &repo.root);
    let signed = Signed::<Root>::parse(&file, MAX_BYTES).unwrap();
    let (keys, by) = (signed.role().keys(), signed.role().role(TopLevel::Root));
    signed.verify(keys, by, "itself").unwrap();
    let next = edgeformer_proto::tuf::Role::next(signed.role(), NOW_S);
    assert_eq!(next.common.other.get("x-field"), Some(&Json::text("a")));
    let altered =
        String::from_utf8(file).unwrap().replace("\"x-field\": \"a\"", "\"x-field\": \"b\"");
    let altered = Signed::<Root>::parse(altered.as_bytes(), MAX_BYTES).unwrap();
    assert!(altered.verify(keys, by, "itself").is_err());
}

/// Key holders sign copies of one file, and their signatures come together in it.
#[test]
fn signatures_made_elsewhere_come_together() {
    let mut root = Root::new(NOW_S);
    let keys: Vec<_> = (0..3).map(|_| new_key(KeyKind::Ed25519)).collect();
    keys.iter().for_each(|key| assert!(root.add_key(TopLevel::Root, key.key())));
    root.set_threshold(TopLevel::Root, 2);
    let mut file = Signed::new(root.clone());
    let mut copies: Vec<_> = keys.iter().map(|_| file.clone()).collect();
    for (copy, key) in copies.iter_mut().zip(&keys) {
        copy.sign(key).unwrap();
        assert!(copy.verify(root.keys(), root.role(TopLevel::Root), "").is_err());
    }
    assert_eq!(file.merge(&copies[0], root.keys()).unwrap(), [keys[0].key().id().clone()]);
    assert_eq!(file.merge(&copies[0], root.keys()).unwrap(), []);
    assert_eq!(file.merge(&copies[2], root.keys()).unwrap(), [keys[2].key().id().clone()]);
    file.verify(root.keys(), root.role(TopLevel::Root), "").unwrap();
    let found = file.signatures(root.keys(), root.role(TopLevel::Root));
    assert_eq!(found.open, [keys[1].key().id().clone()]);
    // Other content, and a signature of something else.
    let mut other = root.clone();
    other.common.version = 2;
    let mut other = Signed::new(other);
    other.sign(&keys[1]).unwrap();
    assert_eq!(file.merge(&other, root.keys()), None);
    let signature = other.signature_of(keys[1].key().id()).unwrap().to_vec();
    assert!(!file.add_signature(keys[1].key(), &signature));
}
