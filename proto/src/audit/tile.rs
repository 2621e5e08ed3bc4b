//! Tiles of the tree (C2SP tlog-tiles): the hashes of 256 neighbours of one height, every eighth height,
//! from which each node in between is computed. A full tile never changes.

use super::merkle::{Hash, node_hash};
use super::proof::Node;

/// Heights per tile.
pub const HEIGHT: u8 = 8;
/// Hashes of a full tile.
pub const WIDTH: u64 = 1 << HEIGHT;
/// Highest level of a tile in a tree with fewer than 2^63 leaves.
pub const MAX_LEVEL: u8 = 7;

/// Where a tile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0 holds leaves, 1 the roots of full tiles of level 0, and so on.
    pub level: u8,
    /// Position among the tiles of its level.
    pub index: u64,
}

/// What a path under `tile/` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Hashes.
    Tile {
        /// Which.
        id: TileId,
        /// How many hashes; 256 for a full tile.
        width: u64,
    },
    /// Records.
    Entries {
        /// Which 256.
        index: u64,
        /// How many; 256 for a full bundle.
        width: u64,
    },
}

/// The tile that a node is computed from, and the hashes of it that are needed.
pub fn of_node(node: Node) -> (TileId, std::ops::Range<usize>) {
    let (level, height) = (node.level / HEIGHT, node.level % HEIGHT);
    let first = node.index << height;
    let id = TileId { level, index: first / WIDTH };
    let start = (first % WIDTH) as usize;
    (id, start..start + (1 << height))
}

/// The root of a perfect subtree from its hashes, whose number is a power of two.
pub fn root(hashes: &[Hash]) -> Option<Hash> {
    let mut row = hashes.to_vec();
    if !row.len().is_power_of_two() {
        return None;
    }
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row.pop()
}

/// Path of a tile of `width` hashes, below the log's prefix.
pub fn path(id: TileId, width: u64) -> String {
    format!("tile/{}/{}{}", id.level, number(id.index), partial(width))
}

/// Path of an entry bundle of `width` records.
pub fn entries_path(index: u64, width: u64) -> String {
    format!("tile/entries/{}{}", number(index), partial(width))
}

/// `1234067` → `x001/x234/067`.
fn number(index: u64) -> String {
    let mut text = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    text
}

fn partial(width: u64) -> String {
    if width == WIDTH { String::new() } else { format!(".p/{width}") }
}

/// Reads a path as [`path`] and [`entries_path`] print it, and no other spelling.
pub fn parse(text: &str) -> Option<Asked> {
    let (what, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let (place, width) = match rest.split_once(".p/") {
        Some((place, width)) => (place, width.parse().ok().filter(|w| (1..WIDTH).contains(w))?),
        None => (rest, WIDTH),
    };
    let digits: String =
        place.split('/').map(|part| part.strip_prefix('x').unwrap_or(part)).collect();
    if digits.len() > 18 {
        return None;
    }
    let index: u64 = digits.parse().ok()?;
    let asked = match what {
        "entries" => Asked::Entries { index, width },
        level => {
            let level = level.parse().ok().filter(|level| *level <= MAX_LEVEL)?;
            Asked::Tile { id: TileId { level, index }, width }
        }
    };
    let again = match asked {
        Asked::Tile { id, width } => path(id, width),
        Asked::Entries { index, width } => entries_path(index, width),
    };
    (again == text).then_some(asked)
}

/// Hashes that a tile has in a tree of `size` leaves; 0 if it is not there.
pub fn width_at(id: TileId, size: u64) -> u64 {
    let nodes = size >> (u32::from(id.level) * u32::from(HEIGHT));
    nodes.saturating_sub(id.index.saturating_mul(WIDTH)).min(WIDTH)
}

/// An entry bundle: each record with its length in front (u16, big endian). A record that is longer
/// than 65,535 bytes has no such form.
pub fn bundle<'r>(records: impl IntoIterator<Item = &'r str>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for record in records {
        out.extend_from_slice(&u16::try_from(record.len()).ok()?.to_be_bytes());
        out.extend_from_slice(record.as_bytes());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let check = |text: &str, asked: Asked| assert_eq!(parse(text), Some(asked), "{text}");
        let tile = |level, index, width| Asked::Tile { id: TileId { level, index }, width };
        check("tile/0/x001/x234/067", tile(0, 1_234_067, 256));
        check("tile/3/000.p/7", tile(3, 0, 7));
        check("tile/entries/x001/x234/067.p/255", Asked::Entries { index: 1_234_067, width: 255 });
        for text in [
            "tile/0/67",
            "tile/0/x001",
            "tile/00/067",
            "tile/8/067",
            "tile/0/067.p/0",
            "tile/0/067.p/256",
            "tile/0/067.p/07",
            "tile/0/x000/067",
            "tile/0/1234",
            "tile/0/",
            "tile/x/067",
            "tile/0/x001/x234/x067",
            "checkpoint",
            "tile/0/../067",
            "tile/0/+67",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_tile_is_as_wide_as_the_tree_allows() {
        let width = |level, index, size| width_at(TileId { level, index }, size);
        assert_eq!(width(0, 0, 255), 255);
        assert_eq!(width(0, 0, 70_000), 256);
        assert_eq!(width(0, 273, 70_000), 112);
        assert_eq!(width(0, 274, 70_000), 0);
        assert_eq!(width(1, 0, 70_000), 256);
        assert_eq!(width(1, 1, 70_000), 17);
        assert_eq!(width(2, 0, 70_000), 1);
        assert_eq!(width(3, 0, 70_000), 0);
        assert_eq!(width(7, u64::MAX, u64::MAX), 0);
    }

    #[test]
    fn a_node_is_found_in_its_tile() {
        let at = |level, index| of_node(Node { level, index });
        assert_eq!(at(0, 256), (TileId { level: 0, index: 1 }, 0..1));
        assert_eq!(at(3, 33), (TileId { level: 0, index: 1 }, 8..16));
        assert_eq!(at(8, 3), (TileId { level: 1, index: 0 }, 3..4));
        assert_eq!(at(15, 0), (TileId { level: 1, index: 0 }, 0..128));
    }
}
