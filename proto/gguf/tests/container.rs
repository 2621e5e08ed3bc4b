//! The container as a whole: what the writer writes, the reader reads; what is hostile is refused.

use edgeformer_gguf::*;
use proptest::prelude::*;

fn sample() -> Vec<u8> {
    let metadata = vec![
        ("general.architecture".to_owned(), Value::String("llama".into())),
        ("a.u32".to_owned(), Value::U32(7)),
        ("a.i64".to_owned(), Value::I64(-7)),
        ("a.f32".to_owned(), Value::F32(0.5)),
        ("a.bool".to_owned(), Value::Bool(true)),
        ("tokens".to_owned(), Value::Array(Array::String(["a", "", "ß"].iter().collect()))),
        ("types".to_owned(), Value::Array(Array::I32(vec![1, -2, 3]))),
        ("flags".to_owned(), Value::Array(Array::Bool(vec![true, false]))),
    ];
    let spec =
        |name: &str, dims: &[u64], ty| TensorSpec { name: name.into(), dims: dims.to_vec(), ty };
    let tensors = [
        spec("one", &[3], TensorType::F32),
        spec("two", &[32, 2], TensorType::Q4_1),
        spec("three", &[64], TensorType::Q8_0),
    ];
    let mut writer = Writer::new(Vec::new(), &metadata, &tensors).unwrap();
    let data: Vec<u8> = (0..12 + 40 + 68).map(|byte| byte as u8).collect();
    for piece in data.chunks(7) {
        writer.write_data(piece).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Header, GgufError> {
    Header::read(&mut &bytes[..], &Limits::DEFAULT)
}

#[test]
fn reads_what_it_wrote() {
    let bytes = sample();
    let mut rest = &bytes[..];
    let header = Header::read(&mut rest, &Limits::DEFAULT).unwrap();
    assert_eq!(bytes.len() - rest.len(), header.data_offset as usize);
    assert_eq!(header.version, 3);
    assert_eq!(header.str("general.architecture"), Some("llama"));
    assert_eq!(header.u32("a.u32"), Some(7));
    assert_eq!(header.u32("a.i64"), None);
    assert_eq!(header.f32("a.f32"), Some(0.5));
    assert_eq!(header.bool("a.bool"), Some(true));
    let tokens: Vec<_> = header.strings("tokens").unwrap().iter().collect();
    assert_eq!(tokens, ["a", "", "ß"]);
    assert_eq!(header.i32s("types"), Some(&[1, -2, 3][..]));
    let offsets: Vec<_> = header.tensors.iter().map(|t| (t.offset, t.size_bytes)).collect();
    assert_eq!(offsets, [(0, 12), (32, 40), (96, 68)]);
    assert_eq!(header.data_bytes(), 164);
    let start = header.data_offset as usize;
    assert_eq!(&bytes[start + 32..start + 35], [12, 13, 14]);
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample();
    let end = read(&bytes).unwrap().data_offset as usize;
    for length in 0..end {
        assert!(read(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn claimed_lengths_do_not_allocate() {
    // A string array said to hold 2^22 strings, and nothing after it.
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.push(b'k');
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(8u32.to_le_bytes());
    let mut huge = bytes.clone();
    bytes.extend((1u64 << 22).to_le_bytes());
    assert!(matches!(read(&bytes), Err(GgufError::Truncated { .. })));
    huge.extend(u64::MAX.to_le_bytes());
    assert!(matches!(read(&huge), Err(GgufError::OverLimit { .. })));
}

fn header_with(sizes: &[u64]) -> Header {
    let mut offset = 0;
    let tensors = sizes
        .iter()
        .enumerate()
        .map(|(index, &size)| {
            let at = offset;
            offset += size.next_multiple_of(32);
            TensorInfo {
                name: index.to_string(),
                dims: vec![size],
                ty: TensorType::I8,
                offset: at,
                size_bytes: size,
            }
        })
        .collect();
    Header { version: 3, metadata: vec![], tensors, alignment: 32, data_offset: 4096 }
}

#[test]
fn cuts_after_the_header_and_around_large_tensors() {
    let piece = 100_000;
    let header = header_with(&[10_000, 20_000, 250_000, 50_000, 60_000]);
    let first = 4096;
    let large = first + 10_016 + 20_000;
    let after = large + 250_016;
    let expected = [first, large, large + piece, large + 2 * piece, after, after + 50_016];
    assert_eq!(header.cut_points(piece), expected);
}

proptest! {
    #[test]
    fn cut_points_ascend_and_pieces_fit(sizes in prop::collection::vec(1u64..400_000, 0..20)) {
        let header = header_with(&sizes);
        let piece = 128 << 10;
        let cuts = header.cut_points(piece);
        let end = header.data_offset + header.data_bytes();
        let mut previous = 0;
        for (index, &cut) in cuts.iter().chain([&end]).enumerate() {
            prop_assert!(cut > previous || (cuts.is_empty() && sizes.is_empty()));
            // A piece may exceed the size by the padding that follows its last tensor.
            prop_assert!(index == 0 || cut - previous < piece + 32);
            previous = cut;
        }
    }

    #[test]
    fn hostile_bytes_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = sample();
        for (index, value) in flips {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(header) = read(&bytes) {
            let _ = header.cut_points(1 << 20);
            let _ = header.data_bytes();
        }
    }

    #[test]
    fn random_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(tail);
        let _ = read(&bytes);
    }
}
