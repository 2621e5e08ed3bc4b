//! The price of the walls: a page of devices and an audited write, each over HTTP, against a bare axum
//! handler with bare sqlx on the same tables; and an append and a proof on logs of growing length.
//! Started by `cargo xtask bench access`, which makes the table; prints one JSON object per pair.

use std::time::{Duration, Instant};

use axum::Router;
use edgeformer_controller::admin::tenants;
use edgeformer_controller::api;
use edgeformer_controller::app::App;
use edgeformer_controller::audit::{checkpointer, sequencer};
use edgeformer_controller::clock::{Clock, SystemClock};
use edgeformer_controller::config::DataDir;
use edgeformer_controller::init::{NewInstallation, init};
use edgeformer_controller::outbound::OutboundRules;
use edgeformer_controller::scope::InstallationScope;
use edgeformer_controller::serve;
use serde_json::{Value, json};
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

mod bare;
mod log;

/// Devices of the tenant: a page is one of twenty.
const DEVICES: usize = 1000;
/// Connections of the readers: enough to keep the controller busy on two cores.
const READERS: usize = 4;

/// What the command line asks for.
struct Settings {
    database_url: Option<String>,
    pairs: usize,
    turn: Duration,
    what: String,
}

fn settings() -> Settings {
    let mut settings = Settings {
        database_url: None,
        pairs: 7,
        turn: Duration::from_secs(2),
        what: String::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--database-url" => settings.database_url = Some(value()),
            "--pairs" => settings.pairs = value().parse().expect("a number of pairs"),
            "--turn-ms" => {
                settings.turn = Duration::from_millis(value().parse().expect("milliseconds"));
            }
            "--what" => settings.what = value(),
            // `cargo bench` says that it is one.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    settings
}

/// An installation with one tenant, its devices, and both servers.
struct Site {
    app: App,
    token: String,
    ours: String,
    reference: String,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = DataDir::new(&folder.path().join("data")).expect("a data folder");
        let new = NewInstallation {
            dir: dir.clone(),
            database_url: settings.database_url.clone(),
            trust_domain: "bench.local".to_owned(),
            server_names: vec!["localhost".to_owned()],
        };
        init(&new, SystemClock.now()).await.expect("an installation");
        let (app, _) =
            serve::open(&dir, settings.database_url.as_deref(), OutboundRules::default())
                .await
                .expect("it opens");
        let top = InstallationScope::system("bench");
        let (tenant, token) = tenants::create(&app, &top, "bench").await.expect("a tenant");
        let pool = bare_pool(&dir, settings.database_url.as_deref()).await;
        bare::fill(&pool, &tenant.id.to_string(), DEVICES).await;
        let on_sqlite = settings.database_url.is_none();
        let state = bare::State::new(pool, tenant.id.to_string(), on_sqlite);
        let ours = listen(api::router(app.clone())).await;
        let reference = listen(bare::router(state)).await;
        let token = token.reveal().to_owned();
        Self { app, token, ours, reference, _folder: folder }
    }
}

/// A pool like the controller's.
async fn bare_pool(dir: &DataDir, database_url: Option<&str>) -> AnyPool {
    let url = dir.database_url(database_url, false);
    let sqlite = database_url.is_none();
    AnyPoolOptions::new()
        .max_connections(if sqlite { 8 } else { 16 })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if sqlite {
                    let pragmas = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; \
                                   PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";
                    sqlx::raw_sql(pragmas).execute(connection).await?;
                }
                Ok(())
            })
        })
        .connect(&url)
        .await
        .expect("the pool connects")
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Requests per second of `clients` that ask one after the other for as long as `turn`, each on a
/// connection of its own.
async fn rate(
    clients: usize,
    turn: Duration,
    ask: impl Fn(&reqwest::Client) -> reqwest::RequestBuilder + Clone + Send + Sync + 'static,
) -> f64 {
    // Before the clock starts: making a client reads the system's certificates.
    let client = reqwest::Client::new();
    let first = (0..clients).map(|_| ask(&client).send());
    for answer in futures::future::join_all(first).await {
        assert!(answer.expect("an answer").status().is_success());
    }
    let began = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (client, ask) = (client.clone(), ask.clone());
            tokio::spawn(async move {
                let mut done = 0_u64;
                while began.elapsed() < turn {
                    let answer = ask(&client).send().await.expect("an answer");
                    assert!(answer.status().is_success(), "{}", answer.status());
                    answer.bytes().await.expect("a body");
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.expect("a client ends");
    }
    done as f64 / began.elapsed().as_secs_f64()
}

fn report(case: &str, ours: f64, reference: f64) {
    println!("{}", json!({ "case": case, "ours": ours, "reference": reference }));
}

async fn page(site: &Site, settings: &Settings) {
    let path = "/api/v1/devices?limit=50";
    let get = |base: &str| {
        let (url, token) = (format!("{base}{path}"), site.token.clone());
        move |client: &reqwest::Client| client.get(&url).bearer_auth(&token)
    };
    let same = |value: Value| value["items"].as_array().map(Vec::len);
    let client = reqwest::Client::new();
    let mut answers = Vec::new();
    for base in [&site.ours, &site.reference] {
        let text = get(base)(&client).send().await.expect("an answer").text().await;
        answers.push(serde_json::from_str::<Value>(&text.expect("a body")).expect("JSON"));
    }
    assert_eq!(same(answers[0].clone()), Some(50));
    assert_eq!(answers[0]["items"], answers[1]["items"], "both give the same page");
    for pair in 0..=settings.pairs {
        let ours = rate(READERS, settings.turn, get(&site.ours)).await;
        let reference = rate(READERS, settings.turn, get(&site.reference)).await;
        if pair > 0 {
            report("page of 50 devices", ours, reference);
        }
    }
}

/// Waits until every record is in the log and signed: what a turn leaves must not burden the next.
async fn settle(app: &App) {
    sequencer::sequence_all(&app.store, app.now()).await.expect("the log is sequenced");
    checkpointer::sign_all(app).await.expect("the log is signed");
}

async fn writes(site: &Site, settings: &Settings) {
    let post = |base: &str| {
        let (url, token) = (format!("{base}/api/v1/enrolment-tokens"), site.token.clone());
        move |client: &reqwest::Client| {
            client.post(&url).bearer_auth(&token).json(&json!({ "labels": { "site": "x" } }))
        }
    };
    for writers in [1, 16, 128] {
        for pair in 0..=settings.pairs {
            // The sequencer runs beside the writers, as it does in a controller.
            let sequencer = tokio::spawn(sequencer::run(site.app.clone()));
            let ours = rate(writers, settings.turn, post(&site.ours)).await;
            sequencer.abort();
            settle(&site.app).await;
            let reference = rate(writers, settings.turn, post(&site.reference)).await;
            if pair > 0 {
                report(&format!("audited writes, {writers} at once"), ours, reference);
            }
        }
    }
}

fn main() {
    let settings = settings();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let site = Site::start(&settings).await;
        match settings.what.as_str() {
            "page" => page(&site, &settings).await,
            "write" => writes(&site, &settings).await,
            "log" => log::run(&site.app).await,
            other => panic!("--what is page, write or log, not {other:?}"),
        }
        site.app.store.close().await;
    });
}
