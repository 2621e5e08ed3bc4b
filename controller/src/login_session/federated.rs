//! Access tokens of service accounts that another system's token was exchanged for: short, without a
//! refresh token, and good only while the account works and the rule that let it in is there.

use std::collections::BTreeSet;
use std::time::Duration;

use edgeformer_proto::ids::{FederationRuleId, ServiceAccountId, TenantId};
use serde::{Deserialize, Serialize};

use super::{Signed, Signer, open};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::{Assurance, AuthMethod, Authentication, Principal, Subject};
use crate::scope::TenantScope;
use crate::store::{federation_rules, service_accounts};

/// Longest life of such a token.
pub const LIFE: Duration = Duration::from_secs(15 * 60);

/// What such a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    aud: String,
    /// The service account.
    sub: ServiceAccountId,
    /// The tenant.
    tid: TenantId,
    /// The rule that let it in.
    rule: FederationRuleId,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Signed for Claims {
    // Another one than people's: neither passes for the other.
    const AUDIENCE: &'static str = "edgeformer-api-federated";

    fn times(&self) -> (i64, i64) {
        (self.nbf, self.exp)
    }
}

/// A token for the account, from now on for `life` at most.
pub fn sign(
    signer: &Signer,
    tenant: TenantId,
    (account, rule): (ServiceAccountId, FederationRuleId),
    life: Duration,
    now: Timestamp,
) -> Result<String, AppError> {
    let seconds = now.0 / 1_000_000;
    signer.seal(&Claims {
        iss: signer.issuer.clone(),
        aud: Claims::AUDIENCE.to_owned(),
        sub: account,
        tid: tenant,
        rule,
        jti: uuid::Uuid::now_v7().to_string(),
        iat: seconds,
        nbf: seconds,
        exp: seconds + life.min(LIFE).as_secs() as i64,
    })
}

/// The service account that such a token stands for, if all that let it in still holds.
pub(super) async fn authenticate(
    app: &App,
    token: &str,
    now: Timestamp,
) -> Result<Option<Principal>, AppError> {
    let Some(claims) = open::<Claims>(app, token, now).await? else { return Ok(None) };
    let scope = TenantScope::system(claims.tid, "authentication");
    let mut read = app.store.read(&scope).await?;
    let account = service_accounts::get(&mut read, claims.sub).await?;
    let rule = federation_rules::get(&mut read, claims.rule).await?;
    let (Some(account), Some(rule)) = (account.filter(|account| account.active), rule) else {
        return Ok(None);
    };
    if rule.account != account.id {
        return Ok(None);
    }
    Ok(Some(Principal {
        subject: Subject::ServiceAccount(account.id),
        name: account.name,
        roles: account.roles,
        groups: BTreeSet::new(),
        tenant: Some(claims.tid),
        authentication: Authentication {
            method: AuthMethod::Federated,
            at: Timestamp(claims.iat.saturating_mul(1_000_000)),
            session: None,
            token: None,
            assurance: Assurance::default(),
        },
        scopes: None,
    }))
}
