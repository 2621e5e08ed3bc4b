//! Witnesses of the audit log.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditWitness {
    pub id: String,
    pub name: String,
    pub key: String,
    pub url: String,
    pub state: String,
    pub cosigned_size: u64,
    pub cosigned_at: Option<String>,
    pub last_error: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditWitnessCreate {
    pub url: String,
    pub key: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditWitnessEdit {
    pub url: String,
}
