//! The way of a browser to a provider and back: authorization code with PKCE (OpenID Connect Core 1.0,
//! section 3.1; RFC 7636; RFC 9700). What ties both halves together is a cookie of the browser: the
//! nonce and the PKCE verifier follow from it and from the state, so the store keeps no secret, and
//! nobody else's browser can finish what this one began.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeformer_proto::ids::{IdentityProviderId, TenantId};
use reqwest::Url;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use serde_json::json;

use super::claims::{self, Claims, Expected, Identity, Login};
use super::discovery::{self, Known, Metadata};
use super::person::{self, NotLetIn, Person};
use super::token_request::{self, Code, Tokens};
use crate::account::log_in::standing;
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::login_session::{Proved, browser};
use crate::policy::{Action, AuthMethod};
use crate::scope::{InstallationScope, Origin, TenantScope};
use crate::store::identity_providers::{self as rows, IdentityProvider};
use crate::store::login_sessions::Via;
use crate::store::sso_logins::{self, SsoLogin};
use crate::store::users::User;
use crate::store::{tenants, user_identities, users};
use crate::vault::SecretKind;

/// How long a person has at the provider.
pub const LIFE: Duration = Duration::from_secs(10 * 60);
/// Bytes of a state and of a browser's cookie: nobody guesses 256 bits.
const SECRET_BYTES: usize = 32;
/// Longest names looked at.
const MAX_NAME_BYTES: usize = 256;
/// Longest path to go on to.
const MAX_NEXT_BYTES: usize = 1024;
/// Longest code, state or name that comes back.
const MAX_RETURNED_BYTES: usize = 4096;
/// Where people go on who did not say.
pub const HOME: &str = "/api/v1/login/browser";

/// Where log-ins are, below the public URL.
const SSO: &str = "/api/v1/login/sso";

/// The address to register at a provider.
pub fn redirect_uri(app: &App, tenant: TenantId, provider: IdentityProviderId) -> String {
    format!("{}{SSO}/{tenant}/{provider}/callback", app.public_url())
}

/// The address at which a provider says that somebody logged out.
pub fn back_channel_uri(app: &App, tenant: TenantId, provider: IdentityProviderId) -> String {
    format!("{}{SSO}/{tenant}/{provider}/back-channel-logout", app.public_url())
}

fn random() -> Result<[u8; SECRET_BYTES], AppError> {
    let mut bytes = [0; SECRET_BYTES];
    let failed = |_| AppError::Internal("the system gives no random bytes".to_owned());
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// The secret in a browser's cookie.
#[derive(Clone)]
pub struct BrowserSecret([u8; SECRET_BYTES]);

impl BrowserSecret {
    fn new() -> Result<Self, AppError> {
        Ok(Self(random()?))
    }

    /// As it stands in the cookie; none if it is not one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// For the cookie.
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What follows from the secret for one log-in and one purpose.
    fn derive(&self, purpose: &str, state: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, format!("{purpose}\0{state}").as_bytes());
        URL_SAFE_NO_PAD.encode(tag)
    }

    fn nonce(&self, state: &str) -> String {
        self.derive("nonce", state)
    }

    fn verifier(&self, state: &str) -> String {
        self.derive("pkce", state)
    }
}

/// A path of this controller, and nothing that a browser could take for another place.
pub fn local_path(next: &str) -> Result<String, AppError> {
    let wrong = || AppError::invalid("next", "it must be a path of this controller, such as /x");
    let plain = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= MAX_NEXT_BYTES
        && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let base = Url::parse("https://local.invalid").expect("it is a URL");
    let joined = base.join(next).ok().filter(|url| plain && url.origin() == base.origin());
    joined.map(|_| next.to_owned()).ok_or_else(wrong)
}

/// A provider that people of the tenant may log in at: of this name, or the only one.
pub async fn find(
    app: &App,
    tenant: &str,
    provider: Option<&str>,
) -> Result<(TenantScope, IdentityProvider), AppError> {
    let (scope, mut all) = choice(app, tenant).await?;
    if let Some(name) = provider {
        all.retain(|one| one.name == name);
    }
    let mut all = all.into_iter();
    match (scope, all.next(), all.next()) {
        (Some(scope), Some(provider), None) => Ok((scope, provider)),
        (_, Some(_), Some(_)) => {
            Err(AppError::invalid("provider", "the tenant has several: choose one of them"))
        }
        // One answer, whether there is such a tenant or not.
        _ => Err(AppError::not_found("identity provider", provider.unwrap_or(tenant))),
    }
}

/// Whether it is worth looking up. PostgreSQL takes no zero byte in a text.
pub(super) fn can_be_a_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control)
}

/// The providers that people of the tenant may choose from; none if there is no such tenant.
pub async fn choice(
    app: &App,
    tenant: &str,
) -> Result<(Option<TenantScope>, Vec<IdentityProvider>), AppError> {
    if !can_be_a_name(tenant) {
        return Ok((None, Vec::new()));
    }
    let mut read = app.store.read(&InstallationScope::system("log-in")).await?;
    let found = tenants::by_name(&mut read, tenant.trim()).await?;
    drop(read);
    let Some(id) = found else { return Ok((None, Vec::new())) };
    if standing(app, id, app.now()).await?.is_err() {
        return Ok((None, Vec::new()));
    }
    let scope = TenantScope::system(id, "log-in");
    let mut all = rows::all(&mut *app.store.read(&scope).await?).await?;
    all.retain(|provider| provider.enabled);
    Ok((Some(scope), all))
}

/// A browser that is to be sent to a provider.
#[derive(Clone)]
pub struct Sent {
    /// Where.
    pub url: String,
    /// What its cookie must hold when it comes back.
    pub browser: BrowserSecret,
}

fn unreachable() -> AppError {
    let detail = "the identity provider cannot be used now: try again in a minute; an admin finds out \
                  why with `edgeformer identity-provider check`";
    AppError::conflict("provider_unusable", detail)
}

/// Begins a log-in. A browser that has a secret keeps it: several tabs may be under way.
pub async fn begin(
    app: &App,
    (tenant, provider): (&str, Option<&str>),
    next: Option<&str>,
    browser: Option<BrowserSecret>,
) -> Result<Sent, AppError> {
    let next_path = local_path(next.unwrap_or(HOME))?;
    let (scope, provider) = find(app, tenant, provider).await?;
    let known = discovery::known(app, scope.tenant(), &provider.issuer).await;
    let known = known.map_err(|_| unreachable())?;
    let endpoint = known.metadata.authorization_endpoint.as_deref().ok_or_else(unreachable)?;
    let browser = match browser {
        Some(browser) => browser,
        None => BrowserSecret::new()?,
    };
    let state = URL_SAFE_NO_PAD.encode(random()?);
    let now = app.now();
    let login = SsoLogin {
        state_sha256: sha256(state.as_bytes()),
        browser_sha256: sha256(&browser.0),
        provider: provider.id,
        provider_revision: provider.revision,
        next_path,
        created_at: now,
        expires_at: now.plus(LIFE),
    };
    let mut write = app.store.write_observation(&scope).await?;
    sso_logins::insert(&mut write, &login).await?;
    write.commit(now).await?;
    let mut url = Url::parse(endpoint).map_err(|_| unreachable())?;
    let verifier = browser.verifier(&state);
    url.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", &provider.client_id),
        ("redirect_uri", &redirect_uri(app, scope.tenant(), provider.id)),
        ("scope", &provider.settings.scopes.join(" ")),
        ("state", &state),
        ("nonce", &browser.nonce(&state)),
        ("code_challenge", &URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()))),
        ("code_challenge_method", "S256"),
    ]);
    if !provider.settings.acr_values.is_empty() {
        url.query_pairs_mut().append_pair("acr_values", &provider.settings.acr_values.join(" "));
    }
    Ok(Sent { url: url.into(), browser })
}

/// What a browser brings back.
#[derive(Debug, Default)]
pub struct Returned {
    /// What becomes tokens.
    pub code: Option<String>,
    /// As it was sent.
    pub state: Option<String>,
    /// Who answers (RFC 9207).
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// A browser that is logged in.
#[derive(Debug, Clone)]
pub struct Entered {
    /// Its session.
    pub begun: browser::Begun,
    /// Where it goes on.
    pub next_path: String,
}

fn over() -> AppError {
    let message = "this log-in is unknown, used or over, or began in another browser: begin again";
    AppError::Unauthenticated(message.to_owned())
}

/// Ends a log-in that comes back, for better or worse: it is good once.
pub async fn finish(
    app: &App,
    (tenant, id): (TenantId, IdentityProviderId),
    returned: Returned,
    browser: Option<BrowserSecret>,
    origin: Origin,
) -> Result<Entered, AppError> {
    let now = app.now();
    let (Some(state), Some(browser)) = (&returned.state, browser) else { return Err(over()) };
    if state.len() > MAX_RETURNED_BYTES {
        return Err(over());
    }
    let scope = TenantScope::for_request(tenant, "log-in", &origin);
    let mut write = app.store.write_observation(&scope).await?;
    let login = sso_logins::take(&mut write, &sha256(state.as_bytes())).await?;
    write.commit(now).await?;
    let ours = |login: &SsoLogin| {
        login.provider == id && login.expires_at > now && login.browser_sha256 == sha256(&browser.0)
    };
    let login = login.filter(ours).ok_or_else(over)?;
    if let Err(closed) = standing(app, tenant, now).await? {
        return Err(AppError::Denied(closed.to_string()));
    }
    let provider = rows::get(&mut *app.store.read(&scope).await?, id).await?;
    let same = |one: &IdentityProvider| one.enabled && one.revision == login.provider_revision;
    let provider = provider.filter(same).ok_or_else(over)?;
    let proof = Proof { app, scope: &scope, provider: &provider, login: &login, now };
    let entered = match proof.tokens(&returned, &browser, state).await {
        Ok((person, id_token)) => proof.enter(&person, &id_token, &origin).await,
        Err(why) => Err(Refusal::Proof(why)),
    };
    match entered {
        Ok(begun) => Ok(Entered { begun, next_path: login.next_path }),
        Err(refusal) => Err(refuse(app, &scope, &provider, refusal, &origin, now).await?),
    }
}

/// Why a log-in that came back is not taken.
enum Refusal {
    /// What came back proves nothing. Not shown: a stranger may have made it.
    Proof(String),
    /// It proves who it is, and they are not let in.
    Person(NotLetIn),
}

impl From<NotLetIn> for Refusal {
    fn from(why: NotLetIn) -> Self {
        Self::Person(why)
    }
}

/// A log-in that came back to the browser that began it.
struct Proof<'a> {
    app: &'a App,
    scope: &'a TenantScope,
    provider: &'a IdentityProvider,
    login: &'a SsoLogin,
    now: Timestamp,
}

impl Proof<'_> {
    /// Trades the code for tokens and believes them only if everything about them is right.
    async fn tokens(
        &self,
        returned: &Returned,
        browser: &BrowserSecret,
        state: &str,
    ) -> Result<(Person, String), String> {
        let Self { app, scope, provider, login, now } = *self;
        let known = discovery::known(app, scope.tenant(), &provider.issuer).await;
        let Known { metadata, .. } = known.map_err(|error| error.to_string())?;
        let code = code_of(returned, provider, &metadata)?;
        let (verifier, nonce) = (browser.verifier(state), browser.nonce(state));
        let redirect_uri = redirect_uri(app, scope.tenant(), provider.id);
        let code = Code { code, verifier: &verifier, redirect_uri: &redirect_uri };
        let tokens = token_request::redeem(app, provider, &metadata, code).await?;
        let allowed = &provider.settings.algorithms;
        let verified =
            discovery::verify(app, scope.tenant(), &provider.issuer, &tokens.id_token, allowed);
        let verified = verified.await.map_err(|error| format!("the ID token: {error}"))?;
        let expected = Expected { issuer: &provider.issuer, client_id: &provider.client_id, now };
        let login = Login {
            nonce: &nonce,
            began_at: login.created_at,
            access_token: tokens.access_token.as_deref(),
            algorithm: verified.algorithm,
        };
        let identity = claims::check_id_token(&verified.claims, expected, login)
            .map_err(|why| format!("the ID token: {why}"))?;
        let all = self.more(&metadata, &tokens, verified.claims, &identity).await?;
        Ok((Person::of(identity, &all, provider), tokens.id_token))
    }

    /// The claims with those of the userinfo behind them, which many providers keep groups in.
    async fn more(
        &self,
        metadata: &Metadata,
        tokens: &Tokens,
        all: Claims,
        identity: &Identity,
    ) -> Result<Claims, String> {
        let named = claims::groups(&all, &self.provider.settings.groups_claim).is_some();
        let (Some(url), Some(access_token), false) =
            (&metadata.userinfo_endpoint, &tokens.access_token, named)
        else {
            return Ok(all);
        };
        let said = token_request::userinfo(self.app, url, access_token).await?;
        // Section 5.3.2: it may be about somebody else.
        if claims::subject(&said).as_ref() != Ok(&identity.subject) {
            return Err("the provider's userinfo is about somebody else".to_owned());
        }
        Ok(claims::with_userinfo(all, said))
    }

    /// Begins the session of whom the provider vouches for.
    async fn enter(
        &self,
        person: &Person,
        id_token: &str,
        origin: &Origin,
    ) -> Result<browser::Begun, Refusal> {
        let Self { app, scope, provider, now, .. } = *self;
        let user = person::enter(app, scope, provider, person, origin, now).await?;
        let wrapped = app
            .vault
            .wrap(SecretKind::IdToken, &provider.id.to_string(), id_token.as_bytes())
            .map_err(|error| NotLetIn::from(AppError::Internal(error.to_string())))?;
        let via = Via {
            provider: provider.id,
            sid: person.identity.sid.clone().unwrap_or_default(),
            wrapped_id_token: Some(wrapped),
            assurance: person.identity.assurance.clone(),
        };
        Ok(self.begin(user, person, via, origin).await.map_err(NotLetIn::from)?)
    }

    async fn begin(
        &self,
        user: User,
        person: &Person,
        via: Via,
        origin: &Origin,
    ) -> Result<browser::Begun, AppError> {
        let Self { app, provider, now, .. } = *self;
        let tenant = self.scope.tenant();
        let scope = TenantScope::logging_in(tenant, user.id, &user.display_name, origin.clone())
            .proved(AuthMethod::Oidc, now)
            .assured(&person.identity.assurance);
        let resource = Resource::new("user", user.id).named(user.user_name.clone());
        let intent = Intent::new(Action::SessionCreate, resource);
        let mut write = app.store.write(&scope, intent).await?;
        let (subject, groups) = (&person.identity.subject, &person.groups);
        user_identities::put(&mut write, provider.id, subject, user.id, groups, now).await?;
        users::note_login(&mut write, user.id, 0, Timestamp(0), Some(now)).await?;
        let proved = Proved { user, method: AuthMethod::Oidc, via: Some(via), at: now };
        let begun = browser::begin(&mut write, proved, origin, now).await?;
        let after = json!({
            "session": begun.session, "method": AuthMethod::Oidc.as_str(),
            "identity_provider": provider.name, "groups": groups,
        });
        write.changes(json!(null), after);
        write.commit(now).await?;
        app.nudges.audit.notify_one();
        Ok(begun)
    }
}

/// The code, if the answer is of this provider.
fn code_of<'r>(
    returned: &'r Returned,
    provider: &IdentityProvider,
    metadata: &Metadata,
) -> Result<&'r str, String> {
    match &returned.iss {
        Some(iss) if *iss != provider.issuer => {
            return Err("the answer is of another issuer (iss)".to_owned());
        }
        None if metadata.sends_issuer => {
            return Err("the answer does not say its issuer, which this provider does".to_owned());
        }
        _ => {}
    }
    if let Some(error) = &returned.error {
        let plain = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
        let error: String = error.chars().filter(plain).take(60).collect();
        return Err(format!("the provider refused: {error}"));
    }
    let code = returned.code.as_deref().filter(|code| code.len() <= MAX_RETURNED_BYTES);
    code.ok_or_else(|| "the answer has no code".to_owned())
}

/// Records why somebody was not let in, and says as much as they may know.
async fn refuse(
    app: &App,
    scope: &TenantScope,
    provider: &IdentityProvider,
    refusal: Refusal,
    origin: &Origin,
    now: Timestamp,
) -> Result<AppError, AppError> {
    let on_provider = Resource::new("identity_provider", provider.id);
    let mut who = scope.clone();
    let (resource, logged, shown) = match refusal {
        Refusal::Person(NotLetIn::Failed(error)) => return Err(error),
        Refusal::Proof(why) => {
            let shown = "the identity provider's answer was not taken: begin again; if it stays so, an \
                         admin finds the reason in the audit log";
            (on_provider, why, AppError::Unauthenticated(shown.to_owned()))
        }
        Refusal::Person(NotLetIn::Because(why)) => {
            (on_provider, why.to_owned(), AppError::Denied(why.to_owned()))
        }
        Refusal::Person(NotLetIn::User { user, because }) => {
            let name = user.display_name.clone();
            who = TenantScope::logging_in(scope.tenant(), user.id, &name, origin.clone())
                .proved(AuthMethod::Oidc, now);
            let resource = Resource::new("user", user.id).named(user.user_name);
            (resource, because.to_owned(), AppError::Denied(because.to_owned()))
        }
    };
    let intent = Intent::new(Action::SessionCreate, resource).because(logged);
    app.store.record(&who, intent, Outcome::Denied, now).await?;
    app.nudges.audit.notify_one();
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_controller_are_gone_on_to() {
        for good in ["/", "/api/v1/login/device?user_code=BCDF-GHJK", "/a/../b", "/x?next=//y"] {
            assert_eq!(local_path(good).unwrap(), good);
        }
        for bad in [
            "",
            "x",
            "//evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/a\nb",
            "/ä",
            "javascript:alert(1)",
            "/a b",
        ] {
            assert!(local_path(bad).is_err(), "{bad:?}");
        }
        assert!(local_path(&format!("/{}", "a".repeat(MAX_NEXT_BYTES))).is_err());
    }

    #[test]
    fn what_follows_from_a_browsers_secret_differs_by_state_and_purpose() {
        let secret = BrowserSecret::new().unwrap();
        let again = BrowserSecret::parse(&secret.reveal()).unwrap();
        assert_eq!(secret.nonce("s"), again.nonce("s"));
        assert_ne!(secret.nonce("s"), secret.verifier("s"));
        assert_ne!(secret.nonce("s"), secret.nonce("t"));
        assert_ne!(secret.nonce("s"), BrowserSecret::new().unwrap().nonce("s"));
        // RFC 7636, section 4.1: 43 to 128 characters of a certain set.
        assert_eq!(secret.verifier("s").len(), 43);
        for bad in ["", "abc", &"A".repeat(44), &"=".repeat(43)] {
            assert!(BrowserSecret::parse(bad).is_none());
        }
    }
}
