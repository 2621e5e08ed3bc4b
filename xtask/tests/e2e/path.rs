//! The way of a model from `publish` to streamed answers, and back again.

use xtask::stack::{AgentOptions, wait_for};

use super::{
    ANSWER, LIMIT, MAX_TOKENS, MODEL, QUESTION, assert_mentions, fleet, model_file,
    second_model_file,
};

fn labelled(key: &str, value: &str) -> AgentOptions {
    AgentOptions { labels: vec![(key.into(), value.into())], ..AgentOptions::default() }
}

#[test]
fn a_model_reaches_devices_answers_and_goes_back() {
    let fleet = fleet();
    let berlin = fleet.agent("berlin-1", labelled("city", "berlin")).unwrap();
    let bergen = fleet.agent("bergen-2", labelled("city", "bergen")).unwrap();
    let first = fleet.publish(MODEL, "1.0.0", &model_file()).unwrap();
    let second = fleet.publish(MODEL, "1.1.0", &second_model_file(fleet.path())).unwrap();
    assert_ne!(first["id"], second["id"]);
    assert_eq!(first["details"]["architecture"], "llama", "{first}");

    let everywhere = fleet.rollout(MODEL, "1.0.0", &["--all"]).unwrap();
    let ended = fleet.rollout_end(&everywhere, LIMIT).unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_eq!(ended["counts"]["confirmed"], 2, "{ended}");
    for agent in [&berlin, &bergen] {
        let mut pieces = 0;
        let answer = agent.chat().ask(MODEL, QUESTION, MAX_TOKENS, |_| pieces += 1).unwrap();
        assert_mentions(&answer.text, &[ANSWER]);
        assert!(pieces > 1, "the answer came in one piece: it was not streamed");
    }

    let canary = fleet.rollout(MODEL, "1.1.0", &["--label", "city=berlin"]).unwrap();
    let ended = fleet.rollout_end(&canary, LIMIT).unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    fleet.wait_confirmed("berlin-1", MODEL, "1.1.0", LIMIT).unwrap();
    fleet.wait_confirmed("bergen-2", MODEL, "1.0.0", LIMIT).unwrap();
    let answer = berlin.chat().answer(MODEL, QUESTION, 12).unwrap();
    assert_mentions(&answer.text, &[ANSWER]);

    let back = fleet.tenant.json(&["rollout", "rollback", &canary, "--yes"]).unwrap();
    let back = back["id"].as_str().unwrap();
    let ended = fleet.rollout_end(back, LIMIT).unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_eq!(ended["rolls_back"], canary.as_str(), "{ended}");
    let view = fleet.wait_confirmed("berlin-1", MODEL, "1.0.0", LIMIT).unwrap();
    assert_eq!(view["serving_version_id"], first["id"]);

    telemetry_arrived(&fleet, "berlin-1");
    audit_tells_the_story(&fleet);
}

fn telemetry_arrived(fleet: &xtask::stack::Fleet, device: &str) {
    let rows = wait_for("telemetry of both versions", LIMIT, || {
        let rows = fleet.tenant.items(&["telemetry", "summary", "--device", device])?;
        Ok((rows.len() == 2).then_some(rows))
    })
    .unwrap();
    let mut versions: Vec<&str> = rows.iter().filter_map(|r| r["version"].as_str()).collect();
    versions.sort_unstable();
    assert_eq!(versions, ["1.0.0", "1.1.0"], "{rows:?}");
    for row in &rows {
        assert_eq!(row["requests"], 1, "{row}");
        assert_eq!(row["errors"], 0, "{row}");
        assert!(row["completion_tokens"].as_f64().unwrap() >= 1.0, "{row}");
        assert!(row["ttft_mean_s"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["tokens_per_second"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["memory_bytes"].as_f64().unwrap() > 50e6, "{row}");
    }
}

fn audit_tells_the_story(fleet: &xtask::stack::Fleet) {
    let records = fleet.tenant.items(&["audit", "list", "--limit", "200"]).unwrap();
    let done = |action: &str| {
        records.iter().filter(|r| r["action"] == action && r["outcome"] == "success").count()
    };
    assert_eq!(done("version:publish"), 2, "{records:?}");
    assert_eq!(done("rollout:create"), 2, "{records:?}");
    assert_eq!(done("rollout:rollback"), 1, "{records:?}");
    assert_eq!(done("device:enrol"), 2, "{records:?}");
    let head = fleet.tenant.json(&["audit", "head"]).unwrap();
    assert!(head["size"].as_u64().unwrap() >= 7, "{head}");
}
