//! What can go wrong between the command line and the controller, told apart so that each case has
//! its own message: unreachable, not trusted, refused, not understood.

use std::error::Error as StdError;

use reqwest::StatusCode;
use rustls::CertificateError;

use super::types::Problem;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach the controller at {url}: {why}")]
    Unreachable { url: String, why: String },
    #[error("the controller at {url} is not trusted: {why}")]
    Untrusted { url: String, why: Distrust },
    #[error("could not {operation}: {}", .problem.detail.as_deref().unwrap_or(&.problem.title))]
    Refused { operation: &'static str, status: StatusCode, problem: Box<Problem> },
    #[error("could not {operation}: the answer of {url} ({status}) is not one of this API: {why}")]
    NotUnderstood { operation: &'static str, url: String, status: StatusCode, why: String },
    #[error("the file {path} cannot be read: {source}")]
    File { path: String, source: std::io::Error },
    #[error("the HTTP client cannot start: {0}")]
    Start(String),
}

/// Why a server certificate was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("its certificate was not issued by the given certificate authority")]
    OtherAuthority,
    #[error("its certificate has expired, or a clock is wrong")]
    Expired,
    #[error("its certificate is not valid yet, so a clock is wrong")]
    NotYetValid,
    #[error("its certificate is for other names than the one in the URL")]
    OtherName,
    #[error("it wants a client certificate, so this is the listener for devices")]
    WantsClientCertificate,
    #[error("{0}")]
    Other(String),
}

/// What a request that got no answer ran into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    Untrusted(Distrust),
    NotSent(String),
    Broken(String),
}

/// Sorts an error of the HTTP client.
pub fn classify(error: &reqwest::Error) -> NoAnswer {
    if let Some(tls) = find_tls(error) {
        return NoAnswer::Untrusted(distrust(tls));
    }
    let io = find_io(error).map(std::io::Error::kind);
    let why = match io {
        Some(std::io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe) => {
            "the connection was reset".to_owned()
        }
        Some(std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable) => {
            "no route to the host".to_owned()
        }
        Some(std::io::ErrorKind::UnexpectedEof) => {
            "the connection ended in the middle of the TLS handshake or answer".to_owned()
        }
        _ if error.is_timeout() && error.is_connect() => "no connection in time".to_owned(),
        _ if error.is_timeout() => "no answer in time".to_owned(),
        _ => innermost(error),
    };
    if error.is_connect() { NoAnswer::NotSent(why) } else { NoAnswer::Broken(why) }
}

fn distrust(error: &rustls::Error) -> Distrust {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Distrust::OtherAuthority
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Distrust::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Distrust::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Distrust::OtherName
            }
            other => Distrust::Other(format!("its certificate is invalid: {other}")),
        },
        rustls::Error::AlertReceived(
            Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA,
        ) => Distrust::WantsClientCertificate,
        rustls::Error::InvalidMessage(_) => {
            Distrust::Other("it does not speak TLS on this port; check host and port".to_owned())
        }
        other => Distrust::Other(format!("the TLS handshake failed: {other}")),
    }
}

/// The TLS error in the chain. An I/O error hides its cause from `source`, so it is opened.
fn find_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())
}

fn find_io<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a std::io::Error> {
    chain(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>()).last()
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// The error and its causes, at most 16 deep.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let step = |cause: &&'a (dyn StdError + 'static)| -> Option<&'a (dyn StdError + 'static)> {
        let cause: &'a (dyn StdError + 'static) = *cause;
        match cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inside) => Some(inside),
            None => cause.source(),
        }
    };
    std::iter::successors(Some(error), step).take(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_errors_are_told_apart() {
        let check = |error: CertificateError, expected: Distrust| {
            assert_eq!(distrust(&rustls::Error::InvalidCertificate(error)), expected);
        };
        check(CertificateError::UnknownIssuer, Distrust::OtherAuthority);
        check(CertificateError::Expired, Distrust::Expired);
        check(CertificateError::NotValidYet, Distrust::NotYetValid);
        check(CertificateError::NotValidForName, Distrust::OtherName);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        assert_eq!(distrust(&alert), Distrust::WantsClientCertificate);
    }

    #[test]
    fn a_tls_error_is_found_inside_an_io_error() {
        let tls = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let io = std::io::Error::other(std::io::Error::other(tls.clone()));
        assert_eq!(find_tls(&io), Some(&tls));
    }
}
