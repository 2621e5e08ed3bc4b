//! Inclusion and consistency proofs (RFC 6962 section 2.1): which nodes they are made of, and how
//! they are verified (RFC 9162 sections 2.1.3.2 and 2.1.4.2). A plan names perfect subtrees only, so
//! whoever stores those can make any proof in logarithmic time.

use super::merkle::{Hash, node_hash, root_of_nothing};

/// Longest proof of a tree with fewer than 2^63 leaves.
pub const MAX_PROOF_HASHES: usize = 63;

/// The perfect subtree over the leaves `index << level .. (index + 1) << level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Height: 0 is a leaf.
    pub level: u8,
    /// Position among the nodes of its height.
    pub index: u64,
}

/// A proof that does not hold, or cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The question makes no sense.
    #[error("there is no proof for {first} in a tree of {size} leaves")]
    Range {
        /// The leaf, or the size of the older tree.
        first: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// Too few or too many hashes.
    #[error("the proof has {0} hashes, which is not how many such a proof has")]
    Length(usize),
    /// The hashes do not add up.
    #[error("the proof does not lead to the root of the tree")]
    Root,
    /// The hashes do not add up to the older root.
    #[error("the proof does not lead to the root of the older tree: the log was changed")]
    OldRoot,
}

/// The perfect subtrees that the leaves `low..high` are made of, left to right (a compact range).
/// At most two per height.
pub fn range(low: u64, high: u64) -> Vec<Node> {
    let (mut low, mut nodes) = (low, Vec::new());
    while low < high {
        // As large as alignment and the end allow.
        let aligned = if low == 0 { 63 } else { low.trailing_zeros() };
        let level = aligned.min(63 - (high - low).leading_zeros());
        nodes.push(Node { level: level as u8, index: low >> level });
        low += 1 << level;
    }
    nodes
}

/// What a proof is made of: each hash of it is folded from the nodes of one list.
pub type Plan = Vec<Vec<Node>>;

/// Largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// PATH(m, D\[n\]): the proof that leaf `index` is in the tree of `size` leaves.
pub fn inclusion(index: u64, size: u64) -> Result<Plan, ProofError> {
    if index >= size || size > i64::MAX as u64 {
        return Err(ProofError::Range { first: index, size });
    }
    let (mut low, mut high, mut plan) = (0, size, Plan::new());
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            plan.push(range(middle, high));
            high = middle;
        } else {
            plan.push(range(low, middle));
            low = middle;
        }
    }
    plan.reverse();
    Ok(plan)
}

/// PROOF(m, D\[n\]): the proof that the tree of `size` leaves begins with that of `first` leaves.
pub fn consistency(first: u64, size: u64) -> Result<Plan, ProofError> {
    if first == 0 || first > size || size > i64::MAX as u64 {
        return Err(ProofError::Range { first, size });
    }
    let (mut low, mut high, mut plan, mut whole) = (0, size, Plan::new(), true);
    while first != high {
        let middle = low + split(high - low);
        if first <= middle {
            plan.push(range(middle, high));
            high = middle;
        } else {
            plan.push(range(low, middle));
            low = middle;
            whole = false;
        }
    }
    if !whole {
        plan.push(range(low, high));
    }
    plan.reverse();
    Ok(plan)
}

/// The hash of a range from the hashes of its nodes, left to right.
pub fn fold(nodes: &[Hash]) -> Hash {
    let mut from_right = nodes.iter().rev();
    let Some(last) = from_right.next() else { return root_of_nothing() };
    from_right.fold(*last, |right, left| node_hash(left, &right))
}

/// Whether `leaf` is at `index` of the tree with this size and root.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range { first: index, size });
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length(proof.len()));
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length(proof.len())),
    }
}

/// Whether the tree with `size` leaves and `root` begins with that of `first` leaves and `old_root`.
pub fn verify_consistency(
    first: u64,
    old_root: &Hash,
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if first > size {
        return Err(ProofError::Range { first, size });
    }
    if first == size || first == 0 {
        // Every tree begins with the empty one.
        let same = if first == 0 { *old_root == root_of_nothing() } else { old_root == root };
        return match (proof.is_empty(), same) {
            (false, _) => Err(ProofError::Length(proof.len())),
            (true, true) => Ok(()),
            (true, false) => Err(ProofError::OldRoot),
        };
    }
    // The root of an older tree that is a perfect subtree is not repeated in the proof.
    let start = [*old_root];
    let path: Vec<&Hash> = match first.is_power_of_two() {
        true => start.iter().chain(proof).collect(),
        false => proof.iter().collect(),
    };
    let Some((&seed, rest)) = path.split_first() else {
        return Err(ProofError::Length(proof.len()));
    };
    let (mut place, mut last) = (first - 1, size - 1);
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (*seed, *seed);
    for &sibling in rest {
        if last == 0 {
            return Err(ProofError::Length(proof.len()));
        }
        if place & 1 == 1 || place == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    match (last, old == *old_root, new == *root) {
        (0, true, true) => Ok(()),
        (0, false, _) => Err(ProofError::OldRoot),
        (0, true, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length(proof.len())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::merkle::{Tree, leaf_hash};

    /// Leaf hashes of a tree, and its nodes by definition.
    struct Leaves(Vec<Hash>);

    impl Leaves {
        fn new(size: u64) -> Self {
            Self((0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect())
        }
        fn node(&self, node: Node) -> Hash {
            let (low, high) = (node.index << node.level, (node.index + 1) << node.level);
            self.root(&self.0[low as usize..high as usize])
        }
        fn root(&self, leaves: &[Hash]) -> Hash {
            match leaves {
                [] => root_of_nothing(),
                [leaf] => *leaf,
                _ => {
                    let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                    node_hash(&self.root(left), &self.root(right))
                }
            }
        }
        fn make(&self, plan: Plan) -> Vec<Hash> {
            let hash = |nodes: Vec<Node>| {
                fold(&nodes.into_iter().map(|node| self.node(node)).collect::<Vec<_>>())
            };
            plan.into_iter().map(hash).collect()
        }
    }

    #[test]
    fn every_proof_of_every_small_tree_holds_and_no_other_does() {
        for size in 1..=40_u64 {
            let leaves = Leaves::new(size);
            let root = leaves.root(&leaves.0);
            for index in 0..size {
                let leaf = leaves.0[index as usize];
                let proof = leaves.make(inclusion(index, size).unwrap());
                assert_eq!(verify_inclusion(&leaf, index, size, &root, &proof), Ok(()));
                let other = leaf_hash(b"other");
                assert!(verify_inclusion(&other, index, size, &root, &proof).is_err());
                if size > 1 {
                    let elsewhere = (index + 1) % size;
                    assert!(verify_inclusion(&leaf, elsewhere, size, &root, &proof).is_err());
                    let short = &proof[..proof.len() - 1];
                    assert!(verify_inclusion(&leaf, index, size, &root, short).is_err());
                }
                let long = [&proof[..], &[other]].concat();
                assert!(verify_inclusion(&leaf, index, size, &root, &long).is_err());
            }
            for first in 1..=size {
                let old = leaves.root(&leaves.0[..first as usize]);
                let proof = leaves.make(consistency(first, size).unwrap());
                assert_eq!(verify_consistency(first, &old, size, &root, &proof), Ok(()));
                let forged = leaf_hash(b"forged");
                assert!(verify_consistency(first, &forged, size, &root, &proof).is_err());
                assert!(verify_consistency(first, &old, size, &forged, &proof).is_err());
                for at in 0..proof.len() {
                    let mut altered = proof.clone();
                    altered[at][0] ^= 1;
                    assert!(verify_consistency(first, &old, size, &root, &altered).is_err());
                }
            }
        }
        let empty = root_of_nothing();
        assert_eq!(verify_consistency(0, &empty, 3, &leaf_hash(b""), &[]), Ok(()));
        assert!(
            inclusion(3, 3).is_err() && consistency(0, 3).is_err() && consistency(4, 3).is_err()
        );
        assert!(inclusion(0, u64::MAX).is_err());
    }

    proptest! {
        #[test]
        fn a_range_is_made_of_perfect_subtrees_in_order(low in 0..5000_u64, length in 0..5000_u64) {
            let nodes = range(low, low + length);
            let mut at = low;
            for node in &nodes {
                prop_assert_eq!(node.index << node.level, at);
                at += 1 << node.level;
            }
            prop_assert_eq!(at, low + length);
            prop_assert!(nodes.len() <= 2 * 13);
        }

        #[test]
        fn proofs_grow_with_the_logarithm(index in 0..1_u64 << 40, extra in 1..1_u64 << 40) {
            let size = index + extra;
            let plan = inclusion(index, size).unwrap();
            prop_assert!(plan.len() <= 64 - size.leading_zeros() as usize);
            let nodes: usize = plan.iter().map(Vec::len).sum();
            prop_assert!(nodes <= 2 * 64);
        }

        #[test]
        fn no_proof_of_a_stranger_panics(
            first in any::<u64>(), size in any::<u64>(), hashes in 0..70_usize,
        ) {
            let proof = vec![[7; 32]; hashes];
            let _ = verify_inclusion(&[1; 32], first, size, &[2; 32], &proof);
            let _ = verify_consistency(first, &[1; 32], size, &[2; 32], &proof);
        }
    }

    #[test]
    fn a_fold_of_the_whole_range_is_the_root() {
        let leaves = Leaves::new(37);
        let nodes: Vec<Hash> = range(0, 37).into_iter().map(|n| leaves.node(n)).collect();
        let mut tree = Tree::default();
        leaves.0.iter().for_each(|leaf| tree.append(*leaf));
        assert_eq!(fold(&nodes), tree.root());
    }
}
