//! Witnesses, sinks and retention of the audit log.

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

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct LegalHold {
    pub reason: String,
    pub by: String,
    pub at: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditRetention {
    pub keep_days: Option<u32>,
    pub min_keep_days: u32,
    pub deleted_records: u64,
    pub hold: Option<LegalHold>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditRetentionEdit {
    pub keep_days: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditRetentionPreview {
    pub keep_days: u32,
    pub records: u64,
    pub held: bool,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct LegalHoldCreate {
    pub reason: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditStatus {
    pub records: u64,
    pub signed: u64,
    pub waiting: u64,
    pub deleted_records: u64,
    pub held: bool,
    pub witnesses: u64,
    pub witnesses_failing: u64,
    pub witnesses_contradicting: u64,
    pub sinks: u64,
    pub sinks_failing: u64,
    pub sink_lag_records: u64,
    pub capacity: AuditCapacity,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditCapacity {
    pub state: String,
    pub volume_used_percent: Option<u32>,
    pub records_used_percent: Option<u32>,
}
