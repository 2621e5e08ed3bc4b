//! Model files for tests: a valid GGUF container whose weights are a pattern.

use edgeformer_gguf::{TensorSpec, TensorType, Value, Writer};

/// A GGUF file with `blocks` weight matrices of 512 KiB and one small tensor. The weights of all
/// matrices but the last depend only on their place, those of the last on `seed`: files with other
/// seeds are the next version of the same model.
pub(crate) fn model_file(seed: u32, blocks: u32) -> Vec<u8> {
    let metadata = vec![
        ("general.architecture".to_owned(), Value::String("llama".to_owned())),
        ("llama.context_length".to_owned(), Value::U32(2048)),
    ];
    let mut tensors: Vec<TensorSpec> = (0..blocks)
        .map(|n| TensorSpec {
            name: format!("blk.{n}.weight"),
            dims: vec![1024, 128],
            ty: TensorType::F32,
        })
        .collect();
    tensors.push(TensorSpec {
        name: "output_norm.weight".to_owned(),
        dims: vec![16],
        ty: TensorType::F32,
    });
    let mut writer = Writer::new(Vec::new(), &metadata, &tensors).unwrap();
    for n in 0..blocks {
        let of = if n + 1 == blocks { seed } else { 0 };
        writer.write_data(&weights(n * 7919 + of, 1024 * 128)).unwrap();
    }
    writer.write_data(&weights(1, 16)).unwrap();
    writer.finish().unwrap()
}

/// Bytes that do not compress, from a small linear congruential generator.
fn weights(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.rotate_left(11)
    };
    (0..count).flat_map(|_| next().to_le_bytes()).collect()
}
