//! Logging in and out. A login is saved only after the controller accepted it.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use reqwest::StatusCode;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{Context, sso};
use crate::args::Connection;
use crate::args::access::Login;
use crate::client::endpoints::{LOG_IN, LOG_OUT, REFRESH, WHOAMI};
use crate::client::types::{LoginAnswer, LoginRequest, RefreshRequest};
use crate::client::{Client, ClientError};
use crate::config::{self, Session};
use crate::failure::{Exit, Failure};
use crate::screen::Screen;
use crate::view;

/// More than any token; what is longer is another input.
const MAX_TOKEN_BYTES: u64 = 4096;
/// An access token is changed so long before its end: a command may take a while.
const SPARE_S: i64 = 60;

pub async fn login(given: &Connection, args: &Login, screen: Screen) -> Result<Exit, Failure> {
    let path = config::path()?;
    // A login that cannot be read is about to be replaced.
    let saved = config::load(&path).ok().flatten();
    let url = match (&given.url, &saved) {
        (Some(url), _) => url.clone(),
        (None, Some(login)) => login.url.clone(),
        (None, None) => {
            return Err(Failure::usage("login needs the controller's address")
                .next("edgeformer login --url https://HOST:8443 --ca ca.pem --token-file FILE"));
        }
    };
    config::parse_url(&url)?;
    let at = Connection { url: Some(url), ca: given.ca.clone(), ..Connection::default() };
    let (target, login) = match &args.tenant {
        Some(tenant) => {
            let target = config::place(&at, saved.as_ref())?;
            let client = Client::new(target.clone())?;
            let session = match &args.user {
                _ if args.sso => sso::in_browser(&client, &screen, args, tenant).await?,
                _ if args.federated => sso::federated(&client, args, tenant).await?,
                Some(user) => with_password(&client, args, tenant, user).await?,
                None => {
                    return Err(Failure::usage("--tenant alone does not say who logs in")
                        .next("add --user NAME, --sso, or --federated with --service-account"));
                }
            };
            let login = config::Login::of_session(&target, session);
            (config::resolve(&at, Some(&login))?, login)
        }
        None => {
            let token = match (&args.token_file, &given.token) {
                (Some(file), _) => config::read_text(file, "the token file")?,
                (None, Some(token)) => token.clone(),
                (None, None) => read_secret("API token (efp_…): ")?,
            };
            let target = config::resolve(&Connection { token: Some(token), ..at }, saved.as_ref())?;
            let login = config::Login::of(&target);
            (target, login)
        }
    };
    let context = Context { client: Client::new(target)?, screen };
    let me = context.client.call(&WHOAMI).send().await?;
    config::save(&path, &login)?;
    context.screen.one(&me, |me| {
        let facts = view::access::whoami(me, context.client.url());
        format!("Logged in; saved to {}.\n\n{facts}", path.display())
    });
    Ok(Exit::Done)
}

async fn with_password(
    client: &Client,
    args: &Login,
    tenant: &str,
    user: &str,
) -> Result<Session, Failure> {
    let password = secret(args.password_file.as_deref(), "Password: ")?;
    let mut body = LoginRequest {
        tenant: tenant.to_owned(),
        user_name: user.to_owned(),
        password,
        code: args.code.clone(),
    };
    let mut answer = client.call(&LOG_IN).body(&body).send().await;
    if let Err(ClientError::Refused { problem, .. }) = &answer
        && problem.code == "second_factor_required"
        && std::io::stdin().is_terminal()
    {
        body.code = Some(read_secret("One-time code: ")?);
        answer = client.call(&LOG_IN).body(&body).send().await;
    }
    let answer = answer.map_err(|error| match error {
        ClientError::Refused { problem, .. } if problem.code == "unauthenticated" => {
            let what = problem.detail.unwrap_or_else(|| "the login was refused".to_owned());
            Failure::new(Exit::NotFoundOrDenied, what)
                .next("check all of it; an admin sees locks with `edgeformer user list`")
        }
        ClientError::Refused { problem, .. } if problem.code == "second_factor_required" => {
            Failure::new(
                Exit::NotFoundOrDenied,
                "the password is right; a one-time code is missing",
            )
            .next("give the code of your app, or a recovery code, with --code")
        }
        other => other.into(),
    })?;
    Ok(session_of(answer.value))
}

pub fn session_of(answer: LoginAnswer) -> Session {
    let life = i64::try_from(answer.expires_in_s).unwrap_or(0);
    Session {
        access_token: answer.access_token,
        access_until: time::OffsetDateTime::now_utc().unix_timestamp() + life,
        refresh_token: answer.refresh_token,
    }
}

/// The saved login with an access token that is good for a while. Commands at once take turns, so that
/// none presents a refresh token that another one changed.
pub async fn go_on(path: &Path, login: config::Login) -> Result<config::Login, Failure> {
    let stale = |login: &config::Login| {
        let soon = time::OffsetDateTime::now_utc().unix_timestamp() + SPARE_S;
        login.session.as_ref().is_some_and(|session| session.access_until <= soon)
    };
    if !stale(&login) {
        return Ok(login);
    }
    let fail = |error: std::io::Error| {
        Failure::usage(format!("the login {} cannot be locked: {error}", path.display()))
    };
    let lock = std::fs::File::create(path.with_extension("lock")).map_err(fail)?;
    // Held until this function ends.
    let _turn = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
        .await
        .map_err(|error| fail(std::io::Error::other(error)))?
        .map_err(fail)?;
    // Somebody else may have done it meanwhile.
    let login = config::load(path)?.unwrap_or(login);
    let Some(session) = login.session.clone().filter(|_| stale(&login)) else { return Ok(login) };
    let at = Connection { url: Some(login.url.clone()), ..Connection::default() };
    let target = config::place(&at, Some(&login))?;
    let client = Client::new(target.clone())?;
    if session.refresh_token.is_empty() {
        return Err(Failure::new(
            Exit::NotFoundOrDenied,
            "the login with another system's token is over",
        )
        .next("log in again with a new one: `edgeformer login --tenant TENANT --federated …`"));
    }
    let body = RefreshRequest { refresh_token: session.refresh_token };
    let answer = client.call(&REFRESH).body(&body).send().await.map_err(|error| match error {
        ClientError::Refused { status: StatusCode::UNAUTHORIZED, .. } => {
            Failure::new(Exit::NotFoundOrDenied, "your login is over")
                .next("log in again: `edgeformer login --tenant TENANT --user NAME`, or --sso")
        }
        other => other.into(),
    })?;
    let login = config::Login::of_session(&target, session_of(answer.value));
    config::save(path, &login)?;
    Ok(login)
}

pub async fn logout(screen: &Screen) -> Result<Exit, Failure> {
    let path = config::path()?;
    // A log-in ends at the controller too; if that cannot be reached, it ends by itself.
    let mut ended = false;
    if let Ok(Some(login)) = config::load(&path)
        && login.session.is_some()
        && let Ok(login) = go_on(&path, login).await
        && let Ok(target) = config::resolve(&Connection::default(), Some(&login))
        && let Ok(client) = Client::new(target)
    {
        ended = client.call(&LOG_OUT).send().await.is_ok();
    }
    let after = match ended {
        true => "The log-in is over at the controller too.",
        false => {
            "A token stays valid (`edgeformer token revoke` ends it); a log-in ends within a day."
        }
    };
    match std::fs::remove_file(&path) {
        Ok(()) => screen.say(&format!("Forgot the login in {}. {after}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            screen.say("There was no saved login.");
        }
        Err(error) => {
            let what = format!("the login {} cannot be removed: {error}", path.display());
            return Err(Failure::new(Exit::Failed, what).next("remove the file yourself"));
        }
    }
    Ok(Exit::Done)
}

/// A secret from a file, else asked for.
///
/// # Errors
/// A usage error when it cannot be read.
pub fn secret(file: Option<&Path>, prompt: &str) -> Result<String, Failure> {
    let text = match file {
        Some(file) => config::read_text(file, "the file")?,
        None => read_secret(prompt)?,
    };
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// From standard input; on a terminal asked for, without showing what is typed.
fn read_secret(prompt: &str) -> Result<String, Failure> {
    let fail = |e: std::io::Error| Failure::usage(format!("nothing could be read: {e}"));
    let stdin = std::io::stdin();
    let mut text = String::new();
    if !stdin.is_terminal() {
        stdin.lock().take(MAX_TOKEN_BYTES).read_to_string(&mut text).map_err(fail)?;
        return Ok(text);
    }
    let before = tcgetattr(&stdin).map_err(|e| fail(e.into()))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &silent).map_err(|e| fail(e.into()))?;
    // Only now: what is pasted at once must not be shown either.
    eprint!("{prompt}");
    let read = stdin.read_line(&mut text);
    tcsetattr(&stdin, OptionalActions::Now, &before).map_err(|e| fail(e.into()))?;
    eprintln!();
    read.map_err(fail)?;
    Ok(text)
}
