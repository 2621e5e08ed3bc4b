//! How a command fails: what happened, to what, what to do next, and the exit code. The one place
//! that turns errors of the client into words for operators.

use reqwest::StatusCode;

use crate::client::types::Problem;
use crate::client::{ClientError, Distrust};

/// Exit codes; documented in `edgeformer --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotFoundOrDenied = 3,
    Unreachable = 4,
    StillRunning = 5,
    Interrupted = 130,
}

/// A command that did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// What happened, to what.
    pub what: String,
    /// Further facts, a line each.
    pub facts: Vec<String>,
    /// What to do next.
    pub next: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), facts: Vec::new(), next: None }
    }

    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Says what the failed request was about, for example `rollout 0192…`.
    pub fn about(mut self, thing: &str) -> Self {
        self.what = format!("{thing}: {}", self.what);
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error: {}", printable(&self.what))?;
        for fact in &self.facts {
            write!(f, "\n  {}", printable(fact))?;
        }
        match &self.next {
            Some(next) => write!(f, "\n  next: {}", printable(next)),
            None => Ok(()),
        }
    }
}

/// Text from elsewhere cannot move the cursor or colour the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let what = error.to_string();
        match error {
            ClientError::Unreachable { .. } => Failure::new(Exit::Unreachable, what).next(
                "check that `edgeformer-controller serve` runs there, and host and port in the \
                 URL (--url, EDGEFORMER_URL or the saved login)",
            ),
            ClientError::Untrusted { why, .. } => {
                Failure::new(Exit::Unreachable, what).next(distrust_advice(&why))
            }
            ClientError::Refused { status, problem, .. } => refused(what, status, &problem),
            ClientError::NotUnderstood { status, .. } => {
                let proxy = status.is_server_error() || status.is_redirection();
                Failure::new(Exit::Failed, what).next(if proxy {
                    "something between here and the controller answered; check the URL and proxies"
                } else {
                    "check that the URL is the controller's admin listener (not the one for devices), \
                     and that `edgeformer --version` is of a neighbouring version"
                })
            }
            ClientError::File { .. } => Failure::usage(what).next("check the path"),
            ClientError::Start(_) => {
                Failure::usage(what).next("check the file given with --ca (EDGEFORMER_CA)")
            }
        }
    }
}

fn distrust_advice(why: &Distrust) -> &'static str {
    match why {
        Distrust::OtherAuthority => {
            "give the installation's ca.pem with --ca (EDGEFORMER_CA), or log in again with it; \
             if the file is right, someone else answers at this address"
        }
        Distrust::Expired | Distrust::NotYetValid => {
            "compare the clocks of this machine and the controller; a running controller renews \
             its certificate by itself, so restart it if it is really expired"
        }
        Distrust::OtherName => {
            "use a name that the certificate carries; the controller's names are set with \
             `edgeformer-controller init --server-name`"
        }
        Distrust::WantsClientCertificate => {
            "use the address of the admin listener (--admin-listen, usually port 8443)"
        }
        Distrust::Other(_) => "check host and port in the URL",
    }
}

fn refused(what: String, status: StatusCode, problem: &Problem) -> Failure {
    let exit = match status.as_u16() {
        401 | 403 | 404 => Exit::NotFoundOrDenied,
        502..=504 => Exit::Unreachable,
        _ => Exit::Failed,
    };
    let mut failure = Failure::new(exit, what);
    failure.facts = field_errors(problem);
    failure.facts.retain(|fact| !failure.what.contains(fact.as_str()));
    if exit == Exit::Failed || exit == Exit::Unreachable {
        let code = Some(problem.code.as_str()).filter(|code| !code.is_empty());
        let at = problem.instance.as_deref().map(|i| format!(", {i}")).unwrap_or_default();
        failure.facts.push(match code {
            Some(code) => format!("({}: {code}{at})", status.as_u16()),
            None => format!("({}{at})", status.as_u16()),
        });
    }
    failure.next = match problem.code.as_str() {
        // The detail says who has to do what.
        "approval_required" => None,
        _ => refused_advice(status).map(str::to_owned),
    };
    failure
}

/// The `errors` member, whatever its shape: a list of texts or objects, or an object by field.
fn field_errors(problem: &Problem) -> Vec<String> {
    use serde_json::Value;
    /// More would not be read.
    const MAX_FIELD_ERRORS: usize = 20;
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let get = |names: &[&str]| names.iter().find_map(|n| fields.get(*n)?.as_str());
            match (get(&["field", "pointer", "name"]), get(&["message", "detail"])) {
                (Some(field), Some(message)) => format!("{field}: {message}"),
                (None, Some(message)) => message.to_owned(),
                _ => value.to_string(),
            }
        }
        other => other.to_string(),
    };
    let lines: Vec<String> = match &problem.errors {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(text).collect(),
        Some(Value::Object(map)) => map.iter().map(|(k, v)| format!("{k}: {}", text(v))).collect(),
        Some(other) => vec![text(other)],
    };
    lines.into_iter().take(MAX_FIELD_ERRORS).collect()
}

fn refused_advice(status: StatusCode) -> Option<&'static str> {
    Some(match status.as_u16() {
        401 => {
            "an administrator makes a new one (`edgeformer token create`); then log in again \
             (`edgeformer login`)"
        }
        403 => "see with `edgeformer whoami` who you are; use a token with the role for this",
        404 => {
            "check the id or name with the `list` command; things of other tenants are not found"
        }
        409 => return None,
        412 | 428 => "someone changed it at the same moment: look again, then repeat",
        429 => "too many requests: wait a little, then repeat",
        500 => "this is a fault of the controller: find the request in its log",
        502..=504 => "the controller is overloaded or restarting: repeat in a minute",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, json: &str) -> Failure {
        ClientError::Refused {
            operation: "create the rollout",
            status: StatusCode::from_u16(status).unwrap(),
            problem: Box::new(serde_json::from_str(json).unwrap()),
        }
        .into()
    }

    #[test]
    fn a_refusal_says_what_why_and_what_next() {
        let failure = problem(
            422,
            r#"{"title":"Invalid input","status":422,"detail":"the selector is empty",
                "code":"invalid","instance":"/requests/7","errors":[
                {"field":"selector.labels","message":"has no label"},"settings: odd"]}"#,
        );
        assert_eq!(failure.exit, Exit::Failed);
        insta::assert_snapshot!(failure, @r"
        error: could not create the rollout: the selector is empty
          selector.labels: has no label
          settings: odd
          (422: invalid, /requests/7)
        ");
        let hidden = problem(404, r#"{"title":"Not found","detail":"no such rollout"}"#);
        assert_eq!(hidden.exit, Exit::NotFoundOrDenied);
        insta::assert_snapshot!(hidden, @r"
        error: could not create the rollout: no such rollout
          next: check the id or name with the `list` command; things of other tenants are not found
        ");
    }

    #[test]
    fn unreachable_and_untrusted_are_told_apart() {
        let url = "https://fleet.example:8443".to_owned();
        let why = "connection refused".to_owned();
        let gone: Failure = ClientError::Unreachable { url: url.clone(), why }.into();
        insta::assert_snapshot!(gone, @r"
        error: cannot reach the controller at https://fleet.example:8443: connection refused
          next: check that `edgeformer-controller serve` runs there, and host and port in the URL (--url, EDGEFORMER_URL or the saved login)
        ");
        let why = Distrust::OtherAuthority;
        let other: Failure = ClientError::Untrusted { url, why }.into();
        assert_eq!((gone.exit, other.exit), (Exit::Unreachable, Exit::Unreachable));
        insta::assert_snapshot!(other, @r"
        error: the controller at https://fleet.example:8443 is not trusted: its certificate was not issued by the given certificate authority
          next: give the installation's ca.pem with --ca (EDGEFORMER_CA), or log in again with it; if the file is right, someone else answers at this address
        ");
    }

    #[test]
    fn text_from_elsewhere_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\nc");
    }
}
