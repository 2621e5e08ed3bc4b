//! Logging in and out. A login is saved only after the controller accepted it.

use std::io::{IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::Context;
use crate::args::Connection;
use crate::args::access::Login;
use crate::client::Client;
use crate::client::endpoints::WHOAMI;
use crate::config;
use crate::failure::{Exit, Failure};
use crate::screen::Screen;
use crate::view;

/// More than any token; what is longer is another input.
const MAX_TOKEN_BYTES: u64 = 4096;

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
    let token = match (&args.token_file, &given.token) {
        (Some(file), _) => config::read_text(file, "the token file")?,
        (None, Some(token)) => token.clone(),
        (None, None) => read_token()?,
    };
    let given = Connection {
        url: Some(url),
        ca: given.ca.clone(),
        token: Some(token),
        ..Connection::default()
    };
    let target = config::resolve(&given, saved.as_ref())?;
    let login = config::Login::of(&target);
    let context = Context { client: Client::new(target)?, screen };
    let me = context.client.call(&WHOAMI).send().await?;
    config::save(&path, &login)?;
    context.screen.one(&me, |me| {
        let facts = view::access::whoami(me, context.client.url());
        format!("Logged in; saved to {}.\n\n{facts}", path.display())
    });
    Ok(Exit::Done)
}

pub fn logout(screen: &Screen) -> Result<Exit, Failure> {
    let path = config::path()?;
    match std::fs::remove_file(&path) {
        Ok(()) => screen.say(&format!(
            "Forgot the login in {}. The token stays valid; `edgeformer token revoke` ends it.",
            path.display()
        )),
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

/// From standard input; on a terminal asked for, without showing what is typed.
fn read_token() -> Result<String, Failure> {
    let fail = |e: std::io::Error| Failure::usage(format!("no token could be read: {e}"));
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
    eprint!("API token (efp_…): ");
    let read = stdin.read_line(&mut text);
    tcsetattr(&stdin, OptionalActions::Now, &before).map_err(|e| fail(e.into()))?;
    eprintln!();
    read.map_err(fail)?;
    Ok(text)
}
