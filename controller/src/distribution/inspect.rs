//! What an uploaded file is: whether it is a whole model, where to cut it, and what it says about
//! itself. Reads the header only; tensor data is never interpreted here.

use std::collections::HashMap;
use std::io::Read;

use edgeformer_gguf::{GgufError, Header, Limits, MAGIC};
use edgeformer_proto::artifact::{Details, Memory, PIECE_BYTES};

use super::facts::ModelFacts;

/// Longest architecture name; real ones have at most twenty characters.
const MAX_ARCHITECTURE_BYTES: usize = 64;

/// Why a file is not published.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Nothing that we know.
    #[error(
        "the file is not a GGUF model (it begins with {0:02x?}): publish a .gguf file, or convert the model to GGUF first"
    )]
    UnknownKind([u8; 4]),
    /// Too short to be anything.
    #[error("the file has {0} bytes: it is not a model")]
    TooShort(u64),
    /// The header is not acceptable.
    #[error("the file is not a usable GGUF model: {0}")]
    Gguf(#[source] GgufError),
    /// The tensors that the header describes are not all there.
    #[error(
        "this is half a model file: it has {found} bytes, its header describes {expected}; copy or download it again"
    )]
    Truncated {
        /// Bytes in the file.
        found: u64,
        /// Bytes that the header describes.
        expected: u64,
    },
    /// A container without a model.
    #[error("the GGUF file has no tensors: it is a vocabulary or a header, not a model")]
    NoTensors,
    /// No architecture.
    #[error("the GGUF file does not name its architecture (general.architecture)")]
    NoArchitecture,
}

/// What publishing needs to know of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Where to cut it.
    pub cuts: Vec<u64>,
    /// For the manifest.
    pub details: Details,
    /// For the manifest.
    pub memory: Memory,
    /// For the bill of materials.
    pub facts: ModelFacts,
}

/// Inspects a file of `size_bytes` bytes. Hand in a buffered reader at its start.
pub fn inspect(file: &mut impl Read, size_bytes: u64) -> Result<Inspected, InspectError> {
    if size_bytes < MAGIC.len() as u64 {
        return Err(InspectError::TooShort(size_bytes));
    }
    let header = Header::read(file, &Limits::DEFAULT).map_err(|error| match error {
        GgufError::Magic { found } => InspectError::UnknownKind(found),
        other => InspectError::Gguf(other),
    })?;
    if header.tensors.is_empty() {
        return Err(InspectError::NoTensors);
    }
    let expected = header.data_offset + header.data_bytes();
    if size_bytes < expected {
        return Err(InspectError::Truncated { found: size_bytes, expected });
    }
    let architecture = header
        .str("general.architecture")
        .filter(|name| (1..=MAX_ARCHITECTURE_BYTES).contains(&name.len()))
        .ok_or(InspectError::NoArchitecture)?
        .to_owned();
    let context_length = header.u64(&format!("{architecture}.context_length")).unwrap_or(0);
    let facts = ModelFacts::of(&header, &architecture);
    let details = Details {
        architecture,
        quantization: main_type(&header).to_owned(),
        parameters: header.tensors.iter().map(|tensor| elements(&tensor.dims)).sum(),
        context_length,
    };
    Ok(Inspected {
        cuts: header.cut_points(PIECE_BYTES as u64),
        details,
        memory: Memory { weight_bytes: Some(header.data_bytes()) },
        facts,
    })
}

/// The type in which most weights are stored; the name decides between equals.
fn main_type(header: &Header) -> &'static str {
    let mut weights: HashMap<&'static str, u64> = HashMap::new();
    for tensor in &header.tensors {
        *weights.entry(tensor.ty.name()).or_default() += elements(&tensor.dims);
    }
    weights.into_iter().max_by_key(|(name, count)| (*count, *name)).map_or("", |(name, _)| name)
}

/// Cannot overflow: the header's reader checked the tensor's size in bytes.
fn elements(dims: &[u64]) -> u64 {
    dims.iter().product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::testing::model_file;

    #[test]
    fn a_model_file_says_what_it_is() {
        let file = model_file(1, 3);
        let inspected = inspect(&mut file.as_slice(), file.len() as u64).unwrap();
        assert_eq!(inspected.details.architecture, "llama");
        assert_eq!(inspected.details.context_length, 2048);
        assert_eq!(inspected.details.quantization, "F32");
        assert_eq!(inspected.details.parameters, 3 * 128 * 1024 + 16);
        assert_eq!(inspected.memory.weight_bytes, Some(4 * (3 * 128 * 1024 + 16)));
        assert!(!inspected.cuts.is_empty());
    }

    #[test]
    fn what_is_not_a_whole_model_is_refused_in_words() {
        let file = model_file(1, 3);
        let refused =
            |bytes: &[u8]| inspect(&mut { bytes }, bytes.len() as u64).unwrap_err().to_string();
        assert!(refused(b"PK\x03\x04 something else").contains("not a GGUF model"));
        assert!(refused(b"GG").contains("2 bytes"));
        assert!(refused(&file[..file.len() - 1]).contains("half a model file"));
        assert!(refused(&file[..100]).contains("inside the GGUF header"));
    }
}
