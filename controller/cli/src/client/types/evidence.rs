//! Evidence and privacy.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ReleaseKey {
    pub public_key: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PrivacySettings {
    pub telemetry_days: u32,
    pub answers_hours: u32,
    pub log_ins_days: u32,
    pub device_facts_days: u32,
    pub telemetry_names: BTreeSet<String>,
}
