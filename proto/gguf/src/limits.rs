//! How much of a header is believed. Every cap is far above what published models use and far
//! below what would hurt the smallest device.

/// Caps on what [`crate::Header::read`] accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Metadata entries. Published models have 20 to 60.
    pub metadata_entries: u64,
    /// Bytes of one string value. The longest real ones are chat templates of some ten KiB.
    pub string_bytes: u64,
    /// Bytes of a metadata key or tensor name; the specification allows 65,535 and 64.
    pub name_bytes: u64,
    /// Elements of one array. The largest real ones are vocabularies and merges, below 2^20.
    pub array_elements: u64,
    /// Tensors. A dense model of 128 layers has about 1,200; mixtures of experts some thousands.
    pub tensors: u64,
    /// Dimensions of a tensor; ggml has at most 4.
    pub dims: u32,
    /// Bytes of the whole header. A vocabulary of 256 Ki tokens with merges takes about 16 MiB.
    pub header_bytes: u64,
    /// Bytes of tensor data that the header may declare. Bounds the list of cut points.
    pub data_bytes: u64,
}

impl Limits {
    /// The caps the product uses.
    pub const DEFAULT: Limits = Limits {
        metadata_entries: 4096,
        string_bytes: 4 << 20,
        name_bytes: 512,
        array_elements: 1 << 22,
        tensors: 1 << 16,
        dims: 4,
        header_bytes: 128 << 20,
        data_bytes: 1 << 40,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
