//! The witnesses that a log has. What they sign is asked for by `audit::witnessing`.

use edgeformer_proto::audit::note::{KeyKind, VerifierKey};
use edgeformer_proto::ids::WitnessId;
use serde_json::{Value, json};

use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::outbound::parse_url;
use crate::policy::Action;
use crate::scope::Scope;
use crate::store::audit_witnesses::{self, Witness, WitnessState};

/// Most witnesses of a log: each is asked about every checkpoint, and a quorum needs few.
pub const MAX_WITNESSES: usize = 8;

/// A submission prefix.
fn url(text: &str) -> Result<String, AppError> {
    let url = parse_url(text).map_err(|error| AppError::invalid("url", error.to_string()))?;
    if url.query().is_some() {
        return Err(AppError::invalid("url", "it must not carry a query (?…)"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn shown(witness: &Witness) -> Value {
    json!({"url": witness.url, "key": witness.key.to_string()})
}

fn resource(witness: &Witness) -> Resource {
    Resource::new("audit_witness", witness.id).named(witness.key.name())
}

/// Adds a witness; it is asked from the next checkpoint on.
pub async fn create<S: Scope>(
    app: &App,
    scope: &S,
    address: &str,
    key: &str,
) -> Result<Witness, AppError> {
    let now = app.now();
    let key: VerifierKey =
        key.parse().map_err(|error| AppError::invalid("key", format!("{error}")))?;
    if key.kind() != KeyKind::Cosignature {
        let message = "it is the key of a log: a witness's signs cosignatures (type 4)";
        return Err(AppError::invalid("key", message));
    }
    let witness = Witness {
        id: WitnessId::new(),
        key,
        url: url(address)?,
        state: WitnessState::Waiting,
        held_size: 0,
        cosigned_at: None,
        last_error: String::new(),
        failures: 0,
        next_try_at: now,
        created_at: now,
    };
    let intent = Intent::new(Action::AuditWitnessCreate, resource(&witness))
        .changes(json!(null), shown(&witness));
    let mut write = app.store.write(scope, intent).await?;
    let others = audit_witnesses::list(&mut write).await?;
    if others.len() >= MAX_WITNESSES {
        let what = format!("the log has {MAX_WITNESSES} witnesses: remove one first");
        return Err(AppError::conflict("too_many_witnesses", what));
    }
    if others.iter().any(|other| other.key.name() == witness.key.name()) {
        let what = format!("a witness named {:?} is there: remove it first", witness.key.name());
        return Err(AppError::conflict("name_taken", what));
    }
    audit_witnesses::insert(&mut write, &witness).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    app.nudges.witnesses.notify_one();
    Ok(witness)
}

/// The witnesses of the log.
pub async fn list<S: Scope>(app: &App, scope: &S) -> Result<Vec<Witness>, AppError> {
    Ok(audit_witnesses::list(&mut *app.store.read(scope).await?).await?)
}

/// One of them.
pub async fn get<S: Scope>(app: &App, scope: &S, id: WitnessId) -> Result<Witness, AppError> {
    let found = audit_witnesses::get(&mut *app.store.read(scope).await?, id).await?;
    found.ok_or_else(|| AppError::not_found("audit witness", id))
}

/// Changes where a witness is asked.
pub async fn update<S: Scope>(
    app: &App,
    scope: &S,
    id: WitnessId,
    address: &str,
) -> Result<Witness, AppError> {
    let now = app.now();
    let url = url(address)?;
    let intent = Intent::new(Action::AuditWitnessUpdate, Resource::new("audit_witness", id));
    let mut write = app.store.write(scope, intent).await?;
    let found = audit_witnesses::get(&mut write, id).await?;
    let before = found.ok_or_else(|| AppError::not_found("audit witness", id))?;
    let witness = Witness { url, failures: 0, next_try_at: now, ..before.clone() };
    write.resource(resource(&witness));
    write.changes(shown(&before), shown(&witness));
    audit_witnesses::update(&mut write, &witness).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    app.nudges.witnesses.notify_one();
    Ok(witness)
}

/// Asks a witness no longer. What it signed stays.
pub async fn delete<S: Scope>(app: &App, scope: &S, id: WitnessId) -> Result<(), AppError> {
    let now = app.now();
    let intent = Intent::new(Action::AuditWitnessDelete, Resource::new("audit_witness", id));
    let mut write = app.store.write(scope, intent).await?;
    let found = audit_witnesses::get(&mut write, id).await?;
    let witness = found.ok_or_else(|| AppError::not_found("audit witness", id))?;
    write.resource(resource(&witness));
    write.changes(shown(&witness), json!(null));
    audit_witnesses::delete(&mut write, id).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}
