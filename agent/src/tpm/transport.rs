//! One command to a TPM, one reply back: through a character device, or the socket of a simulator that
//! takes the same bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use zeroize::Zeroizing;

use super::error::Fault;
use super::place::Place;
use super::wire::{HEADER_BYTES, MAX_BYTES};

/// A simulator that serves somebody else, or thinks, is waited for this long. (The kernel bounds how
/// long a device may take.)
const SOCKET_TIMEOUT: Duration = Duration::from_secs(30);
/// A device that only one program may open is asked for so often, so far apart: another instance of the
/// agent or a tool is done after a fraction of a second.
const OPEN_TRIES: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// An open TPM.
pub trait Exchange {
    /// The reply to `command`, of at most [`MAX_BYTES`].
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>>;
}

/// Opens the TPM at `place`.
pub fn open(place: &Place) -> Result<Box<dyn Exchange>, Fault> {
    match place {
        Place::Device(path) => Ok(Box::new(Device(open_device(path)?))),
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).map_err(refused)?;
            stream
                .set_read_timeout(Some(SOCKET_TIMEOUT))
                .and_then(|()| stream.set_write_timeout(Some(SOCKET_TIMEOUT)))
                .map_err(Fault::Io)?;
            Ok(Box::new(Socket(stream)))
        }
        Place::Tcp { host, port } => {
            let mut addresses = (host.as_str(), *port).to_socket_addrs().map_err(Fault::Absent)?;
            let address = addresses
                .next()
                .ok_or_else(|| Fault::Absent(io::Error::from(io::ErrorKind::AddrNotAvailable)))?;
            if !address.ip().is_loopback() {
                return Err(Fault::Elsewhere(host.clone()));
            }
            let stream = TcpStream::connect_timeout(&address, SOCKET_TIMEOUT).map_err(refused)?;
            stream
                .set_read_timeout(Some(SOCKET_TIMEOUT))
                .and_then(|()| stream.set_write_timeout(Some(SOCKET_TIMEOUT)))
                .map_err(Fault::Io)?;
            Ok(Box::new(Socket(stream)))
        }
    }
}

/// Nothing is written to what is no device: it may be somebody's file.
fn open_device(path: &Path) -> Result<File, Fault> {
    let kind = std::fs::metadata(path).map_err(Fault::Absent)?.file_type();
    if !kind.is_char_device() {
        return Err(Fault::NoDevice(path.to_owned()));
    }
    for tried in 1.. {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => return Ok(file),
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                if tried == OPEN_TRIES {
                    return Err(Fault::InUse);
                }
                std::thread::sleep(OPEN_PAUSE);
            }
            Err(error) => return Err(refused(error)),
        }
    }
    Err(Fault::InUse)
}

fn refused(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Fault::Forbidden,
        _ => Fault::Absent(error),
    }
}

struct Device(File);

impl Exchange for Device {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        // The driver takes a command as one write and gives its reply in one read.
        if self.0.write(command)? != command.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut reply = Zeroizing::new(vec![0; MAX_BYTES]);
        let length = loop {
            match self.0.read(&mut reply) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        reply.truncate(length);
        Ok(reply)
    }
}

struct Socket<S>(S);

impl<S: Read + Write> Exchange for Socket<S> {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        self.0.write_all(command)?;
        let mut head = [0; HEADER_BYTES];
        self.0.read_exact(&mut head)?;
        let size = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if !(HEADER_BYTES..=MAX_BYTES).contains(&length) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a reply of {length} bytes: is this a TPM 2.0?"),
            ));
        }
        let mut reply = Zeroizing::new(vec![0; length]);
        reply[..HEADER_BYTES].copy_from_slice(&head);
        self.0.read_exact(&mut reply[HEADER_BYTES..])?;
        Ok(reply)
    }
}
