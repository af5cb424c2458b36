//! When the note that a session was destroyed may be forgotten, and what keeps it destroyed after that.
//!
//! Somewhere an older copy may still be on its way: in a region that is cut off, in the changes of a region where the session
//! was at home before. So a tombstone goes only when nobody can bring a living copy any more:
//!
//! - either a [`Sweep`] has shown that every region has the tombstone, and has seen all that any region told before it had:
//!   which tombstones those are, [`Swept`] says;
//! - or the session's absolute deadline has passed everywhere: then a living copy is refused by whoever receives it
//!   ([`is_admissible`]). Minted ids say that deadline themselves. That of a foreign id moves on with each write, so a
//!   region that wrote alone for longer than tombstones of foreign ids stand has to begin anew ([`plan_return`]).
//!
//! A tombstone of a foreign id therefore carries an absolute deadline counted from the destroy. How long a region was away, or
//! how old a tombstone is, proves nothing by itself.

use crate::{
    ids::{RegionId, ShardId, Stamp},
    session::{Life, Record},
};
use std::collections::{BTreeMap, BTreeSet};

/// How far the stamps of two regions may be apart, in ms.
pub const CLOCK_SLACK_MS: u64 = 60_000;

/// Whether a copy that arrives at `now` may be taken in where `known` is: a tombstone always, a living one before its absolute
/// deadline. One that is overdue is taken in, and read by nobody, if it replaced a session that still lives here: that one's
/// tombstone may have been left out, since the later session says the same.
pub fn is_admissible(record: &Record, known: Option<&Record>, now: Stamp) -> bool {
    match record.life {
        Life::Live => now < record.absolute_deadline || known.is_some_and(|known| replaces(record, known)),
        Life::Dead { .. } => true,
    }
}

/// Whether a session that still lives according to `older` must have ended before `newer` was created.
pub(crate) fn replaces(newer: &Record, older: &Record) -> bool {
    older.life == Life::Live && older.incarnation < newer.incarnation
}

/// Whether a tombstone may be forgotten at `now`; `swept` if a sweep that began after it was made has ended, `in_touch` if the
/// region knows that nobody else acts for its homes.
///
/// A region that others may act for keeps its tombstones: they may have gone on with a session that was destroyed here, and
/// moved its deadline on.
pub fn may_collect(record: &Record, swept: bool, in_touch: bool, now: Stamp) -> bool {
    let Life::Dead { collect_at, .. } = record.life else { return false };
    let refused_everywhere = now >= record.absolute_deadline.saturating_add(CLOCK_SLACK_MS);
    now >= collect_at && (swept || (in_touch && refused_everywhere))
}

/// How a region that was away may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// With its sessions: its orphans are settled against what the others have.
    Merge,
    /// Without: it retires what it has, copies what the others have, and its orphans go to the journal.
    Copy,
}

/// How a region comes back at `now` that has everything that anybody wrote up to `complete_until`; `foreign_ms_min` is the
/// shortest absolute lifetime of foreign ids in any namespace since then.
///
/// Tombstones of the time when it was away, of sessions that it may have written to, stand at least so long.
pub fn plan_return(complete_until: Stamp, now: Stamp, foreign_ms_min: u64) -> Return {
    // Both times are of others' clocks and may be off; in doubt it copies.
    let tombstones_stand_until = complete_until.saturating_add(foreign_ms_min);
    if now.saturating_add(CLOCK_SLACK_MS) < tombstones_stand_until { Return::Merge } else { Return::Copy }
}

/// Which tombstones are known everywhere, so that nobody brings a living copy of what they ended any more.
///
/// Whoever sweeps begins at a time when every region acts for itself, lacks nothing and has settled everything. `epoch` is the highest
/// that the world has drawn by then, for anybody, and all shards of the world are past the stamp `through`; how far they have told
/// their changes is asked after that. When the sweep is done, all that this covers is known everywhere:
///
/// - It was made before the sweep began, whichever shard made it and whatever its clock says: stamps of a shard ascend, and all shards
///   were past that stamp. What a region that joins later makes is written under a higher epoch, which is not covered.
/// - What was made before is among the changes of the shard that made it, up to the place where it was found afterwards, and
///   every region has those. What lay beyond a cut when the right to act changed hands has been settled, and told by who acted.
///
/// So what is said of these tombstones stays true, whatever happens to the right to act meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Swept {
    /// Those of sessions that were written under this epoch or lower ones,
    pub epoch: u32,
    /// and that were made at this stamp or before.
    pub through: Stamp,
}

impl Swept {
    /// Whether a record is such a tombstone.
    pub fn covers(self, record: &Record) -> bool {
        let Life::Dead { at, .. } = record.life else { return false };
        record.version.epoch <= self.epoch && at <= self.through
    }
}

/// The changes of one shard of a region.
pub type Feed = (RegionId, ShardId);

/// How far regions are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The index of the last change of each feed, as its region told it, after it told its cursors.
    pub heads: BTreeMap<Feed, u64>,
    /// Up to which index each region has logged the changes of each other feed, in all its shards.
    pub cursors: BTreeMap<RegionId, BTreeMap<Feed, u64>>,
}

impl Progress {
    fn has(&self, reader: RegionId, feed: Feed, index: u64) -> bool {
        let cursor = self.cursors.get(&reader).and_then(|cursors| cursors.get(&feed));
        reader == feed.0 || cursor.copied().unwrap_or(0) >= index
    }

    fn all_have(&self, regions: &BTreeSet<RegionId>, through: &BTreeMap<Feed, u64>) -> bool {
        regions.iter().all(|region| through.iter().all(|(feed, index)| self.has(*region, *feed, *index)))
    }
}

/// The proof that tombstones are known wherever they matter.
///
/// All regions of the world take part, whether they can be reached or not: one that cannot keeps the sweep from ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Waits until every region has the tombstones.
    Spreading {
        /// The changes that carry them.
        through: BTreeMap<Feed, u64>,
    },
    /// Every region has them, so what comes to live under these ids is newer. Waits until every region has all that any told
    /// before: an older copy may be in it.
    Flushing {
        /// How far each feed was by then.
        through: BTreeMap<Feed, u64>,
    },
    /// Nobody can bring an older copy.
    Done,
}

impl Sweep {
    /// Begins with all tombstones that are in so many changes of each of these feeds.
    pub fn begin(through: BTreeMap<Feed, u64>) -> Self {
        Self::Spreading { through }
    }

    /// The sweep after `progress` was heard of all `regions`, after the sweep came to where it is.
    #[must_use]
    pub fn advance(self, regions: &BTreeSet<RegionId>, progress: &Progress) -> Self {
        match self {
            Self::Spreading { through } => {
                let told = |region: &RegionId| progress.heads.keys().any(|feed| feed.0 == *region);
                if regions.iter().all(told) && progress.all_have(regions, &through) {
                    Self::Flushing { through: progress.heads.clone() }
                } else {
                    Self::Spreading { through }
                }
            }
            Self::Flushing { through } if progress.all_have(regions, &through) => Self::Done,
            Self::Flushing { through } => Self::Flushing { through },
            Self::Done => Self::Done,
        }
    }
}

#[cfg(test)]
mod tests;
