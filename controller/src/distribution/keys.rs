//! The Keys service: hands a version's data key to a device that is to run it, wrapped for that
//! device alone. Each release, and each refusal, is in the audit log before the answer leaves.

use edgeformer_proto::artifact::DataKey;
use edgeformer_proto::ids::VersionId;
use edgeformer_proto::keywrap::{self, HpkePublic, KeyContext, KeyWrapError};
use edgeformer_proto::v1;
use edgeformer_proto::v1::keys_server::{Keys, KeysServer};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::device_listener::{DeviceIdentity, identity, unavailable};
use crate::policy::Action;
use crate::quota::gate::Key;
use crate::store::{StoreError, assignments, entitlements, tenants, versions};
use crate::vault::{SecretKind, VaultError};

const NOT_ENTITLED: &str = "the version is neither assigned to the device nor served by it";

/// Why no key is handed out.
#[derive(Debug, thiserror::Error)]
enum KeyError {
    #[error(
        "version {0} is not assigned to this device now: it gets a key when a rollout assigns it"
    )]
    NotEntitled(VersionId),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Wrap(#[from] KeyWrapError),
    #[error("the row of the {0} is gone")]
    Gone(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<KeyError> for Status {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::NotEntitled(_) => Self::permission_denied(error.to_string()),
            KeyError::Store(error) => unavailable(error),
            KeyError::Vault(_) | KeyError::Wrap(_) | KeyError::Gone(_) => {
                tracing::error!(%error, "a data key cannot be handed out");
                Self::internal(
                    "the controller cannot open the version's key: its log has the cause",
                )
            }
        }
    }
}

/// The service, to be put behind the guard that identifies devices.
#[derive(Clone)]
pub struct KeyService {
    app: App,
}

impl KeyService {
    /// Without the limits of the wire.
    pub fn new(app: App) -> Self {
        Self { app }
    }

    /// With its limits.
    pub fn server(app: App) -> KeysServer<Self> {
        KeysServer::new(Self::new(app)).max_decoding_message_size(1 << 10)
    }

    async fn release(
        &self,
        device: &DeviceIdentity,
        version: VersionId,
    ) -> Result<keywrap::WrappedKey, KeyError> {
        let scope = device.scope();
        let intent = Intent::new(Action::DataKeyRelease, Resource::new("version", version));
        let mut write = self.app.store.write(&scope, intent.clone()).await?;
        let hpke_key = entitlements::hpke_key(&mut write, device.device_id, version).await?;
        let Some(hpke_key) = hpke_key else {
            write.rollback().await?;
            let refused = intent.because(NOT_ENTITLED);
            self.app.store.record(&scope, refused, Outcome::Denied, self.app.now()).await?;
            self.app.nudges.audit.notify_one();
            return Err(KeyError::NotEntitled(version));
        };
        let found = versions::get(&mut write, version).await?.ok_or(KeyError::Gone("version"))?;
        let tenant = tenants::own(&mut write).await?.ok_or(KeyError::Gone("tenant"))?;
        write.resource(
            Resource::new("version", version).named(format!("{}@{}", found.model, found.version)),
        );
        let key = self.app.vault.tenant(&tenant.id.to_string(), &tenant.wrapped_kek)?.unwrap_32(
            SecretKind::DataKey,
            &version.to_string(),
            &found.wrapped_data_key,
        )?;
        let context = KeyContext { tenant: device.tenant_id, device: device.device_id, version };
        let public = HpkePublic::try_from(hpke_key.as_slice()).map_err(KeyWrapError::from)?;
        let generation = assignments::current(&mut write, device.device_id).await?;
        let generation = generation.ok_or(KeyError::Gone("device"))?;
        let wrapped = keywrap::wrap(&public, &DataKey::from(*key), &context, generation)?;
        write.commit(self.app.now()).await?;
        self.app.nudges.audit.notify_one();
        Ok(wrapped)
    }
}

#[tonic::async_trait]
impl Keys for KeyService {
    async fn wrap_data_key(
        &self,
        request: Request<v1::WrapDataKeyRequest>,
    ) -> Result<Response<v1::WrapDataKeyResponse>, Status> {
        let device = identity(&request)?;
        let version: VersionId = request
            .get_ref()
            .version_id
            .parse()
            .map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let place = self.app.quota().devices.enter(Key::Tenant(device.tenant_id)).await;
        let _place = place.map_err(|error| Status::unavailable(error.to_string()))?;
        let wrapped = self.release(&device, version).await?;
        Ok(Response::new(v1::WrapDataKeyResponse {
            encapsulated: wrapped.encapsulated.to_vec().into(),
            ciphertext: wrapped.ciphertext.to_vec().into(),
            generation: Some(wrapped.generation.into()),
        }))
    }
}
