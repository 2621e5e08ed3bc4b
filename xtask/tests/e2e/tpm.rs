//! A real agent whose keys are in a TPM 2.0 in software (`swtpm`), with a real controller and model.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use xtask::setup;
use xtask::stack::AgentOptions;

use super::{
    ANSWER, LIMIT, MODEL, answer_soon, assert_mentions, fleet, model_file, second_model_file,
    wait_online,
};

/// A TPM on a Unix socket; it ends with this value.
struct Swtpm {
    process: Child,
    folder: tempfile::TempDir,
}

impl Swtpm {
    fn start() -> Self {
        let program = match std::env::var_os("EDGEFORMER_TEST_SWTPM") {
            Some(program) => PathBuf::from(program),
            None => setup::run(setup::Needs::Tests).unwrap().swtpm.unwrap(),
        };
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new(program)
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--server"])
            .arg(format!("type=unixio,path={}", folder.path().join("socket").display()))
            .arg("--tpmstate")
            .arg(format!("dir={}", folder.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let socket = folder.path().join("socket");
        xtask::stack::wait_for("the TPM", LIMIT, || Ok(socket.exists().then_some(()))).unwrap();
        Self { process, folder }
    }

    fn place(&self) -> String {
        format!("tpm:unix:{}", self.folder.path().join("socket").display())
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn a_device_with_its_keys_in_a_tpm_runs_models_and_its_disk_alone_does_not() {
    let fleet = fleet();
    let mut tpm = Swtpm::start();
    fleet.publish(MODEL, "1.0.0", &model_file()).unwrap();
    let options = AgentOptions { keys: Some(tpm.place()), ..AgentOptions::default() };
    let mut agent = fleet.agent("sealed", options).unwrap();
    wait_online(&fleet, "sealed", true);
    let rollout = fleet.rollout(MODEL, "1.0.0", &["--all"]).unwrap();
    assert_eq!(fleet.rollout_end(&rollout, LIMIT).unwrap()["state"], "succeeded");
    assert!(answer_soon(&agent).text.to_lowercase().contains(ANSWER));
    assert_eq!(agent.status().unwrap()["device"]["keys"], tpm.place());
    let copy = agent.copy("stolen").unwrap();

    // Started again, it opens the version from disk with the key in the TPM.
    agent.stop().unwrap();
    agent.run().unwrap();
    assert!(answer_soon(&agent).text.to_lowercase().contains(ANSWER));
    let second = second_model_file(fleet.path());
    fleet.publish(MODEL, "2.0.0", &second).unwrap();
    let rollout = fleet.rollout(MODEL, "2.0.0", &["--all"]).unwrap();
    assert_eq!(fleet.rollout_end(&rollout, LIMIT).unwrap()["state"], "succeeded");
    agent.stop().unwrap();

    // The disk in another machine, which has a TPM too; then without any.
    let other = Swtpm::start();
    let text = format!("{:#}", copy.command("run", &["--keys", &other.place()]).unwrap_err());
    assert_mentions(&text, &["did not make this device's keys", &other.place()]);
    tpm.stop();
    let text = format!("{:#}", copy.command("run", &[]).unwrap_err());
    assert_mentions(&text, &["is not there", &tpm.place()]);
    let text = format!("{:#}", copy.command("run", &["--keys", "file"]).unwrap_err());
    assert_mentions(&text, &["do not come out of it"]);
}
