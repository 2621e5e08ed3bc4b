//! People and log-ins.

use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct LoginRequest {
    pub tenant: String,
    pub user_name: String,
    pub password: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RefreshRequest {
    pub refresh_token: String,
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct LoginAnswer {
    pub access_token: String,
    pub expires_in_s: u64,
    pub refresh_token: String,
}

#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PasswordRequest {
    pub tenant: String,
    pub invitation: String,
    pub password: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PasswordAnswer {
    pub user_name: String,
}

#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PasswordChange {
    pub current_password: String,
    pub password: String,
}

#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PasswordAgain {
    pub current_password: String,
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TotpSecret {
    pub secret: String,
    pub uri: String,
}

#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TotpCode {
    pub code: String,
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RecoveryCodes {
    pub recovery_codes: Vec<String>,
}

/// A log-in of one's own.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct LoginSession {
    pub id: String,
    pub method: String,
    pub source: String,
    pub signed_in_at: String,
    pub refreshed_at: String,
    pub ends_at: String,
    pub current: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct User {
    pub id: String,
    pub user_name: String,
    pub display_name: String,
    pub source: String,
    pub active: bool,
    pub roles: Vec<String>,
    pub has_password: bool,
    pub second_factor: bool,
    pub locked_until: Option<String>,
    pub last_login_at: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct UserCreate {
    pub user_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    pub roles: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct UserCreated {
    pub id: String,
    pub user_name: String,
    pub invitation: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct UserPatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Invitation {
    pub invitation: String,
    pub expires_at: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SignedOut {
    pub ended: u64,
}
