//! Models that look to a compressor like real ones, because they are made of one: larger ones, and the
//! version after.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use edgeformer_gguf::{Header, Limits, TensorInfo, TensorSpec, Value, Writer};

/// Share of the tensor bytes that the second version changes.
const CHANGED: f64 = 0.05;

/// How a version differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Some tensors are new, the others as they were: training that froze them.
    WholeTensors,
    /// Bytes everywhere.
    Spread,
}

/// Small and the same everywhere: what is made must not differ from run to run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn load(path: &Path) -> (Header, Vec<u8>) {
    let mut file = BufReader::new(File::open(path).expect("the model"));
    let header = Header::read(&mut file, &Limits::DEFAULT).expect("a model");
    let bytes = std::fs::read(path).expect("the model");
    (header, bytes)
}

fn data<'a>(header: &Header, bytes: &'a [u8], tensor: &TensorInfo) -> &'a [u8] {
    let start = (header.data_offset + tensor.offset) as usize;
    &bytes[start..start + tensor.size_bytes as usize]
}

/// A model of at least `size` bytes: the tensors of `from` again and again, each time with their blocks
/// in another order, so that no two pieces are equal and all are as hard to compress as real ones.
pub fn tile(from: &Path, to: &Path, size: u64) {
    let (header, bytes) = load(from);
    let tensors = header.in_file_order();
    let rounds = size.div_ceil(header.data_bytes()).max(1);
    let spec = |round: u64, tensor: &TensorInfo| TensorSpec {
        name: format!("{round}.{}", tensor.name),
        dims: tensor.dims.clone(),
        ty: tensor.ty,
    };
    let specs: Vec<TensorSpec> = (0..rounds)
        .flat_map(|round| tensors.iter().map(move |tensor| spec(round, tensor)))
        .collect();
    let metadata = [
        ("general.architecture".to_owned(), Value::String("llama".to_owned())),
        ("llama.context_length".to_owned(), Value::U32(2048)),
    ];
    let sink = BufWriter::new(File::create(to).expect("a file for the model"));
    let mut writer = Writer::new(sink, &metadata, &specs).expect("a header");
    for round in 0..rounds {
        for tensor in &tensors {
            let data = data(&header, &bytes, tensor);
            let block = tensor.ty.block_bytes();
            let blocks = data.len() as u64 / block;
            // The first copy is the model itself; each later one begins at another block.
            let (before, after) =
                data.split_at((Random(round).below(blocks) * round.min(1) * block) as usize);
            writer.write_data(after).expect("room for the model");
            writer.write_data(before).expect("room for the model");
        }
    }
    writer.finish().expect("a whole model").flush().expect("room for the model");
}

/// The version after `from`: 5 % of the bytes of its tensors are other ones.
pub fn change(from: &Path, to: &Path, how: Change) {
    let (header, mut bytes) = load(from);
    let mut random = Random(7);
    let total = header.data_bytes();
    let wanted = (total as f64 * CHANGED) as u64;
    match how {
        Change::Spread => {
            for _ in 0..wanted {
                let at = header.data_offset + random.below(total);
                nudge(&mut bytes[at as usize..][..1], &mut random);
            }
        }
        Change::WholeTensors => {
            let tensors = header.in_file_order();
            let (mut chosen, mut changed) = (HashSet::new(), 0);
            while changed < wanted {
                let number = random.below(tensors.len() as u64) as usize;
                let tensor = tensors[number];
                // Nothing that is itself much more than is to change.
                if tensor.size_bytes > wanted || !chosen.insert(number) {
                    continue;
                }
                let start = (header.data_offset + tensor.offset) as usize;
                nudge(&mut bytes[start..start + tensor.size_bytes as usize], &mut random);
                changed += tensor.size_bytes;
            }
        }
    }
    std::fs::write(to, bytes).expect("room for the model");
}

/// Other weights that are near to what they were: each half of a byte goes up or down by one.
fn nudge(bytes: &mut [u8], random: &mut Random) {
    for byte in bytes {
        let mut bits = random.next();
        let mut step = |half: u8| {
            let up = bits & 1 == 1;
            bits >>= 1;
            match (up, half) {
                (true, 15) => 14,
                (true, half) => half + 1,
                (false, 0) => 1,
                (false, half) => half - 1,
            }
        };
        *byte = step(*byte & 15) | step(*byte >> 4) << 4;
    }
}
