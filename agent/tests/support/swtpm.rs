//! A TPM 2.0 in software for tests: libtpms in Debian's `swtpm`, over a socket. Its program comes in
//! `EDGEFORMER_TEST_SWTPM`, which `cargo xtask test` sets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use edgeformer_agent::tpm::Place;
use tempfile::TempDir;

/// A running TPM. It ends with this value; its seeds and sockets are in a folder that goes too.
pub struct Swtpm {
    process: Child,
    folder: TempDir,
    address: Address,
}

trait ReadWrite: Read + Write {}
impl<S: Read + Write> ReadWrite for S {}

#[derive(Clone)]
enum Address {
    Unix(PathBuf),
    Tcp(u16),
}

impl Swtpm {
    /// A new TPM on a Unix socket.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix(folder.path().join("socket"));
        Self::run(folder, address, "not-need-init,startup-clear")
    }

    /// A new TPM on a TCP port, which nobody has started with TPM2_Startup.
    pub fn start_unstarted_on_tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        Self::run(folder, Address::Tcp(port), "not-need-init")
    }

    fn run(folder: TempDir, address: Address, flags: &str) -> Self {
        let process = spawn(folder.path(), &address, flags);
        let mut swtpm = Self { process, folder, address };
        swtpm.wait();
        swtpm
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        match &self.address {
            Address::Unix(path) => Place::Unix(path.clone()),
            Address::Tcp(port) => Place::Tcp { host: "127.0.0.1".to_owned(), port: *port },
        }
    }

    /// Its reply to the bytes of a command, from another program.
    pub fn ask(&self, command: &[u8]) -> Vec<u8> {
        let exchange = |stream: &mut dyn ReadWrite| {
            stream.write_all(command).unwrap();
            let mut reply = vec![0; 10];
            stream.read_exact(&mut reply).unwrap();
            let length = u32::from_be_bytes(reply[2..6].try_into().unwrap());
            reply.resize(length as usize, 0);
            stream.read_exact(&mut reply[10..]).unwrap();
            reply
        };
        match &self.address {
            Address::Unix(path) => exchange(&mut UnixStream::connect(path).unwrap()),
            Address::Tcp(port) => exchange(&mut TcpStream::connect(("127.0.0.1", *port)).unwrap()),
        }
    }

    /// How many objects are loaded in it.
    pub fn loaded(&self) -> usize {
        // TPM2_GetCapability of the handles from 0x80000000 on.
        let reply = self.ask(&[
            0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 64,
        ]);
        assert_eq!(reply[6..10], [0; 4], "TPM2_GetCapability failed");
        u32::from_be_bytes(reply[15..19].try_into().unwrap()) as usize
    }

    /// Leaves objects in it until it has no room for more, as a program that ended in the middle.
    pub fn fill(&self) {
        // TPM2_HashSequenceStart of SHA-256.
        let start = [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x86, 0, 0, 0, 0x0b];
        for _ in 0..100 {
            if self.ask(&start)[6..10] != [0; 4] {
                return;
            }
        }
        panic!("a TPM has room for a few objects");
    }

    /// Takes it away, as a power cut or a broken bus does.
    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again with the same seeds: a reset.
    pub fn restart(&mut self) {
        self.stop();
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
        self.process = spawn(self.folder.path(), &self.address, "not-need-init,startup-clear");
        self.wait();
    }

    /// Puts a new TPM in its place.
    pub fn replace(&mut self) {
        self.stop();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        self.restart();
    }

    /// Until its socket takes connections.
    fn wait(&mut self) {
        for _ in 0..1200 {
            let is_there = match &self.address {
                Address::Unix(path) => UnixStream::connect(path).is_ok(),
                Address::Tcp(port) => TcpStream::connect(("127.0.0.1", *port)).is_ok(),
            };
            if is_there {
                return;
            }
            assert!(self.process.try_wait().unwrap().is_none(), "swtpm ended");
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("swtpm does not listen");
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(folder: &Path, address: &Address, flags: &str) -> Child {
    let program = std::env::var_os("EDGEFORMER_TEST_SWTPM")
        .expect("EDGEFORMER_TEST_SWTPM is not set: run `cargo xtask test`");
    let server = match address {
        Address::Unix(path) => format!("type=unixio,path={}", path.display()),
        Address::Tcp(port) => format!("type=tcp,port={port}"),
    };
    Command::new(program)
        .args(["socket", "--tpm2", "--server", &server, "--flags", flags, "--tpmstate"])
        .arg(format!("dir={}", folder.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm does not start")
}
