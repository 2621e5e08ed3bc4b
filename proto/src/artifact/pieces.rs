//! Where a payload is cut: at its cut points and nowhere further apart than [`PIECE_BYTES`].

use std::ops::Range;

use super::{ArtifactError, MAX_CHUNKS, PIECE_BYTES};

/// Iterates over the byte ranges of the pieces, in order, without gaps.
#[derive(Debug, Clone)]
pub struct PieceRanges {
    cuts: std::vec::IntoIter<u64>,
    next_cut: u64,
    start: u64,
    size: u64,
}

/// Cuts a payload of `size` bytes at `cuts` (ascending, inside the payload).
///
/// Fails if the cuts are not, if there is no payload, or if it has more than [`MAX_CHUNKS`] pieces.
pub fn pieces(size: u64, cuts: Vec<u64>) -> Result<PieceRanges, ArtifactError> {
    if size == 0 {
        return Err(ArtifactError::EmptyPayload);
    }
    let mut after = 0;
    let mut chunks = 0u64;
    for &at in &cuts {
        if at <= after || at >= size {
            return Err(ArtifactError::CutPoint { at, after, size });
        }
        chunks = chunks.saturating_add((at - after).div_ceil(PIECE_BYTES as u64));
        after = at;
    }
    chunks = chunks.saturating_add((size - after).div_ceil(PIECE_BYTES as u64));
    if chunks > MAX_CHUNKS as u64 {
        return Err(ArtifactError::TooManyChunks { size });
    }
    let mut cuts = cuts.into_iter();
    let next_cut = cuts.next().unwrap_or(size);
    Ok(PieceRanges { cuts, next_cut, start: 0, size })
}

impl Iterator for PieceRanges {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        if self.start == self.size {
            return None;
        }
        let start = self.start;
        self.start = self.next_cut.min(start + PIECE_BYTES as u64);
        if self.start == self.next_cut {
            self.next_cut = self.cuts.next().unwrap_or(self.size);
        }
        Some(start..self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = PIECE_BYTES as u64;

    #[test]
    fn pieces_end_at_cuts_and_never_exceed_their_limit() {
        let all = |size, cuts: &[u64]| pieces(size, cuts.to_vec()).unwrap().collect::<Vec<_>>();
        assert_eq!(all(MIB, &[]), vec![0..MIB; 1]);
        assert_eq!(all(10, &[4]), [0..4, 4..10]);
        assert_eq!(all(MIB + 7, &[5]), [0..5, 5..MIB + 5, MIB + 5..MIB + 7]);
        assert_eq!(all(2 * MIB, &[MIB]), [0..MIB, MIB..2 * MIB]);
    }

    #[test]
    fn impossible_cuts_are_refused() {
        assert_eq!(pieces(0, vec![]).unwrap_err(), ArtifactError::EmptyPayload);
        for cuts in [vec![0], vec![10], vec![4, 4], vec![5, 4]] {
            let error = pieces(10, cuts.clone()).unwrap_err();
            assert!(matches!(error, ArtifactError::CutPoint { .. }), "{cuts:?}: {error}");
        }
        let size = MIB * MAX_CHUNKS as u64;
        assert!(pieces(size, vec![]).is_ok());
        assert_eq!(pieces(size, vec![1]).unwrap_err(), ArtifactError::TooManyChunks { size });
        assert!(pieces(u64::MAX, vec![]).is_err());
    }
}
