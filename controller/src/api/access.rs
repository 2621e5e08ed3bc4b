//! Questions about access over REST: explain one, ask who may, run a policy's tests.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use edgeformer_proto::ids::TokenId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InQuery};
use super::policies::PolicyStatement;
use super::route::Routes;
use crate::admin::explain::{self as use_case, Answer, Kind, Outcome, Question, Who};
use crate::admin::validate;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::engine::{MAX_APPROVALS, Source};
use crate::policy::{About, Action, AuthMethod, Circumstances, Facts, Principal, Role, Subject};
use crate::problem::Problem;
use crate::scope::TenantScope;

/// Most cases of one test run.
const MAX_CASES: usize = 500;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::PolicyRead, routes!(explain))
        .add(Action::PolicyRead, routes!(who))
        .add(Action::PolicyRead, routes!(test))
}

/// Who asks, in a question: a token of the tenant, or somebody with these roles.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Asks {
    /// A token of the tenant; the rest is not looked at then.
    token_id: Option<String>,
    /// "user" (the default), "service_account" or "token".
    kind: Option<String>,
    name: String,
    roles: BTreeSet<String>,
    /// How it proved who it is: "token", "password", "password_totp", "recovery_code", "oidc" or
    /// "federated". "password" unless given.
    method: Option<String>,
    signed_in_seconds: u64,
}

/// On what: the fields that the action's kind of thing has.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AskedAbout {
    /// Of a device, of all devices of a rollout, or that an enrolment token gives.
    labels: BTreeMap<String, String>,
    /// A device's name.
    name: String,
    /// A device's id.
    id: String,
    model: String,
    version: String,
    /// The model's name unless given.
    slot: Option<String>,
    /// Devices of a rollout.
    devices: u64,
    /// Uses of an enrolment token.
    uses: u64,
}

/// A question about access.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessQuestion {
    /// The caller unless given.
    #[serde(rename = "as")]
    who: Option<Asks>,
    /// `kind:verb`.
    action: String,
    #[serde(default)]
    on: AskedAbout,
    /// RFC 3339; now unless given.
    at: Option<String>,
    /// How many others approved.
    #[serde(default)]
    approvals: u32,
    /// An address.
    source: Option<String>,
    /// Whether the caller says why.
    #[serde(default)]
    justified: bool,
}

/// The answer to a question about access.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AccessAnswer {
    /// "allow", "deny" or "approval_required".
    decision: &'static str,
    /// In one sentence.
    why: String,
    /// For "approval_required".
    approvals_needed: Option<u32>,
    /// The statements that decided.
    statements: Vec<PolicyStatement>,
    /// First digits of the SHA-256 of all policies that were asked, as in audit records.
    policy_version: String,
}

impl From<Answer> for AccessAnswer {
    fn from(answer: Answer) -> Self {
        Self {
            decision: answer.outcome.as_str(),
            why: answer.why,
            approvals_needed: answer.approvals_needed,
            statements: answer.statements.into_iter().map(PolicyStatement::from).collect(),
            policy_version: answer.policy_version,
        }
    }
}

fn parse_action(text: &str) -> Result<Action, AppError> {
    Action::parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        let message = format!("{shown:?} is no action: `edgeformer access roles` lists them");
        AppError::invalid("action", message)
    })
}

fn parse_who(asks: Asks) -> Result<Who, AppError> {
    if let Some(id) = asks.token_id {
        let id: TokenId = id.parse().map_err(|_| AppError::not_found("token", id))?;
        return Ok(Who::Token(id));
    }
    let kind = match asks.kind.as_deref().unwrap_or("user") {
        "user" => Kind::User,
        "service_account" => Kind::ServiceAccount,
        "token" => Kind::Token,
        _ => {
            let message = "it must be \"user\", \"service_account\" or \"token\"";
            return Err(AppError::invalid("kind", message));
        }
    };
    let role = |name: &String| {
        Role::parse(name)
            .filter(|role| *role != Role::Installation)
            .ok_or_else(|| AppError::invalid("roles", Role::choice()))
    };
    let method = asks.method.as_deref().unwrap_or("password");
    let method = AuthMethod::parse(method).ok_or_else(|| {
        let names = AuthMethod::ALL.map(AuthMethod::as_str).join(", ");
        AppError::invalid("method", format!("it must be one of {names}"))
    })?;
    Ok(Who::Roles {
        kind,
        name: asks.name,
        roles: asks.roles.iter().map(role).collect::<Result<_, _>>()?,
        method,
        signed_in_seconds: asks.signed_in_seconds,
    })
}

fn who_is(principal: &Principal) -> Who {
    match principal.subject {
        Subject::Token(id) => Who::Token(id),
        subject => Who::Roles {
            kind: if matches!(subject, Subject::User(_)) {
                Kind::User
            } else {
                Kind::ServiceAccount
            },
            name: principal.name.clone(),
            roles: principal.roles.clone(),
            method: principal.authentication.method,
            signed_in_seconds: 0,
        },
    }
}

fn facts(action: Action, on: AskedAbout) -> Result<Facts, AppError> {
    let labels = validate::labels("labels", on.labels)?;
    Ok(match action.about() {
        About::Tenant => Facts::Tenant,
        About::Installation => Facts::Installation,
        About::Device => Facts::Device { id: on.id, name: on.name, labels },
        About::Rollout => Facts::Rollout {
            slot: on.slot.unwrap_or_else(|| on.model.clone()),
            model: on.model,
            version: on.version,
            devices: on.devices,
            labels,
        },
        About::Version => Facts::Version { model: on.model, version: on.version },
        About::EnrolmentToken => Facts::EnrolmentToken { id: on.id, uses: on.uses, labels },
    })
}

fn parse(
    question: AccessQuestion,
    caller: &Principal,
    now: Timestamp,
) -> Result<Question, AppError> {
    let action = parse_action(&question.action)?;
    let at = match question.at {
        None => now,
        Some(text) => Timestamp::parse_rfc3339(&text)
            .ok_or_else(|| AppError::invalid("at", "it must be a time as in RFC 3339"))?,
    };
    let source = question.source.map(|text| text.parse()).transpose();
    let source = source.map_err(|_| AppError::invalid("source", "it must be an IP address"))?;
    if question.approvals > MAX_APPROVALS {
        let message = format!("at most {MAX_APPROVALS} approvals can be asked for");
        return Err(AppError::invalid("approvals", message));
    }
    Ok(Question {
        who: question.who.map_or_else(|| Ok(who_is(caller)), parse_who)?,
        action,
        facts: facts(action, question.on)?,
        circumstances: Circumstances {
            at,
            source,
            approvals: question.approvals,
            justified: question.justified,
        },
    })
}

/// Says whether somebody may do something, and which policy decides. Nothing is done.
#[utoipa::path(post, path = "/access/explain", tag = "access", request_body = AccessQuestion,
    responses((status = 200, body = AccessAnswer)))]
async fn explain(
    State(app): State<App>,
    scope: TenantScope,
    caller: Principal,
    Body(body): Body<AccessQuestion>,
) -> Result<Json<AccessAnswer>, Problem> {
    let question = parse(body, &caller, app.now())?;
    Ok(Json(use_case::explain(&app, &scope, &question).await?.into()))
}

/// What is asked about everybody.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhoQuery {
    /// `kind:verb`.
    action: String,
    /// Of the thing: `k=v`, several separated by commas.
    labels: Option<String>,
    /// The model.
    model: Option<String>,
    /// Devices of a rollout.
    devices: Option<u64>,
}

/// Somebody who may, or may not.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct WhoMay {
    /// "user", "service_account" or "token".
    kind: &'static str,
    id: String,
    name: String,
    roles: Vec<&'static str>,
    /// "allow", "deny" or "approval_required".
    decision: &'static str,
    why: String,
}

/// Everybody.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct WhoMayList {
    items: Vec<WhoMay>,
}

/// Says of everybody in the tenant whether they may do something now.
#[utoipa::path(get, path = "/access/who", tag = "access", params(WhoQuery),
    responses((status = 200, body = WhoMayList)))]
async fn who(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<WhoQuery>,
) -> Result<Json<WhoMayList>, Problem> {
    let action = parse_action(&query.action)?;
    let labels = query.labels.unwrap_or_default();
    let pair = |text: &str| {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| AppError::invalid("labels", "write it as labels=key=value,…"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    let labels: Result<BTreeMap<_, _>, AppError> =
        labels.split(',').filter(|text| !text.is_empty()).map(pair).collect();
    let on = AskedAbout {
        labels: labels?,
        model: query.model.unwrap_or_default(),
        devices: query.devices.unwrap_or_default(),
        ..AskedAbout::default()
    };
    let all = use_case::who(&app, &scope, action, &facts(action, on)?).await?;
    let items = all.into_iter().map(|one| WhoMay {
        kind: one.kind,
        id: one.subject.to_string(),
        name: one.name,
        roles: one.roles.iter().map(|role| role.as_str()).collect(),
        decision: one.answer.outcome.as_str(),
        why: one.answer.why,
    });
    Ok(Json(WhoMayList { items: items.collect() }))
}

/// A policy, in a test.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestedPolicy {
    name: String,
    /// Cedar.
    text: String,
}

/// A case: a question and the answer that it must have.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    /// What it is about, for people.
    name: String,
    question: AccessQuestion,
    /// "allow", "deny" or "approval_required".
    expect: String,
}

/// Tests of policies.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyTest {
    /// In place of the tenant's own; the tenant's own unless given. None of them is saved.
    policies: Option<Vec<TestedPolicy>>,
    /// IANA name; the tenant's unless given.
    time_zone: Option<String>,
    #[serde(default)]
    cases: Vec<TestCase>,
}

/// How a case went.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CaseResult {
    name: String,
    passed: bool,
    expected: &'static str,
    decision: &'static str,
    why: String,
}

/// How a test run went.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PolicyTestResult {
    passed: u64,
    failed: u64,
    cases: Vec<CaseResult>,
}

/// Checks policies against the schema and runs their tests. Nothing is saved.
#[utoipa::path(post, path = "/access/test", tag = "access", request_body = PolicyTest,
    responses((status = 200, body = PolicyTestResult)))]
async fn test(
    State(app): State<App>,
    scope: TenantScope,
    caller: Principal,
    Body(body): Body<PolicyTest>,
) -> Result<Json<PolicyTestResult>, Problem> {
    if body.cases.len() > MAX_CASES {
        let message = format!("a run has at most {MAX_CASES} cases");
        return Err(AppError::invalid("cases", message).into());
    }
    let now = app.now();
    let (mut names, mut expected, mut questions) = (Vec::new(), Vec::new(), Vec::new());
    for case in body.cases {
        let expect = Outcome::parse(&case.expect).ok_or_else(|| {
            let message = "it must be \"allow\", \"deny\" or \"approval_required\"";
            AppError::invalid("expect", message)
        })?;
        names.push(case.name);
        expected.push(expect);
        questions.push(parse(case.question, &caller, now)?);
    }
    let sources = body
        .policies
        .map(|all| all.into_iter().map(|one| Source { name: one.name, text: one.text }).collect());
    let answers = use_case::test(&app, &scope, sources, body.time_zone, &questions).await?;
    let cases: Vec<CaseResult> = names
        .into_iter()
        .zip(expected)
        .zip(answers)
        .map(|((name, expected), answer)| CaseResult {
            name,
            passed: answer.outcome == expected,
            expected: expected.as_str(),
            decision: answer.outcome.as_str(),
            why: answer.why,
        })
        .collect();
    let passed = cases.iter().filter(|case| case.passed).count() as u64;
    Ok(Json(PolicyTestResult { passed, failed: cases.len() as u64 - passed, cases }))
}
