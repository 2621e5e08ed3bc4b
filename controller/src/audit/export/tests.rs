use edgeformer_proto::ids::UserId;

use super::*;
use crate::audit::record::Draft;
use crate::audit::{Intent, Resource};
use crate::clock::{ClockQuality, Timestamp};
use crate::policy::{Action, AuthMethod, Authentication, Principal, Role, Subject as Of};
use crate::scope::{Context, Origin};

fn log() -> Log {
    Log { trust_domain: "fleet.test".into(), tenant: "t1".into() }
}

/// A refused action of a person with awkward words, its values beside it.
fn event(name: &str, source: &str) -> Event {
    let principal = Principal {
        subject: Of::User(UserId::from_bytes([1; 16])),
        name: name.to_owned(),
        roles: [Role::Operator].into(),
        groups: Default::default(),
        tenant: None,
        authentication: Authentication {
            method: AuthMethod::PasswordTotp,
            at: Timestamp(1_700_000_000_000_000),
            session: None,
            token: None,
            assurance: Default::default(),
        },
        scopes: None,
    };
    let origin = Origin {
        request_id: "r1".into(),
        source: source.into(),
        justification: Some("because\n=|]\"\\".into()),
        ..Origin::default()
    };
    let context = Context::principal(&principal, "p".into(), origin);
    let resource = Resource::new("device", "d|1=\\]").named("a \"quoted\" name");
    let intent = Intent::new(Action::DeviceRevoke, resource).because("refused | = ] \" \\ \n by x");
    let now = Timestamp(1_700_000_000_000_001);
    let draft = Draft::of(&context, intent, Outcome::Denied, now, ClockQuality::Unknown);
    let salts = draft.subjects().map(|subject| (subject.clone(), [9; 32])).collect();
    let (mut record, beside) = draft.seal(&salts);
    record.id = edgeformer_proto::ids::AuditId::from_bytes([7; 16]);
    Event::new(Some(41), record, beside)
}

const ID: &str = "07070707-0707-0707-0707-070707070707";

#[test]
fn a_cef_line_escapes_what_would_end_a_field() {
    let line = cef::line(&event("Eve|=\\\nAda", "192.0.2.7:4711"), &log());
    assert_eq!(line.lines().count(), 1);
    assert!(line.starts_with("CEF:0|EdgeFormer|Fleet|"), "{line}");
    assert!(line.contains("|device:revoke|device:revoke of device|6|rt=1700000000000 "), "{line}");
    for part in [
        &format!("externalId={ID}"),
        "suser=Eve|\\=\\\\\\nAda",
        "cs2=device/d|1\\=\\\\]",
        "reason=refused | \\= ] \" \\\\ \\n by x",
        "src=192.0.2.7 spt=4711",
        "outcome=denied",
        "cn1Label=sequence cn1=41",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let v6 = cef::line(&event("a", "[2001:db8::1]:1"), &log());
    assert!(v6.contains("c6a2=2001:db8::1 spt=1"), "{v6}");
}

#[test]
fn a_syslog_message_has_the_shape_of_rfc_5424() {
    let message = syslog::message(&event("Eve\"]\\", "192.0.2.7:4711"), &log());
    // Facility 13, severity warning.
    assert!(
        message.starts_with(
            "<108>1 2023-11-14T22:13:20.000001Z fleet.test edgeformer-fleet - device:revoke \
             [audit@32473 id=\""
        ),
        "{message}"
    );
    assert!(message.contains(" actor=\"Eve\\\"\\]\\\\\""), "{message}");
    assert!(message.contains(" resourceId=\"d|1=\\\\\\]\""), "{message}");
    assert!(message.contains("] \u{feff}device:revoke was refused on device"), "{message}");
    assert_eq!(message.lines().count(), 1);
    let long = syslog::message(&event(&"ü".repeat(5000), "x"), &log());
    assert!(long.len() <= 8192);
    assert_eq!(syslog::frame("abc"), "3 abc");
    assert_eq!(syslog::frame("ü"), "2 ü", "bytes, not characters");
}

#[test]
fn an_erased_person_is_named_by_id_and_never_by_name() {
    let whole = event("Ada", "192.0.2.7:4711");
    let erased = Event::new(Some(41), whole.record.clone(), Vec::new());
    let id = &whole.record.actor.id;
    let texts = [
        ocsf::event(&erased, &log()).to_string(),
        cef::line(&erased, &log()),
        syslog::message(&erased, &log()),
    ];
    for text in texts {
        assert!(!text.contains("Ada") && !text.contains("192.0.2.7"), "{text}");
        assert!(text.contains(id.as_str()), "{text}");
    }
    assert_eq!(erased.erased(), ["actor.name", "justification", "source"]);
    assert_eq!(whole.erased(), Vec::<String>::new());
}
