//! Where to cut a model file into pieces, so that versions of a model which share tensors share
//! pieces. The rule is part of the artifact format: changing it makes every stored version
//! deduplicate badly against new ones.

use crate::Header;

/// The smallest piece that [`Header::cut_points`] cuts; smaller requests are raised to it, which
/// bounds the list by the limit on data bytes.
pub const MIN_PIECE_BYTES: u64 = 64 << 10;

impl Header {
    /// The offsets in the file at which to cut it, ascending, neither 0 nor the end of the file.
    ///
    /// The header, with its padding, is one piece. A tensor larger than `piece_bytes` starts a
    /// piece, is cut every `piece_bytes` from its own start, and ends its last piece. Consecutive
    /// tensors that are not larger share a piece as long as all of it fits in `piece_bytes`.
    /// Padding belongs to the piece before it; whatever follows the last tensor, to the last piece.
    ///
    /// The result depends only on the header and `piece_bytes` (at least [`MIN_PIECE_BYTES`]).
    pub fn cut_points(&self, piece_bytes: u64) -> Vec<u64> {
        let piece_bytes = piece_bytes.max(MIN_PIECE_BYTES);
        let mut cuts = Vec::new();
        let mut start = 0; // of the piece that is open
        let mut closed = true; // nothing may join the open piece
        for tensor in self.in_file_order() {
            let first = self.data_offset + tensor.offset;
            let end = first + tensor.size_bytes;
            let large = tensor.size_bytes > piece_bytes;
            if closed || large || end - start > piece_bytes {
                if first > 0 {
                    cuts.push(first);
                }
                start = first;
            }
            while end - start > piece_bytes {
                start += piece_bytes;
                cuts.push(start);
            }
            closed = large;
        }
        cuts
    }
}
