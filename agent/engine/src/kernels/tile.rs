//! What a matrix kernel works on: 8 rows of weights against up to [`TILE`] tokens.

/// Values per quantized block.
pub(crate) const BLOCK: usize = 32;
/// Tokens per tile: enough to share the unpacking of weights, few enough for 16 registers.
pub(crate) const TILE: usize = 4;

/// Activations of several tokens, in f32 and quantized to blocks of 32 `i8`.
#[derive(Debug)]
pub(crate) struct Activations {
    /// Columns of the rows held now, and the tokens.
    cols: usize,
    tokens: usize,
    /// `[tokens][cols]`
    values: Vec<f32>,
    /// `[tokens][cols]`
    quants: Vec<i8>,
    /// `[tokens][cols / 32]`
    scales: Vec<f32>,
    /// `[tokens][cols / 32]`: sum of a block's quants
    sums: Vec<i32>,
}

/// One token's activations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) quants: &'a [[i8; BLOCK]],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [i32],
}

/// The buffers of all tokens, for filling.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) quants: &'a mut [i8],
    pub(super) scales: &'a mut [f32],
    pub(super) sums: &'a mut [i32],
}

impl Activations {
    /// Room for `tokens` rows of up to `cols` columns.
    pub(crate) fn new(tokens: usize, cols: usize) -> Self {
        let count = tokens * cols;
        Self {
            cols,
            tokens,
            values: vec![0.0; count],
            quants: vec![0; count],
            scales: vec![0.0; count / BLOCK],
            sums: vec![0; count / BLOCK],
        }
    }

    /// Bytes that [`Activations::new`] allocates.
    pub(crate) fn size_bytes(tokens: usize, cols: usize) -> u64 {
        (tokens as u64) * (cols as u64) * 5 + (tokens as u64) * (cols as u64 / BLOCK as u64) * 8
    }

    /// Sets the shape, which must fit what was allocated, and gives access to its rows.
    pub(super) fn reshape(&mut self, tokens: usize, cols: usize) -> Rows<'_> {
        assert!(cols.is_multiple_of(BLOCK));
        let (count, blocks) = (tokens * cols, tokens * cols / BLOCK);
        self.tokens = tokens;
        self.cols = cols;
        Rows {
            values: &mut self.values[..count],
            quants: &mut self.quants[..count],
            scales: &mut self.scales[..blocks],
            sums: &mut self.sums[..blocks],
        }
    }

    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn token(&self, index: usize) -> Token<'_> {
        let values = index * self.cols..(index + 1) * self.cols;
        let blocks = values.start / BLOCK..values.end / BLOCK;
        Token {
            values: &self.values[values.clone()],
            quants: self.quants[values].as_chunks().0,
            scales: &self.scales[blocks.clone()],
            sums: &self.sums[blocks],
        }
    }
}
