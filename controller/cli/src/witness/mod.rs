//! A small witness of audit logs (C2SP tlog-witness): it cosigns checkpoints of the logs it knows as
//! long as they only grow. It belongs on another machine, with another operator, than the controller.
//! It must never cosign two roots of one size; so what it holds is durable before a cosignature leaves.

mod folder;
mod server;

use std::net::SocketAddr;
use std::path::Path;

use edgeformer_proto::audit::note::{KeyKind, VerifierKey};

use crate::failure::{Exit, Failure};
use crate::screen::{Screen, print};
use folder::{Folder, FolderError};

fn failed(error: &FolderError) -> Failure {
    Failure::usage(error.to_string()).next("nothing was cosigned")
}

/// Makes the folder of a new witness and prints its public key.
///
/// # Errors
/// When the folder cannot be made or is not empty.
pub fn make(screen: &Screen, path: &Path, name: &str) -> Result<Exit, Failure> {
    let key = Folder::make(path, name).map_err(|error| failed(&error))?;
    print(&key.to_string());
    screen.note("Give this key to those who verify logs, and to the log's operator. Then:");
    screen.note(&format!("  edgeformer audit witness serve {} --log <key>", path.display()));
    Ok(Exit::Done)
}

/// Serves until it is told to stop.
///
/// # Errors
/// When the folder is not a witness's, is in use, or the address cannot be listened on.
pub async fn serve(
    path: &Path,
    logs: Vec<VerifierKey>,
    listen: SocketAddr,
) -> Result<Exit, Failure> {
    if let Some(other) = logs.iter().find(|key| key.kind() != KeyKind::Note) {
        let what = format!("{} is the key of a witness, not of a log", other.name());
        return Err(Failure::usage(what));
    }
    let folder = Folder::open(path).map_err(|error| failed(&error))?;
    let cannot = |error| Failure::usage(format!("cannot listen on {listen}: {error}"));
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    print(&format!("{}\nhttp://{address}", folder.key().verifier()));
    server::serve(listener, folder, logs).await;
    Ok(Exit::Done)
}
