//! Tenants, for whoever operates the installation.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{Context, audit, consent};
use crate::args::tenant::{Limited, Tenant};
use crate::client::Answer;
use crate::client::endpoints::{
    CREATE_TENANT, DELETE_TENANT, EXPORT_TENANT, GET_TENANT, LIST_TENANTS, PREVIEW_DELETION,
    RESTORE_TENANT, RESUME_TENANT, SET_QUOTA, SUSPEND_TENANT,
};
use crate::client::types::{self, Deletion, Quota, Suspension, TenantCreate, TenantCreated};
use crate::failure::{Exit, Failure};
use crate::view;

/// Tenants looked through for one by name.
const LOOKED_THROUGH: u32 = 100_000;

pub async fn run(context: &Context, command: Tenant) -> Result<Exit, Failure> {
    match command {
        Tenant::Create { name, token_file } => {
            return create(context, name, token_file.as_deref()).await;
        }
        Tenant::List(limit) => {
            let tenants = context.client.call(&LIST_TENANTS).all(limit.limit).await?;
            context.screen.list(&tenants, |t| view::tenant::tenants(t, context.style()));
        }
        Tenant::Show { tenant } => {
            let id = resolve(context, &tenant).await?.id;
            let shown = context.client.call(&GET_TENANT).path(&id).send().await?;
            context.screen.one(&shown, |shown| view::tenant::details(shown, context.style()));
        }
        Tenant::Suspend { tenant, reason, consent } => {
            let id = resolve(context, &tenant).await?.id;
            let preview = format!(
                "People and programs of {tenant} will be refused at once and told: {reason:?}. \
                 Devices keep serving; `edgeformer tenant resume {tenant}` undoes it."
            );
            consent::ask(&context.screen, consent, &preview).await?;
            let call = context.client.call(&SUSPEND_TENANT).path(&id);
            call.body(&Suspension { reason }).send().await?;
            context.screen.say(&format!("{tenant} is suspended."));
        }
        Tenant::Resume { tenant } => {
            let id = resolve(context, &tenant).await?.id;
            context.client.call(&RESUME_TENANT).path(&id).send().await?;
            context.screen.say(&format!("{tenant} is active again."));
        }
        Tenant::Quota { tenant, devices, stored, requests_per_second } => {
            let found = resolve(context, &tenant).await?;
            let quota = changed(found.quota, devices, stored, requests_per_second)?;
            let call = context.client.call(&SET_QUOTA).path(&found.id).body(&quota);
            let shown = call.send().await?;
            context.screen.one(&shown, |shown| view::tenant::details(shown, context.style()));
        }
        Tenant::Export { tenant, file } => {
            let id = resolve(context, &tenant).await?.id;
            audit::to_file(context.client.call(&EXPORT_TENANT).path(&id), &file).await?;
            context.screen.say(&format!("Wrote {}.", file.display()));
        }
        Tenant::Delete { tenant, retention_days, consent } => {
            let found = resolve(context, &tenant).await?;
            let loss = context.client.call(&PREVIEW_DELETION).path(&found.id).send().await?;
            let days = retention_days.unwrap_or(30);
            consent::ask(&context.screen, consent, &view::tenant::loss(&loss.value, days)).await?;
            let body = Deletion { name: found.name, retention_days };
            let call = context.client.call(&DELETE_TENANT).path(&found.id).body(&body);
            let done = call.send().await?;
            context.screen.one(&done, |done| view::tenant::details(done, context.style()));
        }
        Tenant::Restore { tenant } => {
            let id = resolve(context, &tenant).await?.id;
            context.client.call(&RESTORE_TENANT).path(&id).send().await?;
            context.screen.say(&format!("{tenant} is restored as it was."));
        }
    }
    Ok(Exit::Done)
}

/// The tenant with this name or id.
async fn resolve(context: &Context, given: &str) -> Result<types::Tenant, Failure> {
    let all = context.client.call(&LIST_TENANTS).all(LOOKED_THROUGH).await?;
    let found = all.items.into_iter().find(|tenant| tenant.name == given || tenant.id == given);
    found.ok_or_else(|| {
        Failure::new(Exit::NotFoundOrDenied, format!("there is no tenant {given:?}"))
            .next("see them with `edgeformer tenant list`")
    })
}

/// A quota with some limits changed.
fn changed(
    quota: Quota,
    devices: Option<Limited>,
    stored: Option<Limited>,
    requests: Option<Limited>,
) -> Result<Quota, Failure> {
    let requests_per_second = match requests {
        None => quota.requests_per_second,
        Some(Limited(limit)) => limit
            .map(u32::try_from)
            .transpose()
            .map_err(|_| Failure::usage("so many requests per second are no limit: use none"))?,
    };
    Ok(Quota {
        devices: devices.map_or(quota.devices, |limit| limit.0),
        stored_bytes: stored.map_or(quota.stored_bytes, |limit| limit.0),
        requests_per_second,
    })
}

async fn create(
    context: &Context,
    name: String,
    token_file: Option<&Path>,
) -> Result<Exit, Failure> {
    // The file first: a token that cannot be kept would be lost.
    let file = token_file.map(NewSecretFile::create).transpose()?;
    let request = context.client.call(&CREATE_TENANT).body(&TenantCreate { name: name.clone() });
    let answer: Answer<TenantCreated> = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return Err(Failure::from(error).about(&format!("tenant {name:?}"))),
    };
    if let Some(file) = file {
        file.keep(&answer.value.admin_token)?;
    }
    let shown = token_file.map(|path| path.display().to_string());
    context.screen.one(&answer, |tenant| {
        view::tenant::created(tenant, shown.as_deref(), context.client.url())
    });
    Ok(Exit::Done)
}

/// A file for a secret, removed again unless the secret arrives.
struct NewSecretFile<'p> {
    path: &'p Path,
    file: Option<std::fs::File>,
}

impl<'p> NewSecretFile<'p> {
    fn create(path: &'p Path) -> Result<Self, Failure> {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|e| {
            Failure::usage(format!("the token file {} cannot be made: {e}", path.display()))
                .next("nothing was sent; choose a new file name")
        })?;
        Ok(Self { path, file: Some(file) })
    }

    fn keep(mut self, secret: &str) -> Result<(), Failure> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.write_all(format!("{secret}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(
            |e| {
                // The token cannot be had again, so it is shown rather than lost.
                let what = format!("the token file {} cannot be written: {e}", self.path.display());
                Failure::new(Exit::Failed, what).next(format!("keep this token yourself: {secret}"))
            },
        )
    }
}

impl Drop for NewSecretFile<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(self.path);
        }
    }
}
