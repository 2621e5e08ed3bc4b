//! Asks witnesses to cosign what the log signed (C2SP tlog-witness). Beside the sequencer and never in its
//! way: a witness that does not answer is asked again later, with growing pauses, and holds up nothing.
//! A witness that holds another history of a log is the one thing that neither the operator nor whoever
//! has the database can do away with, so it becomes a security event in the log itself.

use std::time::Duration;

use bytes::Bytes;
use edgeformer_proto::audit::note::VerifierKey;
use edgeformer_proto::audit::proof;
use edgeformer_proto::audit::witness::{
    ADD_CHECKPOINT, AddCheckpoint, MAX_ANSWER_BYTES, cosignature, number,
};
use futures::{StreamExt, stream};
use http::{Method, StatusCode};

use super::{Intent, Outcome, Resource, tree};
use crate::app::App;
use crate::clock::Timestamp;
use crate::outbound::Ask;
use crate::policy::Action;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::store::audit_witnesses::{self, Witness, WitnessState};
use crate::store::{StoreError, audit_tree, tenants};

/// How often witnesses that failed are looked at without a nudge.
const INTERVAL: Duration = Duration::from_secs(15);
/// A busy log is cosigned this often and not with every batch of its sequencer.
const PAUSE: Duration = Duration::from_secs(1);
/// Logs whose witnesses are asked at a time: one tenant's slow witness takes one of these.
const LOGS_AT_A_TIME: usize = 16;
/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;
/// First pause after a failure; doubled with each one, and then a random part of it.
const FIRST_PAUSE: Duration = Duration::from_secs(4);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Longest explanation kept, in characters.
const MAX_ERROR_CHARS: usize = 300;
const COMPONENT: &str = "audit-witnessing";

/// Runs until cancelled.
pub async fn run(app: App) {
    loop {
        if let Err(error) = ask_all(&app).await {
            tracing::error!(%error, "witnesses are not being asked; trying again");
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = app.nudges.witnesses.notified() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Asks every witness that is due, of every log. Returns how many cosigned.
pub async fn ask_all(app: &App) -> Result<u64, StoreError> {
    let top = InstallationScope::system(COMPONENT);
    let mut cosigned = ask_log(app, &top).await?;
    let mut after = None;
    loop {
        let mut read = app.store.read(&top).await?;
        let page = tenants::list(&mut read, after, TENANTS_PER_PAGE).await?;
        drop(read);
        let Some(last) = page.last() else { return Ok(cosigned) };
        after = Some(last.id);
        let scopes: Vec<TenantScope> = page
            .iter()
            .filter(|tenant| !tenant.standing.lifecycle.is_purging())
            .map(|tenant| TenantScope::system(tenant.id, COMPONENT))
            .collect();
        let asked = stream::iter(scopes)
            .map(|scope| async move { (ask_log(app, &scope).await, scope) })
            .buffer_unordered(LOGS_AT_A_TIME)
            .collect::<Vec<_>>();
        for (result, scope) in asked.await {
            match result {
                Ok(count) => cosigned += count,
                // One tenant's damaged row must not keep the others' logs from being cosigned.
                Err(error) => {
                    tracing::error!(%error, tenant = scope.key(), "a log is not being cosigned");
                }
            }
        }
    }
}

/// Asks the witnesses of one log that are due.
async fn ask_log<S: Scope>(app: &App, scope: &S) -> Result<u64, StoreError> {
    let now = app.now();
    let mut read = app.store.read(scope).await?;
    let witnesses = audit_witnesses::list(&mut read).await?;
    if witnesses.is_empty() {
        return Ok(0);
    }
    let checkpoint = audit_tree::checkpoint(&mut read).await?;
    drop(read);
    let Some((size, note)) = checkpoint else { return Ok(0) };
    let due = witnesses.into_iter().filter(|witness| {
        let cosigned = witness.state == WitnessState::Cosigned && witness.held_size == size;
        witness.next_try_at <= now && !cosigned
    });
    let asks = due.map(|witness| ask(app, scope, witness, size, &note));
    let mut cosigned = 0;
    for outcome in futures::future::join_all(asks).await {
        cosigned += u64::from(outcome?);
    }
    Ok(cosigned)
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// The signature line.
    Cosigned(String),
    /// It holds this many records: ask again from there.
    Behind(u64),
    /// It holds another history.
    Contradicted(String),
    /// It answers, and not with a cosignature.
    Refused(String),
    /// It does not answer.
    Unreachable(String),
}

async fn ask<S: Scope>(
    app: &App,
    scope: &S,
    witness: Witness,
    size: u64,
    note: &str,
) -> Result<bool, StoreError> {
    let mut old = witness.held_size.min(size);
    let mut asked = ask_from(app, scope, &witness, old, size, note).await?;
    if let Asked::Behind(held) = asked {
        old = held;
        asked = ask_from(app, scope, &witness, old, size, note).await?;
    }
    if let Asked::Behind(held) = asked {
        let what =
            format!("it said {old} and then {held} records: is it asked for two logs at once?");
        asked = Asked::Refused(what);
    }
    settle(app, scope, witness, size, asked).await
}

async fn ask_from<S: Scope>(
    app: &App,
    scope: &S,
    witness: &Witness,
    old: u64,
    size: u64,
    note: &str,
) -> Result<Asked, StoreError> {
    let plan = match old == 0 || old == size {
        true => proof::Plan::new(),
        false => proof::consistency(old, size).unwrap_or_default(),
    };
    let proof = tree::hashes(&mut *app.store.read(scope).await?, &plan).await?;
    let body = AddCheckpoint { old, proof, note: note.to_owned() }.render();
    let url = format!("{}/{ADD_CHECKPOINT}", witness.url.trim_end_matches('/'));
    let ask = Ask::new(Method::POST, &url, MAX_ANSWER_BYTES);
    let answer = match ask {
        Ok(ask) => app.outbound.send(ask.body(body)).await,
        Err(error) => Err(error),
    };
    Ok(match answer {
        Ok(answer) => understand(answer.status, &answer.body, old, size, note, &witness.key),
        Err(error) => Asked::Unreachable(error.to_string()),
    })
}

/// What an answer to `old` → `size` means.
fn understand(
    status: StatusCode,
    body: &Bytes,
    old: u64,
    size: u64,
    note: &str,
    key: &VerifierKey,
) -> Asked {
    let text = std::str::from_utf8(body).unwrap_or_default();
    match status.as_u16() {
        200 => match cosignature(note, text, key) {
            Ok((line, _)) => Asked::Cosigned(line),
            Err(error) => Asked::Refused(format!("its answer is no cosignature of it: {error}")),
        },
        409 => match text.strip_suffix('\n').and_then(number) {
            Some(held) if held > size => Asked::Contradicted(format!(
                "it cosigned {held} records of this log, which has {size} now: records were taken away"
            )),
            Some(held) if held == old => Asked::Contradicted(format!(
                "it cosigned another root of this log at {held} records: the log was rewritten"
            )),
            Some(held) => Asked::Behind(held),
            None => Asked::Refused("it answers 409 without the size that it holds".to_owned()),
        },
        422 => Asked::Contradicted(format!(
            "the log does not grow from the {old} records that it cosigned: the log was rewritten"
        )),
        404 => Asked::Refused("it does not know this log: give it the log's key".to_owned()),
        403 => Asked::Refused("it knows this log by another key".to_owned()),
        other => Asked::Refused(format!("it answers {other}")),
    }
}

/// How it stands with a witness after it was asked.
fn after(witness: &Witness, size: u64, asked: &Asked, now: Timestamp, chance: f64) -> Witness {
    let (state, error) = match asked {
        Asked::Cosigned(_) => {
            return Witness {
                state: WitnessState::Cosigned,
                held_size: size,
                cosigned_at: Some(now),
                last_error: String::new(),
                failures: 0,
                next_try_at: now,
                ..witness.clone()
            };
        }
        Asked::Contradicted(why) => (WitnessState::Contradicted, why.clone()),
        Asked::Refused(why) => (WitnessState::Refused, why.clone()),
        Asked::Unreachable(why) => (WitnessState::Unreachable, why.clone()),
        Asked::Behind(held) => (WitnessState::Refused, format!("it holds {held} records")),
    };
    let pause = FIRST_PAUSE * 2_u32.pow(witness.failures.min(16));
    Witness {
        state,
        last_error: error.chars().take(MAX_ERROR_CHARS).collect(),
        failures: witness.failures.saturating_add(1),
        // Full jitter: those who failed together do not come back together.
        next_try_at: now.plus(pause.min(LONGEST_PAUSE).mul_f64(chance)),
        ..witness.clone()
    }
}

async fn settle<S: Scope>(
    app: &App,
    scope: &S,
    witness: Witness,
    size: u64,
    asked: Asked,
) -> Result<bool, StoreError> {
    let now = app.now();
    let next = after(&witness, size, &asked, now, rand::random());
    // An event first: it is better recorded twice than not at all.
    if let Asked::Contradicted(why) = &asked
        && (witness.state, &witness.last_error) != (next.state, &next.last_error)
    {
        record_contradiction(app, scope, &witness, why).await?;
    }
    let mut write = app.store.write_observation(scope).await?;
    // What an operator changed meanwhile stays changed; the state is about what was asked.
    let Some(current) = audit_witnesses::get(&mut write, witness.id).await? else {
        return Ok(false);
    };
    if let Asked::Cosigned(line) = &asked {
        audit_witnesses::keep(&mut write, size, &witness.key, line, now).await?;
    } else {
        tracing::warn!(
            witness = witness.key.name(),
            log = scope.key(),
            error = next.last_error,
            "a witness does not cosign"
        );
    }
    audit_witnesses::update(&mut write, &Witness { url: current.url, ..next }).await?;
    write.commit(now).await?;
    Ok(matches!(asked, Asked::Cosigned(_)))
}

/// In the log itself, and in the installation's: whoever operates it has to know.
async fn record_contradiction<S: Scope>(
    app: &App,
    scope: &S,
    witness: &Witness,
    why: &str,
) -> Result<(), StoreError> {
    let log = scope.key();
    tracing::error!(witness = witness.key.name(), log, why, "a witness contradicts the audit log");
    let resource = || Resource::new("audit_witness", witness.id).named(witness.key.name());
    let intent = Intent::new(Action::AuditWitnessContradict, resource()).because(why);
    app.store.record(scope, intent, Outcome::Failure, app.now()).await?;
    if !log.is_empty() {
        let intent = Intent::new(Action::AuditWitnessContradict, resource())
            .because(format!("of the log of tenant {log}: {why}"));
        let top = InstallationScope::system(COMPONENT);
        app.store.record(&top, intent, Outcome::Failure, app.now()).await?;
    }
    app.nudges.audit.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use edgeformer_proto::audit::checkpoint::Checkpoint;
    use edgeformer_proto::audit::note::{KeyKind, SignerKey};
    use edgeformer_proto::ids::WitnessId;

    use super::*;

    fn witness() -> (SignerKey, Witness) {
        let key = SignerKey::from_seed("w", KeyKind::Cosignature, &[7; 32]).unwrap();
        let witness = Witness {
            id: WitnessId::new(),
            key: key.verifier().clone(),
            url: "https://w.example".to_owned(),
            state: WitnessState::Waiting,
            held_size: 5,
            cosigned_at: None,
            last_error: String::new(),
            failures: 0,
            next_try_at: Timestamp(0),
            created_at: Timestamp(0),
        };
        (key, witness)
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let (signer, witness) = witness();
        let log = SignerKey::from_seed("a/log", KeyKind::Note, &[1; 32]).unwrap();
        let checkpoint = Checkpoint { origin: "a/log".into(), size: 9, root: [3; 32] };
        let note = checkpoint.sign(&log);
        let line = signer.sign(&checkpoint.text(), 1_700_000_000);
        let check = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            understand(status, &Bytes::from(body.to_owned()), 5, 9, &note, &witness.key)
        };
        assert_eq!(check(200, &line), Asked::Cosigned(line.clone()));
        assert_eq!(check(409, "7\n"), Asked::Behind(7));
        assert_eq!(check(409, "0\n"), Asked::Behind(0));
        for (status, body) in [(409, "10\n"), (409, "5\n"), (422, "")] {
            assert!(matches!(check(status, body), Asked::Contradicted(_)), "{status} {body:?}");
        }
        let moved = signer.sign("another\n", 1);
        for (status, body) in
            [(200, ""), (200, &*moved), (409, "x\n"), (409, "7"), (404, ""), (302, ""), (500, "")]
        {
            assert!(matches!(check(status, body), Asked::Refused(_)), "{status} {body:?}");
        }
    }

    #[test]
    fn pauses_grow_and_end_with_the_first_cosignature() {
        let (_, mut witness) = witness();
        let now = Timestamp(1_000_000);
        let down = Asked::Unreachable("x".repeat(1000));
        let mut pauses = Vec::new();
        for _ in 0..20 {
            witness = after(&witness, 9, &down, now, 1.0);
            pauses.push(witness.next_try_at.0 - now.0);
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses[0], 4_000_000);
        assert_eq!(pauses[19], 3_600_000_000);
        assert_eq!(after(&witness, 9, &down, now, 0.0).next_try_at, now);
        assert_eq!((witness.last_error.len(), witness.held_size), (MAX_ERROR_CHARS, 5));
        let up = after(&witness, 9, &Asked::Cosigned(String::new()), now, 1.0);
        assert_eq!((up.failures, up.held_size, up.next_try_at), (0, 9, now));
        assert_eq!((up.state, up.cosigned_at), (WitnessState::Cosigned, Some(now)));
    }
}
