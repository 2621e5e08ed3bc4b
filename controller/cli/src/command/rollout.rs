//! Rollouts.

use super::{Context, consent, device, follow};
use crate::args::rollout::{Plan, Rollout as Command, Target, Wait};
use crate::args::value::label_map;
use crate::client::endpoints::{
    ABORT_ROLLOUT, CREATE_ROLLOUT, GET_ROLLOUT, LIST_ROLLOUT_DEVICES, LIST_ROLLOUTS,
    PREVIEW_ROLLOUT, ROLL_BACK,
};
use crate::client::types::{Rollout, RolloutCreate, RolloutSettings, RolloutState, Selector};
use crate::client::{Answer, ClientError};
use crate::failure::{Exit, Failure};
use crate::view;

/// Devices read for the preview of a rollback; it names the first few and counts the others.
const PREVIEW_DEVICES: u32 = 1000;

pub async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Preview(plan) => {
            let body = request(context, plan).await?;
            let preview = context.client.call(&PREVIEW_ROLLOUT).body(&body).send().await?;
            context.screen.one(&preview, |p| view::rollout::preview(p, context.style()));
            Ok(Exit::Done)
        }
        Command::Create { plan, wait } => {
            let body = request(context, plan).await?;
            let created = context.client.call(&CREATE_ROLLOUT).body(&body).send().await;
            let created = created.map_err(|e| not_created(e, &body))?;
            begun(context, &created, wait).await
        }
        Command::List { state, limit } => {
            let call = context.client.call(&LIST_ROLLOUTS);
            let list = call.query_if("state", state.map(|s| s.as_str())).all(limit.limit).await?;
            let filtered = state.is_some();
            context.screen.list(&list, |r| view::rollout::rollouts(r, filtered, context.style()));
            Ok(Exit::Done)
        }
        Command::Show { id, wait } if wait.wait => follow::follow(context, &id, wait.timeout).await,
        Command::Show { id, .. } => {
            let rollout = read(context, &id).await?;
            context.screen.one(&rollout, |r| view::rollout::rollout(r, context.style()));
            Ok(Exit::Done)
        }
        Command::Devices { id, limit } => {
            let list = context.client.call(&LIST_ROLLOUT_DEVICES).path(&id).all(limit.limit).await;
            let list = list.map_err(|e| about(e, &id))?;
            context.screen.list(&list, |d| view::rollout::devices(d, context.style()));
            Ok(Exit::Done)
        }
        Command::Abort { id, consent } => {
            let rollout = read(context, &id).await?.value;
            if rollout.state != RolloutState::Running {
                return Err(over(&rollout));
            }
            consent::ask(&context.screen, consent, &view::rollout::abortion(&rollout)).await?;
            let aborted = context.client.call(&ABORT_ROLLOUT).path(&id).send().await;
            let aborted = aborted.map_err(|e| about(e, &id))?;
            context.screen.one(&aborted, |r| view::rollout::rollout(r, context.style()));
            Ok(Exit::Done)
        }
        Command::Rollback { id, consent, wait } => {
            let rollout = read(context, &id).await?.value;
            let call = context.client.call(&LIST_ROLLOUT_DEVICES).path(&id);
            let devices = call.all(PREVIEW_DEVICES).await?.items;
            let preview = view::rollout::rollback(&rollout, &devices);
            consent::ask(&context.screen, consent, &preview).await?;
            let begun_rollout = context.client.call(&ROLL_BACK).path(&id).send().await;
            begun(context, &begun_rollout.map_err(|e| about(e, &id))?, wait).await
        }
    }
}

async fn read(context: &Context, id: &str) -> Result<Answer<Rollout>, Failure> {
    context.client.call(&GET_ROLLOUT).path(id).send().await.map_err(|e| about(e, id))
}

fn about(error: ClientError, id: &str) -> Failure {
    Failure::from(error).about(&format!("rollout {id}"))
}

fn over(rollout: &Rollout) -> Failure {
    let state = match rollout.state {
        RolloutState::Aborted => "was aborted",
        other => view::rollout::state(other),
    };
    Failure::new(Exit::Failed, format!("rollout {} has ended already: it {state}", rollout.id))
        .next(format!("`edgeformer rollout rollback {}` brings its devices back", rollout.id))
}

fn not_created(error: ClientError, body: &RolloutCreate) -> Failure {
    let refused = matches!(error, ClientError::Refused { .. });
    let failure = Failure::from(error).about(&format!("{} {}", body.model, body.version));
    match (&failure.next, refused) {
        (None, true) => failure.next("`edgeformer rollout preview` with the same flags shows why"),
        _ => failure,
    }
}

/// A rollout has begun: follow it, or say how to.
async fn begun(context: &Context, rollout: &Answer<Rollout>, wait: Wait) -> Result<Exit, Failure> {
    let id = &rollout.value.id;
    if wait.wait {
        context.screen.note(&format!("rollout {id} began"));
        return follow::follow(context, id, wait.timeout).await;
    }
    context.screen.one(rollout, |r| {
        let facts = view::rollout::rollout(r, context.style());
        format!("{facts}\n\nFollow it with `edgeformer rollout show {id} --wait`.")
    });
    Ok(Exit::Done)
}

async fn request(context: &Context, plan: Plan) -> Result<RolloutCreate, Failure> {
    let settings = RolloutSettings { context_tokens: plan.context, parallel: plan.parallel };
    let given = settings.context_tokens.is_some() || settings.parallel.is_some();
    Ok(RolloutCreate {
        model: plan.model,
        version: plan.version,
        slot: plan.slot,
        selector: selector(context, &plan.target).await?,
        settings: given.then_some(settings),
    })
}

async fn selector(context: &Context, target: &Target) -> Result<Selector, Failure> {
    if target.all {
        return Ok(Selector { all: Some(true), ..Selector::default() });
    }
    if !target.labels.is_empty() {
        let labels = label_map(&target.labels).map_err(Failure::usage)?;
        return Ok(Selector { labels: Some(labels), ..Selector::default() });
    }
    let mut ids = Vec::with_capacity(target.devices.len());
    for given in &target.devices {
        let id = device::resolve(context, given).await?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(Selector { devices: Some(ids), ..Selector::default() })
}
