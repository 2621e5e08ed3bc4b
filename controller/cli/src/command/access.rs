//! Identity, tenants, tokens.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{Context, consent};
use crate::args::access::{EnrolmentToken, Tenant, Token};
use crate::args::value;
use crate::client::Answer;
use crate::client::endpoints::{
    CREATE_ENROLMENT_TOKEN, CREATE_TENANT, CREATE_TOKEN, LIST_ENROLMENT_TOKENS, LIST_TENANTS,
    LIST_TOKENS, REVOKE_ENROLMENT_TOKEN, REVOKE_TOKEN, WHOAMI,
};
use crate::client::types::{EnrolmentTokenCreate, TenantCreate, TenantCreated, TokenCreate};
use crate::failure::{Exit, Failure};
use crate::view;

/// Tokens looked through for the one to be revoked; its name is only for the preview.
const LOOKED_THROUGH: u32 = 1000;

pub async fn whoami(context: &Context) -> Result<Exit, Failure> {
    let me = context.client.call(&WHOAMI).send().await?;
    context.screen.one(&me, |me| view::access::whoami(me, context.client.url()));
    Ok(Exit::Done)
}

pub async fn tenant(context: &Context, command: Tenant) -> Result<Exit, Failure> {
    match command {
        Tenant::Create { name, token_file } => {
            create_tenant(context, name, token_file.as_deref()).await
        }
        Tenant::List(limit) => {
            let tenants = context.client.call(&LIST_TENANTS).all(limit.limit).await?;
            context.screen.list(&tenants, |t| view::access::tenants(t, context.style()));
            Ok(Exit::Done)
        }
    }
}

async fn create_tenant(
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
        view::access::tenant_created(tenant, shown.as_deref(), context.client.url())
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

pub async fn token(context: &Context, command: Token) -> Result<Exit, Failure> {
    match command {
        Token::Create { name, role, expires_in } => {
            let expires_in_s = expires_in.map(|d| d.as_secs());
            let body = TokenCreate { name, role: role.as_str().to_owned(), expires_in_s };
            let answer = context.client.call(&CREATE_TOKEN).body(&body).send().await;
            let answer =
                answer.map_err(|e| Failure::from(e).about(&format!("token {:?}", body.name)))?;
            context.screen.one(&answer, |t| view::access::token_created(t, context.style()));
        }
        Token::List(limit) => {
            let tokens = context.client.call(&LIST_TOKENS).all(limit.limit).await?;
            context.screen.list(&tokens, |t| view::access::tokens(t, context.style()));
        }
        Token::Revoke { id, consent } => {
            let tokens = context.client.call(&LIST_TOKENS).all(LOOKED_THROUGH).await?;
            let preview = match tokens.items.iter().find(|t| t.id == id) {
                Some(token) => {
                    let me = context.client.call(&WHOAMI).send().await?.value;
                    let own = me.principal_id == token.id;
                    view::access::token_revocation(token, own, context.style())
                }
                None if tokens.more => view::access::unknown_token_revocation(&id),
                None => return Err(no_such_token(&id, "token")),
            };
            consent::ask(&context.screen, consent, &preview).await?;
            context.client.call(&REVOKE_TOKEN).path(&id).send().await?;
            context.screen.say(&format!("Revoked token {id}."));
        }
    }
    Ok(Exit::Done)
}

fn no_such_token(id: &str, command: &str) -> Failure {
    Failure::new(Exit::NotFoundOrDenied, format!("there is no {command} with the id {id:?}"))
        .next(format!("see the ids with `edgeformer {command} list`"))
}

pub async fn enrolment_token(context: &Context, command: EnrolmentToken) -> Result<Exit, Failure> {
    match command {
        EnrolmentToken::Create { uses, expires_in, labels } => {
            let labels = value::label_map(&labels).map_err(Failure::usage)?;
            let body = EnrolmentTokenCreate { uses, expires_in_s: expires_in.as_secs(), labels };
            let answer = context.client.call(&CREATE_ENROLMENT_TOKEN).body(&body).send().await?;
            context
                .screen
                .one(&answer, |t| view::access::enrolment_token_created(t, context.style()));
        }
        EnrolmentToken::List(limit) => {
            let tokens = context.client.call(&LIST_ENROLMENT_TOKENS).all(limit.limit).await?;
            context.screen.list(&tokens, |t| view::access::enrolment_tokens(t, context.style()));
        }
        EnrolmentToken::Revoke { id } => {
            let answer = context.client.call(&REVOKE_ENROLMENT_TOKEN).path(&id).send().await;
            answer.map_err(|e| Failure::from(e).about(&format!("enrolment token {id}")))?;
            context.screen.say(&format!("Revoked enrolment token {id}; enrolled devices stay."));
        }
    }
    Ok(Exit::Done)
}
