//! The Merkle tree of RFC 6962, as far as appending needs it: the frontier (roots of the perfect
//! subtrees, largest first) is all that is kept of the leaves before.

use ring::digest;

/// SHA-256.
pub type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Leaf hash: SHA-256(0x00 ‖ data), RFC 6962 section 2.1.
pub fn leaf_hash(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// Inner node: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of a tree without leaves: SHA-256 of nothing.
pub fn root_of_nothing() -> Hash {
    sha256(&[])
}

/// A frontier that does not fit its size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tree of {size} leaves has {expected} subtree roots, and {found_bytes} bytes were stored"
)]
pub struct FrontierError {
    size: u64,
    expected: u32,
    found_bytes: usize,
}

/// A tree to which leaves are appended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    frontier: Vec<Hash>,
}

impl Tree {
    /// From what was stored.
    pub fn load(size: u64, frontier: &[u8]) -> Result<Self, FrontierError> {
        let (hashes, rest) = frontier.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != size.count_ones() as usize {
            return Err(FrontierError {
                size,
                expected: size.count_ones(),
                found_bytes: frontier.len(),
            });
        }
        Ok(Self { size, frontier: hashes.to_vec() })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// To be stored: the subtree roots, largest first.
    pub fn frontier_bytes(&self) -> Vec<u8> {
        self.frontier.concat()
    }

    /// Appends a leaf by its hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Each trailing one bit of the size is a perfect subtree that the new leaf completes.
        for _ in 0..self.size.trailing_ones() {
            let left = self.frontier.pop().expect("a subtree per one bit of the size");
            node = node_hash(&left, &node);
        }
        self.frontier.push(node);
        self.size += 1;
    }

    /// The root; of the empty tree SHA-256 of nothing.
    pub fn root(&self) -> Hash {
        let mut subtrees = self.frontier.iter().rev();
        let Some(last) = subtrees.next() else {
            return root_of_nothing();
        };
        subtrees.fold(*last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition of RFC 6962 section 2.1, word by word.
    fn merkle_tree_hash(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [leaf] => leaf_hash(leaf),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(split);
                node_hash(&merkle_tree_hash(left), &merkle_tree_hash(right))
            }
        }
    }

    fn tree_of(leaves: &[Vec<u8>]) -> Tree {
        let mut tree = Tree::default();
        for leaf in leaves {
            tree.append(leaf_hash(leaf));
        }
        tree
    }

    #[test]
    fn the_classic_vector_of_certificate_transparency() {
        let leaves: Vec<Vec<u8>> = vec![
            vec![],
            vec![0x00],
            vec![0x10],
            vec![0x20, 0x21],
            vec![0x30, 0x31],
            (0x40..=0x43).collect(),
            (0x50..=0x57).collect(),
            (0x60..=0x6f).collect(),
        ];
        let root = data_encoding::HEXLOWER.encode(&tree_of(&leaves).root());
        assert_eq!(root, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn a_frontier_of_another_size_is_refused() {
        assert!(Tree::load(3, &[0; 64]).is_ok());
        assert!(Tree::load(3, &[0; 32]).is_err());
        assert!(Tree::load(3, &[0; 65]).is_err());
    }

    proptest! {
        #[test]
        fn appending_gives_the_root_of_the_definition(
            leaves in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), 0..70),
            stop in 0_usize..70,
        ) {
            let stop = stop.min(leaves.len());
            let first = tree_of(&leaves[..stop]);
            let mut tree = Tree::load(first.size(), &first.frontier_bytes()).unwrap();
            for leaf in &leaves[stop..] {
                tree.append(leaf_hash(leaf));
            }
            prop_assert_eq!(tree.root(), merkle_tree_hash(&leaves));
        }
    }
}
