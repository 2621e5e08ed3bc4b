//! Tenants of the installation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TenantCreate {
    pub name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TenantCreated {
    pub id: String,
    pub name: String,
    pub admin_token: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Tenant {
    pub id: String,
    pub name: String,
    pub state: String,
    pub suspended_reason: Option<String>,
    pub purge_at: Option<String>,
    pub quota: Quota,
    pub created_at: String,
}

/// None: no limit.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Quota {
    pub devices: Option<u64>,
    pub stored_bytes: Option<u64>,
    pub requests_per_second: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Usage {
    pub devices: u64,
    pub stored_bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TenantDetails {
    pub tenant: Tenant,
    pub usage: Usage,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Suspension {
    pub reason: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DeletionPreview {
    pub tenant: Tenant,
    pub usage: Usage,
    pub rows: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Deletion {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}
