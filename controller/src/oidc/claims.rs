//! What an ID token and a logout token must say before they are believed (OpenID Connect Core 1.0,
//! section 3.1.3.7; Back-Channel Logout 1.0, section 2.6). Pure: the time is passed in.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use ring::digest;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::policy::Assurance;

/// Clocks of providers differ.
const LEEWAY_S: i64 = 60;
/// The same.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// A logout token is acted on when it comes; one that is older was kept by somebody.
const LOGOUT_AGE_S: i64 = 300;
/// Longest subject (OpenID Connect Core 1.0, section 2).
const MAX_SUBJECT_CHARS: usize = 255;
/// Longest name, address or session id that is kept.
const MAX_TEXT_CHARS: usize = 256;
/// Methods of an authentication that are kept: there are two or three.
const MAX_METHODS: usize = 10;
/// Longest of them: RFC 8176 has words of five letters.
const MAX_METHOD_BYTES: usize = 64;
/// Groups looked at: more do not fit into a token.
const MAX_GROUPS: usize = 2000;
/// The member of `events` that makes a logout token.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Claims of a token, or of a provider's userinfo.
pub type Claims = Map<String, Value>;

/// What is wrong with a token, for the log. Whoever presented it hears less.
pub type Wrong = String;

/// Who must have made a token for whom.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Exactly as the provider names itself.
    pub issuer: &'a str,
    /// As the provider knows this controller.
    pub client_id: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// Text of a claim, if it is one and not empty; bounded.
pub fn text(claims: &Claims, name: &str) -> Option<String> {
    let text = claims.get(name)?.as_str()?.trim();
    let plain: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect();
    (!plain.is_empty()).then_some(plain)
}

/// Seconds since the Unix epoch: a JSON number, which may have a fraction (RFC 7519, section 2).
fn seconds(claims: &Claims, name: &str) -> Result<Option<i64>, Wrong> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => {
            let number = value.as_i64().or_else(|| value.as_f64().map(|number| number as i64));
            number.map(Some).ok_or_else(|| format!("{name} is not a time"))
        }
    }
}

fn needed(claims: &Claims, name: &str) -> Result<i64, Wrong> {
    seconds(claims, name)?.ok_or_else(|| format!("there is no {name}"))
}

/// For whom a token was made.
pub fn audiences(claims: &Claims) -> Vec<&str> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Issuer, audience and times, which every token must have right.
pub fn check_common(claims: &Claims, expected: Expected<'_>) -> Result<(), Wrong> {
    let Expected { issuer, client_id, now } = expected;
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err("it is of another issuer".to_owned());
    }
    let audiences = audiences(claims);
    if audiences.is_empty() {
        return Err("there is no aud".to_owned());
    }
    if !audiences.contains(&client_id) {
        return Err("it is for another audience".to_owned());
    }
    // A token for several is only good when it says that it was made for us.
    let azp = claims.get("azp").map(|azp| azp.as_str().unwrap_or_default());
    if azp.is_some_and(|azp| azp != client_id) || (azp.is_none() && audiences.len() > 1) {
        return Err("it was made for another client (azp)".to_owned());
    }
    check_times(claims, now).map(|_| ())
}

/// Whether a token is good now. Returns when it expires, in seconds since the Unix epoch.
pub fn check_times(claims: &Claims, now: Timestamp) -> Result<i64, Wrong> {
    let now = now.0 / 1_000_000;
    let expires = needed(claims, "exp")?;
    if expires <= now - LEEWAY_S {
        return Err("it is expired".to_owned());
    }
    if needed(claims, "iat")? > now + LEEWAY_S {
        return Err("it is from the future: compare the clocks".to_owned());
    }
    if seconds(claims, "nbf")?.is_some_and(|nbf| nbf > now + LEEWAY_S) {
        return Err("it is not good yet".to_owned());
    }
    Ok(expires)
}

/// Whom an ID token is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider's own, lasting name for the person.
    pub subject: String,
    /// What the provider calls the session.
    pub sid: Option<String>,
    /// How it says that they logged in.
    pub assurance: Assurance,
}

/// A subject: not empty, bounded, without control characters.
pub fn subject(claims: &Claims) -> Result<String, Wrong> {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    let count = subject.chars().count();
    if count == 0 || count > MAX_SUBJECT_CHARS || subject.chars().any(char::is_control) {
        return Err("its sub cannot be a subject".to_owned());
    }
    Ok(subject.to_owned())
}

/// What else an ID token must fit.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// What was sent with the browser.
    pub nonce: &'a str,
    /// When the browser was sent.
    pub began_at: Timestamp,
    /// The access token that came with it.
    pub access_token: Option<&'a str>,
    /// With which the token is signed.
    pub algorithm: Algorithm,
}

/// Checks an ID token whose signature is right.
pub fn check_id_token(
    claims: &Claims,
    expected: Expected<'_>,
    login: Login<'_>,
) -> Result<Identity, Wrong> {
    check_common(claims, expected)?;
    if claims.get("nonce").and_then(Value::as_str) != Some(login.nonce) {
        return Err("it is for another log-in (nonce)".to_owned());
    }
    if needed(claims, "iat")? < login.began_at.0 / 1_000_000 - LEEWAY_S {
        return Err("it is older than the log-in".to_owned());
    }
    if let Some(given) = claims.get("at_hash") {
        let right = login.access_token.map(|token| half_hash(token, login.algorithm));
        if right.is_none() || given.as_str() != right.as_deref() {
            return Err("it is for another access token (at_hash)".to_owned());
        }
    }
    let (subject, sid) = (subject(claims)?, text(claims, "sid"));
    Ok(Identity { subject, sid, assurance: assurance(claims) })
}

/// Class and methods of the authentication; what is no text is left out.
fn assurance(claims: &Claims) -> Assurance {
    let methods = claims.get("amr").and_then(Value::as_array).map(Vec::as_slice);
    let plain = |text: &&str| {
        text.len() <= MAX_METHOD_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let methods = methods.unwrap_or_default().iter().filter_map(Value::as_str).filter(plain);
    Assurance {
        acr: text(claims, "acr"),
        amr: methods.take(MAX_METHODS).map(str::to_owned).collect(),
    }
}

/// Left half of the hash that goes with the signature's algorithm (section 3.1.3.6).
fn half_hash(token: &str, algorithm: Algorithm) -> String {
    let hash = match algorithm {
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &digest::SHA384,
        // Ed25519 uses SHA-512 by itself.
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => &digest::SHA512,
        _ => &digest::SHA256,
    };
    let hash = digest::digest(hash, token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}

/// Whose log-ins a logout token ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logout {
    /// Those that came from this session at the provider.
    Session(String),
    /// All of this subject.
    Subject(String),
}

/// Checks a logout token whose signature is right. Returns its `jti` too, which is good once.
pub fn check_logout_token(
    claims: &Claims,
    expected: Expected<'_>,
) -> Result<(Logout, String), Wrong> {
    check_common(claims, expected)?;
    if needed(claims, "iat")? < expected.now.0 / 1_000_000 - LOGOUT_AGE_S {
        return Err("it is too old".to_owned());
    }
    let event = claims.get("events").and_then(|events| events.get(LOGOUT_EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err("it is no logout token (events)".to_owned());
    }
    // So that an ID token never passes for one.
    if claims.contains_key("nonce") {
        return Err("it is no logout token (nonce)".to_owned());
    }
    let jti = text(claims, "jti").ok_or("there is no jti")?;
    match (text(claims, "sid"), claims.contains_key("sub")) {
        (Some(sid), _) => Ok((Logout::Session(sid), jti)),
        (None, true) => Ok((Logout::Subject(subject(claims)?), jti)),
        (None, false) => Err("it names neither a session nor a subject".to_owned()),
    }
}

/// The claims of an ID token with those of the userinfo behind them. An address and whether it was
/// verified are one statement: neither half is taken from the one to vouch for the other's.
pub fn with_userinfo(mut all: Claims, mut said: Claims) -> Claims {
    let (address, verified) = ("email", "email_verified");
    match all.contains_key(address) {
        true if all.get(address) != said.get(address) => drop(said.remove(verified)),
        true => {}
        false => drop(all.remove(verified)),
    }
    for (name, value) in said {
        all.entry(name).or_insert(value);
    }
    all
}

/// The groups in a claim: a list of texts, or one text. A claim whose name has dots is looked for as it
/// is, then as a path (`realm_access.roles`).
pub fn groups(claims: &Claims, name: &str) -> Option<BTreeSet<String>> {
    let found = claims.get(name).or_else(|| {
        let mut parts = name.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    })?;
    let bounded = |text: &str| (text.len() <= MAX_TEXT_CHARS).then(|| text.to_owned());
    Some(match found {
        Value::String(one) => bounded(one).into_iter().collect(),
        Value::Array(all) => {
            all.iter().take(MAX_GROUPS).filter_map(Value::as_str).filter_map(bounded).collect()
        }
        _ => BTreeSet::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const EXPECTED: Expected<'_> = Expected {
        issuer: "https://id.example",
        client_id: "fleet",
        now: Timestamp(NOW * 1_000_000),
    };

    fn id_token() -> Value {
        json!({
            "iss": "https://id.example", "aud": "fleet", "sub": "ada", "nonce": "n", "sid": "s1",
            "exp": NOW + 300, "iat": NOW,
        })
    }

    /// `changes` are laid over a right token; null takes a claim away.
    fn with(base: Value, changes: Value) -> Claims {
        let mut claims = base.as_object().unwrap().clone();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => claims.remove(name),
                value => claims.insert(name.clone(), value.clone()),
            };
        }
        claims
    }

    fn check(changes: Value) -> Result<Identity, Wrong> {
        let login = Login {
            nonce: "n",
            began_at: Timestamp((NOW - 30) * 1_000_000),
            access_token: Some("at"),
            algorithm: Algorithm::RS256,
        };
        check_id_token(&with(id_token(), changes), EXPECTED, login)
    }

    #[test]
    fn an_id_token_must_be_of_this_issuer_for_this_client_and_this_log_in() {
        assert_eq!(check(json!({})).unwrap().sid.as_deref(), Some("s1"));
        let said = check(json!({"acr": "2", "amr": ["pwd", 7, "o t p", "otp"]})).unwrap().assurance;
        assert_eq!((said.acr.as_deref(), said.amr), (Some("2"), vec!["pwd".into(), "otp".into()]));
        for good in [
            json!({"aud": ["fleet"]}),
            json!({"aud": ["fleet", "other"], "azp": "fleet"}),
            json!({"iat": NOW + 50}),
            json!({"exp": NOW - 50}),
            json!({"iat": NOW as f64 - 0.5}),
            json!({"at_hash": half_hash("at", Algorithm::RS256)}),
        ] {
            check(good.clone()).unwrap_or_else(|why| panic!("{good}: {why}"));
        }
        for (bad, why) in [
            (json!({"iss": "https://id.example/"}), "another issuer"),
            (json!({"iss": null}), "another issuer"),
            (json!({"aud": "other"}), "another audience"),
            (json!({"aud": ["fleet", "other"]}), "azp"),
            (json!({"aud": "fleet", "azp": "other"}), "azp"),
            (json!({"aud": "fleet", "azp": 7}), "azp"),
            (json!({"aud": null}), "no aud"),
            (json!({"exp": NOW - 61}), "expired"),
            (json!({"exp": null}), "no exp"),
            (json!({"exp": "soon"}), "not a time"),
            (json!({"iat": NOW + 61}), "future"),
            (json!({"iat": NOW - 91}), "older than the log-in"),
            (json!({"iat": null}), "no iat"),
            (json!({"nbf": NOW + 61}), "not good yet"),
            (json!({"nonce": "m"}), "nonce"),
            (json!({"nonce": null}), "nonce"),
            (json!({"at_hash": half_hash("other", Algorithm::RS256)}), "at_hash"),
            (json!({"at_hash": half_hash("at", Algorithm::RS512)}), "at_hash"),
            (json!({"sub": ""}), "sub"),
            (json!({"sub": null}), "sub"),
            (json!({"sub": "a".repeat(256)}), "sub"),
            (json!({"sub": "a\nb"}), "sub"),
        ] {
            let refused = check(bad.clone()).unwrap_err();
            assert!(refused.contains(why), "{bad}: {refused}");
        }
    }

    /// The example of OpenID Connect Core 1.0, appendix A.3.
    #[test]
    fn the_hash_of_an_access_token_is_that_of_the_specification() {
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(half_hash(token, Algorithm::RS256), "77QmUPtjPfzWtF2AnpK9RQ");
    }

    #[test]
    fn a_logout_token_is_no_id_token_and_the_other_way_round() {
        let base = json!({
            "iss": "https://id.example", "aud": "fleet", "exp": NOW + 100, "iat": NOW, "jti": "j",
            "events": {LOGOUT_EVENT: {}}, "sid": "s1", "sub": "ada",
        });
        let check = |changes: Value| check_logout_token(&with(base.clone(), changes), EXPECTED);
        assert_eq!(check(json!({})).unwrap(), (Logout::Session("s1".into()), "j".into()));
        let subject = check(json!({"sid": null})).unwrap().0;
        assert_eq!(subject, Logout::Subject("ada".into()));
        for (bad, why) in [
            (json!({"sid": null, "sub": null}), "neither"),
            (json!({"events": null}), "events"),
            (json!({"events": {}}), "events"),
            (json!({"events": {LOGOUT_EVENT: true}}), "events"),
            (json!({"nonce": "n"}), "nonce"),
            (json!({"jti": null}), "jti"),
            (json!({"iat": NOW - 301}), "too old"),
            (json!({"aud": "other"}), "audience"),
        ] {
            let refused = check(bad.clone()).unwrap_err();
            assert!(refused.contains(why), "{bad}: {refused}");
        }
        assert!(check_logout_token(&with(id_token(), json!({})), EXPECTED).is_err());
    }

    #[test]
    fn what_is_verified_of_one_address_vouches_for_no_other() {
        let merged = |token: Value, userinfo: Value| {
            let all = with_userinfo(with(token, json!({})), with(userinfo, json!({})));
            (all.get("email").cloned(), all.get("email_verified").cloned())
        };
        let (mine, yours) = (json!("mine@x.example"), json!("yours@x.example"));
        let (whole, half) = (
            json!({"email": "mine@x.example", "email_verified": true}),
            json!({"email": "yours@x.example"}),
        );
        assert_eq!(merged(json!({}), whole.clone()), (Some(mine.clone()), Some(json!(true))));
        assert_eq!(merged(half, whole.clone()), (Some(yours), None));
        let same = json!({"email": "mine@x.example"});
        assert_eq!(merged(same.clone(), whole), (Some(mine.clone()), Some(json!(true))));
        assert_eq!(merged(json!({"email_verified": true}), same), (Some(mine), None));
    }

    #[test]
    fn groups_are_found_by_name_and_by_path() {
        let claims = with(
            json!({"groups": ["a", "b", 7], "one": "x", "https://a.b/c": ["u"],
                   "realm_access": {"roles": ["r"]}, "odd": {"a": 1}}),
            json!({}),
        );
        let set = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(groups(&claims, "groups"), set(&["a", "b"]));
        assert_eq!(groups(&claims, "one"), set(&["x"]));
        assert_eq!(groups(&claims, "https://a.b/c"), set(&["u"]));
        assert_eq!(groups(&claims, "realm_access.roles"), set(&["r"]));
        assert_eq!(groups(&claims, "odd"), set(&[]));
        assert_eq!(groups(&claims, "realm_access.groups"), None);
        assert_eq!(groups(&claims, "none"), None);
    }
}
