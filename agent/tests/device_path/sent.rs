//! Everything that an agent sends on its whole way, taken apart field by field and compared with the
//! declaration. The messages are read by the schema, not by the code that made them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use edgeformer_agent::identity::enroll;
use edgeformer_agent::privacy::{Consent, Gate};
use edgeformer_agent::slots::RequestMeasurement;
use edgeformer_agent::telemetry::{Exporter, Settings, Spool};
use edgeformer_proto::ids::VersionId;
use edgeformer_proto::privacy::{DECLARED, Group, Place, find};
use edgeformer_proto::v1::SlotPhase;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};
use tokio::sync::mpsc;

use crate::support::{Controller, eventually};
use crate::{Setup, TOKEN, phase, system_us};

/// Something that only the measured request knew.
const NAME: &str = "Ada";

fn measurement() -> RequestMeasurement {
    RequestMeasurement {
        slot: "m".parse().unwrap(),
        version_id: VersionId::new(),
        rollout_id: "rollout-1".to_owned(),
        operation: "chat",
        time_to_first_token: Some(Duration::from_millis(80)),
        duration: Duration::from_millis(900),
        time_per_output_token: Some(Duration::from_millis(12)),
        prompt_tokens: 9,
        completion_tokens: 40,
        error: Some("worker_died"),
        worker_rss_bytes: 1 << 20,
    }
}

/// Enrols, runs two updates of which one fails, measures, renews, and gives what was sent.
async fn life(consent: &Consent) -> (Controller, String) {
    let controller = Controller::start().await;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    consent.save(&state).unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &controller.inner.root_pem).unwrap();
    let request = enroll::Request {
        controller: controller.url.clone(),
        ca,
        way: enroll::Way::Token(TOKEN.to_owned()),
        name: None,
        labels: [("site".to_owned(), "berlin".to_owned())].into(),
        keys: None,
    };
    // Two thirds of such a certificate are over within the test.
    controller.inner.lifetime_s.store(2, Ordering::Relaxed);
    let clock = edgeformer_agent::clock::Clock::injected(system_us);
    let enrolled = enroll::enroll(&state, request, &clock).await.unwrap();
    let enroll::Enrolled::Now(identity) = enrolled else { panic!("enrolled before") };
    controller.inner.lifetime_s.store(3600, Ordering::Relaxed);
    eventually("the certificate has to be renewed", || {
        let age_us = system_us() - (identity.certificate.not_after_us - 2_000_000);
        (age_us > 2_500_000).then_some(())
    })
    .await;
    let (measure, measurements) = mpsc::channel(8);
    let agent = Setup::new(&state).start();
    let settings = Settings {
        device_id: "device".to_owned(),
        gate: Gate::new(&state),
        agent_version: "1.2.3".to_owned(),
        interval: Duration::from_secs(1),
    };
    let spool = Spool::open(&state.join("telemetry")).unwrap();
    let exporter = Exporter::new(settings, spool, measurements, agent.channel.clone());
    agent.tasks.spawn(exporter.run(SystemTime::now, agent.stop.clone()));
    measure.send(measurement()).await.unwrap();
    let good = controller.inner.publisher.publish(1, 10, 1);
    controller.assign(1, &good);
    phase(&controller, &good, SlotPhase::Confirmed).await;
    controller.inner.tamper_chunks.store(1, Ordering::SeqCst);
    let bad = controller.inner.publisher.publish(2, 10, 2);
    controller.assign(2, &bad);
    eventually("trouble with the second version is told", || {
        controller.status("m").filter(|status| !status.reason.is_empty())
    })
    .await;
    // Older than what it holds.
    controller.assign(1, &good);
    eventually("the older state is refused", || {
        controller
            .heard(|kind| {
                matches!(kind, edgeformer_proto::v1::agent_message::Kind::Rejected(_)).then_some(())
            })
            .pop()
    })
    .await;
    if consent.allows(Group::Metrics) {
        eventually("telemetry is exported", || {
            (!controller.inner.measured.lock().unwrap().is_empty()).then_some(())
        })
        .await;
    }
    agent.stop().await;
    (controller, identity.name)
}

fn schema() -> DescriptorPool {
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let files = ["common", "enrolment", "session", "artifacts"]
        .map(|name| format!("{proto}/fleet/v1/{name}.proto"));
    DescriptorPool::from_file_descriptor_set(protox::compile(files, [proto]).unwrap()).unwrap()
}

/// `Message.field` of every field that holds a value.
fn fields(message: &DynamicMessage, into: &mut BTreeSet<String>) {
    assert_eq!(message.unknown_fields().count(), 0, "{message:?}: not in the schema");
    for (field, value) in message.fields() {
        let inner: Vec<&DynamicMessage> = match value {
            Value::Message(inner) => vec![inner],
            Value::List(list) => list.iter().filter_map(|item| item.as_message()).collect(),
            _ => Vec::new(),
        };
        if inner.is_empty() {
            into.insert(format!("{}.{}", message.descriptor().name(), field.name()));
        }
        inner.into_iter().for_each(|one| fields(one, into));
    }
}

fn sent_fields(controller: &Controller) -> BTreeSet<String> {
    let schema = schema();
    let mut all = BTreeSet::new();
    for (name, bytes) in controller.inner.asked.lock().unwrap().iter() {
        let message = schema.get_message_by_name(&format!("edgeformer.fleet.v1.{name}")).unwrap();
        fields(&DynamicMessage::decode(message, &bytes[..]).unwrap(), &mut all);
    }
    all
}

/// Names in telemetry, by where they stand, and every value of an attribute.
fn sent_telemetry(controller: &Controller) -> (BTreeSet<(String, String)>, Vec<String>) {
    let (mut names, mut values) = (BTreeSet::new(), Vec::new());
    let mut note = |place: Place, attributes: &[KeyValue]| {
        for attribute in attributes {
            names.insert((format!("{place:?}"), attribute.key.clone()));
            values.push(format!("{:?}", attribute.value));
        }
    };
    let mut metrics = BTreeSet::new();
    for batch in controller.inner.measured.lock().unwrap().iter() {
        for resource in &batch.resource_metrics {
            note(Place::Resource, &resource.resource.as_ref().unwrap().attributes);
            for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                metrics.insert((format!("{:?}", Place::Metric), metric.name.clone()));
                match metric.data.as_ref().unwrap() {
                    Data::Histogram(data) => {
                        data.data_points.iter().for_each(|p| note(Place::Attribute, &p.attributes));
                    }
                    Data::Gauge(data) => {
                        data.data_points.iter().for_each(|p| note(Place::Attribute, &p.attributes));
                    }
                    other => panic!("undeclared kind of metric: {other:?}"),
                }
            }
        }
    }
    names.extend(metrics);
    (names, values)
}

fn group(name: &str) -> Group {
    let item = find(Place::Field, name);
    item.unwrap_or_else(|| panic!("{name} was sent and is not declared in proto/src/privacy.rs"))
        .group
}

#[tokio::test]
async fn a_device_sends_what_is_declared_and_nothing_else() {
    let (controller, name) = life(&Consent::default()).await;
    let sent = sent_fields(&controller);
    for field in &sent {
        assert!(group(field).default_on(), "{field} is off by default and was sent");
    }
    // What this life makes an agent say; without these the test would look at nothing.
    for expected in [
        "EnrolRequest.labels",
        "RenewRequest.proof",
        "Hello.boot_id",
        "DeviceFacts.cpus",
        "SlotStatus.reason",
        "SlotStatus.message",
        "Heartbeat.disk_free_bytes",
        "Rejected.reason",
        "GetTrustMetadataRequest.name",
        "FetchChunksRequest.chunk_ids",
        "WrapDataKeyRequest.version_id",
    ] {
        assert!(sent.contains(expected), "{expected} was not sent: {sent:?}");
    }
    let (telemetry, values) = sent_telemetry(&controller);
    let declared: BTreeSet<(String, String)> =
        DECLARED.iter().map(|item| (format!("{:?}", item.place), item.name.to_owned())).collect();
    let undeclared: Vec<_> = telemetry.difference(&declared).collect();
    assert!(undeclared.is_empty(), "sent and not declared: {undeclared:?}");
    assert!(telemetry.len() >= 12, "{telemetry:?}");
    assert!(values.iter().all(|value| !value.contains(NAME)));
    assert!(name.starts_with("device-"), "no host name without consent: {name}");
}

#[tokio::test]
async fn with_everything_switched_off_only_what_is_required_leaves() {
    let (controller, _) = life(&Consent::least()).await;
    let sent = sent_fields(&controller);
    for field in &sent {
        assert_eq!(group(field), Group::Required, "{field} was sent without consent");
    }
    assert!(sent.contains("SlotStatus.phase") && sent.contains("Heartbeat.sequence"), "{sent:?}");
    assert!(controller.inner.measured.lock().unwrap().is_empty(), "telemetry was sent");
}

/// A controller has no word for it: no field of what it can say is named like a choice.
#[test]
fn a_controller_has_no_message_that_could_widen_the_choices() {
    let mut looked_at = 0;
    for method in schema().services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let mut fields = vec![method.output()];
        while let Some(message) = fields.pop() {
            for field in message.fields() {
                let words = ["consent", "privacy", "telemetry", "hostname", "metric", "prompt"];
                let named = words.iter().find(|word| field.name().contains(**word));
                assert_eq!(named, None, "{} would be the controller's say", field.full_name());
                looked_at += 1;
                fields.extend(field.kind().as_message().cloned());
            }
        }
    }
    assert!(looked_at > 30, "only {looked_at} fields");
}
