//! Devices that come in without a token.

use serde::{Deserialize, Serialize};

use super::Labels;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EnrolmentDoor {
    pub enrolment_id: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EnrolmentRequest {
    pub id: String,
    pub fingerprint: String,
    pub name: String,
    pub labels: Labels,
    pub address: String,
    pub state: String,
    pub given_name: String,
    pub created_at: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EnrolmentApproval {
    pub name: Option<String>,
    pub labels: Labels,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EnrolmentRejection {
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ClaimCaRequest {
    pub name: String,
    pub certificate: String,
    pub labels: Labels,
    pub names: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct FactorySerial {
    pub serial: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ClaimCa {
    pub id: String,
    pub name: String,
    pub certificate_sha256: String,
    pub labels: Labels,
    pub names: Vec<String>,
    pub revoked: Vec<String>,
    pub uses: u64,
    pub created_at: String,
}
