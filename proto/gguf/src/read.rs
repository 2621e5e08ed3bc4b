//! Capped primitives over a `Read`: every length is checked before it is believed, and buffers
//! grow with the bytes that arrive, never with the length a file claims.

use crate::{Array, GgufError, Limits, Strings, Value};
use std::io::{ErrorKind, Read};

/// How far a buffer may run ahead of the bytes really read.
const STEP_BYTES: usize = 64 << 10;

pub(crate) struct Source<'a, R> {
    reader: &'a mut R,
    limits: &'a Limits,
    at: u64,
}

impl<'a, R: Read> Source<'a, R> {
    pub(crate) fn new(reader: &'a mut R, limits: &'a Limits) -> Self {
        Self { reader, limits, at: 0 }
    }

    /// Bytes consumed so far.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), GgufError> {
        let end = self.at.saturating_add(buffer.len() as u64);
        check("the GGUF header size in bytes", end, self.limits.header_bytes)?;
        self.reader.read_exact(buffer).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => GgufError::Truncated { at: self.at },
            _ => GgufError::Read { at: self.at, source },
        })?;
        self.at = end;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn magic(&mut self) -> Result<[u8; 4], GgufError> {
        self.array()
    }

    pub(crate) fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, GgufError> {
        let found = self.u64()?;
        check(what, found, limit)?;
        Ok(found)
    }

    pub(crate) fn name(&mut self) -> Result<String, GgufError> {
        self.string("the length of a name", self.limits.name_bytes)
    }

    fn string(&mut self, what: &'static str, limit: u64) -> Result<String, GgufError> {
        let mut bytes = Vec::new();
        let length = self.count(what, limit)?;
        let at = self.at;
        self.append(&mut bytes, length)?;
        String::from_utf8(bytes).map_err(|_| GgufError::NotUtf8 { at })
    }

    /// Skips fewer bytes than an alignment.
    pub(crate) fn skip(&mut self, length: u64) -> Result<(), GgufError> {
        self.append(&mut Vec::new(), length)
    }

    fn append(&mut self, bytes: &mut Vec<u8>, length: u64) -> Result<(), GgufError> {
        let mut left = length;
        while left > 0 {
            let step = left.min(STEP_BYTES as u64) as usize;
            let start = bytes.len();
            bytes.resize(start + step, 0);
            self.fill(&mut bytes[start..])?;
            left -= step as u64;
        }
        Ok(())
    }

    fn bool(&mut self) -> Result<bool, GgufError> {
        let at = self.at;
        match self.array::<1>()?[0] {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(GgufError::Bool { at, found }),
        }
    }

    pub(crate) fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        let string_bytes = self.limits.string_bytes;
        Ok(match self.u32()? {
            0 => Value::U8(self.array::<1>()?[0]),
            1 => Value::I8(i8::from_le_bytes(self.array()?)),
            2 => Value::U16(u16::from_le_bytes(self.array()?)),
            3 => Value::I16(i16::from_le_bytes(self.array()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.array()?)),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => Value::Bool(self.bool()?),
            8 => Value::String(self.string("the length of a string", string_bytes)?),
            9 => Value::Array(self.array_value(key)?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.array()?)),
            12 => Value::F64(f64::from_le_bytes(self.array()?)),
            found => return Err(GgufError::ValueType { key: key.to_owned(), found }),
        })
    }

    fn array_value(&mut self, key: &str) -> Result<Array, GgufError> {
        let element = self.u32()?;
        let count = self.count("the length of an array", self.limits.array_elements)?;
        Ok(match element {
            0 => Array::U8(self.numbers(count, u8::from_le_bytes)?),
            1 => Array::I8(self.numbers(count, i8::from_le_bytes)?),
            2 => Array::U16(self.numbers(count, u16::from_le_bytes)?),
            3 => Array::I16(self.numbers(count, i16::from_le_bytes)?),
            4 => Array::U32(self.numbers(count, u32::from_le_bytes)?),
            5 => Array::I32(self.numbers(count, i32::from_le_bytes)?),
            6 => Array::F32(self.numbers(count, f32::from_le_bytes)?),
            7 => Array::Bool((0..count).map(|_| self.bool()).collect::<Result<_, _>>()?),
            8 => Array::String(self.strings(count)?),
            9 => return Err(GgufError::NestedArray { key: key.to_owned() }),
            10 => Array::U64(self.numbers(count, u64::from_le_bytes)?),
            11 => Array::I64(self.numbers(count, i64::from_le_bytes)?),
            12 => Array::F64(self.numbers(count, f64::from_le_bytes)?),
            found => return Err(GgufError::ValueType { key: key.to_owned(), found }),
        })
    }

    fn numbers<T, const N: usize>(
        &mut self,
        count: u64,
        parse: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, GgufError> {
        let mut bytes = Vec::new();
        // No overflow: `count` is capped and N is at most 8; saturating keeps absurd limits safe.
        self.append(&mut bytes, count.saturating_mul(N as u64))?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|chunk| parse(*chunk)).collect())
    }

    fn strings(&mut self, count: u64) -> Result<Strings, GgufError> {
        let mut strings = Strings::default();
        let mut bytes = Vec::new();
        for _ in 0..count {
            bytes.clear();
            let length = self.count("the length of a string", self.limits.string_bytes)?;
            let at = self.at;
            self.append(&mut bytes, length)?;
            strings.push(std::str::from_utf8(&bytes).map_err(|_| GgufError::NotUtf8 { at })?);
        }
        Ok(strings)
    }
}

pub(crate) fn check(what: &'static str, found: u64, limit: u64) -> Result<(), GgufError> {
    if found > limit { Err(GgufError::OverLimit { what, found, limit }) } else { Ok(()) }
}
