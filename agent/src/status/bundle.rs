//! The support bundle: what somebody needs to understand a device from afar. Files are named one by
//! one, so that keys, tokens and payloads cannot slip in; what looks like a token is blotted out of
//! the text as well.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ask;
use crate::clock::rfc3339;
use crate::identity::Identity;
use crate::{durable, facts, logging};

/// The newest part of each log file that is taken along.
const MAX_LOG_BYTES: u64 = 2 << 20;

/// The bundle could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct BundleError {
    path: PathBuf,
    source: io::Error,
}

/// Writes a tar file, readable by this user alone. Returns the names in it.
pub fn write(state_dir: &Path, out: &Path) -> Result<Vec<String>, BundleError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BundleError { path, source }
    };
    let entries = collect(state_dir).map_err(failed(state_dir))?;
    let mut tar = tar::Builder::new(Vec::new());
    let mut names = Vec::new();
    for (name, text) in entries {
        let text = redact(&text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, format!("edgeformer-support/{name}"), text.as_bytes())
            .map_err(failed(out))?;
        names.push(name);
    }
    let bytes = tar.into_inner().map_err(failed(out))?;
    let out = std::path::absolute(out).map_err(failed(out))?;
    durable::write(&out, &bytes).map_err(failed(&out))?;
    Ok(names)
}

fn collect(state_dir: &Path) -> io::Result<Vec<(String, String)>> {
    let status = match ask(state_dir) {
        Ok(status) => serde_json::to_value(&status)?,
        Err(error) => json!({ "error": error.to_string() }),
    };
    let mut entries = vec![
        ("status.json".to_owned(), pretty(&status)),
        ("facts.json".to_owned(), pretty(&facts_json(state_dir))),
        ("config.json".to_owned(), pretty(&config_json(state_dir))),
    ];
    for name in ["ledger.json", "ledger.previous.json"] {
        let path = state_dir.join(name);
        if path.exists() {
            entries.push((name.to_owned(), tail(&path)?));
        }
    }
    for path in logging::files(state_dir) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        entries.push((format!("logs/{name}"), tail(&path)?));
    }
    Ok(entries)
}

fn facts_json(state_dir: &Path) -> Value {
    let facts = facts::gather(state_dir);
    let memory = facts::memory();
    json!({
        "agent_version": facts.agent_version, "os": facts.os, "arch": facts.arch,
        "cpus": facts.cpus, "cpu_features": facts.cpu_features, "hostname": facts.hostname,
        "memory_bytes": memory.total_bytes, "memory_available_bytes": memory.available_bytes,
        "disk_free_bytes": facts.disk_free_bytes,
    })
}

fn config_json(state_dir: &Path) -> Value {
    match Identity::load(state_dir) {
        Ok(identity) => json!({
            "controller": identity.controller.to_string(),
            "device_id": identity.device_id, "tenant_id": identity.tenant_id,
            "trust_domain": identity.trust_domain, "name": identity.name,
            "certificate_not_before": rfc3339(identity.certificate.not_before_us),
            "certificate_not_after": rfc3339(identity.certificate.not_after_us),
            "trusted_roots": identity.roots.len(),
        }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn tail(path: &Path) -> io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(MAX_LOG_BYTES)))?;
    let mut text = Vec::new();
    file.take(MAX_LOG_BYTES).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Blots out whatever has the form of a token: `efp_`, `efe_` or `efl_` and what is stuck to it.
fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ["efp_", "efe_", "efl_"].iter().filter_map(|kind| rest.find(kind)).min() {
        let (before, token) = rest.split_at(at);
        clean.push_str(before);
        let (kind, secret) = token.split_at(4);
        let end = secret.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(secret.len());
        clean.push_str(kind);
        if end > 0 {
            clean.push_str("(redacted)");
        }
        rest = &secret[end..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{DeviceKeys, FileKeys};

    #[test]
    fn no_key_and_no_token_gets_into_a_bundle() {
        let state = tempfile::tempdir().unwrap();
        let keys = FileKeys::open_or_create(state.path().join("keys")).unwrap();
        let token = "efe_0123456789abcdefghijABCDEFGHIJ012345";
        durable::create_private_directory(&state.path().join("logs")).unwrap();
        let line = format!("{{\"message\":\"pasted {token}\"}}\n");
        std::fs::write(state.path().join("logs/agent.log"), line).unwrap();
        std::fs::write(state.path().join("ledger.json"), b"{\"format\":1}").unwrap();
        let out = state.path().join("bundle.tar");
        let names = write(state.path(), &out).unwrap();
        assert!(names.contains(&"logs/agent.log".to_owned()), "{names:?}");
        let bundle = std::fs::read(&out).unwrap();
        let holds = |needle: &[u8]| bundle.windows(needle.len()).any(|window| window == needle);
        assert!(holds(b"pasted efe_(redacted)") && !holds(&token.as_bytes()[4..]));
        for file in ["device.p8", "hpke.key"] {
            let secret = std::fs::read(state.path().join("keys").join(file)).unwrap();
            for part in secret.windows(16) {
                assert!(!holds(part), "a part of {file}");
            }
        }
        assert!(!holds(keys.public_point()));
    }

    #[test]
    fn only_what_looks_like_a_token_is_blotted_out() {
        assert_eq!(redact("a efp_x1 b efl_ c"), "a efp_(redacted) b efl_ c");
        assert_eq!(redact("nothing here"), "nothing here");
    }
}
