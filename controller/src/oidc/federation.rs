//! Another system's token in exchange for a short one of a service account (RFC 8693): for pipelines,
//! which prove who they are to their own system and keep no secret of ours. Only issuers that a rule of
//! the account names are ever asked for keys.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeformer_proto::ids::ServiceAccountId;
use serde_json::{Value, json};

use super::claims::{self, Claims};
use super::discovery;
use super::jws::MAX_TOKEN_BYTES;
use super::log_in::{can_be_a_name, sha256};
use crate::account::log_in::standing;
use crate::admin::identity_providers::USUAL_ALGORITHMS;
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::login_session::{Signer, federated};
use crate::policy::{Action, AuthMethod};
use crate::scope::{InstallationScope, Origin, TenantScope};
use crate::store::federation_rules::{self as rows, FederationRule};
use crate::store::service_accounts::{self, ServiceAccount};
use crate::store::{tenants, user_identities};

/// A token that lives for longer is no pipeline's, and would have to be remembered for as long.
const LONGEST_LIFE_S: i64 = 24 * 3600;
/// Steps of matching: patterns and claims are short, and stars must not make them expensive.
const MAX_STEPS: usize = 100_000;

/// What a program asks.
#[derive(Debug)]
pub struct Exchange {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the service account.
    pub account: String,
    /// The other system's token.
    pub token: String,
}

/// What it gets.
#[derive(Debug, Clone)]
pub struct Exchanged {
    /// JWT, for `Authorization: Bearer`.
    pub access: String,
    /// Its life.
    pub life: Duration,
    /// Whom it stands for.
    pub account: ServiceAccountId,
}

/// The one answer for everything that is wrong.
fn refused() -> AppError {
    let message = "the token was not taken: no service account of this name trusts it, or it is \
                   expired or was used before; an admin finds the reason in the audit log";
    AppError::Unauthenticated(message.to_owned())
}

/// Exchanges a token.
pub async fn exchange(app: &App, asked: Exchange, origin: &Origin) -> Result<Exchanged, AppError> {
    let now = app.now();
    let Some((scope, account)) = find(app, &asked, now).await? else { return Err(refused()) };
    let mut all = rows::of_account(&mut *app.store.read(&scope).await?, account.id).await?;
    // Read before it is believed, to choose among the issuers that are trusted, and for nothing else.
    let issuer = unverified_issuer(&asked.token);
    all.retain(|rule| Some(&rule.issuer) == issuer.as_ref());
    let Some(issuer) = issuer.filter(|_| !all.is_empty()) else {
        // Not recorded: strangers would write the tenant's log.
        return Err(refused());
    };
    let scope =
        TenantScope::for_service_account(scope.tenant(), account.id, &account.name, origin.clone())
            .proved(AuthMethod::Federated, now);
    let resource = Resource::new("service_account", account.id).named(account.name.clone());
    let intent = Intent::new(Action::TokenExchange, resource);
    match check(app, &scope, &issuer, &all, &asked.token, now).await {
        Ok(fit) => enter(app, &scope, &account, fit, intent, now).await,
        Err(Checked { signed: true, why }) => {
            app.store.record(&scope, intent.because(why), Outcome::Denied, now).await?;
            app.nudges.audit.notify_one();
            Err(refused())
        }
        Err(Checked { signed: false, why }) => {
            tracing::warn!(account = %account.id, why, "a foreign token is not taken");
            Err(refused())
        }
    }
}

async fn find(
    app: &App,
    asked: &Exchange,
    now: Timestamp,
) -> Result<Option<(TenantScope, ServiceAccount)>, AppError> {
    let names = can_be_a_name(&asked.tenant) && can_be_a_name(&asked.account);
    if !names || asked.token.len() > MAX_TOKEN_BYTES {
        return Ok(None);
    }
    let mut read = app.store.read(&InstallationScope::system("log-in")).await?;
    let tenant = tenants::by_name(&mut read, asked.tenant.trim()).await?;
    drop(read);
    let Some(tenant) = tenant else { return Ok(None) };
    if standing(app, tenant, now).await?.is_err() {
        return Ok(None);
    }
    let scope = TenantScope::system(tenant, "log-in");
    let mut read = app.store.read(&scope).await?;
    let account = service_accounts::by_name(&mut read, asked.account.trim()).await?;
    Ok(account.filter(|account| account.active).map(|account| (scope, account)))
}

fn unverified_issuer(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// A token that fits a rule.
struct Fit {
    rule: FederationRule,
    /// What remembers that it was used.
    used: [u8; 32],
    /// Until when it could be used again.
    expires_at: Timestamp,
}

/// A token that does not.
struct Checked {
    /// Whether a trusted issuer signed it at least.
    signed: bool,
    why: String,
}

async fn check(
    app: &App,
    scope: &TenantScope,
    issuer: &str,
    all: &[FederationRule],
    token: &str,
    now: Timestamp,
) -> Result<Fit, Checked> {
    let allowed = USUAL_ALGORITHMS.map(str::to_owned);
    let verified = discovery::verify(app, scope.tenant(), issuer, token, &allowed).await;
    let verified = verified.map_err(|error| Checked { signed: false, why: error.to_string() })?;
    let (said, wrong) = (&verified.claims, |why: String| Checked { signed: true, why });
    let until = claims::check_times(said, now).map_err(wrong)?;
    if until > now.0 / 1_000_000 + LONGEST_LIFE_S {
        return Err(wrong("the token lives for longer than a day".to_owned()));
    }
    let fits = |rule: &&FederationRule| {
        let named = claims::audiences(said).contains(&rule.audience.as_str());
        named && rule.conditions.iter().all(|(claim, pattern)| holds(said, claim, pattern))
    };
    let rule = all.iter().find(fits).cloned();
    let rule = rule.ok_or_else(|| wrong("no trust rule fits the token".to_owned()))?;
    // Without an id of its own, what is signed stands for it: a signature can be written differently.
    let signed = token.rsplit_once('.').map(|(signed, _)| signed).unwrap_or_default();
    let id = claims::text(said, "jti").unwrap_or_else(|| signed.to_owned());
    Ok(Fit {
        used: sha256(format!("exchange\0{issuer}\0{id}").as_bytes()),
        expires_at: Timestamp(until.saturating_mul(1_000_000)).plus(claims::LEEWAY),
        rule,
    })
}

async fn enter(
    app: &App,
    scope: &TenantScope,
    account: &ServiceAccount,
    fit: Fit,
    intent: Intent,
    now: Timestamp,
) -> Result<Exchanged, AppError> {
    let signer = Signer::ready(app).await?;
    let mut write = app.store.write(scope, intent.clone()).await?;
    if !user_identities::use_up(&mut write, &fit.used, fit.expires_at).await? {
        drop(write);
        let why = "the token was used before";
        app.store.record(scope, intent.because(why), Outcome::Denied, now).await?;
        app.nudges.audit.notify_one();
        return Err(refused());
    }
    // Not longer than what it was given for.
    let left = fit.expires_at.0.saturating_sub(now.0).max(0).unsigned_abs();
    let life = federated::LIFE.min(Duration::from_micros(left));
    let ids = (account.id, fit.rule.id);
    let access = federated::sign(&signer, scope.tenant(), ids, life, now)?;
    let after = json!({
        "trust_rule": fit.rule.id, "issuer": fit.rule.issuer, "expires_in_s": life.as_secs(),
    });
    write.changes(json!(null), after);
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(Exchanged { access, life, account: account.id })
}

/// Whether a claim fits a pattern; of a list, one of its texts.
fn holds(said: &Claims, claim: &str, pattern: &str) -> bool {
    match said.get(claim) {
        Some(Value::String(text)) => matches(pattern, text),
        Some(Value::Bool(value)) => matches(pattern, &value.to_string()),
        Some(Value::Number(value)) => matches(pattern, &value.to_string()),
        Some(Value::Array(all)) => {
            all.iter().filter_map(Value::as_str).any(|text| matches(pattern, text))
        }
        _ => false,
    }
}

/// Whether the pattern describes the whole text. `*` stands for anything but the separators `/` and `:`,
/// `**` for anything: so `repo:acme/*:ref:refs/heads/main` fits one repository's name and no more.
pub fn matches(pattern: &str, text: &str) -> bool {
    fn go(pattern: &[u8], text: &[u8], steps: &mut usize) -> bool {
        *steps += 1;
        if *steps > MAX_STEPS {
            return false;
        }
        match pattern {
            [] => text.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| go(rest, &text[at..], steps)),
            [b'*', rest @ ..] => {
                let stop = text.iter().position(|b| matches!(b, b'/' | b':'));
                let longest = stop.unwrap_or(text.len());
                (0..=longest).any(|at| go(rest, &text[at..], steps))
            }
            [first, rest @ ..] => {
                text.split_first().is_some_and(|(b, text)| b == first && go(rest, text, steps))
            }
        }
    }
    go(pattern.as_bytes(), text.as_bytes(), &mut 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_its_part() {
        let fits = |pattern: &str, text: &str| matches(pattern, text);
        let main = "repo:acme/*:ref:refs/heads/main";
        assert!(fits(main, "repo:acme/app:ref:refs/heads/main"));
        for other in [
            "repo:acme/app:ref:refs/heads/main2",
            "repo:acme/app:ref:refs/heads/x:ref:refs/heads/main",
            "repo:acme/app/more:ref:refs/heads/main",
            "repo:evil/acme/app:ref:refs/heads/main",
            "Repo:acme/app:ref:refs/heads/main",
            "",
        ] {
            assert!(!fits(main, other), "{other}");
        }
        assert!(fits("repo:acme/app:**", "repo:acme/app:ref:refs/heads/x"));
        assert!(fits("a*c", "ac") && fits("a*c", "abbc") && fits("*", "") && fits("**", "a/b:c"));
        assert!(!fits("a?c", "abc") && !fits("", "a") && fits("", ""));
        // Many stars are no way to keep the controller busy.
        let stars = "**a".repeat(100);
        assert!(!fits(&stars, &"b".repeat(400)));
        assert!(!fits(&format!("{stars}!"), &"a".repeat(500)));
    }
}
