//! Evidence and privacy.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ReleaseKey {
    pub public_key: String,
}
