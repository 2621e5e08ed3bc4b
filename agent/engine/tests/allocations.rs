//! What is allocated: nothing while decoding, and never much for what a file merely claims.
//! One test only, because the counters belong to the process.

mod support;

use edgeformer_engine::{LoadOptions, Model, Session, SessionOptions, TensorType};
use edgeformer_gguf::{TensorSpec, Writer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use support::{load, quantized, tokens};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator unchanged; only counters are kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes above the present that `action` reaches.
fn peak_of(action: impl FnOnce()) -> usize {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    action();
    PEAK.load(Relaxed) - before
}

#[test]
fn allocation_is_bounded() {
    let bytes = quantized(TensorType::Q4_1);
    let options = LoadOptions { threads: 2, ..Default::default() };

    // Loading holds the weights, the header and small buffers, not a second copy of the file.
    let mut weight_bytes = 0;
    let peak = peak_of(|| weight_bytes = load(&bytes, &options).weight_bytes() as usize);
    assert!(peak < weight_bytes + (1 << 20), "{peak} for {weight_bytes}");

    // Decoding and prefilling allocate nothing.
    let model = load(&bytes, &options);
    let mut session = Session::new(model, SessionOptions::default()).unwrap();
    let (prompt, more) = (tokens(70), tokens(20));
    session.feed(&prompt, &|| false).unwrap();
    // The quieter of two rounds: a worker that starts late and the test harness allocate too,
    // once; what decoding allocates would be there in each round.
    let mut round = || {
        let before = COUNT.load(Relaxed);
        session.feed(&prompt, &|| false).unwrap();
        for token in &more {
            session.feed(&[*token], &|| false).unwrap();
        }
        COUNT.load(Relaxed) - before
    };
    assert_eq!((0..2).map(|_| round()).min(), Some(0));

    // A header that claims a huge matrix, with nothing behind it.
    let source =
        edgeformer_gguf::Header::read(&mut &bytes[..], &edgeformer_gguf::Limits::DEFAULT).unwrap();
    let huge = |tensor: &edgeformer_gguf::TensorInfo| TensorSpec {
        name: tensor.name.clone(),
        dims: tensor.dims.iter().map(|&dim| if dim == 160 { 1 << 20 } else { dim }).collect(),
        ty: tensor.ty,
    };
    let specs: Vec<_> = source.tensors.iter().map(huge).collect();
    let mut metadata = source.metadata.clone();
    for (key, value) in &mut metadata {
        if key == "llama.feed_forward_length" {
            *value = edgeformer_gguf::Value::U32(1 << 20);
        }
    }
    let mut claim = Vec::new();
    Writer::new(&mut claim, &metadata, &specs).unwrap();
    let options = LoadOptions { threads: 1, max_weight_bytes: 1 << 20, ..Default::default() };
    let peak = peak_of(|| assert!(Model::load(&claim[..], &options).is_err()));
    assert!(peak < 2 << 20, "{peak}");
}
