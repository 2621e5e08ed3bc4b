//! A browser that goes between the API and the OpenID provider that tests log in at.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::{HeaderMap, Method};
use reqwest::Url;

pub(crate) use super::provider::Provider;
use super::rest::{Answer, Rest};

/// A browser with its cookies, of the API and of the provider apart.
#[derive(Default)]
pub(crate) struct Browser {
    ours: Mutex<BTreeMap<String, String>>,
    theirs: Mutex<BTreeMap<String, String>>,
}

fn keep(jar: &Mutex<BTreeMap<String, String>>, headers: &HeaderMap) {
    let mut jar = jar.lock().unwrap();
    for value in headers.get_all("set-cookie") {
        let pair = value.to_str().unwrap().split(';').next().unwrap().to_owned();
        let (name, value) = pair.split_once('=').unwrap();
        match value.is_empty() {
            true => jar.remove(name),
            false => jar.insert(name.to_owned(), value.to_owned()),
        };
    }
}

fn header(jar: &Mutex<BTreeMap<String, String>>) -> String {
    let jar = jar.lock().unwrap();
    jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

impl Browser {
    /// A cookie of the API whose name ends like this.
    pub(crate) fn cookie(&self, end: &str) -> Option<String> {
        let jar = self.ours.lock().unwrap();
        jar.iter().find(|(name, _)| name.ends_with(end)).map(|(_, value)| value.clone())
    }

    /// Puts a cookie of another browser in.
    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.ours.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// Asks the API; `headers` come with the cookies.
    pub(crate) async fn ask(
        &self,
        rest: &Rest,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let cookies = header(&self.ours);
        let mut all = vec![("cookie", cookies.as_str())];
        all.extend(headers);
        let answer = rest.send(method, path, &all, body).await;
        keep(&self.ours, &answer.headers);
        answer
    }

    pub(crate) async fn get(&self, rest: &Rest, path: &str) -> Answer {
        self.ask(rest, Method::GET, path, &[], None).await
    }

    /// Sends a form as a page of the API does.
    pub(crate) async fn form(&self, rest: &Rest, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let origin = rest.app.public_origin();
        let mut url = Url::parse("https://form/").unwrap();
        url.query_pairs_mut().extend_pairs(pairs);
        let body = url.query().unwrap().to_owned();
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", origin.as_str()),
            ("sec-fetch-site", "same-origin"),
        ];
        self.ask(rest, Method::POST, path, &headers, Some(&body)).await
    }

    /// Follows the provider's pages from `url` as `account`, until it sends the browser elsewhere.
    /// Nobody refuses. Returns where.
    pub(crate) async fn at_provider(
        &self,
        provider: &Provider,
        url: &str,
        account: Option<&str>,
    ) -> String {
        let mut url = Url::parse(url).unwrap();
        let here = Url::parse(&provider.issuer).unwrap().origin();
        for _ in 0..10 {
            let mut request =
                provider.client.get(url.clone()).header("cookie", header(&self.theirs));
            if let Some(account) = account {
                request = request.header("x-test-account", account);
            }
            let answer = request.send().await.unwrap();
            keep(&self.theirs, answer.headers());
            let Some(to) = answer.headers().get("location") else {
                panic!("{url} answers {}: {}", answer.status(), answer.text().await.unwrap());
            };
            url = url.join(to.to_str().unwrap()).unwrap();
            if url.origin() != here {
                return url.into();
            }
        }
        panic!("the provider sends the browser round in circles");
    }

    /// Logs out at the provider's page, and confirms there. Returns where it sends the browser.
    pub(crate) async fn log_out_at_provider(&self, provider: &Provider, url: &str) -> String {
        let page = provider.client.get(url).header("cookie", header(&self.theirs));
        let page = page.send().await.unwrap();
        keep(&self.theirs, page.headers());
        let text = page.text().await.unwrap();
        let after = |mark: &str| text.split(mark).nth(1).unwrap().split('"').next().unwrap();
        let (action, xsrf) = (after("action=\""), after("name=\"xsrf\" value=\""));
        let form = format!("xsrf={xsrf}&logout=yes");
        let confirm = provider.client.post(action).header("cookie", header(&self.theirs));
        let confirm = confirm.header("content-type", "application/x-www-form-urlencoded");
        let done = confirm.body(form).send().await.unwrap();
        keep(&self.theirs, done.headers());
        done.headers()["location"].to_str().unwrap().to_owned()
    }

    /// Begins a log-in at the API. Returns where it sends the browser.
    pub(crate) async fn start(&self, rest: &Rest, query: &str) -> String {
        let answer = self.get(rest, &format!("/api/v1/login/sso?{query}")).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.headers["location"].to_str().unwrap().to_owned()
    }
}

/// Path and query of an address of the API.
pub(crate) fn path(url: &str) -> String {
    let url = Url::parse(url).unwrap();
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}
