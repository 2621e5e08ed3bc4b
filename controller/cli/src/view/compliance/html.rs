//! The report as one page that needs nothing else: no script, no picture, font or style from
//! anywhere, and everything that came from elsewhere escaped. It prints well.

use std::fmt::Write as _;

use edgeformer_proto::compliance::offline::Outcome;
use edgeformer_proto::compliance::{Act, Actor, Approval, Report, Rollout, Version, canonical};

use super::timeline::timeline;
use super::{Names, counts, sure};
use crate::view::human::absolute;

const STYLE: &str = "\
:root{color-scheme:light}\
body{font:14px/1.5 system-ui,sans-serif;color:#1b1f24;max-width:72rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .5rem}\
p{max-width:48rem}.sub{color:#57606a;margin:.2rem 0 1rem}\
.ok,.bad{border-left:4px solid;padding:.6rem 1rem;margin:1rem 0}\
.ok{border-color:#1a7f37;background:#eaf6ec}.bad{border-color:#b42318;background:#fdecea}\
table{border-collapse:collapse;width:100%;font-size:12.5px}\
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem .35rem 0;border-bottom:1px solid #d8dee4}\
th{border-bottom:2px solid #8c959f;font-weight:600}\
code{font:11.5px ui-monospace,monospace;word-break:break-all}\
.none{color:#57606a}svg{width:100%;height:auto}\
@page{size:A4 landscape;margin:12mm}\
@media print{body{margin:0;max-width:none;font-size:10pt}\
thead{display:table-header-group}tr,svg,.ok,.bad{break-inside:avoid}h2{break-after:avoid}}";

/// Text from elsewhere as text of the page.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The page. `outcome` is of a check of this report.
pub fn html(report: &Report, outcome: &Outcome) -> String {
    let header = &report.header;
    let period = format!("{} up to {}", absolute(&header.from), absolute(&header.to));
    let tenant = escape(&header.tenant);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>What ran: {tenant}, {period}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>What ran on the devices of {tenant}</h1>\n\
         <p class=\"sub\">{period} &middot; {} &middot; made {}</p>\n",
        escape(&counts(report)),
        escape(&absolute(&header.made_at)),
    );
    page.push_str(&verdict(outcome));
    page.push_str("<h2>Overview</h2>\n");
    page.push_str(&timeline(report));
    deployments(&mut page, report);
    versions(&mut page, report);
    rollouts(&mut page, &report.cited.rollouts);
    approvals(&mut page, &report.cited.approvals);
    page.push_str(&evidence(report, outcome));
    page.push_str("</body>\n</html>\n");
    page
}

fn verdict(outcome: &Outcome) -> String {
    if outcome.findings.is_empty() {
        return "<p class=\"ok\">When this page was made, every line of it was derived again from \
                the signed audit log, and every version was verified to be signed by the release \
                key. Verify the bundle to see that for yourself.</p>\n"
            .to_owned();
    }
    let findings: String = outcome
        .findings
        .iter()
        .map(|finding| format!("<li>{}</li>", escape(&finding.words())))
        .collect();
    format!("<div class=\"bad\"><strong>Not verified.</strong><ul>{findings}</ul></div>\n")
}

/// A table, or a sentence where there is nothing.
fn section<const N: usize>(
    page: &mut String,
    title: &str,
    head: [&str; N],
    rows: &[[String; N]],
    nothing: &str,
) {
    let _ = writeln!(page, "<h2>{title}</h2>");
    if rows.is_empty() {
        let _ = writeln!(page, "<p class=\"none\">{nothing}</p>");
        return;
    }
    let head: String = head.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    let _ = writeln!(page, "<table>\n<thead><tr>{head}</tr></thead>\n<tbody>");
    for row in rows {
        let cells: String = row.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        let _ = writeln!(page, "<tr>{cells}</tr>");
    }
    page.push_str("</tbody>\n</table>\n");
}

fn deployments(page: &mut String, report: &Report) {
    let names = Names::of(report);
    let rows: Vec<[String; 7]> = report
        .deployments
        .iter()
        .map(|one| {
            let until = one.until.as_deref();
            [
                escape(&one.device_name),
                escape(&one.slot),
                escape(names.get(&one.version_id)),
                escape(&absolute(&one.since)),
                until.map_or_else(|| "end of the period".to_owned(), |at| escape(&absolute(at))),
                escape(&sure(one)),
                records(&one.records),
            ]
        })
        .collect();
    section(
        page,
        "What ran where",
        ["Device", "Slot", "Version", "Since", "Until", "How sure", "Records"],
        &rows,
        "Nothing ran in this period that the audit log knows of.",
    );
}

fn records(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

const UNKNOWN: &str = "<span class=\"none\">not in this part of the log</span>";
const NONE: &str = "<span class=\"none\">none recorded</span>";

fn who(actor: &Actor) -> String {
    let name = actor.name.as_deref().map_or_else(|| "(erased or withheld)".to_owned(), escape);
    let method = actor.method.as_deref().map(|method| format!(" by {}", escape(method)));
    format!("{name}, {}{}", escape(&actor.kind), method.unwrap_or_default())
}

fn act(act: Option<&Act>) -> String {
    act.map_or_else(
        || UNKNOWN.to_owned(),
        |act| format!("{}<br>{}, record {}", who(&act.by), escape(&absolute(&act.at)), act.record),
    )
}

/// The approval that an act needed.
fn consent(act: Option<&Act>) -> String {
    match act.map(|act| act.approval_id.as_deref()) {
        None => UNKNOWN.to_owned(),
        Some(None) => "<span class=\"none\">none was needed</span>".to_owned(),
        Some(Some(id)) => format!("<code>{}</code>", escape(id)),
    }
}

fn code(text: Option<&str>) -> String {
    text.map_or_else(|| UNKNOWN.to_owned(), |text| format!("<code>{}</code>", escape(text)))
}

fn versions(page: &mut String, report: &Report) {
    let row = |version: &Version| {
        let name = version.name.as_deref().unwrap_or(&version.version_id);
        let evaluation = version.evaluation.as_ref();
        [
            escape(name),
            act(version.published.as_ref()),
            consent(version.published.as_ref()),
            evaluation.map_or_else(|| NONE.to_owned(), |value| escape(&canonical(value))),
            code(version.manifest_sha256.as_deref()),
            code(version.payload_sha256.as_deref()),
        ]
    };
    let rows: Vec<_> = report.cited.versions.iter().map(row).collect();
    section(
        page,
        "Versions",
        ["Version", "Published by", "Approval", "Evaluation", "Signed manifest", "Model file"],
        &rows,
        "No version ran.",
    );
}

fn rollouts(page: &mut String, rollouts: &[Rollout]) {
    let row = |rollout: &Rollout| {
        let ended = rollout.ended.as_ref().map_or_else(
            || "<span class=\"none\">not in the period</span>".to_owned(),
            |ended| {
                let (state, at) = (escape(&ended.state), escape(&absolute(&ended.at)));
                format!("{state}<br>{at}, record {}", ended.record)
            },
        );
        let undone = rollout.rolls_back.as_deref();
        [
            format!("<code>{}</code>", escape(&rollout.rollout_id)),
            act(rollout.created.as_ref()),
            consent(rollout.created.as_ref()),
            undone.map_or_else(String::new, |id| format!("<code>{}</code>", escape(id))),
            ended,
        ]
    };
    let rows: Vec<_> = rollouts.iter().map(row).collect();
    let head = ["Rollout", "Started by", "Approval", "Rolls back", "Ended"];
    section(page, "Rollouts", head, &rows, "No rollout assigned what ran.");
}

fn approvals(page: &mut String, approvals: &[Approval]) {
    let row = |approval: &Approval| {
        let signatures: Vec<String> = approval
            .signatures
            .iter()
            .map(|one| {
                let name = one.printed_name.as_deref().map_or_else(|| who(&one.by), escape);
                format!(
                    "<strong>{}</strong>: {name}, {}, record {}<br>{}",
                    escape(&one.meaning),
                    escape(&absolute(&one.at)),
                    one.record,
                    escape(&one.comment)
                )
            })
            .collect();
        let request = approval.request.as_deref().unwrap_or_default();
        [
            format!("<code>{}</code>", escape(&approval.approval_id)),
            format!(
                "{}<br>{}",
                approval.action.as_deref().map_or_else(String::new, escape),
                escape(request)
            ),
            act(approval.requested.as_ref()),
            signatures.join("<br>"),
        ]
    };
    let rows: Vec<_> = approvals.iter().map(row).collect();
    let head = ["Approval", "Of", "Asked for by", "Signatures"];
    section(page, "Approvals and signatures", head, &rows, "Nothing in this report needed one.");
}

fn evidence(report: &Report, outcome: &Outcome) -> String {
    let (header, checkpoint) = (&report.header, &outcome.verified.checkpoint);
    let before = match header.first {
        0 => "It is the whole log from its first record on.".to_owned(),
        first => format!(
            "The log's records before {first} are not kept any more: what was then is not known."
        ),
    };
    format!(
        "<h2>Evidence</h2>\n<p>Read off records {} up to {} of the audit log \
         <code>{}</code>, which had signed {} records. {before} Times are the controller's. \
         &ldquo;Reported&rdquo; is what a device said, authenticated by its certificate; a device \
         that was away goes on counting as what it said last. &ldquo;Assigned&rdquo; is what it was \
         to run while it had said nothing. &ldquo;Unknown&rdquo; is what was running when the \
         device was cut off.</p>\n\
         <p>To verify: <code>edgeformer compliance verify BUNDLE --key audit.key --release-key \
         release.key</code></p>\n",
        header.first,
        header.size,
        escape(&checkpoint.origin),
        checkpoint.size,
    )
}
