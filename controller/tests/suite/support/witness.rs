//! A witness of the command line, as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use edgeformer_proto::audit::note::VerifierKey;

/// The command line, which is built beside the controller.
fn program() -> PathBuf {
    let program =
        Path::new(env!("CARGO_BIN_EXE_edgeformer-controller")).with_file_name("edgeformer");
    let shown = program.display();
    assert!(program.is_file(), "{shown} is not there: `cargo build --workspace` makes it");
    program
}

/// A witness; ends with the value.
pub(crate) struct Witness {
    process: Child,
    folder: PathBuf,
    pub(crate) key: VerifierKey,
    pub(crate) url: String,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Witness {
    /// Makes a witness in a new folder and starts it.
    pub(crate) fn start(folder: &Path, name: &str, logs: &[VerifierKey]) -> Self {
        let made = Command::new(program())
            .args(["audit", "witness", "key"])
            .arg(folder)
            .args(["--name", name])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::go_on(folder, logs, "127.0.0.1:0")
    }

    /// Starts the witness of a folder.
    pub(crate) fn go_on(folder: &Path, logs: &[VerifierKey], listen: &str) -> Self {
        let mut command = Command::new(program());
        command.args(["audit", "witness", "serve", "--listen", listen]).arg(folder);
        for log in logs {
            command.args(["--log", &log.to_string()]);
        }
        let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut line = || lines.next().expect("the witness ended").unwrap();
        let (key, url) = (line().parse().unwrap(), line());
        Self { process, folder: folder.to_owned(), key, url }
    }

    /// As a power cut would end it.
    pub(crate) fn kill(mut self) -> PathBuf {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.folder.clone()
    }
}
