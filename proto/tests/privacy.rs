//! The declaration of what leaves a device against the schema of what can, and against the document.

use std::collections::BTreeSet;

use edgeformer_proto::privacy::{DECLARED, Place, markdown};
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};

const REWRITE: &str = "EDGEFORMER_REWRITE_PRIVACY";
const BEGIN: &str = "<!-- generated from proto/src/privacy.rs -->\n";
const END: &str = "<!-- end of what is generated -->";

fn collect(message: &MessageDescriptor, into: &mut BTreeSet<String>) {
    for field in message.fields() {
        match field.kind() {
            Kind::Message(inner) if !field.is_map() => collect(&inner, into),
            _ => {
                into.insert(format!("{}.{}", message.name(), field.name()));
            }
        }
    }
}

#[test]
fn every_field_that_an_agent_can_send_is_declared_and_nothing_else_is() {
    let files = ["common", "enrolment", "session", "artifacts"]
        .map(|name| format!("fleet/v1/{name}.proto"));
    let set = protox::compile(files, ["."]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(set).unwrap();
    let mut sendable = BTreeSet::new();
    for service in pool.services() {
        for method in service.methods() {
            collect(&method.input(), &mut sendable);
        }
    }
    let declared: BTreeSet<String> = DECLARED
        .iter()
        .filter(|item| item.place == Place::Field)
        .map(|item| item.name.to_owned())
        .collect();
    let missing: Vec<_> = sendable.difference(&declared).collect();
    assert!(missing.is_empty(), "declare in proto/src/privacy.rs: {missing:?}");
    let gone: Vec<_> = declared.difference(&sendable).collect();
    assert!(gone.is_empty(), "declared, but no message has it: {gone:?}");
}

#[test]
fn the_document_shows_the_declaration() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/privacy.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the marker of the generated part");
    let (shown, after) = rest.split_once(END).expect("the end marker of the generated part");
    let now = markdown();
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{now}{END}{after}")).unwrap();
    } else {
        assert!(shown == now, "docs/privacy.md is old: run this test with {REWRITE}=1");
    }
}
