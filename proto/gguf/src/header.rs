//! The header: metadata in file order, and tensor descriptions that were checked against each
//! other, so that nobody downstream has to doubt an offset or a size again.

use crate::read::{Source, check};
use crate::{DEFAULT_ALIGNMENT, GgufError, Limits, MAGIC, Strings, TensorType, Value};
use std::collections::HashSet;
use std::io::Read;

/// One tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Unique name, for instance `blk.0.attn_q.weight`.
    pub name: String,
    /// Dimensions, innermost (columns, the contiguous one) first. None is zero.
    pub dims: Vec<u64>,
    /// How values are stored.
    pub ty: TensorType,
    /// Bytes from the start of the data section; a multiple of the alignment.
    pub offset: u64,
    /// Bytes of data, consistent with `dims` and `ty`.
    pub size_bytes: u64,
}

/// A checked GGUF header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Format version, 2 or 3.
    pub version: u32,
    /// Keys and values in file order; keys are unique.
    pub metadata: Vec<(String, Value)>,
    /// Tensors in the order the header lists them; see [`Header::in_file_order`].
    pub tensors: Vec<TensorInfo>,
    /// Alignment of tensor data in bytes.
    pub alignment: u64,
    /// Where the data section starts, in bytes from the start of the file.
    pub data_offset: u64,
}

impl Header {
    /// Reads and checks a header. On success the reader stands at `data_offset`, or, in a file
    /// without tensors, at the end of the header. Hand in a buffered reader: the header is read in
    /// small pieces.
    pub fn read(reader: &mut impl Read, limits: &Limits) -> Result<Header, GgufError> {
        let mut source = Source::new(reader, limits);
        let found = source.magic()?;
        if found != MAGIC {
            return Err(GgufError::Magic { found });
        }
        let version = source.u32()?;
        if !(2..=3).contains(&version) {
            return Err(GgufError::Version { found: version });
        }
        let tensor_count = source.count("the number of tensors", limits.tensors)?;
        let entries = source.count("the number of metadata entries", limits.metadata_entries)?;
        let metadata = read_metadata(&mut source, entries)?;
        let alignment = alignment_of(&metadata)?;
        let tensors = read_tensors(&mut source, tensor_count, alignment, limits)?;
        // Cannot overflow: the position is capped by `header_bytes`, the alignment by 65,536.
        let data_offset = source.at().saturating_add(alignment - 1) / alignment * alignment;
        let header = Header { version, metadata, tensors, alignment, data_offset };
        header.check_layout(limits)?;
        if !header.tensors.is_empty() {
            source.skip(data_offset - source.at())?;
        }
        Ok(header)
    }

    /// Bytes of the data section, up to the end of the last tensor (without its padding).
    pub fn data_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.offset + tensor.size_bytes).max().unwrap_or(0)
    }

    /// The tensors in the order of their data.
    pub fn in_file_order(&self) -> Vec<&TensorInfo> {
        let mut tensors: Vec<_> = self.tensors.iter().collect();
        tensors.sort_by_key(|tensor| tensor.offset);
        tensors
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value of a key if it is a string.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The value of a key if it is an integer that fits.
    pub fn u32(&self, key: &str) -> Option<u32> {
        self.get(key)?.as_u32()
    }

    /// The value of a key if it is an integer that fits.
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    /// The value of a key if it is a float.
    pub fn f32(&self, key: &str) -> Option<f32> {
        self.get(key)?.as_f32()
    }

    /// The value of a key if it is a boolean.
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// The value of a key if it is an array of strings.
    pub fn strings(&self, key: &str) -> Option<&Strings> {
        self.get(key)?.as_strings()
    }

    /// The value of a key if it is an array of `i32`.
    pub fn i32s(&self, key: &str) -> Option<&[i32]> {
        self.get(key)?.as_i32s()
    }

    /// The value of a key if it is an array of `f32`.
    pub fn f32s(&self, key: &str) -> Option<&[f32]> {
        self.get(key)?.as_f32s()
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    fn check_layout(&self, limits: &Limits) -> Result<(), GgufError> {
        let mut end = 0;
        let mut previous: Option<&TensorInfo> = None;
        for tensor in self.in_file_order() {
            if let Some(first) = previous.filter(|_| tensor.offset < end) {
                return Err(GgufError::Overlap {
                    first: first.name.clone(),
                    second: tensor.name.clone(),
                });
            }
            end = tensor.offset.saturating_add(tensor.size_bytes);
            check("the size of the tensor data in bytes", end, limits.data_bytes)?;
            previous = Some(tensor);
        }
        check(
            "the size of the file in bytes",
            end.saturating_add(self.data_offset),
            limits.data_bytes.saturating_add(limits.header_bytes),
        )
    }
}

fn read_metadata<R: Read>(
    source: &mut Source<'_, R>,
    entries: u64,
) -> Result<Vec<(String, Value)>, GgufError> {
    let mut metadata = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..entries {
        let key = source.name()?;
        let value = source.value(&key)?;
        if !seen.insert(key.clone()) {
            return Err(GgufError::Duplicate { what: "metadata key", name: key });
        }
        metadata.push((key, value));
    }
    Ok(metadata)
}

fn alignment_of(metadata: &[(String, Value)]) -> Result<u64, GgufError> {
    let Some((_, value)) = metadata.iter().find(|(key, _)| key == "general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match value.as_u64() {
        Some(found) if found.is_power_of_two() && (8..=65536).contains(&found) => Ok(found),
        Some(found) => Err(GgufError::Alignment { found: found.to_string() }),
        None => Err(GgufError::Alignment { found: "not an integer".to_owned() }),
    }
}

fn read_tensors<R: Read>(
    source: &mut Source<'_, R>,
    count: u64,
    alignment: u64,
    limits: &Limits,
) -> Result<Vec<TensorInfo>, GgufError> {
    let mut tensors = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..count {
        let tensor = read_tensor(source, alignment, limits)?;
        if !seen.insert(tensor.name.clone()) {
            return Err(GgufError::Duplicate { what: "tensor", name: tensor.name });
        }
        tensors.push(tensor);
    }
    Ok(tensors)
}

fn read_tensor<R: Read>(
    source: &mut Source<'_, R>,
    alignment: u64,
    limits: &Limits,
) -> Result<TensorInfo, GgufError> {
    let name = source.name()?;
    let dim_count = source.u32()?;
    check("the number of dimensions of a tensor", dim_count.into(), limits.dims.into())?;
    let dims = (0..dim_count).map(|_| source.u64()).collect::<Result<Vec<_>, _>>()?;
    let found = source.u32()?;
    let Some(ty) = TensorType::from_id(found) else {
        return Err(GgufError::TensorType { name, found });
    };
    let offset = source.u64()?;
    let Some(size_bytes) = ty.size_bytes(&dims) else {
        return Err(GgufError::Dims { name, dims, type_name: ty.name() });
    };
    if offset % alignment != 0 {
        return Err(GgufError::Misaligned { name, offset, alignment });
    }
    Ok(TensorInfo { name, dims, ty, offset, size_bytes })
}
