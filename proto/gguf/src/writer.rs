//! Writes a GGUF file in one forward pass: the header first, then tensor data in order, with the
//! padding put in between. The data is never held.

use crate::{Array, DEFAULT_ALIGNMENT, GgufError, MAGIC, TensorType, VERSION, Value};
use std::io::Write;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Unique name.
    pub name: String,
    /// Dimensions, innermost first.
    pub dims: Vec<u64>,
    /// How the data that follows is stored.
    pub ty: TensorType,
}

/// A GGUF file being written.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    /// Sizes of the tensors, in order.
    sizes: Vec<u64>,
    alignment: u64,
    /// The tensor being written and how much of it was.
    current: usize,
    filled: u64,
    written: u64,
    data_offset: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header. `general.alignment` in the metadata is honoured. Data follows through
    /// [`Writer::write_data`] in the order of `tensors`.
    pub fn new(
        mut sink: W,
        metadata: &[(String, Value)],
        tensors: &[TensorSpec],
    ) -> Result<Self, GgufError> {
        let alignment = match metadata.iter().find(|(key, _)| key == "general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some((_, value)) => value
                .as_u64()
                .filter(|found| found.is_power_of_two() && (8..=65536).contains(found))
                .ok_or_else(|| GgufError::Alignment { found: format!("{value:?}") })?,
        };
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            put_string(&mut bytes, key);
            put_value(&mut bytes, value);
        }
        let mut sizes = Vec::with_capacity(tensors.len());
        let mut offset = 0;
        for tensor in tensors {
            let size = tensor.ty.size_bytes(&tensor.dims).ok_or_else(|| GgufError::Dims {
                name: tensor.name.clone(),
                dims: tensor.dims.clone(),
                type_name: tensor.ty.name(),
            })?;
            put_string(&mut bytes, &tensor.name);
            bytes.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
            bytes.extend(tensor.ty.id().to_le_bytes());
            bytes.extend(u64::to_le_bytes(offset));
            sizes.push(size);
            offset += size.next_multiple_of(alignment);
        }
        bytes.resize(bytes.len().next_multiple_of(alignment as usize), 0);
        sink.write_all(&bytes).map_err(GgufError::Write)?;
        let data_offset = bytes.len() as u64;
        Ok(Self { sink, sizes, alignment, current: 0, filled: 0, written: 0, data_offset })
    }

    /// Where tensor data starts in the file.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Appends data. Calls need not match tensor boundaries; padding is inserted where they are.
    pub fn write_data(&mut self, mut data: &[u8]) -> Result<(), GgufError> {
        self.written += data.len() as u64;
        while !data.is_empty() {
            let Some(&size) = self.sizes.get(self.current) else {
                return Err(self.size_error());
            };
            let take = (size - self.filled).min(data.len() as u64);
            let (now, later) = data.split_at(take as usize);
            self.sink.write_all(now).map_err(GgufError::Write)?;
            self.filled += take;
            data = later;
            if self.filled == size {
                let padding = size.next_multiple_of(self.alignment) - size;
                let zeros = vec![0; padding as usize];
                self.sink.write_all(&zeros).map_err(GgufError::Write)?;
                self.current += 1;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Checks that every tensor is complete and returns the sink, flushed.
    pub fn finish(mut self) -> Result<W, GgufError> {
        if self.current != self.sizes.len() {
            return Err(self.size_error());
        }
        self.sink.flush().map_err(GgufError::Write)?;
        Ok(self.sink)
    }

    fn size_error(&self) -> GgufError {
        GgufError::DataSize { written: self.written, declared: self.sizes.iter().sum() }
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    macro_rules! scalar {
        ($id:literal, $v:expr) => {{
            out.extend(u32::to_le_bytes($id));
            out.extend($v.to_le_bytes());
        }};
    }
    match value {
        Value::U8(v) => scalar!(0, v),
        Value::I8(v) => scalar!(1, v),
        Value::U16(v) => scalar!(2, v),
        Value::I16(v) => scalar!(3, v),
        Value::U32(v) => scalar!(4, v),
        Value::I32(v) => scalar!(5, v),
        Value::F32(v) => scalar!(6, v),
        Value::Bool(v) => scalar!(7, u8::from(*v)),
        Value::String(v) => {
            out.extend(8u32.to_le_bytes());
            put_string(out, v);
        }
        Value::Array(v) => {
            out.extend(9u32.to_le_bytes());
            put_array(out, v);
        }
        Value::U64(v) => scalar!(10, v),
        Value::I64(v) => scalar!(11, v),
        Value::F64(v) => scalar!(12, v),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    macro_rules! numbers {
        ($id:literal, $v:expr) => {{
            out.extend(u32::to_le_bytes($id));
            out.extend(($v.len() as u64).to_le_bytes());
            $v.iter().for_each(|v| out.extend(v.to_le_bytes()));
        }};
    }
    match array {
        Array::U8(v) => numbers!(0, v),
        Array::I8(v) => numbers!(1, v),
        Array::U16(v) => numbers!(2, v),
        Array::I16(v) => numbers!(3, v),
        Array::U32(v) => numbers!(4, v),
        Array::I32(v) => numbers!(5, v),
        Array::F32(v) => numbers!(6, v),
        Array::Bool(v) => {
            out.extend(7u32.to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            out.extend(v.iter().map(|&v| u8::from(v)));
        }
        Array::String(v) => {
            out.extend(8u32.to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            v.iter().for_each(|text| put_string(out, text));
        }
        Array::U64(v) => numbers!(10, v),
        Array::I64(v) => numbers!(11, v),
        Array::F64(v) => numbers!(12, v),
    }
}
