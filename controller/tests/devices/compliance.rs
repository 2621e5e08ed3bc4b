//! Which version ran where, from devices over the real listener to a report that a stranger checks
//! with two public keys.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use edgeformer_controller::admin::tenants;
use edgeformer_controller::api;
use edgeformer_controller::audit::{checkpointer, retention, sequencer};
use edgeformer_controller::clock::Clock;
use edgeformer_controller::scope::{InstallationScope, TenantScope};
use edgeformer_gguf::{TensorSpec, TensorType, Value as Meta, Writer};
use edgeformer_proto::artifact::ReleasePublic;
use edgeformer_proto::audit::bundle::Line;
use edgeformer_proto::audit::note::VerifierKey;
use edgeformer_proto::compliance::offline::{Offline, OfflineError, Outcome, withhold};
use edgeformer_proto::compliance::{Certainty, Cited, Derive, Entry, Finding, Report};
use edgeformer_proto::v1::agent_message::Kind as Say;
use edgeformer_proto::v1::controller_message::Kind as Heard;
use edgeformer_proto::v1::{self, SlotPhase};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::support::device::{Device, PATIENCE, Talk, hello};
use crate::support::{Controller, DAY};

fn model_file(weight: u8) -> Vec<u8> {
    let metadata = [
        ("general.architecture".to_owned(), Meta::String("llama".to_owned())),
        ("llama.context_length".to_owned(), Meta::U32(128)),
    ];
    let tensor = TensorSpec { name: "w".to_owned(), dims: vec![32, 4], ty: TensorType::F32 };
    let mut writer = Writer::new(Vec::new(), &metadata, &[tensor]).unwrap();
    writer.write_data(&[weight; 32 * 4 * 4]).unwrap();
    writer.finish().unwrap()
}

/// A tenant with its people, over REST.
struct Plant {
    controller: Controller,
    scope: TenantScope,
    router: Router,
    owner: String,
}

impl Plant {
    async fn start() -> Self {
        let controller = Controller::start().await;
        let (app, top) = (&controller.app, InstallationScope::system("test"));
        let (tenant, owner) = tenants::create(app, &top, "pharma").await.unwrap();
        let scope = TenantScope::system(tenant.id, "test");
        let router = api::router(app.clone());
        Self { scope, router, owner: owner.reveal().to_owned(), controller }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: &str,
        approval: Option<&str>,
        body: Vec<u8>,
    ) -> (StatusCode, Vec<u8>) {
        let upload = path.ends_with("/payload");
        let kind = if upload { "application/octet-stream" } else { "application/json" };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", kind);
        if let Some(approval) = approval {
            request = request.header("x-edgeformer-approval", approval);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await;
        let (parts, body) = response.unwrap().into_parts();
        (parts.status, to_bytes(body, 16 << 20).await.unwrap().to_vec())
    }

    async fn post(&self, path: &str, token: &str, approval: Option<&str>, body: Value) -> Value {
        let body = body.to_string().into_bytes();
        let (_, answer) = self.ask(Method::POST, path, token, approval, body).await;
        serde_json::from_slice(&answer).unwrap()
    }

    async fn text(&self, path: &str, token: &str) -> String {
        let (status, body) = self.ask(Method::GET, path, token, None, Vec::new()).await;
        let text = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    async fn person(&self, name: &str, role: &str) -> String {
        let body = json!({ "name": name, "role": role });
        self.post("/tokens", &self.owner, None, body).await["token"].as_str().unwrap().to_owned()
    }

    async fn device(&self, name: &str) -> Device {
        let token = self.controller.token_of(&self.scope, 1, &[]).await;
        Device::with_token(&self.controller, &token, name).await
    }

    /// Ada rolls a version out to one device, with Grace's signature.
    async fn roll_out(&self, (ada, grace): (&str, &str), version: &str, device: &Device) -> String {
        let body = json!({
            "model": "chat", "version": version, "selector": { "devices": [device.id] },
        });
        let held = self.post("/rollouts", ada, None, body.clone()).await;
        let approval = held["approval_id"].as_str().unwrap_or_else(|| panic!("{held}")).to_owned();
        let path = format!("/approvals/{approval}/signatures");
        let meaning = json!({ "meaning": "approved", "comment": format!("for {version}") });
        self.post(&path, grace, None, meaning).await;
        let made = self.post("/rollouts", ada, Some(&approval), body).await;
        assert!(made["id"].is_string(), "{made}");
        approval
    }

    /// Waits until so many reports of devices are on record, and has everything signed.
    async fn reports(&self, count: usize) {
        let read = async {
            loop {
                let page = self.text("/audit?limit=200", &self.owner).await;
                let page: Value = serde_json::from_str(&page).unwrap();
                let items = page["items"].as_array().unwrap();
                let made = items.iter().filter(|r| r["action"] == "deployment:report").count();
                if made >= count {
                    return made;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let made = timeout(PATIENCE, read).await.expect("the reports are not on record");
        assert_eq!(made, count, "a report that says nothing new became a record");
    }

    async fn settle(&self) {
        let app = &self.controller.app;
        while sequencer::sequence_all(&app.store, app.now()).await.unwrap() > 0 {}
        checkpointer::sign_all(app).await.unwrap();
    }

    async fn bundle(&self, token: &str) -> Bundle {
        self.settle().await;
        let key = self.text("/audit/key", token).await;
        let key: Value = serde_json::from_str(&key).unwrap();
        let log: VerifierKey = key["key"].as_str().unwrap().parse().unwrap();
        let release = self.text("/compliance/release-key", token).await;
        let release: Value = serde_json::from_str(&release).unwrap();
        let release = data_encoding::BASE64
            .decode(release["public_key"].as_str().unwrap().as_bytes())
            .unwrap();
        let audit = self.text("/audit/bundle", token).await;
        let header: Value = serde_json::from_str(audit.lines().next().unwrap()).unwrap();
        let now = self.controller.clock.now();
        let hour = Duration::from_secs(3600);
        let period = format!(
            "from={}&to={}&size={}",
            now.minus(hour).rfc3339(),
            now.plus(hour).rfc3339(),
            header["to"]
        );
        let told = self.text(&format!("/compliance/report?{period}"), token).await;
        let (report, envelopes) = read(&told);
        let mut lines = audit.lines().map(str::to_owned);
        let mut audit = vec![lines.next().unwrap()];
        audit.extend(lines.map(|line| withhold(&line).unwrap()));
        Bundle {
            log,
            release: ReleasePublic::try_from(&release[..]).unwrap(),
            report,
            envelopes,
            audit,
        }
    }
}

/// A report from its lines, which must be whole.
fn read(told: &str) -> (Report, BTreeMap<String, Vec<u8>>) {
    let (mut header, mut deployments, mut cited) = (None, Vec::new(), Cited::default());
    let (mut envelopes, mut ended) = (BTreeMap::new(), false);
    let count = told.lines().count() as u64;
    for line in told.lines() {
        match serde_json::from_str(line).unwrap() {
            Entry::Header(one) => header = Some(one),
            Entry::Deployment(one) => deployments.push(one),
            Entry::Version(one) => cited.versions.push(one),
            Entry::Rollout(one) => cited.rollouts.push(one),
            Entry::Approval(one) => cited.approvals.push(one),
            Entry::Envelope { version_id, envelope } => {
                let bytes = data_encoding::BASE64.decode(envelope.as_bytes()).unwrap();
                envelopes.insert(version_id, bytes);
            }
            Entry::End { lines } => {
                assert_eq!(lines, count - 2);
                ended = true;
            }
        }
    }
    assert!(ended, "the report has no end");
    deployments.sort();
    (Report { header: header.unwrap(), deployments, cited }, envelopes)
}

#[derive(Clone)]
struct Bundle {
    log: VerifierKey,
    release: ReleasePublic,
    report: Report,
    envelopes: BTreeMap<String, Vec<u8>>,
    audit: Vec<String>,
}

impl Bundle {
    fn check(&self) -> Result<Outcome, OfflineError> {
        let report = self.report.clone();
        let mut offline = Offline::new(report, &self.audit[0], &self.log, &[], Vec::new())?;
        for line in &self.audit[1..] {
            offline.record(line)?;
        }
        offline.finish(&self.envelopes, &self.release)
    }

    /// Fails unless the changed bundle is caught with words that have this part.
    #[track_caller]
    fn catches(&self, change: impl FnOnce(&mut Self), part: &str) {
        let mut changed = self.clone();
        change(&mut changed);
        let found = match changed.check() {
            Ok(outcome) => outcome.findings.iter().map(Finding::words).collect::<Vec<_>>(),
            Err(error) => vec![error.to_string()],
        };
        assert!(found.iter().any(|words| words.contains(part)), "{part:?} is not in {found:?}");
    }

    /// The place of the line of the last record of this action.
    fn line_of(&self, action: &str) -> usize {
        let named = format!("\\\"action\\\":\\\"{action}\\\"");
        self.audit.iter().rposition(|line| line.contains(&named)).expect(action)
    }
}

/// Makes the report say just what is left of the log, as whoever hides something would.
fn tell_what_is_left(bundle: &mut Bundle) {
    let header = &bundle.report.header;
    let mut derive = Derive::new(&header.from, &header.to).unwrap();
    let mut first = None;
    for line in &bundle.audit[1..] {
        let line: Line = serde_json::from_str(line).unwrap();
        if !line.record.is_empty() {
            first.get_or_insert(line.sequence);
        }
        let values = line.openings.into_iter().flat_map(|one| one.values).collect();
        derive.record(line.sequence, &line.record, &values).unwrap();
    }
    let (mut deployments, cited) = derive.finish();
    deployments.sort();
    bundle.report.header.first = first.unwrap();
    (bundle.report.deployments, bundle.report.cited) = (deployments, cited);
}

/// Two versions on press-7, one after the other and then nobody knows; one assigned to press-8.
async fn history(plant: &Plant) -> (Bundle, Talk) {
    let owner = plant.owner.clone();
    let policy = json!({ "text": "forbid (principal, action == Action::\"rollout:create\", \
        resource) when { context.approvals < 1 };" });
    let path = "/access/policies/two-persons";
    let body = policy.to_string().into_bytes();
    let (status, _) = plant.ask(Method::PUT, path, &owner, None, body).await;
    assert_eq!(status, 200);
    let (ada, grace) =
        (plant.person("Ada", "admin").await, plant.person("Grace", "release_manager").await);
    for (version, weight) in [("1.0.0", 1), ("2.0.0", 2)] {
        let path = format!("/models/chat/versions/{version}/payload");
        let (status, _) = plant.ask(Method::PUT, &path, &ada, None, model_file(weight)).await;
        assert_eq!(status, 201);
    }
    let (press, other) = (plant.device("press-7").await, plant.device("press-8").await);
    let mut talk = press.session(&plant.controller).await;
    plant.roll_out((&ada, &grace), "1.0.0", &press).await;
    let desired = talk.desired().await;
    talk.answer(&desired, SlotPhase::Confirmed).await;
    // Saying it again says nothing new.
    talk.answer(&desired, SlotPhase::Confirmed).await;
    plant.reports(1).await;
    // A new session says everything once more; that is nothing new either.
    drop(talk);
    let mut talk = press.dial(&plant.controller).await.unwrap();
    let held = desired.generation.unwrap().into();
    let slots = vec![confirmed(&desired)];
    talk.say(Say::Hello(v1::Hello { slots, ..hello(Some(held)) })).await;
    let Heard::Welcome(_) = talk.hear().await else { panic!("no welcome") };
    roll_out_again(plant, (&ada, &grace), &press, &mut talk).await;
    plant.roll_out((&ada, &grace), "2.0.0", &other).await;
    plant.reports(2).await;
    let auditor = plant.person("Alan", "auditor").await;
    let revoke = format!("/devices/{}/revoke", press.id);
    assert_eq!(plant.post(&revoke, &ada, None, json!({})).await["state"], "revoked");
    assigned(plant, &other).await;
    (plant.bundle(&auditor).await, talk)
}

fn confirmed(desired: &v1::DesiredState) -> v1::SlotStatus {
    let slot = desired.slots[0].clone();
    v1::SlotStatus {
        slot: slot.slot,
        generation: desired.generation,
        phase: SlotPhase::Confirmed.into(),
        target_version_id: slot.version_id.clone(),
        serving_version_id: slot.version_id,
        rollout_id: slot.rollout_id,
        ..Default::default()
    }
}

async fn roll_out_again(plant: &Plant, people: (&str, &str), press: &Device, talk: &mut Talk) {
    let wait = async {
        loop {
            let answer = plant.text("/rollouts?state=running", &plant.owner).await;
            let answer: Value = serde_json::from_str(&answer).unwrap();
            if answer["items"].as_array().unwrap().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the first rollout does not end");
    plant.roll_out(people, "2.0.0", press).await;
    let desired = talk.desired().await;
    talk.answer(&desired, SlotPhase::Confirmed).await;
}

async fn assigned(plant: &Plant, device: &Device) {
    let wait = async {
        loop {
            let page = plant.text("/audit?limit=200", &plant.owner).await;
            let page: Value = serde_json::from_str(&page).unwrap();
            let items = page["items"].as_array().unwrap();
            let of = |r: &&Value| {
                r["action"] == "desired_state:assign" && r["resource"]["id"] == device.id.as_str()
            };
            if items.iter().any(|record| of(&record)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("nothing is assigned");
}

#[tokio::test]
async fn a_report_tells_what_ran_who_approved_it_and_verifies_offline() {
    let plant = Plant::start().await;
    let (bundle, _talk) = history(&plant).await;
    let outcome = bundle.check().unwrap();
    assert_eq!(outcome.findings, []);
    assert_eq!(outcome.signed, 2);
    let report = &bundle.report;
    let name = |id: &str| {
        let found = report.cited.versions.iter().find(|version| version.version_id == id);
        found.unwrap().name.clone().unwrap()
    };
    let mut told: Vec<(String, String, Certainty, bool)> = report
        .deployments
        .iter()
        .map(|one| {
            (one.device_name.clone(), name(&one.version_id), one.certainty, one.until.is_some())
        })
        .collect();
    told.sort();
    let line = |device: &str, version: &str, certainty, ended| {
        (device.to_owned(), format!("chat@{version}"), certainty, ended)
    };
    assert_eq!(
        told,
        [
            line("press-7", "1.0.0", Certainty::Reported, true),
            line("press-7", "1.0.0", Certainty::Assigned, true),
            line("press-7", "2.0.0", Certainty::Reported, true),
            line("press-7", "2.0.0", Certainty::Unknown, false),
            line("press-8", "2.0.0", Certainty::Assigned, false),
        ]
    );
    for version in &report.cited.versions {
        let published = version.published.as_ref().unwrap();
        assert_eq!(published.by.name.as_deref(), Some("Ada"));
        assert_eq!(version.evaluation, None, "none is recorded, and none is made up");
        assert_eq!(version.details["architecture"], "llama");
    }
    assert_eq!(report.cited.approvals.len(), 3);
    for rollout in &report.cited.rollouts {
        let id = rollout.created.as_ref().unwrap().approval_id.clone().unwrap();
        let approval = report.cited.approvals.iter().find(|one| one.approval_id == id).unwrap();
        let [signature] = &approval.signatures[..] else { panic!("{approval:?}") };
        assert_eq!(
            (signature.printed_name.as_deref(), signature.meaning.as_str()),
            (Some("Grace"), "approved")
        );
    }
    // Nobody's address is in it, and what is nobody's business stays sealed.
    for line in &bundle.audit[1..] {
        let line: Value = serde_json::from_str(line).unwrap();
        let record = line["record"].as_str().unwrap();
        let openings = line["openings"].to_string();
        assert!(!openings.contains("\"source\""), "{openings}");
        let unrelated = ["policy:update", "token:create", "device:enrol"];
        let unrelated = unrelated.iter().any(|action| record.contains(action));
        assert!(!unrelated || line["openings"].is_null(), "{line}");
    }
    plant.controller.stop().await;
}

#[tokio::test]
async fn a_bundle_that_somebody_touched_is_caught() {
    let plant = Plant::start().await;
    let (bundle, _talk) = history(&plant).await;
    assert_eq!(bundle.check().unwrap().findings, []);
    let other = plant.controller.version("x", "1.0.0", 1).await.to_string();
    catches_a_touched_log(&bundle);
    catches_a_touched_report(&bundle, &other);
    plant.controller.stop().await;
}

fn catches_a_touched_log(bundle: &Bundle) {
    let report_line = bundle.line_of("deployment:report");

    bundle.catches(|b| drop(b.audit.remove(report_line)), "is missing");
    bundle.catches(|b| drop(b.audit.pop()), "it was cut");
    // Made to look as if its retention were over.
    let hide = |b: &mut Bundle, at: usize| {
        let mut line: Value = serde_json::from_str(&b.audit[at]).unwrap();
        line.as_object_mut().unwrap().retain(|field, _| field != "record" && field != "openings");
        b.audit[at] = line.to_string();
    };
    bundle.catches(|b| hide(b, report_line), "the texts of 1 records after 0");
    bundle.catches(|b| (1..=report_line).for_each(|at| hide(b, at)), "the report is of records 0");
    // The report may agree with what is left: that something is not there is found all the same.
    let withhold_all = |b: &mut Bundle, at: usize| {
        let mut line: Value = serde_json::from_str(&b.audit[at]).unwrap();
        line["openings"] = json!([]);
        b.audit[at] = line.to_string();
    };
    bundle.catches(
        |b| {
            withhold_all(b, report_line);
            tell_what_is_left(b);
            assert!(b.report.deployments.len() < bundle.report.deployments.len());
        },
        "what 1 record changed is withheld",
    );
    bundle.catches(
        |b| {
            (1..=report_line).for_each(|at| hide(b, at));
            tell_what_is_left(b);
        },
        "no record says that they were deleted",
    );
    bundle.catches(
        |b| b.audit[report_line] = b.audit[report_line].replace("press-7", "press-9"),
        "was changed",
    );
    let sign = bundle.line_of("approval:sign");
    bundle.catches(|b| b.audit[sign] = b.audit[sign].replace("Grace", "Linus"), "was changed");
}

fn catches_a_touched_report(bundle: &Bundle, other: &str) {
    let sign = bundle.line_of("approval:sign");
    // Withheld instead of changed: then nothing backs the signature.
    bundle.catches(
        |b| {
            let mut line: Value = serde_json::from_str(&b.audit[sign]).unwrap();
            line["openings"] = json!([]);
            b.audit[sign] = line.to_string();
        },
        "not what the audit log says: approval",
    );
    bundle.catches(
        |b| {
            let (first, second) = (b.report.cited.approvals[0].signatures.clone(), 1);
            b.report.cited.approvals[second].signatures = first;
        },
        "not what the audit log says: approval",
    );
    bundle.catches(
        |b| b.report.deployments[0].version_id = other.to_owned(),
        "not backed by the audit log: version",
    );
    bundle.catches(|b| drop(b.report.deployments.pop()), "left out, although the audit log has it");
    bundle.catches(|b| b.report.header.to = b.report.header.from.clone(), "not backed");
    bundle.catches(|b| b.report.header.size -= 1, "the report is of records");
    bundle.catches(
        |b| {
            let mut bytes: Vec<Vec<u8>> = b.envelopes.values().cloned().collect();
            bytes.reverse();
            b.envelopes.values_mut().zip(bytes).for_each(|(one, other)| *one = other);
        },
        "is not the one that was published",
    );
    bundle.catches(|b| b.envelopes.clear(), "the bundle has no envelope");
    let key = ReleasePublic::try_from(&[7; 32][..]).unwrap();
    bundle.catches(|b| b.release = key, "the signature of version");
}

/// What retention deleted is said to be deleted by a record of the log itself.
#[tokio::test]
async fn a_report_over_deleted_texts_verifies_and_says_where_it_begins() {
    let plant = Plant::start().await;
    let path = "/audit/retention";
    let body = json!({"keep_days": 39}).to_string().into_bytes();
    let (status, _) = plant.ask(Method::PUT, path, &plant.owner, None, body).await;
    assert_eq!(status, 200);
    plant.settle().await;
    let days = i64::try_from(DAY.as_micros()).unwrap() * 40;
    plant.controller.clock.shift(days);
    let deleted = retention::run_due(&plant.controller.app).await.unwrap();
    assert!(deleted > 0);
    let outcome = plant.bundle(&plant.owner).await.check().unwrap();
    assert_eq!((outcome.findings, outcome.first), (Vec::new(), deleted));
    plant.controller.stop().await;
}

#[tokio::test]
async fn a_report_is_for_those_who_read_the_audit_log_and_is_on_record() {
    let plant = Plant::start().await;
    plant.settle().await;
    let path = "/compliance/report?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z";
    let viewer = plant.person("Vera", "viewer").await;
    let (status, _) = plant.ask(Method::GET, path, &viewer, None, Vec::new()).await;
    assert_eq!(status, 403);
    let (report, envelopes) = read(&plant.text(path, &plant.owner).await);
    assert!(report.deployments.is_empty() && envelopes.is_empty());
    let backwards = "/compliance/report?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z";
    let (status, _) = plant.ask(Method::GET, backwards, &plant.owner, None, Vec::new()).await;
    assert_eq!(status, 422);
    let page: Value =
        serde_json::from_str(&plant.text("/audit?limit=50", &plant.owner).await).unwrap();
    let of = |outcome: &str| {
        let items = page["items"].as_array().unwrap().iter();
        items.filter(|r| r["action"] == "compliance:report" && r["outcome"] == outcome).count()
    };
    assert_eq!((of("success"), of("denied")), (1, 1));
    plant.controller.stop().await;
}
