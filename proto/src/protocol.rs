//! The version of the protocol between agent and controller. Neighbours work together; peers
//! further apart are refused with a sentence that says which side to update.

/// What this build speaks.
pub const PROTOCOL: u32 = 1;

/// How far apart two peers may be.
pub const MAX_DISTANCE: u32 = 1;

/// Two peers that cannot work together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "protocol {theirs} of the {peer} is more than one version away from {ours} here: update the {older} first"
)]
pub struct Incompatible {
    peer: &'static str,
    theirs: u32,
    ours: u32,
    older: &'static str,
}

/// Whether `peer` ("agent" or "controller"), speaking `theirs`, works with this side.
///
/// Returns the protocol both speak: the lower of the two.
pub fn negotiate(
    ours: u32,
    theirs: u32,
    us: &'static str,
    peer: &'static str,
) -> Result<u32, Incompatible> {
    if ours.abs_diff(theirs) > MAX_DISTANCE {
        let older = if theirs < ours { peer } else { us };
        return Err(Incompatible { peer, theirs, ours, older });
    }
    Ok(ours.min(theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_agree_on_the_lower_and_strangers_are_told_who_is_old() {
        assert_eq!(negotiate(3, 2, "controller", "agent"), Ok(2));
        assert_eq!(negotiate(2, 3, "controller", "agent"), Ok(2));
        let old = negotiate(3, 1, "controller", "agent").unwrap_err();
        assert!(old.to_string().ends_with("update the agent first"), "{old}");
        let new = negotiate(1, 3, "controller", "agent").unwrap_err();
        assert!(new.to_string().ends_with("update the controller first"), "{new}");
    }
}
