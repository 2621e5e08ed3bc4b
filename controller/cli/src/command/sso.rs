//! Logging in without a password here: a person at the tenant's identity provider, in a browser; a
//! program with another system's token.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::login::{secret, session_of};
use crate::args::access::Login;
use crate::client::endpoints::{BEGIN_DEVICE_LOGIN, DEVICE_LOGIN, EXCHANGE, LOGIN_PROVIDERS};
use crate::client::types::{DeviceCode, DeviceLoginRequest, TokenExchangeRequest};
use crate::client::{Client, ClientError};
use crate::config::Session;
use crate::failure::{Exit, Failure};
use crate::screen::Screen;

/// Added for having asked too often (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// However often a controller says to ask.
const BETWEEN: std::ops::RangeInclusive<u64> = 1..=60;

/// The provider to log in at: the one that was given, else the only one.
async fn choose(client: &Client, tenant: &str, given: Option<&str>) -> Result<String, Failure> {
    let all = client.call(&LOGIN_PROVIDERS).query("tenant", tenant).send().await?.value.items;
    let names: Vec<String> = all.into_iter().map(|one| one.name).collect();
    match (given, names.as_slice()) {
        (Some(name), names) if names.iter().any(|one| one == name) => Ok(name.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (_, []) => {
            let what = format!("nobody logs in to tenant {tenant:?} at an identity provider");
            Err(Failure::new(Exit::NotFoundOrDenied, what)
                .next("check the name, or log in with a password (--user)"))
        }
        (Some(name), _) => {
            let what = format!("the tenant has no identity provider {name:?}");
            Err(Failure::new(Exit::NotFoundOrDenied, what)
                .next(format!("choose one of {}", names.join(", "))))
        }
        (None, _) => Err(Failure::usage("the tenant has several identity providers")
            .next(format!("choose one with --provider: {}", names.join(", ")))),
    }
}

/// A person logs in in a browser, on whichever machine it is.
pub async fn in_browser(
    client: &Client,
    screen: &Screen,
    args: &Login,
    tenant: &str,
) -> Result<Session, Failure> {
    let provider = choose(client, tenant, args.provider.as_deref()).await?;
    let body = DeviceLoginRequest { tenant: tenant.to_owned(), provider: Some(provider) };
    let begun = client.call(&BEGIN_DEVICE_LOGIN).body(&body).send().await?.value;
    screen.note(&format!(
        "Open this in a browser and log in:\n  {}\n\nIt must show this code, or asks for it at {}:\n  \
         {}\n",
        begun.verification_uri_complete, begun.verification_uri, begun.user_code
    ));
    let between = begun.interval_s.clamp(*BETWEEN.start(), *BETWEEN.end());
    let mut interval = Duration::from_secs(between);
    let until = Instant::now() + Duration::from_secs(begun.expires_in_s.min(3600));
    let body = DeviceCode { device_code: begun.device_code };
    loop {
        sleep(interval).await;
        let asked = client.call(&DEVICE_LOGIN).body(&body).send().await;
        let code = match &asked {
            Ok(_) => "",
            Err(ClientError::Refused { problem, .. }) => problem.code.as_str(),
            // A connection that broke is tried again with the next question.
            Err(ClientError::Unreachable { .. }) => "authorization_pending",
            Err(_) => "other",
        };
        let refused = |what: &str| Err(Failure::new(Exit::NotFoundOrDenied, what));
        match code {
            "" => return Ok(session_of(asked?.value)),
            "access_denied" => return refused("the log-in was refused in the browser"),
            "expired_token" => return refused("the code is over or was used; log in again"),
            _ if Instant::now() >= until => {
                return refused("nobody let this log-in in within its time; log in again");
            }
            "authorization_pending" => {}
            "slow_down" => interval = (interval + SLOWER).min(Duration::from_secs(*BETWEEN.end())),
            _ => return Err(asked.err().map_or_else(|| Failure::usage("no answer"), Into::into)),
        }
    }
}

/// A program brings another system's token.
pub async fn federated(client: &Client, args: &Login, tenant: &str) -> Result<Session, Failure> {
    let account = args.service_account.clone().unwrap_or_default();
    let token = secret(args.token_file.as_deref(), "Token of the other system: ")?;
    let body = TokenExchangeRequest {
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange".to_owned(),
        subject_token: token.trim().to_owned(),
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt".to_owned(),
        tenant: tenant.to_owned(),
        service_account: account,
    };
    let got = client.call(&EXCHANGE).body(&body).send().await.map_err(|error| match error {
        ClientError::Refused { problem, .. } if problem.code == "unauthenticated" => {
            let what = problem.detail.unwrap_or_else(|| "the token was refused".to_owned());
            Failure::new(Exit::NotFoundOrDenied, what)
                .next("compare it with `edgeformer service-account trust list`; each is good once")
        }
        other => other.into(),
    })?;
    let life = i64::try_from(got.value.expires_in).unwrap_or(0);
    Ok(Session {
        access_token: got.value.access_token,
        access_until: time::OffsetDateTime::now_utc().unix_timestamp() + life,
        refresh_token: String::new(),
    })
}
