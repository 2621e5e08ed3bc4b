//! Models and versions.

use super::human::{amount, bytes, or_none, relative};
use super::{Style, fields, table};
use crate::client::types::{Model, Version};

pub fn models(models: &[Model], style: Style) -> String {
    if models.is_empty() {
        return "No models yet.\n\
                Publish one with `edgeformer model publish NAME VERSION FILE.gguf`."
            .into();
    }
    let row = |m: &Model| {
        [
            m.name.clone(),
            or_none(m.latest_version.as_deref()).to_owned(),
            m.version_count.to_string(),
            relative(&m.created_at, style.now),
        ]
    };
    table(style, ["NAME", "LATEST", ">VERSIONS", "CREATED"], models.iter().map(row))
}

pub fn versions(model: &str, versions: &[Version], style: Style) -> String {
    if versions.is_empty() {
        return format!(
            "Model {model} has no versions.\n\
             Publish one with `edgeformer model publish {model} VERSION FILE.gguf`."
        );
    }
    let row = |v: &Version| {
        [
            v.version.clone(),
            bytes(v.payload_bytes),
            v.details.architecture.clone(),
            v.details.quantization.clone(),
            amount(v.details.parameters),
            v.details.context_length.to_string(),
            relative(&v.created_at, style.now),
        ]
    };
    let head = [
        "VERSION",
        ">SIZE",
        "ARCHITECTURE",
        "QUANTIZATION",
        ">PARAMETERS",
        ">CONTEXT",
        "PUBLISHED",
    ];
    table(style, head, versions.iter().map(row))
}

pub fn version(v: &Version, style: Style) -> String {
    fields(&[
        ("Model", v.model.clone()),
        ("Version", v.version.clone()),
        ("Id", v.id.clone()),
        ("Size", bytes(v.payload_bytes)),
        ("Stored", format!("{} new in {} sealed chunks", bytes(v.stored_bytes), v.chunk_count)),
        ("Architecture", v.details.architecture.clone()),
        ("Quantization", v.details.quantization.clone()),
        ("Parameters", amount(v.details.parameters)),
        ("Context", format!("{} tokens", v.details.context_length)),
        ("Payload SHA-256", v.payload_sha256.clone()),
        ("Manifest SHA-256", v.manifest_sha256.clone()),
        ("Published", relative(&v.created_at, style.now)),
    ])
}

/// After an upload. `fresh` is false when the same bytes were there already.
pub fn published(v: &Version, fresh: bool) -> String {
    let (name, number) = (&v.model, &v.version);
    let what = match fresh {
        true => format!(
            "Published {name} {number}: {}, {} new in {} sealed chunks.",
            bytes(v.payload_bytes),
            bytes(v.stored_bytes),
            v.chunk_count
        ),
        false => format!("{name} {number} is published already, with exactly this file."),
    };
    format!(
        "{what}\nBring it to devices with \
         `edgeformer rollout create --model {name} --version {number} --all --wait`."
    )
}
