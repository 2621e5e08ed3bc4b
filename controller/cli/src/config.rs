//! The saved login, and the rule by which flags, environment and login add up to a connection. A
//! saved token is never sent to another address than the one it was saved for.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::args::Connection;
use crate::client::{Credential, Secret, Target};
use crate::failure::Failure;
use edgeformer_proto::token::{Kind, Token};

/// A login, a CA file or a token file is a few KiB; anything larger is another file.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Format of the file; a newer one is refused rather than misread.
const FORMAT: u32 = 2;

/// What `login` saves.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub format: u32,
    pub url: String,
    /// A copy of the certificate authority, so that the login survives moved files.
    pub ca_pem: Option<String>,
    /// An API token; empty with a session.
    #[serde(default)]
    pub token: String,
    /// A log-in with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// A log-in that goes on by itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub access_token: String,
    /// Seconds since the Unix epoch.
    pub access_until: i64,
    pub refresh_token: String,
}

impl Login {
    /// A log-in with a password.
    pub fn of_session(target: &Target, session: Session) -> Self {
        let (url, ca_pem) = (target.url.to_string(), target.ca_pem.clone());
        Self { format: FORMAT, url, ca_pem, token: String::new(), session: Some(session) }
    }

    pub fn of(target: &Target) -> Self {
        Self {
            format: FORMAT,
            url: target.url.to_string(),
            ca_pem: target.ca_pem.clone(),
            token: target.token.reveal().to_owned(),
            session: None,
        }
    }
}

/// `$EDGEFORMER_CONFIG`, else `$XDG_CONFIG_HOME/edgeformer/config.json`, else below `~/.config`.
///
/// # Errors
/// When none of the variables is set.
pub fn path() -> Result<PathBuf, Failure> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(file) = var("EDGEFORMER_CONFIG") {
        return Ok(file);
    }
    let folder = var("XDG_CONFIG_HOME").or_else(|| Some(var("HOME")?.join(".config")));
    folder.map(|f| f.join("edgeformer").join("config.json")).ok_or_else(|| {
        Failure::usage("there is no place for the login: neither HOME nor EDGEFORMER_CONFIG is set")
            .next("set EDGEFORMER_CONFIG to a file name")
    })
}

/// The saved login; None if there is none.
///
/// # Errors
/// When the file is there but cannot be read or is not a login.
pub fn load(path: &Path) -> Result<Option<Login>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let text = read_text(path, "the saved login")?;
    let broken = |why: String| {
        Failure::usage(format!("the saved login {} is not usable: {why}", path.display()))
            .next("log in again (`edgeformer login`)")
    };
    let login: Login = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
    match login.format {
        1..=FORMAT => Ok(Some(login)),
        other => Err(broken(format!("it has format {other}, this program knows {FORMAT} at most"))),
    }
}

/// Saves a login: readable by its owner alone, whole or not at all.
///
/// # Errors
/// When the folder or file cannot be written.
pub fn save(path: &Path, login: &Login) -> Result<(), Failure> {
    let fail = |e: std::io::Error| {
        Failure::usage(format!("the login cannot be saved to {}: {e}", path.display()))
            .next("choose another place with EDGEFORMER_CONFIG")
    };
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(fail)?;
    // Temporary files are made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    let text = serde_json::to_string_pretty(login).map_err(|e| fail(e.into()))?;
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Adds up what was given and what was saved.
///
/// # Errors
/// A usage error that names what is missing or wrong.
pub fn resolve(given: &Connection, saved: Option<&Login>) -> Result<Target, Failure> {
    let place = place(given, saved)?;
    let url = place.url.clone();
    // What was saved belongs to the address it was saved for.
    let saved = saved.filter(|login| parse_url(&login.url).is_ok_and(|known| known == url));
    let token = match (&given.token, saved) {
        (Some(text), _) => Credential::Token(parse_token(text, "--token (or EDGEFORMER_TOKEN)")?),
        (None, Some(Login { session: Some(session), .. })) => {
            Credential::Access(Secret(session.access_token.clone()))
        }
        (None, Some(login)) => Credential::Token(parse_token(&login.token, "the saved login")?),
        (None, None) => {
            let what = format!("there is no token for {url}");
            return Err(Failure::new(crate::failure::Exit::NotFoundOrDenied, what)
                .next("log in there (`edgeformer login --url …`) or set EDGEFORMER_TOKEN"));
        }
    };
    Ok(Target { token, ..place })
}

/// Where the controller is and whom to trust, for those who are nobody yet.
///
/// # Errors
/// A usage error that names what is missing or wrong.
pub fn place(given: &Connection, saved: Option<&Login>) -> Result<Target, Failure> {
    let url = match (&given.url, saved) {
        (Some(url), _) => parse_url(url)?,
        (None, Some(login)) => parse_url(&login.url)?,
        (None, None) => {
            return Err(Failure::new(
                crate::failure::Exit::NotFoundOrDenied,
                "you are not logged in",
            )
            .next("edgeformer login --url https://HOST:8443 --ca ca.pem --token-file FILE"));
        }
    };
    // What was saved belongs to the address it was saved for.
    let saved = saved.filter(|login| parse_url(&login.url).is_ok_and(|known| known == url));
    let ca_pem = match &given.ca {
        Some(file) => Some(read_text(file, "the CA file")?),
        None => saved.and_then(|login| login.ca_pem.clone()),
    };
    let (because, approval) = (given.because.clone(), given.approval.clone());
    Ok(Target { url, ca_pem, token: Credential::Nobody, because, approval })
}

/// An `https` address of a controller.
///
/// # Errors
/// A usage error.
pub fn parse_url(text: &str) -> Result<Url, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("{text:?} is not the address of a controller: {why}"))
            .next("write for example https://fleet.example:8443")
    };
    let url = Url::parse(text).map_err(|e| wrong(e.to_string()))?;
    if url.scheme() != "https" {
        return Err(wrong("it must start with https://, tokens are not sent in the clear".into()));
    }
    if url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() {
        return Err(wrong("it needs a host, and no user name".into()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or fragment".into()));
    }
    Ok(url)
}

/// A token that came from `source`.
///
/// # Errors
/// A usage error that says what is wrong with it.
pub fn parse_token(text: &str, source: &str) -> Result<Token, Failure> {
    Token::parse(Kind::Api, text).map_err(|e| {
        Failure::usage(format!("the token from {source} cannot be used: {e}"))
            .next("nothing was sent; give the token as it was printed when it was created")
    })
}

/// A small text file.
///
/// # Errors
/// A usage error that names the file.
pub fn read_text(path: &Path, what: &str) -> Result<String, Failure> {
    let fail = |why: String| {
        Failure::usage(format!("{what} {} cannot be read: {why}", path.display()))
            .next("check the path and its permissions")
    };
    let size_bytes = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if size_bytes > MAX_FILE_BYTES {
        return Err(fail("it is larger than 1 MiB, so it is another file".to_owned()));
    }
    std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a right checksum.
    fn sample() -> String {
        "efp_7777777777777777777777777777772iIG0Q".to_owned()
    }

    fn login() -> Login {
        let url = "https://a.example:8443/".to_owned();
        Login { format: 1, url, ca_pem: Some("PEM".into()), token: sample(), session: None }
    }

    #[test]
    fn a_login_is_saved_privately_and_read_back() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config.json");
        assert!(load(&path).unwrap().is_none());
        save(&path, &login()).unwrap();
        save(&path, &login()).unwrap();
        assert!(load(&path).unwrap() == Some(login()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_saved_token_goes_only_where_it_was_saved_for() {
        let saved = login();
        let same = Connection { url: Some("https://a.example:8443".into()), ..Default::default() };
        let target = resolve(&same, Some(&saved)).unwrap();
        assert_eq!((target.ca_pem.as_deref(), target.token.reveal()), (Some("PEM"), &*sample()));

        let other = Connection { url: Some("https://b.example:8443".into()), ..Default::default() };
        let failure = resolve(&other, Some(&saved)).unwrap_err();
        insta::assert_snapshot!(failure, @r"
        error: there is no token for https://b.example:8443/
          next: log in there (`edgeformer login --url …`) or set EDGEFORMER_TOKEN
        ");
        let given = Connection { token: Some(sample()), ..other };
        assert_eq!(resolve(&given, Some(&saved)).unwrap().ca_pem, None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let check = |url: Option<&str>, token: Option<&str>, expected: &str| {
            let given = Connection {
                url: url.map(Into::into),
                token: token.map(Into::into),
                ..Connection::default()
            };
            let message = resolve(&given, None).map(|_| ()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check(None, None, "you are not logged in");
        check(Some("http://a"), None, "must start with https://");
        check(Some("a:8443"), None, "must start with https://");
        check(Some("https://a"), Some("efp_short"), "9 characters instead of 40");
        check(Some("https://a"), Some(&sample().replacen('7', "8", 1)), "mistyped");
        check(Some("https://a?x"), None, "query");
    }
}
