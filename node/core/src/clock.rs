//! The clock of a shard's log: wall time that never stands still and never goes back.

use crate::ids::Stamp;

/// The stamp of the next entry, in ms since the Unix epoch, after one that was stamped `previous`.
///
/// A wall clock that jumps back slows the shard's time down to one millisecond an entry, until it has caught up.
pub fn stamp(previous: Stamp, wall_ms: u64) -> Stamp {
    wall_ms.max(previous.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::stamp;

    #[test]
    fn follows_the_wall_clock_and_never_goes_back() {
        assert_eq!(stamp(0, 1_000), 1_000);
        assert_eq!(stamp(1_000, 1_000), 1_001);
        assert_eq!(stamp(1_000, 5), 1_001);
        assert_eq!(stamp(u64::MAX, 5), u64::MAX);
    }
}
