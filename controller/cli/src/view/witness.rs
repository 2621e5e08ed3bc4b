//! Witnesses of the audit log.

use super::human::{NONE, relative};
use super::{Style, fields, table};
use crate::client::types::AuditWitness;

fn cosigned(witness: &AuditWitness) -> String {
    match witness.cosigned_at {
        None => NONE.to_owned(),
        Some(_) => format!("{} records", witness.cosigned_size),
    }
}

pub fn list(all: &[AuditWitness], style: Style) -> String {
    if all.is_empty() {
        return "No witness cosigns this log: only checkpoints that you keep yourself show whether it \
                was rewritten.\nAdd one with `edgeformer audit witness add URL --key KEY`."
            .into();
    }
    let row = |witness: &AuditWitness| {
        let at = witness.cosigned_at.as_deref();
        let at = at.map_or_else(|| NONE.to_owned(), |at| relative(at, style.now));
        let state = match witness.last_error.as_str() {
            "" => witness.state.clone(),
            error => format!("{}: {error}", witness.state),
        };
        [
            witness.name.clone(),
            cosigned(witness),
            at,
            state,
            witness.url.clone(),
            witness.id.clone(),
        ]
    };
    table(style, ["WITNESS", ">COSIGNED", "AT", "STATE", "ADDRESS", "ID"], all.iter().map(row))
}

pub fn one(witness: &AuditWitness) -> String {
    fields(&[
        ("Witness", witness.name.clone()),
        ("Address", witness.url.clone()),
        ("Key", witness.key.clone()),
        ("State", witness.state.clone()),
        ("Cosigned", cosigned(witness)),
        ("Id", witness.id.clone()),
    ])
}

/// Asks for consent to its removal.
pub fn removal(witness: &AuditWitness) -> String {
    format!(
        "{} will not be asked to cosign this log any longer.\n\
         What it cosigned stays; what comes after it does not vouch for.",
        witness.name
    )
}
