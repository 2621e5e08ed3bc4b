//! Commands that need no controller: generate, measure and rewrite model files, keys of local
//! applications, and what may leave the device. Results go to stdout, everything else to stderr.

mod bench;
mod generate;
mod key;
mod privacy;
mod quantize;

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use edgeformer_engine::{LoadOptions, Model};

pub use self::bench::bench;
pub use self::generate::generate;
pub use self::key::key;
pub use self::privacy::privacy;
pub use self::quantize::quantize;

/// Loads a model file with `threads` threads (0: one per core).
fn load(path: &Path, threads: usize) -> anyhow::Result<Model> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let options = LoadOptions { threads, ..LoadOptions::default() };
    Model::load(file, &options).with_context(|| format!("cannot load {}", path.display()))
}
