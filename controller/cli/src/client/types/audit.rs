//! Witnesses and sinks of the audit log.

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

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditSink {
    pub id: String,
    pub name: String,
    pub kind: String,
    pub address: String,
    pub format: String,
    pub enabled: bool,
    pub public_key: Option<String>,
    pub next_sequence: u64,
    pub lag_records: u64,
    pub delivered_at: Option<String>,
    pub last_error: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SyslogTarget {
    pub host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub ca_pem: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_pem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_pem: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct WebhookTarget {
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditSinkCreate {
    pub name: String,
    pub format: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syslog: Option<SyslogTarget>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookTarget>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditSinkEdit {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}
