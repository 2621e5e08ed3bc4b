//! Devices that come in without a token.

use super::human::{NONE, labels, relative};
use super::{Style, fields, table};
use crate::client::types::{ClaimCa, EnrolmentDoor, EnrolmentRequest};

pub fn door(door: &EnrolmentDoor) -> String {
    match &door.enrolment_id {
        None => "Devices without a token cannot ask.".to_owned(),
        Some(id) => format!(
            "Devices may ask under {id}. On a device:\n  \
             edgeformer-agent enroll --controller URL --ca ca.pem --state-dir DIR --request \\\n    \
             --enrolment-id {id}\n\
             See who asks with `edgeformer enrolment requests`."
        ),
    }
}

pub fn requests(requests: &[EnrolmentRequest], style: Style) -> String {
    if requests.is_empty() {
        return "No device asks.\nLet devices ask with `edgeformer enrolment open`.".into();
    }
    let row = |r: &EnrolmentRequest| {
        let name = if r.given_name.is_empty() { &r.name } else { &r.given_name };
        [
            r.id.clone(),
            r.state.clone(),
            r.fingerprint.clone(),
            if name.is_empty() { NONE.to_owned() } else { name.clone() },
            r.address.clone(),
            relative(&r.created_at, style.now),
        ]
    };
    let head = ["ID", "STATE", "KEY", "NAME", "FROM", "SINCE"];
    table(style, head, requests.iter().map(row))
}

/// Whom an approval lets in, before it does.
pub fn approval(request: &EnrolmentRequest) -> String {
    format!(
        "{}\n\n\
         Name, labels and address are what it says of itself. Compare the key with what the device\n\
         shows: whoever has that key is let in.",
        fields(&[
            ("Key", request.fingerprint.clone()),
            ("Says its name is", request.name.clone()),
            ("Says its labels are", labels(&request.labels)),
            ("From", request.address.clone()),
        ])
    )
}

pub fn claim_cas(all: &[ClaimCa], style: Style) -> String {
    if all.is_empty() {
        return "No manufacturer's certificates let devices in.\n\
                Add one with `edgeformer claim-ca add NAME FILE`."
            .into();
    }
    let row = |ca: &ClaimCa| {
        [
            ca.name.clone(),
            ca.uses.to_string(),
            match ca.names.is_empty() {
                true => "any".to_owned(),
                false => ca.names.join(", "),
            },
            ca.revoked.len().to_string(),
            labels(&ca.labels),
            relative(&ca.created_at, style.now),
        ]
    };
    let head = ["NAME", ">DEVICES", "NAMES", ">REVOKED", "LABELS", "ADDED"];
    table(style, head, all.iter().map(row))
}

pub fn claim_ca(ca: &ClaimCa) -> String {
    fields(&[
        ("Name", ca.name.clone()),
        ("Id", ca.id.clone()),
        ("Certificate", ca.certificate_sha256.clone()),
        ("Lets in", if ca.names.is_empty() { "any name".to_owned() } else { ca.names.join(", ") }),
        ("Labels", labels(&ca.labels)),
    ])
}
