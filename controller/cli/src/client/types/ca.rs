//! Certificate authorities.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Authority {
    pub id: String,
    pub state: String,
    pub expires_at: String,
    pub replaced_at: Option<String>,
    pub tenants: Option<u64>,
    pub devices: u64,
    pub device_names: Vec<String>,
    pub needed_until: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Retirement {
    pub force: bool,
}
