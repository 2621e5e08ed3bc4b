//! The keys that sign access tokens: Ed25519, of the installation, wrapped in the store and shared by
//! its controllers. A new one takes over after [`SIGNS_FOR`]; older ones verify until no token of
//! theirs can be alive.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::{DecodingKey, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::scope::InstallationScope;
use crate::store::login_sessions::{self as rows, SessionKey};
use crate::vault::SecretKind;

/// How long a key signs.
pub const SIGNS_FOR: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long a key is kept; longer than the one before plus an access token's life.
const KEPT_FOR: Duration = Duration::from_secs(92 * 24 * 3600);
/// An unknown key is looked for at most this often: tokens name keys at will.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// One key, unwrapped.
#[derive(Clone)]
pub struct Key {
    /// The `kid`.
    pub id: String,
    /// Signs.
    pub signing: Arc<EncodingKey>,
    /// Verifies.
    pub verifying: Arc<DecodingKey>,
    created_at: Timestamp,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys that this controller has read.
#[derive(Debug, Default)]
pub struct KeyRing {
    known: Mutex<(Vec<Key>, Option<Timestamp>)>,
}

impl KeyRing {
    /// The key that signs now; made if there is none or it is old.
    pub async fn signing(&self, app: &App) -> Result<Key, AppError> {
        let now = app.now();
        let fresh = |key: &Key| key.created_at <= now && now < key.created_at.plus(SIGNS_FOR);
        if let Some(key) = self.known().into_iter().find(fresh) {
            return Ok(key);
        }
        if let Some(key) = self.read(app).await?.into_iter().find(fresh) {
            return Ok(key);
        }
        self.make(app, now).await
    }

    /// The key of this id, if the installation has it.
    pub async fn verifying(&self, app: &App, id: &str) -> Result<Option<Key>, AppError> {
        let find = |keys: Vec<Key>| keys.into_iter().find(|key| key.id == id);
        if let Some(key) = find(self.known()) {
            return Ok(Some(key));
        }
        let now = app.now();
        let looked = self.lock().1;
        if looked.is_some_and(|at| at <= now && now < at.plus(LOOK_EVERY)) {
            return Ok(None);
        }
        Ok(find(self.read(app).await?))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<Key>, Option<Timestamp>)> {
        // Whole values are put in; nothing panics in between.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> Vec<Key> {
        self.lock().0.clone()
    }

    async fn read(&self, app: &App) -> Result<Vec<Key>, AppError> {
        let mut read = app.store.read(&InstallationScope::system("session keys")).await?;
        let keys = rows::keys(&mut read).await?;
        drop(read);
        let keys: Vec<Key> =
            keys.iter().map(|row| unwrap(app, row)).collect::<Result<_, AppError>>()?;
        *self.lock() = (keys.clone(), Some(app.now()));
        Ok(keys)
    }

    async fn make(&self, app: &App, now: Timestamp) -> Result<Key, AppError> {
        let failed = |what: String| AppError::Internal(format!("a session key: {what}"));
        let id = uuid::Uuid::now_v7().to_string();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|error| failed(error.to_string()))?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref())
            .map_err(|error| failed(error.to_string()))?;
        let wrapped = app
            .vault
            .wrap(SecretKind::SessionKey, &id, pkcs8.as_ref())
            .map_err(|error| failed(error.to_string()))?;
        let row = SessionKey {
            id,
            public: pair.public_key().as_ref().to_vec(),
            wrapped,
            created_at: now,
        };
        // Another controller may make one at the same moment: both are good.
        let scope = InstallationScope::system("session keys");
        let mut write = app.store.write_observation(&scope).await?;
        rows::add_key(&mut write, &row, now.minus(KEPT_FOR)).await?;
        write.commit(now).await?;
        self.read(app).await?;
        unwrap(app, &row)
    }
}

fn unwrap(app: &App, row: &SessionKey) -> Result<Key, AppError> {
    let pkcs8 = app
        .vault
        .unwrap(SecretKind::SessionKey, &row.id, &row.wrapped)
        .map_err(|error| AppError::Internal(format!("session key {}: {error}", row.id)))?;
    Ok(Key {
        id: row.id.clone(),
        signing: Arc::new(EncodingKey::from_ed_der(&pkcs8)),
        verifying: Arc::new(DecodingKey::from_ed_der(&row.public)),
        created_at: row.created_at,
    })
}
