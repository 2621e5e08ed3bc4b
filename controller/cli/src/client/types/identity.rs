//! Identity providers, log-in with them, and other systems' tokens.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct IdentityProviderEdit {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_mapping: Option<BTreeMap<String, BTreeSet<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_domains: Option<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creates_users: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches_email: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches_provisioned: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr_values: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct IdentityProvider {
    pub id: String,
    pub name: String,
    pub issuer: String,
    pub client_id: String,
    pub has_client_secret: bool,
    pub scopes: Vec<String>,
    pub groups_claim: String,
    pub role_mapping: BTreeMap<String, BTreeSet<String>>,
    pub email_domains: BTreeSet<String>,
    pub algorithms: BTreeSet<String>,
    pub creates_users: bool,
    pub matches_email: bool,
    pub matches_provisioned: bool,
    pub acr_values: Vec<String>,
    pub enabled: bool,
    pub redirect_uri: String,
    pub back_channel_logout_uri: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct IdentityProviderCheck {
    pub usable: bool,
    pub problem: Option<String>,
    pub authorization_endpoint: Option<String>,
    pub keys: u64,
}

/// A provider that people may choose.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct LoginProvider {
    pub name: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DeviceLoginRequest {
    pub tenant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DeviceLoginAnswer {
    pub device_code: String,
    pub user_code: String,
    pub verification_uri: String,
    pub verification_uri_complete: String,
    pub expires_in_s: u64,
    pub interval_s: u64,
}

#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DeviceCode {
    pub device_code: String,
}

#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TokenExchangeRequest {
    pub grant_type: String,
    pub subject_token: String,
    pub subject_token_type: String,
    pub tenant: String,
    pub service_account: String,
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TokenExchangeAnswer {
    pub access_token: String,
    pub expires_in: u64,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TrustRuleRequest {
    pub issuer: String,
    pub audience: String,
    pub conditions: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TrustRule {
    pub id: String,
    pub issuer: String,
    pub audience: String,
    pub conditions: BTreeMap<String, String>,
}
