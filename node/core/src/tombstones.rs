//! When the note that a session was destroyed may be forgotten, and what keeps it destroyed after that.
//!
//! Somewhere an older copy may still be on its way: in a region that is cut off, in the changes of a region where the session
//! was at home before. So a tombstone goes only when nobody can bring a living copy any more:
//!
//! - either a [`Sweep`] has shown that every region has the tombstone, and has seen all that any region told before it had;
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

/// The changes of one shard of a region.
pub type Feed = (RegionId, ShardId);

/// How far regions are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The index of the last change of each feed, as its region told it.
    pub heads: BTreeMap<Feed, u64>,
    /// Up to which index each region has logged the changes of each other feed, in all its shards.
    pub cursors: BTreeMap<RegionId, BTreeMap<Feed, u64>>,
}

impl Progress {
    fn has(&self, reader: RegionId, feed: Feed, index: u64) -> bool {
        let cursor = self.cursors.get(&reader).and_then(|cursors| cursors.get(&feed));
        reader == feed.0 || cursor.copied().unwrap_or(0) >= index
    }
}

/// The proof that tombstones of one shard are known wherever they matter.
///
/// All regions of the world take part, whether they can be reached or not: one that cannot keeps the sweep from ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Waits until every region has the tombstones.
    Spreading {
        /// Whose changes carry them.
        feed: Feed,
        /// Up to this index.
        through: u64,
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
    /// Begins with all tombstones that are in the first `through` changes of `feed`.
    pub fn begin(feed: Feed, through: u64) -> Self {
        Self::Spreading { feed, through }
    }

    /// The sweep after `progress` was heard of all `regions`, after the sweep came to where it is.
    #[must_use]
    pub fn advance(self, regions: &BTreeSet<RegionId>, progress: &Progress) -> Self {
        match self {
            Self::Spreading { feed, through } => {
                let told = |region: &RegionId| progress.heads.keys().any(|feed| feed.0 == *region);
                let spread = regions.iter().all(|region| told(region) && progress.has(*region, feed, through));
                if spread {
                    Self::Flushing { through: progress.heads.clone() }
                } else {
                    Self::Spreading { feed, through }
                }
            }
            Self::Flushing { through } => {
                let flushed = regions
                    .iter()
                    .all(|region| through.iter().all(|(feed, index)| progress.has(*region, *feed, *index)));
                if flushed { Self::Done } else { Self::Flushing { through } }
            }
            Self::Done => Self::Done,
        }
    }
}

#[cfg(test)]
mod tests;
