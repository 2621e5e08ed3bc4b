//! Proofs of the audit log: read from tiles, never computed over the whole log.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use edgeformer_proto::audit::bundle::{FORMAT, Header, Line, Opening};
use edgeformer_proto::audit::merkle::Hash;
use edgeformer_proto::audit::note::VerifierKey;
use edgeformer_proto::audit::proof;
use edgeformer_proto::audit::proof::{Node, range};
use edgeformer_proto::audit::tile::{
    Asked, TileId, WIDTH, bundle as entry_bundle, parse, width_at,
};

use crate::app::App;
use crate::audit::seal::{Salt, Subject};
use crate::audit::{checkpointer, tree};
use crate::error::AppError;
use crate::scope::{InstallationScope, Scope};
use crate::store::{audit_log, audit_subjects, audit_tree, audit_witnesses, installation};

/// Records of a bundle read at a time: about a MiB of text.
const PAGE: u64 = 500;

/// A proof.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Of the tree that it leads to.
    pub size: u64,
    /// The record's leaf, of an inclusion.
    pub leaf: Option<Hash>,
    /// From the leaf to the root.
    pub hashes: Vec<Hash>,
    /// The newest signed note.
    pub checkpoint: String,
}

/// The newest checkpoint that at least `cosignatures` witnesses signed: size and signed note, with all
/// cosignatures there are.
pub async fn checkpoint<S: Scope>(
    app: &App,
    scope: &S,
    cosignatures: u32,
) -> Result<(u64, String), AppError> {
    let mut read = app.store.read(scope).await?;
    let size = match cosignatures {
        0 => Some(i64::MAX as u64),
        count => audit_witnesses::newest(&mut read, count).await?,
    };
    let none = || match cosignatures {
        0 => AppError::not_found("checkpoint", "yet"),
        n => AppError::not_found("checkpoint", format!("with {n} cosignatures yet")),
    };
    let found = audit_tree::checkpoint_up_to(&mut read, size.ok_or_else(none)?).await?;
    let (size, note) = found.ok_or_else(none)?;
    let lines = audit_witnesses::lines(&mut read, size).await?;
    Ok((size, note + &lines))
}

/// The log's public key.
pub async fn key<S: Scope>(app: &App, scope: &S) -> Result<VerifierKey, AppError> {
    let top = InstallationScope::system("audit proofs");
    let row = installation::get(&mut *app.store.read(&top).await?).await?;
    let domain = row.map(|row| row.trust_domain).unwrap_or_default();
    let mut read = app.store.read(scope).await?;
    let key = checkpointer::verifier(&mut read, &domain).await?;
    key.ok_or_else(|| AppError::not_found("key of the audit log", "yet"))
}

/// The size that was asked for, if the log has signed that many records.
fn within(size: Option<u64>, signed: u64) -> Result<u64, AppError> {
    let size = size.unwrap_or(signed);
    if size <= signed {
        return Ok(size);
    }
    Err(AppError::invalid("size", format!("the log has signed {signed} records so far")))
}

/// That the record `sequence` is in the tree of `size` records.
pub async fn inclusion<S: Scope>(
    app: &App,
    scope: &S,
    sequence: u64,
    size: Option<u64>,
) -> Result<Proof, AppError> {
    let (signed, checkpoint) = checkpoint(app, scope, 0).await?;
    let size = within(size, signed)?;
    let plan = proof::inclusion(sequence, size)?;
    let leaf = vec![vec![Node { level: 0, index: sequence }]];
    let mut read = app.store.read(scope).await?;
    let leaf = tree::hashes(&mut read, &leaf).await?.pop();
    let hashes = tree::hashes(&mut read, &plan).await?;
    Ok(Proof { size, leaf, hashes, checkpoint })
}

/// That the tree of `size` records begins with that of `first`.
pub async fn consistency<S: Scope>(
    app: &App,
    scope: &S,
    first: u64,
    size: Option<u64>,
) -> Result<Proof, AppError> {
    let (signed, checkpoint) = checkpoint(app, scope, 0).await?;
    let size = within(size, signed)?;
    let plan = proof::consistency(first, size)?;
    let mut read = app.store.read(scope).await?;
    let hashes = tree::hashes(&mut read, &plan).await?;
    Ok(Proof { size, leaf: None, hashes, checkpoint })
}

/// A file of the log at the path that C2SP tlog-tiles gives it, of what was signed.
pub async fn tile_file<S: Scope>(app: &App, scope: &S, path: &str) -> Result<Vec<u8>, AppError> {
    let absent = || AppError::not_found("file of the audit log", path);
    let (signed, _) = checkpoint(app, scope, 0).await?;
    let mut read = app.store.read(scope).await?;
    match parse(path).ok_or_else(absent)? {
        Asked::Tile { id, width } => {
            if width > width_at(id, signed) {
                return Err(absent());
            }
            let hashes = audit_tree::tile(&mut read, id).await?.ok_or_else(absent)?;
            Ok(hashes.get(..width as usize).ok_or_else(absent)?.concat())
        }
        Asked::Entries { index, width } => {
            if width > width_at(TileId { level: 0, index }, signed) {
                return Err(absent());
            }
            let rows = audit_log::raw(&mut read, index * WIDTH, width).await?;
            // What was deleted cannot be handed out; its hashes can.
            if rows.iter().any(|row| row.record.is_empty()) {
                return Err(absent());
            }
            entry_bundle(rows.iter().map(|row| row.record.as_str())).ok_or_else(absent)
        }
    }
}

/// A part of the log.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// First record.
    pub from: Option<u64>,
    /// One after the last.
    pub to: Option<u64>,
    /// Without what stands beside the log.
    pub sealed: bool,
    /// Under a checkpoint that at least so many witnesses signed.
    pub cosignatures: u32,
}

/// The header of a bundle, as a line, and what reads the rest.
pub async fn bundle<S: Scope>(
    app: &App,
    scope: &S,
    part: Part,
) -> Result<(String, BundleReader<S>), AppError> {
    let (signed, checkpoint) = checkpoint(app, scope, part.cosignatures).await?;
    let to = within(part.to, signed)?;
    let from = part.from.unwrap_or(0);
    if from > to {
        return Err(AppError::invalid("from", format!("it must be at most {to}")));
    }
    let single = |nodes: Vec<Node>| nodes.into_iter().map(|node| vec![node]).collect::<Vec<_>>();
    let mut read = app.store.read(scope).await?;
    let left = tree::hashes(&mut read, &single(range(0, from))).await?;
    let right = tree::hashes(&mut read, &single(range(to, signed))).await?;
    drop(read);
    let text = |hashes: Vec<Hash>| hashes.iter().map(|hash| BASE64.encode(hash)).collect();
    let header = Header {
        format: FORMAT.to_owned(),
        checkpoint,
        from,
        to,
        left: text(left),
        right: text(right),
    };
    let line = serde_json::to_string(&header).expect("a header has string keys only") + "\n";
    let reader = BundleReader {
        app: app.clone(),
        scope: scope.clone(),
        next: from,
        to,
        sealed: part.sealed,
    };
    Ok((line, reader))
}

/// Reads the records of a bundle page by page.
pub struct BundleReader<S> {
    app: App,
    scope: S,
    next: u64,
    to: u64,
    sealed: bool,
}

impl<S: Scope> BundleReader<S> {
    /// The next lines. An error cuts the stream, so that half a bundle never looks whole.
    pub async fn page(mut self) -> Result<Option<(Bytes, Self)>, AppError> {
        if self.next >= self.to {
            return Ok(None);
        }
        let mut read = self.app.store.read(&self.scope).await?;
        let rows = audit_log::raw(&mut read, self.next, PAGE.min(self.to - self.next)).await?;
        let ids = || rows.iter().map(|row| &row.id);
        let mut beside = match (ids().min(), ids().max()) {
            (Some(first), Some(last)) if !self.sealed => {
                audit_subjects::beside(&mut read, first, last).await?
            }
            _ => BTreeMap::new(),
        };
        let subjects = beside.values().flatten().map(|one| one.subject.clone());
        let subjects: std::collections::BTreeSet<Subject> =
            subjects.filter(|subject| !subject.is_nobody()).collect();
        let salts = audit_subjects::salts(&mut read, subjects).await?;
        drop(read);
        let mut text = String::new();
        for row in rows {
            let openings = beside.remove(&row.id).unwrap_or_default();
            let line = Line {
                sequence: row.sequence,
                record: row.record,
                leaf: BASE64.encode(row.leaf),
                openings: openings.into_iter().map(|one| opening(one, &salts)).collect(),
            };
            text.push_str(&serde_json::to_string(&line).expect("a line has string keys only"));
            text.push('\n');
            self.next = line.sequence + 1;
        }
        if text.is_empty() {
            return Err(AppError::Internal(format!("the audit log lacks record {}", self.next)));
        }
        Ok(Some((Bytes::from(text), self)))
    }
}

fn opening(one: crate::audit::seal::Beside, salts: &BTreeMap<Subject, Salt>) -> Opening {
    Opening {
        salt: salts.get(&one.subject).map(|salt| BASE64.encode(salt)),
        subject: one.subject.as_str().to_owned(),
        values: one.values,
    }
}
