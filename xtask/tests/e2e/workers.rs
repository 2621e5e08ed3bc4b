//! Worker processes that die. A model's death costs its requests, and nothing else.

use rustix::process::{Pid, Signal, kill_process};
use xtask::stack::{Agent, wait_for};

use super::{
    ANSWER, LIMIT, MODEL, answer_soon, assert_mentions, fleet_serving_first_version,
    second_model_file,
};

fn kill_workers(agent: &Agent) -> Vec<i32> {
    let workers = agent.workers();
    for worker in &workers {
        // Gone already is as good.
        let _ = kill_process(Pid::from_raw(*worker).unwrap(), Signal::KILL);
    }
    workers
}

#[test]
fn a_worker_killed_in_the_middle_of_an_answer_ends_it_with_an_error() {
    let (fleet, mut agent) = fleet_serving_first_version("edge");
    let mut killed = false;
    let answer = agent.chat().ask(MODEL, "Write a long story about the sea.", 400, |_| {
        if !killed {
            killed = true;
            assert_eq!(kill_workers(&agent).len(), 1, "one slot has one worker");
        }
    });
    let error = format!("{:#}", answer.expect_err("the stream must not end as if it were whole"));
    assert_mentions(&error, &["error", "worker"]);
    assert_mentions(&answer_soon(&agent).text, &[ANSWER]);
    assert!(agent.is_running());
    let device = fleet.device("edge").unwrap();
    assert_eq!(device["online"], true, "{device}");
}

#[test]
fn a_version_whose_worker_keeps_dying_is_replaced_by_the_one_before() {
    let (fleet, agent) = fleet_serving_first_version("edge");
    fleet.publish(MODEL, "1.1.0", &second_model_file(fleet.path())).unwrap();
    let rollout = fleet.rollout(MODEL, "1.1.0", &["--all"]).unwrap();
    let ended = fleet.rollout_end(&rollout, LIMIT).unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let mut last = Vec::new();
    let view = wait_for("the device to go back to 1.0.0 by itself", LIMIT, || {
        let view = xtask::stack::slot_of(&fleet.device("edge")?, MODEL);
        if view["serving_version"] == "1.0.0" {
            return Ok(Some(view));
        }
        // Each new worker of 1.1.0 is killed as soon as it answers.
        let workers = agent.workers();
        if !workers.is_empty() && workers != last && agent.chat().answer(MODEL, "Hi", 2).is_ok() {
            last = kill_workers(&agent);
        }
        Ok(None)
    })
    .unwrap();
    assert_eq!(view["phase"], "reverted", "{view}");
    assert_eq!(view["reason"], "crash_loop", "{view}");
    assert_mentions(&answer_soon(&agent).text, &[ANSWER]);
}
