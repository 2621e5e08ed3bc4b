//! The one long-lived stream per device: desired states go down it, reports come up.
//!
//! A session keeps nothing that the store does not have, and never sends a desired state older than
//! what the device holds.

mod copies;
pub mod evidence;
pub mod facts;
pub mod hub;
pub mod instances;
mod news;
pub mod report;
mod standing;
mod stream;
mod wire;

pub(crate) use wire::desired as desired_state;

use std::sync::Arc;
use std::time::Duration;

use edgeformer_proto::v1;
use edgeformer_proto::v1::session_server::{Session, SessionServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};

use crate::device_listener::DeviceIdentity;
use hub::Hub;

/// How often a device says that it is there: 55 µs of server time each, so 10,000 devices cost a
/// twentieth of a core.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// A device not heard of for this long is shown as offline: three heartbeats and the batch interval.
pub const OFFLINE_AFTER: Duration = Duration::from_secs(33);
/// A stream without a message for this long is closed: its peer is gone without saying so.
const IDLE_TIMEOUT: Duration = Duration::from_secs(35);
/// For the first message after the stream is open.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// For a peer that does not read what it is sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages on their way to one device; there are few, as each desired state replaces the last.
const OUTBOUND_QUEUE: usize = 8;
/// A Hello with 64 slots at their caps is below 150 KiB.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Slots of one device that are noted; a device runs a handful of models.
const MAX_SLOTS: usize = 64;

/// The service on the wire.
pub struct SessionService {
    hub: Arc<Hub>,
}

/// The tonic service over a hub.
pub fn service(hub: Arc<Hub>) -> SessionServer<SessionService> {
    SessionServer::new(SessionService { hub })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .accept_compressed(CompressionEncoding::Zstd)
}

#[tonic::async_trait]
impl Session for SessionService {
    type OpenStream = ReceiverStream<Result<v1::ControllerMessage, Status>>;

    async fn open(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let identity = request
            .extensions()
            .get::<DeviceIdentity>()
            .cloned()
            .ok_or_else(|| Status::internal("the request carries no device identity"))?;
        let (outbound, messages) = mpsc::channel(OUTBOUND_QUEUE);
        tokio::spawn(stream::serve(self.hub.clone(), identity, request.into_inner(), outbound));
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}
