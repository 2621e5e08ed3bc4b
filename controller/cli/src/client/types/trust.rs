//! The trust repository: who may say what devices install.

use serde::{Deserialize, Serialize};

/// The trust repository.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TrustRepository {
    pub roles: Vec<TrustRole>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TrustRole {
    pub role: String,
    pub version: u64,
    pub expires_at: String,
    pub key_ids: Vec<String>,
    pub threshold: u32,
    pub managed: bool,
}

/// What is published and not among the targets.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TrustPending {
    pub managed: bool,
    pub items: Vec<TrustWaiting>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TrustWaiting {
    pub model: String,
    pub version: String,
    pub version_id: String,
    pub path: String,
    pub length: u64,
    pub sha256: String,
}

/// A public key that the controller signs with.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TrustKey {
    pub role: String,
    pub key: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TrustRotation {
    pub roots: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TrustRelease {
    pub targets: String,
}
