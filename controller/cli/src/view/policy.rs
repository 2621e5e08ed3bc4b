//! Who may do what, and policies.

use super::human::{absolute, relative};
use super::{Style, fields, table};
use crate::client::types::{
    AccessAnswer, Approval, Policy, PolicyList, PolicyTestResult, RoleList, WhoMayList,
};

fn decision(text: &str) -> &str {
    match text {
        "allow" => "yes",
        "deny" => "no",
        "approval_required" => "with approval",
        other => other,
    }
}

pub fn answer(answer: &AccessAnswer) -> String {
    let mut head =
        vec![("May", decision(&answer.decision).to_owned()), ("Why", answer.why.clone())];
    if let Some(needed) = answer.approvals_needed {
        head.push(("Approvals needed", needed.to_string()));
    }
    head.push(("Policies", answer.policy_version.clone()));
    let mut text = fields(&head);
    for statement in &answer.statements {
        text.push_str(&format!("\n\n// {}\n{}", statement.id, statement.text.trim_end()));
    }
    text
}

pub fn who(all: &WhoMayList, style: Style) -> String {
    if all.items.is_empty() {
        return "Nobody: the tenant has no token that works.".to_owned();
    }
    let rows = all.items.iter().map(|one| {
        [one.name.clone(), one.roles.join(","), decision(&one.decision).to_owned(), one.why.clone()]
    });
    table(style, ["NAME", "ROLES", "MAY", "WHY"], rows)
}

pub fn roles(roles: &RoleList) -> String {
    let one = |role: &crate::client::types::RoleView| {
        format!("{}: {}\n  {}", role.role, role.description, role.actions.join("\n  "))
    };
    roles.items.iter().map(one).collect::<Vec<_>>().join("\n\n")
}

pub fn policies(list: &PolicyList, style: Style) -> String {
    if list.items.is_empty() {
        return format!(
            "No policies of your own: the roles decide (`edgeformer access roles`).\n\
             Write one for the schema (`edgeformer access schema`) and save it with \
             `edgeformer access policy set NAME FILE`.\nTime zone: {}",
            list.time_zone
        );
    }
    let row = |policy: &Policy| {
        let statements = policy.text.matches(';').count().to_string();
        let changed = relative(&policy.updated_at, style.now);
        [policy.name.clone(), policy.revision.to_string(), statements, changed]
    };
    let head = ["NAME", ">REVISION", ">STATEMENTS", "CHANGED"];
    let rows = table(style, head, list.items.iter().map(row));
    format!("{rows}\n\nTime zone: {}", list.time_zone)
}

pub fn deletion(policy: &Policy) -> String {
    format!(
        "Policy {:?} will be removed. What it forbids is allowed to the roles from then on:\n\n{}\n",
        policy.name,
        policy.text.trim_end()
    )
}

pub fn test(result: &PolicyTestResult, style: Style) -> String {
    let rows = result.cases.iter().map(|case| {
        let verdict = if case.passed { "ok" } else { "FAILED" };
        let got = match case.passed {
            true => case.decision.clone(),
            false => format!("{}, expected {}", case.decision, case.expected),
        };
        [verdict.to_owned(), case.name.clone(), got, case.why.clone()]
    });
    let rows = match result.cases.is_empty() {
        true => "The policies are valid; there are no cases.".to_owned(),
        false => table(style, ["", "CASE", "DECISION", "WHY"], rows),
    };
    format!("{rows}\n\n{} passed, {} failed", result.passed, result.failed)
}

pub fn approvals(all: &[Approval], style: Style) -> String {
    if all.is_empty() {
        return "No approvals.\nOne is opened when a policy holds a request back.".to_owned();
    }
    let row = |one: &Approval| {
        let signed = format!("{} of {}", one.approved, one.needed);
        let asked = relative(&one.created_at, style.now);
        let by = one.requested_by_name.clone();
        [one.action.clone(), one.on.clone(), one.state.clone(), signed, by, asked, one.id.clone()]
    };
    let head = ["ACTION", "ON", "STATE", "APPROVED", "ASKED BY", "ASKED", "ID"];
    table(style, head, all.iter().map(row))
}

pub fn approval(one: &Approval, style: Style) -> String {
    let mut head = vec![
        ("Approval", one.id.clone()),
        ("State", format!("{}, {} of {} approved", one.state, one.approved, one.needed)),
        ("Action", format!("{} on {}", one.action, one.on)),
        ("Request", one.request.clone()),
        (
            "Asked by",
            format!("{}, {}", one.requested_by_name, relative(&one.created_at, style.now)),
        ),
        ("Expires", relative(&one.expires_at, style.now)),
    ];
    if !one.justification.is_empty() {
        head.push(("Because", one.justification.clone()));
    }
    let mut text = fields(&head);
    for signature in &one.signatures {
        let comment = match signature.comment.is_empty() {
            true => String::new(),
            false => format!(": {}", signature.comment),
        };
        text.push_str(&format!(
            "\n{} {} by {} (proved by {}){comment}",
            absolute(&signature.signed_at),
            signature.meaning,
            signature.signer_name,
            signature.method,
        ));
    }
    text
}

/// What is left to do after a signature.
pub fn signed(one: &Approval) -> String {
    match (one.state.as_str(), one.needed.saturating_sub(one.approved)) {
        ("rejected", _) => format!("Approval {} is rejected: the request stays refused.", one.id),
        (_, 0) => format!(
            "Signed. {} can repeat the request now, with `--approval {}`.",
            one.requested_by_name, one.id
        ),
        (_, missing) => format!("Signed. {missing} more must approve."),
    }
}
