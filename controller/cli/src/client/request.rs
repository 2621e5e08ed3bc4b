//! One request: built, sent (again if that is safe and helps), its answer read with a cap.

use std::marker::PhantomData;

use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::endpoints::{Nothing, TextStream};
use super::error::{NoAnswer, classify};
use super::retry::{self, Trouble};
use super::types::{Page, Problem, Whole};
use super::{Client, ClientError, Endpoint, REQUEST_TIMEOUT};

/// No answer of the API is larger; a page of 200 devices with all facts is about 1 MiB.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// Largest page that the API gives.
const MAX_PAGE: u32 = 200;

/// A parsed answer with the text it was parsed from.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    pub value: T,
    /// The body as the API gave it.
    pub raw: String,
    /// Entity tag, to change the resource under.
    pub etag: Option<String>,
    pub status: StatusCode,
}

/// All items of a list, up to the limit that was asked for.
#[derive(Debug, Clone)]
pub struct List<T> {
    pub items: Vec<T>,
    /// Each item as the API gave it.
    pub raw: Vec<Box<RawValue>>,
    /// The list goes on beyond the limit.
    pub more: bool,
}

impl<T> List<T> {
    /// A list that came whole.
    ///
    /// # Errors
    /// [`ClientError::NotUnderstood`] when its items cannot be told apart, which parsing them
    /// before rules out.
    pub fn whole(answer: Answer<Whole<T>>) -> Result<Self, ClientError> {
        let raw: Whole<Box<RawValue>> =
            serde_json::from_str(&answer.raw).map_err(|e| ClientError::NotUnderstood {
                operation: "read the list",
                url: String::new(),
                status: answer.status,
                why: e.to_string(),
            })?;
        Ok(Self { items: answer.value.items, raw: raw.items, more: false })
    }
}

/// Answers that can be made from a body.
pub trait Outcome: Sized {
    fn parse(body: &str) -> Result<Self, String>;
}

impl Outcome for Nothing {
    fn parse(_: &str) -> Result<Self, String> {
        Ok(Self)
    }
}

impl<T: DeserializeOwned> Outcome for T {
    fn parse(body: &str) -> Result<Self, String> {
        serde_json::from_str(body).map_err(|e| e.to_string())
    }
}

/// A request that is being put together.
pub struct Call<'c, Req, Res> {
    client: &'c Client,
    method: Method,
    operation: &'static str,
    allowed_query: &'static [&'static str],
    url: Url,
    rest: &'static str,
    body: Option<Result<Vec<u8>, String>>,
    if_match: Option<String>,
    types: PhantomData<fn(Req) -> Res>,
}

impl Client {
    /// Begins a request of one operation.
    pub fn call<Req, Res>(&self, endpoint: &Endpoint<Req, Res>) -> Call<'_, Req, Res> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an https URL has a path")
            .pop_if_empty()
            .push("api")
            .push("v1");
        let mut call = Call {
            client: self,
            method: endpoint.method.clone(),
            operation: endpoint.operation,
            allowed_query: endpoint.query,
            url,
            rest: endpoint.path.trim_start_matches('/'),
            body: None,
            if_match: None,
            types: PhantomData,
        };
        call.literal_segments();
        call
    }
}

impl<Req, Res> Call<'_, Req, Res> {
    /// Fills the next `{parameter}` of the path; whatever it holds stays one segment.
    pub fn path(mut self, value: &str) -> Self {
        let (parameter, rest) = self.rest.split_once('/').unwrap_or((self.rest, ""));
        assert!(parameter.starts_with('{'), "{parameter:?} in the path is not a parameter");
        self.push(value);
        self.rest = rest;
        self.literal_segments();
        self
    }

    /// Adds a query parameter of the operation's table entry.
    pub fn query(mut self, name: &'static str, value: &str) -> Self {
        assert!(self.allowed_query.contains(&name), "{} has no parameter {name}", self.operation);
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Adds a query parameter if there is a value.
    pub fn query_if(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Only if the resource still has this entity tag.
    pub fn if_match(mut self, etag: Option<String>) -> Self {
        self.if_match = etag;
        self
    }

    /// The URL without query, for messages; used by uploads too.
    pub(super) fn into_url(self) -> Url {
        assert!(self.rest.is_empty(), "the path lacks {}", self.rest);
        self.url
    }

    fn literal_segments(&mut self) {
        while !self.rest.is_empty() && !self.rest.starts_with('{') {
            let (segment, rest) = self.rest.split_once('/').unwrap_or((self.rest, ""));
            self.push(segment);
            self.rest = rest;
        }
    }

    fn push(&mut self, segment: &str) {
        self.url.path_segments_mut().expect("an https URL has a path").push(segment);
    }

    async fn answer(self) -> Result<(StatusCode, HeaderMap, String), ClientError> {
        assert!(self.rest.is_empty(), "the path lacks {}", self.rest);
        let body = self.body.transpose().map_err(ClientError::Start)?;
        // One key for all attempts: that is what makes a repetition safe.
        let key = uuid::Uuid::new_v4().to_string();
        let (client, method, operation) = (self.client, self.method, self.operation);
        client
            .attempts(&method, operation, || {
                let mut request = client.http.request(method.clone(), self.url.clone());
                request = client.authorised(request).timeout(REQUEST_TIMEOUT);
                request = request.headers(client.headers.clone());
                if method == Method::POST {
                    request = request.header("Idempotency-Key", &key);
                }
                if let Some(etag) = &self.if_match {
                    request = request.header(IF_MATCH, etag);
                }
                match &body {
                    Some(json) => {
                        request.header(CONTENT_TYPE, "application/json").body(json.clone())
                    }
                    None => request,
                }
            })
            .await
    }
}

impl<Req: Serialize, Res> Call<'_, Req, Res> {
    /// The body to send.
    pub fn body(mut self, body: &Req) -> Self {
        self.body = Some(serde_json::to_vec(body).map_err(|e| e.to_string()));
        self
    }
}

impl Call<'_, Nothing, TextStream> {
    /// Sends the request and hands every piece of the answer to `take`, until the answer or the
    /// interest ends. Not tried again: pieces may have been taken already.
    ///
    /// # Errors
    /// What [`ClientError`] names; an answer that breaks off is one.
    pub async fn stream(
        self,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        assert!(self.rest.is_empty(), "the path lacks {}", self.rest);
        let (client, operation) = (self.client, self.operation);
        let request = client.http.request(self.method, self.url);
        let sent = client.authorised(request).send().await;
        let mut response = sent.map_err(|error| client.no_answer(&error).1)?;
        if !response.status().is_success() {
            let refused = client.read(operation, response).await.err();
            return Err(refused.expect("the status is no success").1);
        }
        while let Some(piece) =
            response.chunk().await.map_err(|error| client.no_answer(&error).1)?
        {
            take(&piece)
                .map_err(|source| ClientError::File { path: "the output".to_owned(), source })?;
        }
        Ok(())
    }
}

impl<Req, Res: Outcome> Call<'_, Req, Res> {
    /// Sends the request.
    ///
    /// # Errors
    /// What [`ClientError`] names.
    pub async fn send(self) -> Result<Answer<Res>, ClientError> {
        let (url, operation) = (self.client.url().to_owned(), self.operation);
        let (status, headers, raw) = self.answer().await?;
        let value = Res::parse(&raw).map_err(|why| ClientError::NotUnderstood {
            operation,
            url,
            status,
            why,
        })?;
        let etag = headers.get(ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok(Answer { value, raw, etag, status })
    }
}

impl<Req, T: DeserializeOwned> Call<'_, Req, Page<T>> {
    /// Follows the pages until `limit` items are there.
    ///
    /// # Errors
    /// What [`ClientError`] names.
    pub async fn all(self, limit: u32) -> Result<List<T>, ClientError> {
        let mut list = List { items: Vec::new(), raw: Vec::new(), more: false };
        let mut cursor: Option<String> = None;
        loop {
            let missing = limit.saturating_sub(u32::try_from(list.items.len()).unwrap_or(u32::MAX));
            if missing == 0 {
                list.more = cursor.is_some();
                return Ok(list);
            }
            let mut page = self.again();
            page = page.query("limit", &missing.min(MAX_PAGE).to_string());
            page = page.query_if("cursor", cursor.as_deref());
            let (items, next) = page.page().await?;
            let empty = items.is_empty();
            for raw in items.into_iter().take(missing as usize) {
                list.items.push(self.item(&raw)?);
                list.raw.push(raw);
            }
            match next {
                // An empty page with a cursor would never end.
                Some(next) if !empty && Some(&next) != cursor.as_ref() => cursor = Some(next),
                _ => return Ok(list),
            }
        }
    }

    fn again(&self) -> Self {
        Self {
            client: self.client,
            method: self.method.clone(),
            operation: self.operation,
            allowed_query: self.allowed_query,
            url: self.url.clone(),
            rest: self.rest,
            body: None,
            if_match: None,
            types: PhantomData,
        }
    }

    async fn page(self) -> Result<(Vec<Box<RawValue>>, Option<String>), ClientError> {
        let (url, operation) = (self.client.url().to_owned(), self.operation);
        let (status, _, raw) = self.answer().await?;
        let page: Page<Box<RawValue>> = serde_json::from_str(&raw).map_err(|e| {
            ClientError::NotUnderstood { operation, url, status, why: e.to_string() }
        })?;
        Ok((page.items, page.next_cursor))
    }

    fn item(&self, raw: &RawValue) -> Result<T, ClientError> {
        serde_json::from_str(raw.get()).map_err(|e| ClientError::NotUnderstood {
            operation: self.operation,
            url: self.client.url().to_owned(),
            status: StatusCode::OK,
            why: e.to_string(),
        })
    }
}

impl Client {
    /// Sends what `build` makes until there is an answer or [`retry`] gives up.
    async fn attempts(
        &self,
        method: &Method,
        operation: &'static str,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<(StatusCode, HeaderMap, String), ClientError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (trouble, error) = match build().send().await {
                Err(error) => self.no_answer(&error),
                Ok(response) => match self.read(operation, response).await {
                    Ok(answer) => return Ok(answer),
                    Err((None, error)) => return Err(error),
                    Err((Some(trouble), error)) => (Some(trouble), error),
                },
            };
            let delay = trouble.and_then(|t| retry::delay(method, t, attempts, random_fraction()));
            match delay {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(error),
            }
        }
    }

    /// A request that got no answer: whether to try again, and the error if not.
    pub(super) fn no_answer(&self, error: &reqwest::Error) -> (Option<Trouble>, ClientError) {
        let url = self.url().to_owned();
        match classify(error) {
            NoAnswer::Untrusted(why) => (None, ClientError::Untrusted { url, why }),
            NoAnswer::NotSent(why) => {
                (Some(Trouble::NotSent), ClientError::Unreachable { url, why })
            }
            NoAnswer::Broken(why) => (Some(Trouble::Broken), ClientError::Unreachable { url, why }),
        }
    }

    /// Reads an answer with a cap; errors come with what a retry could do about them.
    pub(super) async fn read(
        &self,
        operation: &'static str,
        mut response: Response,
    ) -> Result<(StatusCode, HeaderMap, String), (Option<Trouble>, ClientError)> {
        let (status, headers) = (response.status(), response.headers().clone());
        let not_understood = |why: String| {
            let url = self.url().to_owned();
            ClientError::NotUnderstood { operation, url, status, why }
        };
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|e| self.no_answer(&e))? {
            if body.len() + part.len() > MAX_ANSWER_BYTES {
                return Err((None, not_understood("it is larger than 32 MiB".to_owned())));
            }
            body.extend_from_slice(&part);
        }
        let Ok(text) = String::from_utf8(body) else {
            return Err((None, not_understood("it is not text".to_owned())));
        };
        if status.is_success() {
            return Ok((status, headers, text));
        }
        let error = match serde_json::from_str::<Problem>(&text) {
            Ok(problem) if !problem.title.is_empty() => {
                ClientError::Refused { operation, status, problem: Box::new(problem) }
            }
            _ => not_understood("it is an error without a problem document".to_owned()),
        };
        Err((Trouble::of_status(status, retry_after(&headers)), error))
    }
}

fn retry_after(headers: &HeaderMap) -> Option<std::time::Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(std::time::Duration::from_secs(seconds))
}

/// In 0..1; spreads the retries of many clients.
fn random_fraction() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 256.0
}

#[cfg(test)]
mod tests {
    use super::super::endpoints::{GET_VERSION, LIST_DEVICES};
    use super::super::{Target, Token};
    use super::*;

    fn client(url: &str) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let token = Token::mint(edgeformer_proto::token::Kind::Api);
        Client::new(Target {
            url: url.parse().unwrap(),
            ca_pem: None,
            token: crate::client::Credential::Token(token),
            because: None,
            approval: None,
        })
        .unwrap()
    }

    #[test]
    fn path_parameters_stay_one_segment() {
        let client = client("https://h:1/base/");
        let url = client.call(&GET_VERSION).path("a/b c").path("..%2f").into_url();
        assert_eq!(url.as_str(), "https://h:1/base/api/v1/models/a%2Fb%20c/versions/..%252f");
    }

    #[test]
    fn query_values_are_encoded() {
        let client = client("https://h:1");
        let url = client.call(&LIST_DEVICES).query("label", "a=b&c").into_url();
        assert_eq!(url.as_str(), "https://h:1/api/v1/devices?label=a%3Db%26c");
    }

    #[test]
    #[should_panic(expected = "has no parameter")]
    fn an_undeclared_query_parameter_is_a_bug() {
        let _ = client("https://h:1").call(&GET_VERSION).query("colour", "red");
    }
}
