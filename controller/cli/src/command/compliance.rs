//! Evidence of what ran where: taking it out, and verifying it without trusting the controller.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::artifact::ReleasePublic;
use edgeformer_proto::audit::bundle::{Header as AuditHeader, MAX_LINE_BYTES};
use edgeformer_proto::audit::checkpoint::Checkpoint;
use edgeformer_proto::audit::note::VerifierKey;
use edgeformer_proto::compliance::offline::{AUDIT_FILE, Offline, Outcome, withhold};
use edgeformer_proto::compliance::{Cited, Entry, Report, canonical};

use super::bundle_files::{self, Opened};
use super::{Context, audit};
use crate::args::evidence::Compliance;
use crate::client::endpoints::{AUDIT_BUNDLE, AUDIT_KEY, COMPLIANCE_REPORT, RELEASE_KEY};
use crate::failure::{Exit, Failure};
use crate::screen::{Screen, print};
use crate::view;

/// Deployments, versions, rollouts and approvals of one report; a million are a gigabyte.
const MAX_LINES: usize = 1_000_000;

/// A report with the signed envelopes of its versions.
#[derive(Debug)]
pub struct Told {
    pub report: Report,
    /// By version.
    pub envelopes: BTreeMap<String, Vec<u8>>,
}

/// Carries out what needs the controller.
///
/// # Errors
/// The failure to be shown.
pub async fn run(context: &Context, command: Compliance) -> Result<Exit, Failure> {
    match command {
        Compliance::Report { from, to, bundle, html } => {
            report(context, &from, &to, bundle.as_deref(), html.as_deref()).await
        }
        Compliance::Key => {
            let key = context.client.call(&RELEASE_KEY).send().await?;
            context.screen.one(&key, |key| key.public_key.clone());
            Ok(Exit::Done)
        }
        Compliance::Verify { .. } => unreachable!("it needs no controller"),
    }
}

async fn report(
    context: &Context,
    from: &str,
    to: &str,
    bundle: Option<&Path>,
    html: Option<&Path>,
) -> Result<Exit, Failure> {
    for path in [bundle, html].into_iter().flatten() {
        bundle_files::must_be_new(path)?;
    }
    let folder =
        tempfile::tempdir().map_err(|e| Failure::usage(format!("no temporary file: {e}")))?;
    let log = folder.path().join(AUDIT_FILE);
    let size = take_log(context, &log).await?;
    let told = take_report(context, from, to, size).await?;
    let key: VerifierKey = audit::key_of(&context.client.call(&AUDIT_KEY).send().await?.value.key)?;
    let release = context.client.call(&RELEASE_KEY).send().await?.value.public_key;
    let outcome = check(&told, &log, &key, &release_key(&release)?, &[], Vec::new())?;
    let text = view::compliance::html(&told.report, &outcome);
    if let Some(path) = bundle {
        bundle_files::write(path, &told, &log, &text)?;
    }
    if let Some(path) = html {
        bundle_files::write_new(path, text.as_bytes())?;
    }
    if context.screen.is_json() {
        print(&view::json::indent(&canonical(&told.report)));
    } else {
        print(&view::compliance::summary(&told.report, context.style()));
    }
    said(&context.screen, &outcome)
}

/// Takes the whole log into a file, without what no report looks at. Gives the number of its records.
async fn take_log(context: &Context, path: &Path) -> Result<u64, Failure> {
    let cannot = |error| Failure::usage(format!("{} cannot be written: {error}", path.display()));
    let mut file = BufWriter::new(std::fs::File::create(path).map_err(cannot)?);
    let mut size: Option<u64> = None;
    let mut lines = Lines::default();
    let call = context.client.call(&AUDIT_BUNDLE);
    call.stream(|piece| {
        lines.take(piece, |line| {
            let line = match size {
                Some(_) => withhold(line).map_err(std::io::Error::other)?,
                None => {
                    size = Some(serde_json::from_str::<AuditHeader>(line)?.to);
                    line.to_owned()
                }
            };
            writeln!(file, "{line}")
        })
    })
    .await?;
    lines.end()?;
    file.flush().map_err(cannot)?;
    size.ok_or_else(|| audit::broken("the bundle of the audit log is empty"))
}

async fn take_report(context: &Context, from: &str, to: &str, size: u64) -> Result<Told, Failure> {
    let mut taking = Taking::default();
    let mut lines = Lines::default();
    let call = context.client.call(&COMPLIANCE_REPORT);
    let call = call.query("from", from).query("to", to).query("size", &size.to_string());
    call.stream(|piece| lines.take(piece, |line| taking.line(line))).await?;
    lines.end()?;
    taking.end()
}

/// A report that is coming line by line.
#[derive(Default)]
struct Taking {
    told: Option<Told>,
    lines: usize,
    ended: bool,
}

impl Taking {
    fn line(&mut self, line: &str) -> std::io::Result<()> {
        let wrong = |why: &str| std::io::Error::other(format!("the report is damaged: {why}"));
        let entry: Entry = serde_json::from_str(line)?;
        if let Entry::Header(header) = entry {
            let (deployments, cited) = (Vec::new(), Cited::default());
            let report = Report { header, deployments, cited };
            self.told = Some(Told { report, envelopes: BTreeMap::new() });
            return Ok(());
        }
        let told = self.told.as_mut().ok_or_else(|| wrong("it does not begin with its header"))?;
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(wrong("it is too long; ask for a shorter period"));
        }
        let cited = &mut told.report.cited;
        match entry {
            Entry::Header(_) => {}
            Entry::Deployment(one) => told.report.deployments.push(one),
            Entry::Version(one) => cited.versions.push(one),
            Entry::Rollout(one) => cited.rollouts.push(one),
            Entry::Approval(one) => cited.approvals.push(one),
            Entry::Envelope { version_id, envelope } => {
                let bytes = BASE64.decode(envelope).map_err(|_| wrong("an envelope"))?;
                told.envelopes.insert(version_id, bytes);
            }
            Entry::End { lines } => {
                self.lines -= 1;
                self.ended = lines == self.lines as u64;
            }
        }
        Ok(())
    }

    fn end(self) -> Result<Told, Failure> {
        let mut told = self
            .told
            .filter(|_| self.ended)
            .ok_or_else(|| audit::broken("the report is not whole: its end is missing"))?;
        told.report.deployments.sort();
        Ok(told)
    }
}

/// Lines out of pieces that break anywhere.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(
        &mut self,
        piece: &[u8],
        mut line: impl FnMut(&str) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend_from_slice(part);
            if self.0.len() > MAX_LINE_BYTES {
                return Err(std::io::Error::other("a line is longer than 4 MiB"));
            }
            if self.0.last() == Some(&b'\n') {
                let text = std::str::from_utf8(&self.0).map_err(std::io::Error::other)?;
                line(text.trim_end())?;
                self.0.clear();
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(audit::broken("the answer breaks off in a line")),
        }
    }
}

/// The key, or the file that holds it.
fn release_key(text: &str) -> Result<ReleasePublic, Failure> {
    let wrong = || {
        Failure::usage(format!("{text:?} is neither a release key nor a file that holds one"))
            .next("`edgeformer compliance key` prints it")
    };
    let parse = |text: &str| ReleasePublic::try_from(&BASE64.decode(text.trim()).ok()?[..]).ok();
    let from_file = || parse(&std::fs::read_to_string(text).ok()?);
    parse(text).or_else(from_file).ok_or_else(wrong)
}

/// Checks a report against the log's part in a file.
fn check(
    told: &Told,
    log: &Path,
    key: &VerifierKey,
    release: &ReleasePublic,
    witnesses: &[VerifierKey],
    older: Vec<Checkpoint>,
) -> Result<Outcome, Failure> {
    let cannot = |error| Failure::usage(format!("{} cannot be read: {error}", log.display()));
    let mut file = BufReader::new(std::fs::File::open(log).map_err(cannot)?);
    let mut next = || -> Result<Option<String>, Failure> {
        let mut line = String::new();
        let limit = MAX_LINE_BYTES as u64;
        let count = std::io::Read::take(&mut file, limit).read_line(&mut line).map_err(cannot)?;
        if count as u64 == limit {
            return Err(audit::broken("a line of the log is longer than 4 MiB"));
        }
        Ok((count > 0).then_some(line))
    };
    let header = next()?.ok_or_else(|| audit::broken("the bundle's part of the log is empty"))?;
    let report = told.report.clone();
    let mut offline =
        Offline::new(report, &header, key, witnesses, older).map_err(audit::broken)?;
    while let Some(line) = next()? {
        offline.record(&line).map_err(audit::broken)?;
    }
    offline.finish(&told.envelopes, release).map_err(audit::broken)
}

/// Says what was found; findings are a failure.
fn said(screen: &Screen, outcome: &Outcome) -> Result<Exit, Failure> {
    if outcome.findings.is_empty() {
        screen.say(&view::compliance::verified(outcome));
        return Ok(Exit::Done);
    }
    let mut failure = audit::broken(match outcome.findings.len() {
        1 => "1 thing in the report does not agree with its evidence".to_owned(),
        count => format!("{count} things in the report do not agree with their evidence"),
    });
    failure.facts = outcome.findings.iter().map(|finding| finding.words()).collect();
    Err(failure)
}

/// Verifies a bundle. Nothing is asked of any controller.
///
/// # Errors
/// What is wrong with it, and where.
pub fn verify(screen: &Screen, command: &Compliance) -> Result<Exit, Failure> {
    let Compliance::Verify { bundle, key, release_key: release, since, witness } = command else {
        unreachable!("only verify is carried out here");
    };
    let key = audit::key_of(key)?;
    let release = release_key(release)?;
    let older =
        since.iter().map(|path| audit::checkpoint_in(path, &key)).collect::<Result<_, _>>()?;
    let witnesses: Vec<VerifierKey> =
        witness.iter().map(|text| audit::key_of(text)).collect::<Result<_, _>>()?;
    let Opened { told, log, folder: _folder } = bundle_files::open(bundle)?;
    let outcome = check(&told, &log, &key, &release, &witnesses, older)?;
    screen.say(&view::compliance::heading(&told.report));
    said(screen, &outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_the_pieces_break() {
        let text = "one\ntwo\nthree\n";
        for size in 1..text.len() {
            let (mut lines, mut got) = (Lines::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                lines
                    .take(piece, |line| {
                        got.push(line.to_owned());
                        Ok(())
                    })
                    .unwrap();
            }
            lines.end().unwrap();
            assert_eq!(got, ["one", "two", "three"]);
        }
        let mut lines = Lines::default();
        lines.take(b"half", |_| Ok(())).unwrap();
        assert!(lines.end().is_err());
    }

    #[test]
    fn a_report_without_its_end_is_not_one() {
        let header = r#"{"kind":"header","format":"f","tenant_id":"t","tenant":"acme","from":"",
            "to":"","first":0,"size":0,"made_at":""}"#
            .replace('\n', "");
        let mut taking = Taking::default();
        assert!(taking.line(r#"{"kind":"end","lines":0}"#).is_err(), "no header");
        taking.line(&header).unwrap();
        assert!(taking.end().is_err(), "no end");
        let mut taking = Taking::default();
        taking.line(&header).unwrap();
        taking.line(r#"{"kind":"end","lines":3}"#).unwrap();
        assert!(taking.end().is_err(), "three lines are missing");
    }
}
