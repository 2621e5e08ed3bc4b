//! Makes another quantization of a model file, row by row, without holding a tensor in memory.
//!
//! Matrices become the target type; vectors become F32, as the engine needs them. The embedding
//! and output matrices stay at Q8_0 or better when the target has four bits, since errors there
//! reach every logit. The result says in its metadata what it was made from: quantizing what was
//! already quantized adds the errors of both.

use crate::quant::{BLOCK, DECODABLE, ENCODABLE, decode_row, encode_row};
use edgeformer_gguf::{
    GgufError, Header, Limits, TensorInfo, TensorSpec, TensorType, Value, Writer,
};
use std::io::{Read, Seek, SeekFrom, Write};

/// Rows between progress reports, at least.
const PROGRESS_BYTES: u64 = 1 << 20;

/// What [`requantize`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequantizeReport {
    /// Bytes of tensor data read and written.
    pub source_bytes: u64,
    /// Bytes of tensor data in the result.
    pub target_bytes: u64,
    /// Matrices that became the target type.
    pub converted: usize,
    /// Matrices that could not or should not, with the type they have: the embedding and output of
    /// four-bit files, and rows that are not a whole number of blocks.
    pub kept: Vec<(String, TensorType)>,
    /// The type that most bytes of the source had.
    pub source_type: TensorType,
}

/// Why a file could not be requantized.
#[derive(Debug, thiserror::Error)]
pub enum RequantizeError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error("{found} is not a type to quantize to; supported: {supported}")]
    Target { found: &'static str, supported: String },
    #[error("tensor {tensor:?} has type {found}, which cannot be decoded; supported: {supported}")]
    Source { tensor: String, found: &'static str, supported: String },
    #[error("reading tensor {tensor:?}: {source}")]
    Read { tensor: String, source: std::io::Error },
    #[error("a row of tensor {tensor:?} has {columns} columns, more than memory for it can be had")]
    RowTooLong { tensor: String, columns: u64 },
}

/// The longest row that is converted: a vocabulary's width of embeddings is below it by far.
const MAX_COLUMNS: u64 = 1 << 24;

fn names(types: &[TensorType]) -> String {
    types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(", ")
}

/// Reads a GGUF file and writes another whose matrices have the type `target` (Q8_0, Q4_0, Q4_1,
/// F16 or F32). `progress(done, total)` counts bytes of source data.
pub fn requantize(
    mut source: impl Read + Seek,
    sink: impl Write,
    target: TensorType,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<RequantizeReport, RequantizeError> {
    if !ENCODABLE.contains(&target) {
        let supported = names(ENCODABLE);
        return Err(RequantizeError::Target { found: target.name(), supported });
    }
    let mut buffered = std::io::BufReader::new(&mut source);
    let header = Header::read(&mut buffered, &Limits::DEFAULT)?;
    drop(buffered);
    let specs = header
        .tensors
        .iter()
        .map(|tensor| {
            check_source(tensor)?;
            let (name, dims) = (tensor.name.clone(), tensor.dims.clone());
            Ok(TensorSpec { name, dims, ty: target_type(tensor, target) })
        })
        .collect::<Result<Vec<_>, RequantizeError>>()?;
    let source_type = dominant_type(&header);
    let mut writer = Writer::new(sink, &metadata(&header, source_type, target), &specs)?;
    let total = header.tensors.iter().map(|tensor| tensor.size_bytes).sum();
    let mut report = RequantizeReport {
        source_bytes: total,
        target_bytes: 0,
        converted: 0,
        kept: Vec::new(),
        source_type,
    };
    let mut done = 0;
    progress(0, total);
    for (tensor, spec) in header.tensors.iter().zip(&specs) {
        let at = header.data_offset + tensor.offset;
        let mut report_rows = |bytes| {
            let before = done / PROGRESS_BYTES;
            done += bytes;
            if done / PROGRESS_BYTES > before || done == total {
                progress(done, total);
            }
        };
        convert(&mut source, at, tensor, spec.ty, &mut writer, &mut report_rows)?;
        report.target_bytes += spec.ty.size_bytes(&spec.dims).unwrap_or(0);
        if is_matrix(tensor) {
            match spec.ty == target {
                true => report.converted += 1,
                false => report.kept.push((spec.name.clone(), spec.ty)),
            }
        }
    }
    writer.finish()?;
    Ok(report)
}

fn is_matrix(tensor: &TensorInfo) -> bool {
    tensor.dims.iter().filter(|&&dim| dim > 1).count() > 1
}

fn check_source(tensor: &TensorInfo) -> Result<(), RequantizeError> {
    let name = || tensor.name.clone();
    if !DECODABLE.contains(&tensor.ty) {
        let supported = names(DECODABLE);
        return Err(RequantizeError::Source { tensor: name(), found: tensor.ty.name(), supported });
    }
    match tensor.dims[0] {
        columns if columns > MAX_COLUMNS => {
            Err(RequantizeError::RowTooLong { tensor: name(), columns })
        }
        _ => Ok(()),
    }
}

fn target_type(tensor: &TensorInfo, target: TensorType) -> TensorType {
    if !is_matrix(tensor) || target == TensorType::F32 {
        return TensorType::F32;
    }
    if !tensor.dims[0].is_multiple_of(BLOCK as u64) {
        return TensorType::F16;
    }
    let logits = matches!(tensor.name.as_str(), "token_embd.weight" | "output.weight");
    match target {
        TensorType::Q4_0 | TensorType::Q4_1 if logits => TensorType::Q8_0,
        _ => target,
    }
}

fn dominant_type(header: &Header) -> TensorType {
    let bytes = |ty: TensorType| {
        let tensors = header.tensors.iter().filter(|tensor| tensor.ty == ty);
        tensors.map(|tensor| u128::from(tensor.size_bytes)).sum::<u128>()
    };
    DECODABLE.iter().copied().max_by_key(|&ty| bytes(ty)).unwrap_or(TensorType::F32)
}

/// `general.file_type` as llama.cpp numbers it.
fn file_type(target: TensorType) -> u32 {
    match target {
        TensorType::F16 => 1,
        TensorType::Q4_0 => 2,
        TensorType::Q4_1 => 3,
        TensorType::Q8_0 => 7,
        _ => 0,
    }
}

fn metadata(header: &Header, from: TensorType, target: TensorType) -> Vec<(String, Value)> {
    let changed = [
        ("general.file_type", Value::U32(file_type(target))),
        ("general.quantization_version", Value::U32(2)),
        ("general.quantized_from", Value::String(from.name().to_owned())),
    ];
    let keep = |(key, _): &&(String, Value)| !changed.iter().any(|(name, _)| name == key);
    let mut metadata: Vec<_> = header.metadata.iter().filter(keep).cloned().collect();
    metadata.extend(changed.map(|(key, value)| (key.to_owned(), value)));
    metadata
}

fn convert<W: Write>(
    source: &mut (impl Read + Seek),
    at: u64,
    tensor: &TensorInfo,
    target: TensorType,
    writer: &mut Writer<W>,
    report_rows: &mut dyn FnMut(u64),
) -> Result<(), RequantizeError> {
    let read = |source| RequantizeError::Read { tensor: tensor.name.clone(), source };
    source.seek(SeekFrom::Start(at)).map_err(read)?;
    let columns = tensor.dims[0];
    let row_bytes = columns / tensor.ty.block_elements() * tensor.ty.block_bytes();
    let mut row = vec![0; row_bytes as usize];
    let mut values = vec![0.0; columns as usize];
    let mut encoded = Vec::new();
    for _ in 0..tensor.size_bytes / row_bytes {
        source.read_exact(&mut row).map_err(read)?;
        if tensor.ty == target {
            writer.write_data(&row)?; // the same bits, without a second rounding
        } else {
            encoded.clear();
            // Both types were checked before the first byte was written.
            decode_row(tensor.ty, &row, &mut values);
            encode_row(target, &values, &mut encoded);
            writer.write_data(&encoded)?;
        }
        report_rows(row_bytes);
    }
    Ok(())
}
