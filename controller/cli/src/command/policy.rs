//! Who may do what: questions, tests, and the tenant's own policies.

use std::path::Path;

use super::{Context, consent};
use crate::args::policy::{Access, Approval, Policy, Thing};
use crate::args::value;
use crate::client::ClientError;
use crate::client::endpoints::{
    ACCESS_SCHEMA, ACCESS_SETTINGS, ACCESS_WHO, DELETE_POLICY, EXPLAIN, GET_APPROVAL, GET_POLICY,
    LIST_APPROVALS, LIST_POLICIES, LIST_ROLES, PUT_POLICY, SET_ACCESS_SETTINGS, SIGN_APPROVAL,
    TEST_POLICIES,
};
use crate::client::types::{
    AccessQuestion, AccessSettingsEdit, AskedAbout, Asks, PolicyEdit, PolicyTest, SignatureCreate,
    TestedPolicy,
};
use crate::failure::{Exit, Failure};
use crate::view;

/// Longest file read: what the controller takes.
const MAX_FILE_BYTES: u64 = 1 << 20;

pub async fn run(context: &Context, command: Access) -> Result<Exit, Failure> {
    match command {
        Access::Explain { action, as_token, as_role, thing, at, approvals, source } => {
            let on = asked_about(&thing)?;
            let asks = Asks { token_id: as_token, roles: as_role, ..Asks::default() };
            let who = (asks.token_id.is_some() || !asks.roles.is_empty()).then_some(asks);
            let body = AccessQuestion { who, action, on, at, approvals, source, justified: false };
            let answer = context.client.call(&EXPLAIN).body(&body).send().await?;
            context.screen.one(&answer, view::policy::answer);
        }
        Access::Who { action, thing } => {
            let pairs: Vec<_> = thing.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let labels = (!pairs.is_empty()).then(|| pairs.join(","));
            let call = context.client.call(&ACCESS_WHO).query("action", &action);
            let call = call.query_if("labels", labels.as_deref());
            let call = call.query_if("model", thing.model.as_deref());
            let devices = thing.devices.map(|n| n.to_string());
            let answer = call.query_if("devices", devices.as_deref()).send().await?;
            context.screen.one(&answer, |all| view::policy::who(all, context.style()));
        }
        Access::Roles => {
            let roles = context.client.call(&LIST_ROLES).send().await?;
            context.screen.one(&roles, view::policy::roles);
        }
        Access::Schema => {
            context.client.call(&ACCESS_SCHEMA).stream(crate::screen::raw).await?;
        }
        Access::Test { file, policies } => return test(context, &file, &policies).await,
        Access::TimeZone { name: None } => {
            let settings = context.client.call(&ACCESS_SETTINGS).send().await?;
            context.screen.one(&settings, |settings| settings.time_zone.clone());
        }
        Access::TimeZone { name: Some(time_zone) } => {
            let body = AccessSettingsEdit { time_zone };
            let done = context.client.call(&SET_ACCESS_SETTINGS).body(&body).send().await?;
            context
                .screen
                .one(&done, |done| format!("Policies go by {} from now on.", done.time_zone));
        }
        Access::Policy(command) => policy(context, command).await?,
    }
    Ok(Exit::Done)
}

fn asked_about(thing: &Thing) -> Result<AskedAbout, Failure> {
    Ok(AskedAbout {
        labels: value::label_map(&thing.labels).map_err(Failure::usage)?,
        model: thing.model.clone().unwrap_or_default(),
        devices: thing.devices.unwrap_or_default(),
        ..AskedAbout::default()
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    let cannot = |error| Failure::usage(format!("{} cannot be read: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(cannot)?.len();
    if size > MAX_FILE_BYTES {
        let what = format!("{} has {size} bytes: a MiB is the most", path.display());
        return Err(Failure::usage(what));
    }
    std::fs::read_to_string(path).map_err(cannot)
}

async fn test(
    context: &Context,
    file: &Path,
    policies: &[std::path::PathBuf],
) -> Result<Exit, Failure> {
    let text = read(file)?;
    let mut body: PolicyTest = serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("{} holds no tests of policies: {error}", file.display()))
            .next("see `edgeformer access test --help` for what belongs into it")
    })?;
    let named = policies.iter().map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(TestedPolicy { name, text: read(path)? })
    });
    let named = named.collect::<Result<Vec<_>, Failure>>()?;
    if !named.is_empty() {
        body.policies = Some(named);
    }
    let result = context.client.call(&TEST_POLICIES).body(&body).send().await?;
    context.screen.one(&result, |result| view::policy::test(result, context.style()));
    Ok(if result.value.failed == 0 { Exit::Done } else { Exit::Failed })
}

async fn policy(context: &Context, command: Policy) -> Result<(), Failure> {
    let about = |name: &str| format!("policy {name:?}");
    match command {
        Policy::List => {
            let list = context.client.call(&LIST_POLICIES).send().await?;
            context.screen.one(&list, |list| view::policy::policies(list, context.style()));
        }
        Policy::Show { name } => {
            let found = context.client.call(&GET_POLICY).path(&name).send().await;
            let found = found.map_err(|e| Failure::from(e).about(&about(&name)))?;
            context.screen.one(&found, |policy| policy.text.trim_end().to_owned());
        }
        Policy::Set { name, file } => {
            let body = PolicyEdit { text: read(&file)? };
            let etag = match context.client.call(&GET_POLICY).path(&name).send().await {
                Ok(found) => found.etag,
                Err(ClientError::Refused { status, .. }) if status.as_u16() == 404 => None,
                Err(error) => return Err(error.into()),
            };
            let call = context.client.call(&PUT_POLICY).path(&name).if_match(etag).body(&body);
            let saved = call.send().await.map_err(|e| Failure::from(e).about(&about(&name)))?;
            context.screen.one(&saved, |policy| {
                format!("Policy {name:?} holds from now on (revision {}).", policy.revision)
            });
        }
        Policy::Delete { name, consent } => {
            let found = context.client.call(&GET_POLICY).path(&name).send().await;
            let found = found.map_err(|e| Failure::from(e).about(&about(&name)))?;
            let preview = view::policy::deletion(&found.value);
            consent::ask(&context.screen, consent, &preview).await?;
            context.client.call(&DELETE_POLICY).path(&name).send().await?;
            context.screen.say(&format!("Removed policy {name:?}."));
        }
    }
    Ok(())
}

/// Carries out what concerns approvals.
///
/// # Errors
/// The failure to be shown.
pub async fn approval(context: &Context, command: Approval) -> Result<Exit, Failure> {
    let about = |id: &str| format!("approval {id}");
    match command {
        Approval::List { open, limit } => {
            let call = context.client.call(&LIST_APPROVALS);
            let call = call.query_if("state", open.then_some("open"));
            let all = call.all(limit.limit).await?;
            context.screen.list(&all, |all| view::policy::approvals(all, context.style()));
        }
        Approval::Show { id } => {
            let found = context.client.call(&GET_APPROVAL).path(&id).send().await;
            let found = found.map_err(|e| Failure::from(e).about(&about(&id)))?;
            context.screen.one(&found, |one| view::policy::approval(one, context.style()));
        }
        Approval::Sign { id, meaning, comment, consent } => {
            let found = context.client.call(&GET_APPROVAL).path(&id).send().await;
            let found = found.map_err(|e| Failure::from(e).about(&about(&id)))?;
            let shown = view::policy::approval(&found.value, context.style());
            let preview = format!("{shown}\n\nYou sign it as: {}.", meaning.as_str());
            consent::ask(&context.screen, consent, &preview).await?;
            let body = SignatureCreate { meaning: meaning.as_str().to_owned(), comment };
            let call = context.client.call(&SIGN_APPROVAL).path(&id).body(&body);
            let signed = call.send().await.map_err(|e| Failure::from(e).about(&about(&id)))?;
            context.screen.one(&signed, view::policy::signed);
        }
    }
    Ok(Exit::Done)
}
