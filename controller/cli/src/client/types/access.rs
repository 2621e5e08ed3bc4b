//! Access: questions, policies, approvals.

use serde::{Deserialize, Serialize};

use super::Labels;

/// Who asks, in a question about access.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Asks {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub name: String,
    pub roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    pub signed_in_seconds: u64,
}

/// The thing in a question about access.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AskedAbout {
    pub labels: Labels,
    pub name: String,
    pub id: String,
    pub model: String,
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    pub devices: u64,
    pub uses: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AccessQuestion {
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Asks>,
    pub action: String,
    #[serde(default)]
    pub on: AskedAbout,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    #[serde(default)]
    pub approvals: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default)]
    pub justified: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PolicyStatement {
    pub id: String,
    pub text: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AccessAnswer {
    pub decision: String,
    pub why: String,
    pub approvals_needed: Option<u32>,
    pub statements: Vec<PolicyStatement>,
    pub policy_version: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct WhoMay {
    pub name: String,
    pub roles: Vec<String>,
    pub decision: String,
    pub why: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct WhoMayList {
    pub items: Vec<WhoMay>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RoleView {
    pub role: String,
    pub description: String,
    pub actions: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RoleList {
    pub items: Vec<RoleView>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AccessSettings {
    pub time_zone: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AccessSettingsEdit {
    pub time_zone: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Policy {
    pub name: String,
    pub text: String,
    pub revision: u64,
    pub updated_at: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PolicyList {
    pub items: Vec<Policy>,
    pub time_zone: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PolicyEdit {
    pub text: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TestedPolicy {
    pub name: String,
    pub text: String,
}

/// A question with the answer that it must have.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    pub name: String,
    pub question: AccessQuestion,
    pub expect: String,
}

/// Tests of policies, as they stand in a file and as they are sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyTest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<TestedPolicy>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub cases: Vec<TestCase>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct CaseResult {
    pub name: String,
    pub passed: bool,
    pub expected: String,
    pub decision: String,
    pub why: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PolicyTestResult {
    pub passed: u64,
    pub failed: u64,
    pub cases: Vec<CaseResult>,
}

/// A signature on an approval.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Signature {
    pub signer_name: String,
    pub method: String,
    pub meaning: String,
    pub comment: String,
    pub signed_at: String,
}

/// A request that needs others' consent.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Approval {
    pub id: String,
    pub state: String,
    pub action: String,
    pub on: String,
    pub request: String,
    pub requested_by_name: String,
    pub justification: String,
    pub needed: u32,
    pub approved: u32,
    pub signatures: Vec<Signature>,
    pub created_at: String,
    pub expires_at: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SignatureCreate {
    pub meaning: String,
    pub comment: String,
}
