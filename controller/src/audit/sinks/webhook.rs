//! Batches posted to a URL, one record a line. The receiver acknowledges with any 2xx; everything else is
//! tried again. Headers say which records a batch holds, so that one that comes twice is known, and a
//! signature says that we made it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::ids::SinkId;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use ring::signature::Ed25519KeyPair;

use super::SinkError;
use crate::audit::Event;
use crate::audit::export::{Format, Log, line};
use crate::outbound::{Ask, Outbound};

/// Answers are not read, only counted.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Which sink.
const SINK: HeaderName = HeaderName::from_static("x-edgeformer-sink");
/// Sequence of the first record.
const FROM: HeaderName = HeaderName::from_static("x-edgeformer-from");
/// One after the last.
const TO: HeaderName = HeaderName::from_static("x-edgeformer-to");
/// `ed25519=<base64>` over [`signed`].
const SIGNATURE: HeaderName = HeaderName::from_static("x-edgeformer-signature");

/// Which records a body holds.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// Of which sink.
    pub sink: SinkId,
    /// First record.
    pub from: u64,
    /// One after the last.
    pub to: u64,
}

/// What is signed: which records of which sink, and the body.
pub fn signed(batch: &Batch, body: &[u8]) -> Vec<u8> {
    let Batch { sink, from, to } = batch;
    let head = format!("edgeformer webhook v1\n{sink}\n{from}\n{to}\n");
    [head.as_bytes(), body].concat()
}

fn headers(batch: &Batch, body: &[u8], key: Option<&[u8]>) -> Result<HeaderMap, SinkError> {
    let value = |text: String| {
        HeaderValue::try_from(text).map_err(|error| SinkError::Settings(error.to_string()))
    };
    let mut headers = HeaderMap::new();
    headers.insert(SINK, value(batch.sink.to_string())?);
    headers.insert(FROM, value(batch.from.to_string())?);
    headers.insert(TO, value(batch.to.to_string())?);
    if let Some(pkcs8) = key {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8)
            .map_err(|_| SinkError::Settings("the signing key is damaged".to_owned()))?;
        let signature = BASE64.encode(pair.sign(&signed(batch, body)));
        headers.insert(SIGNATURE, value(format!("ed25519={signature}"))?);
    }
    Ok(headers)
}

/// Posts a batch. `key` is PKCS#8.
pub async fn post(
    outbound: &Outbound,
    url: &str,
    batch: &Batch,
    page: Vec<Event>,
    log: &Log,
    format: Format,
    key: Option<&[u8]>,
) -> Result<(), SinkError> {
    let body: String = page.into_iter().map(|event| line(event, log, format)).collect();
    let mut headers = headers(batch, body.as_bytes(), key)?;
    let kind = HeaderValue::from_static(format.content_type());
    headers.insert(header::CONTENT_TYPE, kind);
    let receiver = |what: String| SinkError::Receiver(what);
    let ask = Ask::new(Method::POST, url, MAX_ANSWER_BYTES).map_err(|e| receiver(e.to_string()))?;
    let answer = outbound.send(ask.headers(headers).body(body)).await;
    let answer = answer.map_err(|error| receiver(error.to_string()))?;
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(receiver(format!("it answers {}", answer.status.as_u16()))),
    }
}
