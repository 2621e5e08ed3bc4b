//! Logging in without a password: a person in a browser at the real OpenID provider, a program with
//! another system's token. Needs what `cargo xtask test` installs.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use reqwest::{Certificate, Client, Url};
use serde_json::{Value, json};

use super::Controller;
use super::provider::Provider;

const SECRET: &str = "a secret";

/// A browser: follows redirects between controller and provider, keeps their cookies apart.
struct Browser {
    client: Client,
    jars: BTreeMap<String, BTreeMap<String, String>>,
}

impl Browser {
    fn new(pems: &[&str]) -> Self {
        let roots = pems.iter().map(|pem| Certificate::from_pem(pem.as_bytes()).unwrap());
        let client = Client::builder()
            .tls_certs_only(roots)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { client, jars: BTreeMap::new() }
    }

    /// Sends a form, or gets the page, and follows wherever it leads. Returns the last page.
    async fn go(&mut self, url: &str, form: Option<String>) -> String {
        let (mut url, mut form) = (Url::parse(url).unwrap(), form);
        for _ in 0..20 {
            let origin = url.origin().ascii_serialization();
            let jar = self.jars.entry(origin.clone()).or_default();
            let cookies: Vec<_> =
                jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let request = match form.take() {
                Some(body) => self
                    .client
                    .post(url.clone())
                    .header("content-type", "application/x-www-form-urlencoded")
                    .header("origin", &origin)
                    .body(body),
                None => self.client.get(url.clone()),
            };
            let request = request.header("cookie", cookies.join("; "));
            let answer = request.header("x-test-account", "ada").send().await.unwrap();
            for cookie in answer.headers().get_all("set-cookie") {
                let pair = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                jar.insert(name.to_owned(), value.to_owned());
            }
            match answer.headers().get("location") {
                Some(to) => url = url.join(to.to_str().unwrap()).unwrap(),
                None => return answer.text().await.unwrap(),
            }
        }
        panic!("{url} leads in circles");
    }
}

/// A controller whose tenant "acme" logs in at a provider.
fn connected(provider: &Provider, runtime: &tokio::runtime::Runtime) -> Controller {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("provider.pem");
    std::fs::write(&ca, &provider.ca_pem).unwrap();
    let ca = ca.display().to_string();
    let controller = Controller::start_with(&[
        "--outbound-allow",
        "127.0.0.0/8",
        "--outbound-allow",
        "::1",
        "--outbound-ca",
        &ca,
    ])
    .with_tenant();
    let secret = controller.path("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let create = ["identity-provider", "create", "corp", "--client-id", "fleet"];
    let more = ["--issuer", &provider.issuer, "--secret-file", &secret, "--create-users", "true"];
    let groups = ["--request-scope", "groups", "--map", "ops=operator", "--map", "ops=viewer"];
    let made = controller.json(&[&create[..], &more[..], &groups[..]].concat());
    assert_eq!(made["role_mapping"]["ops"], json!(["operator", "viewer"]));
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    runtime.block_on(provider.register(
        "fleet",
        &text("redirect_uri"),
        &text("back_channel_logout_uri"),
    ));
    controller
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn start_provider() -> Provider {
    let client = json!([{
        "client_id": "fleet", "client_secret": SECRET,
        "redirect_uris": ["https://placeholder.invalid/"],
    }]);
    Provider::start(client, json!({}))
}

/// The hidden fields of a page's form, as they are sent back.
fn hidden(page: &str) -> String {
    let fields = page.split("<input type=\"hidden\" name=\"").skip(1).map(|field| {
        let (name, rest) = field.split_once("\" value=\"").unwrap();
        format!("{name}={}", rest.split('"').next().unwrap())
    });
    fields.collect::<Vec<_>>().join("&")
}

#[test]
fn a_person_lets_the_command_line_in_with_a_browser() {
    let (runtime, provider) = (runtime(), start_provider());
    let controller = connected(&provider, &runtime);
    assert!(controller.ok(&["identity-provider", "check", "corp"]).contains("It can be used"));
    assert!(controller.ok(&["identity-provider", "list"]).contains("ops=operator+viewer"));
    controller.fails(&["login", "--tenant", "nobody", "--sso"], 3, "nobody logs in to tenant");
    controller.fails(
        &["login", "--tenant", "acme", "--sso", "--provider", "x"],
        3,
        "no identity provider",
    );
    controller.fails(&["login", "--tenant", "acme"], 2, "does not say who logs in");

    let mut waiting = Command::new(env!("CARGO_BIN_EXE_edgeformer"))
        .args(["login", "--tenant", "acme", "--sso"])
        .env_clear()
        .env("EDGEFORMER_CONFIG", controller.path("config.json"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.find(|line| line.trim().starts_with("https://")).unwrap();
    let ca = std::fs::read_to_string(controller.path("data/ca.pem")).unwrap();
    let mut browser = Browser::new(&[&ca, &provider.ca_pem]);
    let page = runtime.block_on(browser.go(url.trim(), None));
    assert!(page.contains("wants to log in as you, ada the First"), "{page}");
    let form = format!("{}&decision=allow", hidden(&page));
    let decision = format!("{}/api/v1/login/device/decision", controller.url);
    let done = runtime.block_on(browser.go(&decision, Some(form)));
    assert!(done.contains("The command line is logged in"), "{done}");
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");

    assert_eq!(controller.json(&["whoami"])["principal_name"], "ada the First");
    assert!(controller.ok(&["account", "log-ins"]).contains("oidc"));
    controller.ok(&["device", "list"]);
    controller.fails(&["identity-provider", "delete", "corp", "--yes"], 3, "not allowed");
    controller.ok(&["logout"]);
    // Who made it takes it away, and its people with it.
    let tenant = controller.path("tenant.token");
    controller.ok(&[
        "login",
        "--url",
        &controller.url,
        "--ca",
        &controller.path("data/ca.pem"),
        "--token-file",
        &tenant,
    ]);
    controller.ok(&["identity-provider", "update", "corp", "--enabled", "false"]);
    let shown: Value = controller.json(&["identity-provider", "show", "corp"]);
    assert_eq!((&shown["enabled"], &shown["has_client_secret"]), (&json!(false), &json!(true)));
    controller.ok(&["identity-provider", "delete", "corp", "--yes"]);
    controller.fails(&["identity-provider", "show", "corp"], 3, "there is no identity provider");
}

#[test]
fn a_program_logs_in_with_another_systems_token() {
    let (runtime, provider) = (runtime(), start_provider());
    let controller = connected(&provider, &runtime);
    controller.ok(&["service-account", "create", "builder", "--role", "operator"]);
    let trust = ["service-account", "trust", "add", "builder", "--issuer", &provider.issuer];
    let rest = ["--audience", "edgeformer", "--claim", "sub=repo:acme/*:ref:refs/heads/main"];
    let rule = controller.json(&[&trust[..], &rest[..]].concat());
    assert!(
        controller.ok(&["service-account", "trust", "list", "builder"]).contains("repo:acme/*")
    );
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let claims = json!({
        "iss": provider.issuer, "aud": "edgeformer", "sub": "repo:acme/app:ref:refs/heads/main",
        "iat": now, "exp": now + 600, "jti": "one",
    });
    let file = controller.path("ci.jwt");
    std::fs::write(&file, runtime.block_on(provider.sign(claims, json!({})))).unwrap();
    let login = ["login", "--tenant", "acme", "--federated", "--service-account", "builder"];
    let login = [&login[..], &["--token-file", &file]].concat();
    assert!(controller.ok(&login).contains("builder"));
    assert_eq!(controller.json(&["whoami"])["principal_name"], "builder");
    controller.fails(&login, 3, "was not taken");
    let owner = std::fs::read_to_string(controller.path("tenant.token")).unwrap();
    let id = rule["id"].as_str().unwrap();
    let remove = ["service-account", "trust", "remove", "builder", id, "--token", owner.trim()];
    controller.ok(&remove);
    controller.fails(&["whoami"], 3, "log in again");
}
