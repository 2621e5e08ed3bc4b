//! Binds the local listener: on loopback only unless told otherwise, and with a message that helps
//! when the port is taken.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Why the listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error(
        "{address} is in use{by}: stop that process, or choose another address with --listen (port 0 \
         takes a free one)"
    )]
    InUse {
        /// Where.
        address: SocketAddr,
        /// " by PID (name)" if the system tells.
        by: String,
    },
    /// Other machines could reach it.
    #[error(
        "--listen {0} can be reached from other machines; if that is wanted, add --allow-remote and \
         make keys with `edgeformer-agent key create`"
    )]
    Remote(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}: {error}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        error: io::Error,
    },
}

/// Binds `address`. Refuses one that is not loopback unless `allow_remote`.
pub async fn bind(address: SocketAddr, allow_remote: bool) -> Result<TcpListener, BindError> {
    if !address.ip().is_loopback() && !allow_remote {
        return Err(BindError::Remote(address));
    }
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let by = listener_of(address.port())
                .map(|(pid, name)| format!(" by process {pid} ({name})"))
                .unwrap_or_default();
            BindError::InUse { address, by }
        }
        _ => BindError::Other { address, error },
    })
}

/// Process that listens on a TCP port, if this user may see it.
fn listener_of(port: u16) -> Option<(u32, String)> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let mut open = std::fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        open.any(|fd| {
            std::fs::read_link(fd.path())
                .is_ok_and(|to| to.to_str().is_some_and(|to| sockets.iter().any(|s| s == to)))
        })
        .then(|| {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            (pid, name.trim().to_owned())
        })
    })
}

/// Inodes of listening sockets on `port` in a table of the form of proc(5) `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[1].ends_with(&port) && row[3] == LISTEN)
        .map(|row| row[9].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_the_process_that_has_it() {
        let first = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let taken = first.local_addr().unwrap();
        let message = bind(taken, false).await.unwrap_err().to_string();
        let expected = format!("{taken} is in use by process {} (", std::process::id());
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains("--listen"), "{message}");
    }

    #[tokio::test]
    async fn other_machines_are_let_in_only_when_asked() {
        let everywhere = "0.0.0.0:0".parse().unwrap();
        let refused = bind(everywhere, false).await.unwrap_err().to_string();
        assert!(refused.contains("--allow-remote"), "{refused}");
        assert!(bind(everywhere, true).await.is_ok());
        assert!(bind("[::1]:0".parse().unwrap(), false).await.is_ok());
    }
}
