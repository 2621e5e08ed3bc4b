//! The Artifacts service: what a device fetches of a version. Everything it hands out is sealed or
//! signed, and of the device's own tenant.

use std::pin::Pin;

use edgeformer_proto::artifact::{ChunkId, MAX_FETCH_CHUNKS};
use edgeformer_proto::ids::{TenantId, VersionId};
use edgeformer_proto::v1;
use edgeformer_proto::v1::artifacts_server::{Artifacts, ArtifactsServer};
use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

use super::objects::{Objects, ObjectsError};
use crate::admin::trust;
use crate::app::App;
use crate::device_listener::{DeviceIdentity, identity, unavailable};
use crate::error::AppError;
use crate::store::versions;
use crate::trust::{TrustError, newest_root};

/// Chunks read ahead of what the device takes: enough to keep a disk or bucket busy, and at most
/// four megabytes per call.
const READ_AHEAD: usize = 4;

/// What only a device that trusts no root yet asks for; every other goes from one version to the next.
const NEWEST_ROOT: &str = "root.json";

/// The service, to be put behind the guard that identifies devices.
#[derive(Clone)]
pub struct ArtifactService {
    app: App,
}

impl ArtifactService {
    /// Without the limits of the wire.
    pub fn new(app: App) -> Self {
        Self { app }
    }

    /// With its limits.
    pub fn server(app: App) -> ArtifactsServer<Self> {
        // 256 ids of 32 bytes, their lengths and their framing.
        ArtifactsServer::new(Self::new(app)).max_decoding_message_size(16 << 10)
    }

    async fn trust(&self, device: &DeviceIdentity, name: &str) -> Result<Vec<u8>, Status> {
        let scope = device.scope();
        let found = match name {
            NEWEST_ROOT => match newest_root(&self.app, &scope).await {
                Ok(root) => Ok(root),
                Err(TrustError::Store(error)) => return Err(unavailable(error)),
                Err(error) => {
                    tracing::error!(%error, "a device's trust repository cannot be made");
                    let text =
                        "the controller cannot make its trust repository now: its log says why";
                    return Err(Status::unavailable(text));
                }
            },
            name => trust::metadata(&self.app, &scope, name).await,
        };
        found.map_err(|error| match error {
            AppError::Store(error) => unavailable(error),
            _ => Status::not_found("there is no trust metadata of this name here"),
        })
    }

    async fn version(
        &self,
        device: &DeviceIdentity,
        id: &str,
    ) -> Result<v1::GetVersionResponse, Status> {
        let id: VersionId = id.parse().map_err(|e| Status::invalid_argument(format!("{e}")))?;
        let version = {
            let mut read = self.app.store.read(&device.scope()).await.map_err(unavailable)?;
            versions::get(&mut read, id).await.map_err(unavailable)?
        };
        let version =
            version.ok_or_else(|| Status::not_found(format!("there is no version {id} here")))?;
        let sealed_index = self
            .app
            .objects
            .index(&version.sealed_index_key)
            .await
            .map_err(|error| refused(&error))?;
        Ok(v1::GetVersionResponse {
            manifest_envelope: version.manifest_envelope.into(),
            sealed_index,
        })
    }
}

type ChunkStream = Pin<Box<dyn Stream<Item = Result<v1::SealedChunk, Status>> + Send>>;

#[tonic::async_trait]
impl Artifacts for ArtifactService {
    async fn get_version(
        &self,
        request: Request<v1::GetVersionRequest>,
    ) -> Result<Response<v1::GetVersionResponse>, Status> {
        let device = identity(&request)?;
        self.version(&device, &request.get_ref().version_id).await.map(Response::new)
    }

    async fn get_trust_metadata(
        &self,
        request: Request<v1::GetTrustMetadataRequest>,
    ) -> Result<Response<v1::GetTrustMetadataResponse>, Status> {
        let device = identity(&request)?;
        let v1::GetTrustMetadataRequest { name, max_bytes } = request.into_inner();
        let file = self.trust(&device, &name).await?;
        if file.len() as u64 > max_bytes {
            let length = file.len();
            let text =
                format!("{length} bytes, and the device reads {max_bytes}: update its agent");
            return Err(Status::out_of_range(text));
        }
        Ok(Response::new(v1::GetTrustMetadataResponse { file: file.into() }))
    }

    type FetchChunksStream = ChunkStream;

    async fn fetch_chunks(
        &self,
        request: Request<v1::FetchChunksRequest>,
    ) -> Result<Response<ChunkStream>, Status> {
        let tenant = identity(&request)?.tenant_id;
        let ids = parse_ids(&request.get_ref().chunk_ids)?;
        let objects = self.app.objects.clone();
        // Polled only as fast as the device takes what was read: that is the back-pressure.
        let chunks = stream::iter(ids)
            .map(move |id| chunk(objects.clone(), tenant, id))
            .buffered(READ_AHEAD);
        Ok(Response::new(Box::pin(chunks)))
    }
}

fn parse_ids(ids: &[bytes::Bytes]) -> Result<Vec<ChunkId>, Status> {
    if ids.len() > MAX_FETCH_CHUNKS {
        let found = ids.len();
        return Err(Status::invalid_argument(format!(
            "{found} chunks asked for, at most {MAX_FETCH_CHUNKS} in one call"
        )));
    }
    ids.iter()
        .map(|id| ChunkId::try_from(id.as_ref()))
        .collect::<Result<_, _>>()
        .map_err(|error| Status::invalid_argument(format!("a chunk id is {error}")))
}

async fn chunk(objects: Objects, tenant: TenantId, id: ChunkId) -> Result<v1::SealedChunk, Status> {
    match objects.chunk(tenant, id).await {
        Ok(Some(sealed)) => {
            let id = id.as_bytes().to_vec().into();
            Ok(v1::SealedChunk { id, sealed, ..Default::default() })
        }
        Ok(None) => Err(Status::not_found(format!("there is no chunk {id} here"))),
        Err(error) => Err(refused(&error)),
    }
}

/// What a device is told of a failing object store; the operator finds the object in our log.
fn refused(error: &ObjectsError) -> Status {
    tracing::error!(%error, "the object store failed while serving a device");
    match error {
        ObjectsError::Missing(_) | ObjectsError::Damaged { .. } => Status::data_loss(
            "the controller's copy of this version is damaged: tell its operator, who finds the object in the controller's log",
        ),
        _ => {
            Status::unavailable("the controller cannot read its object store now: try again later")
        }
    }
}
