//! The audit log: reading it, taking it out, and verifying it without trusting the controller.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::audit::bundle::{MAX_LINE_BYTES, Verifier};
use edgeformer_proto::audit::checkpoint::Checkpoint;
use edgeformer_proto::audit::merkle::Hash;
use edgeformer_proto::audit::note::{MAX_NOTE_BYTES, VerifierKey};
use edgeformer_proto::audit::proof::{verify_consistency, verify_inclusion};

use super::{Context, consent};
use crate::args::reports::{Audit, AuditArgs, ExportFormat};
use crate::args::witness::Witness;
use crate::client::endpoints::{
    AUDIT_BUNDLE, AUDIT_CHECKPOINT, AUDIT_HEAD, AUDIT_KEY, AUDIT_STATUS, ERASE, EXPORT_AUDIT,
    INSTALLATION_AUDIT, INSTALLATION_AUDIT_BUNDLE, INSTALLATION_AUDIT_CHECKPOINT,
    INSTALLATION_AUDIT_EXPORT, INSTALLATION_AUDIT_HEAD, INSTALLATION_AUDIT_KEY,
    INSTALLATION_AUDIT_STATUS, INSTALLATION_PROVE_CONSISTENCY, INSTALLATION_PROVE_INCLUSION,
    LIST_AUDIT, Nothing, PREVIEW_ERASURE, PROVE_CONSISTENCY, PROVE_INCLUSION, TextStream,
};
use crate::client::types::{
    AuditHead, AuditKey, AuditProof, AuditRecord, AuditStatus, ErasureCreate, Page,
};
use crate::client::{Call, Endpoint};
use crate::failure::{Exit, Failure};
use crate::screen::{Screen, print};
use crate::view;

/// Carries out what needs no controller; none for everything else.
pub async fn alone(screen: &Screen, command: &Audit) -> Option<Result<Exit, Failure>> {
    Some(match command {
        Audit::Verify { bundle, key, since, witness } => {
            verify(screen, bundle, key, since, witness)
        }
        Audit::Witness(Witness::Key { folder, name }) => crate::witness::make(screen, folder, name),
        Audit::Witness(Witness::Serve { folder, log, listen }) => match keys_of(log) {
            Ok(keys) => crate::witness::serve(folder, keys, *listen).await,
            Err(failure) => Err(failure),
        },
        _ => return None,
    })
}

/// The operations on one log: the tenant's, or the installation's own.
struct Log {
    list: Endpoint<Nothing, Page<AuditRecord>>,
    head: Endpoint<Nothing, AuditHead>,
    status: Endpoint<Nothing, AuditStatus>,
    export: Endpoint<Nothing, TextStream>,
    key: Endpoint<Nothing, AuditKey>,
    checkpoint: Endpoint<Nothing, TextStream>,
    bundle: Endpoint<Nothing, TextStream>,
    inclusion: Endpoint<Nothing, AuditProof>,
    consistency: Endpoint<Nothing, AuditProof>,
}

const TENANTS: Log = Log {
    list: LIST_AUDIT,
    head: AUDIT_HEAD,
    status: AUDIT_STATUS,
    export: EXPORT_AUDIT,
    key: AUDIT_KEY,
    checkpoint: AUDIT_CHECKPOINT,
    bundle: AUDIT_BUNDLE,
    inclusion: PROVE_INCLUSION,
    consistency: PROVE_CONSISTENCY,
};

const INSTALLATIONS: Log = Log {
    list: INSTALLATION_AUDIT,
    head: INSTALLATION_AUDIT_HEAD,
    status: INSTALLATION_AUDIT_STATUS,
    export: INSTALLATION_AUDIT_EXPORT,
    key: INSTALLATION_AUDIT_KEY,
    checkpoint: INSTALLATION_AUDIT_CHECKPOINT,
    bundle: INSTALLATION_AUDIT_BUNDLE,
    inclusion: INSTALLATION_PROVE_INCLUSION,
    consistency: INSTALLATION_PROVE_CONSISTENCY,
};

/// Carries out what needs the controller.
///
/// # Errors
/// The failure to be shown.
pub async fn run(context: &Context, args: AuditArgs) -> Result<Exit, Failure> {
    let log = if args.installation { INSTALLATIONS } else { TENANTS };
    match args.command {
        Audit::List { limit } => {
            let records = context.client.call(&log.list).all(limit).await?;
            context.screen.list(&records, |r| view::report::audit(r, context.style()));
        }
        Audit::Export { format, from, follow, file } => {
            export(context, &log, format, from, follow, file.as_deref()).await?;
        }
        Audit::Key => {
            let key = context.client.call(&log.key).send().await?;
            context.screen.one(&key, |key| key.key.clone());
        }
        Audit::Checkpoint { cosignatures } => {
            let call = context.client.call(&log.checkpoint);
            let call = call.query("cosignatures", &cosignatures.to_string());
            call.stream(crate::screen::raw).await?;
        }
        Audit::Bundle { file, from, to, sealed, cosignatures } => {
            let call = context.client.call(&log.bundle).query("from", &from.to_string());
            let call = call.query_if("to", to.map(|to| to.to_string()).as_deref());
            let call = if sealed { call.query("sealed", "true") } else { call };
            let call = call.query("cosignatures", &cosignatures.to_string());
            to_file(call, &file).await?;
        }
        Audit::Proof { sequence, key } => proof(context, &log, sequence, &key).await?,
        Audit::Watch { checkpoint, key } => watch(context, &log, &checkpoint, &key).await?,
        Audit::Head => {
            let head = context.client.call(&log.head).send().await?;
            context.screen.one(&head, view::report::head);
        }
        Audit::Status => {
            let status = context.client.call(&log.status).send().await?;
            context.screen.one(&status, view::retention::status);
        }
        Audit::Verify { .. } => unreachable!("it needs no controller"),
        _ if args.installation => {
            return Err(Failure::usage("this is not to be had of the installation's own log")
                .next("leave --installation out, and use a tenant's token"));
        }
        other => tenants(context, other).await?,
    }
    Ok(Exit::Done)
}

/// What only a tenant's log has.
async fn tenants(context: &Context, command: Audit) -> Result<(), Failure> {
    match command {
        Audit::Erase { subject, consent } => {
            let call = context.client.call(&PREVIEW_ERASURE).query("subject", &subject);
            let preview = call.send().await?;
            if preview.value.erased_at.is_none() {
                consent::ask(
                    &context.screen,
                    consent,
                    &view::report::erasure_preview(&preview.value),
                )
                .await?;
            }
            let erased =
                context.client.call(&ERASE).body(&ErasureCreate { subject }).send().await?;
            context.screen.one(&erased, view::report::erasure);
        }
        Audit::Sink(command) => super::sink::run(context, command).await?,
        Audit::Witness(command) => super::witness::run(context, command).await?,
        Audit::Retention(command) => super::retention::run(context, command).await?,
        Audit::Hold(command) => super::retention::hold(context, command).await?,
        _ => unreachable!("carried out before"),
    }
    Ok(())
}

async fn export(
    context: &Context,
    log: &Log,
    format: ExportFormat,
    from: u64,
    follow: bool,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let call = context.client.call(&log.export).query("format", format.as_str());
    let call = call.query("from", &from.to_string());
    let call = if follow { call.query("follow", "true") } else { call };
    let Some(path) = file else {
        return Ok(call.stream(crate::screen::raw).await?);
    };
    to_file(call, path).await
}

/// A file that is whole or an error; one that is there is left alone.
pub async fn to_file(call: Call<'_, Nothing, TextStream>, path: &Path) -> Result<(), Failure> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = made.map_err(|error| {
        Failure::usage(format!("the file {} cannot be made: {error}", path.display()))
            .next("nothing was exported; choose a new file name")
    })?;
    if let Err(error) = call.stream(|piece| file.write_all(piece)).await {
        // Half of it is of no use, and in the way of the next attempt.
        let _ = std::fs::remove_file(path);
        return Err(error.into());
    }
    file.sync_all()
        .map_err(|error| Failure::usage(format!("{} is not whole: {error}", path.display())))
}

/// A proof that something is wrong: said as such, with what to keep.
pub fn broken(what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("NOT VERIFIED: {what}"))
        .next("keep the files as they are, and compare with checkpoints that others kept")
}

/// Several keys.
///
/// # Errors
/// When one is neither a key nor a file that holds one.
pub fn keys_of(texts: &[String]) -> Result<Vec<VerifierKey>, Failure> {
    texts.iter().map(|text| key_of(text)).collect()
}

/// The key, or the file that holds it.
///
/// # Errors
/// When it is neither.
pub fn key_of(text: &str) -> Result<VerifierKey, Failure> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let text = match text.contains('+') {
        true => text.to_owned(),
        false => read(text).ok_or_else(|| {
            Failure::usage(format!("{text:?} is neither a key nor a file that can be read"))
        })?,
    };
    text.parse().map_err(|error| Failure::usage(format!("{error}")))
}

pub fn checkpoint_in(path: &Path, key: &VerifierKey) -> Result<Checkpoint, Failure> {
    let shown = path.display();
    let size = std::fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
    if size > MAX_NOTE_BYTES as u64 {
        return Err(Failure::usage(format!("{shown} is too large for a checkpoint")));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{shown} cannot be read: {error}")))?;
    let opened = Checkpoint::open(&text, key);
    opened.map(|(checkpoint, _)| checkpoint).map_err(|error| broken(format!("{shown}: {error}")))
}

/// Verifies a bundle. Nothing is asked of any controller.
///
/// # Errors
/// What is wrong with it, and where.
pub fn verify(
    screen: &Screen,
    bundle: &Path,
    key: &str,
    since: &[PathBuf],
    witnesses: &[String],
) -> Result<Exit, Failure> {
    let key = key_of(key)?;
    let older = since.iter().map(|path| checkpoint_in(path, &key)).collect::<Result<_, _>>()?;
    let witnesses = keys_of(witnesses)?;
    let cannot = |error| Failure::usage(format!("{} cannot be read: {error}", bundle.display()));
    let mut file = BufReader::new(std::fs::File::open(bundle).map_err(cannot)?);
    let mut next = || -> Result<Option<String>, Failure> {
        let mut line = String::new();
        let limit = MAX_LINE_BYTES as u64;
        let count = std::io::Read::take(&mut file, limit).read_line(&mut line).map_err(cannot)?;
        if count as u64 == limit {
            return Err(broken("a line of the bundle is longer than 4 MiB"));
        }
        Ok((count > 0).then_some(line))
    };
    let header = next()?.ok_or_else(|| broken("the bundle is empty"))?;
    let mut verifier = Verifier::new(&header, &key, &witnesses, older).map_err(broken)?;
    while let Some(line) = next()? {
        verifier.record(&line).map_err(broken)?;
    }
    let verified = verifier.finish().map_err(broken)?;
    screen.say(&view::report::verified(&verified, since.len()));
    Ok(Exit::Done)
}

fn hashes(texts: &[String]) -> Result<Vec<Hash>, Failure> {
    let one = |text: &String| BASE64.decode(text).ok()?.try_into().ok();
    texts.iter().map(|text| one(text).ok_or_else(|| broken("the proof is no proof"))).collect()
}

async fn proof(context: &Context, log: &Log, sequence: u64, key: &str) -> Result<(), Failure> {
    let key = key_of(key)?;
    let call = context.client.call(&log.inclusion).query("sequence", &sequence.to_string());
    let answer: AuditProof = call.send().await?.value;
    let (checkpoint, _) = Checkpoint::open(&answer.checkpoint, &key).map_err(broken)?;
    let leaf = hashes(answer.leaf.as_slice())?.pop();
    let leaf = leaf.ok_or_else(|| broken("the proof names no leaf"))?;
    let path = hashes(&answer.hashes)?;
    verify_inclusion(&leaf, sequence, checkpoint.size, &checkpoint.root, &path).map_err(broken)?;
    print(&format!(
        "Record {sequence} is in the log of {} records that {} signed.",
        checkpoint.size, checkpoint.origin
    ));
    Ok(())
}

async fn watch(context: &Context, log: &Log, kept: &Path, key: &str) -> Result<(), Failure> {
    let key = key_of(key)?;
    let mut note = Vec::new();
    let call = context.client.call(&log.checkpoint);
    call.stream(|piece| {
        note.extend_from_slice(&piece[..piece.len().min(MAX_NOTE_BYTES + 1 - note.len())]);
        Ok(())
    })
    .await?;
    let note = String::from_utf8(note).map_err(|_| broken("the checkpoint is not text"))?;
    let (new, _) = Checkpoint::open(&note, &key).map_err(broken)?;
    if kept.exists() {
        let old = checkpoint_in(kept, &key)?;
        if old.size > new.size {
            let (had, has) = (old.size, new.size);
            return Err(broken(format!("the log had {had} records and has {has} now")));
        }
        let path = match old.size == new.size || old.size == 0 {
            true => Vec::new(),
            false => {
                let call = context.client.call(&log.consistency);
                let call = call.query("first", &old.size.to_string());
                let call = call.query("size", &new.size.to_string());
                hashes(&call.send().await?.value.hashes)?
            }
        };
        verify_consistency(old.size, &old.root, new.size, &new.root, &path).map_err(broken)?;
        print(&format!("The log only grew: {} records, {} now.", old.size, new.size));
    } else {
        print(&format!("First look: {} records.", new.size));
    }
    let replaced = write_new(kept, note.as_bytes());
    replaced.map_err(|e| Failure::usage(format!("{} is not written: {e}", kept.display())))
}

/// Replaces a file so that a crash leaves the old content or the new one.
fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
