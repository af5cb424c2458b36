//! What becomes of a region's last writes when it returns after others have acted for it.
//!
//! Each session that it changed after the cut is settled against the record that everybody else has by now. Nothing is
//! dropped silently: what would be lost goes to the journal with both values, and the four counts add up to what was looked
//! at. What the records should be is what `merge` says, so copies that met before, or meet again, agree.
//!
//! Whether the others have changed a record since the cut can be read off its version: whoever acted after the cut wrote under
//! an epoch that was drawn after it.

use crate::{
    ids::{Key, Stamp},
    merge::merge,
    session::{Incarnation, Life, Record, Version},
    tombstones::{is_admissible, replaces},
};
use std::cmp::Ordering;

/// One session that the returned region changed after the cut.
#[derive(Clone, Copy, Debug)]
pub struct Orphan<'a> {
    /// As the region left it.
    pub mine: &'a Record,
    /// As it was at the cut, where that is known: tells a touch from a write.
    pub base: Option<&'a Record>,
    /// As everybody else has it now.
    pub current: Option<&'a Record>,
}

/// The same on its way to whoever acts for the region's home.
#[derive(Clone, Debug, PartialEq)]
pub struct Orphaned {
    /// Which session.
    pub key: Key,
    /// See [`Orphan::mine`].
    pub mine: Record,
    /// See [`Orphan::base`].
    pub base: Option<Record>,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing: the others have it already, or it has ended by itself.
    AlreadyApplied,
    /// A destroy or a touch: it takes nothing away from what the others wrote.
    Merged {
        /// The record from now on.
        record: Record,
    },
    /// The others have written nothing since the cut: it is simply the next write.
    FastForwarded {
        /// The record from now on.
        record: Record,
    },
    /// Both have written: one of them goes to the journal.
    Journaled {
        /// The record from now on; `None` if nobody has one.
        record: Option<Record>,
        /// What it replaces.
        loser: Record,
    },
}

/// How many orphans there were of each sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// See [`Settled::AlreadyApplied`].
    pub already_applied: u64,
    /// See [`Settled::Merged`].
    pub merged: u64,
    /// See [`Settled::FastForwarded`].
    pub fast_forwarded: u64,
    /// See [`Settled::Journaled`].
    pub journaled: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, settled: &Settled) {
        let counter = match settled {
            Settled::AlreadyApplied => &mut self.already_applied,
            Settled::Merged { .. } => &mut self.merged,
            Settled::FastForwarded { .. } => &mut self.fast_forwarded,
            Settled::Journaled { .. } => &mut self.journaled,
        };
        *counter += 1;
    }

    /// All that were looked at.
    pub fn total(&self) -> u64 {
        let Self { already_applied, merged, fast_forwarded, journaled } = self;
        already_applied + merged + fast_forwarded + journaled
    }
}

impl Settled {
    /// The record to write, if it is another one than the current.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::AlreadyApplied => None,
            Self::Merged { record } | Self::FastForwarded { record } => Some(record),
            Self::Journaled { record, .. } => record.as_ref(),
        }
    }
}

/// Settles one session at `now`; `epoch` is the first one that was drawn for the home after it last served.
///
/// For regions that return while tombstones of the time since the cut still stand (see `tombstones`): that nobody has a
/// record then means that nobody destroyed it.
pub fn settle(orphan: Orphan<'_>, epoch: u32, now: Stamp) -> Settled {
    let Orphan { mine, base, current } = orphan;
    let lives = mine.life == Life::Live;
    if !is_admissible(mine, current, now) {
        return Settled::AlreadyApplied;
    }
    let Some(current) = current else {
        let record = mine.clone();
        return if lives { Settled::FastForwarded { record } } else { Settled::Merged { record } };
    };
    let record = merge(mine, current).record;
    match lineage(mine, base, current, epoch) {
        Lineage::Next if lives => Settled::FastForwarded { record },
        Lineage::Harmless if record == *current => Settled::AlreadyApplied,
        Lineage::Next | Lineage::Harmless => Settled::Merged { record },
        Lineage::Parted => Settled::Journaled { record: Some(record), loser: loser(mine, current).clone() },
    }
}

/// The same for a region that was away for so long that tombstones may be gone: nothing that it wrote comes to live where
/// nothing lives, and what others have stays, but what it ended stays ended. A session that it created after it had ended the
/// one that the others still have takes that one's place: they cannot have destroyed what they never heard of.
pub fn retire(orphan: Orphan<'_>, epoch: u32, now: Stamp) -> Settled {
    let Orphan { mine, current, .. } = orphan;
    match settle(orphan, epoch, now) {
        Settled::FastForwarded { .. } | Settled::Journaled { .. }
            if mine.life == Life::Live && !current.is_some_and(|theirs| replaces(mine, theirs)) =>
        {
            Settled::Journaled { record: current.cloned(), loser: mine.clone() }
        }
        settled => settled,
    }
}

/// How a record stands to the one that the others have.
enum Lineage {
    /// It comes after the one that the others have.
    Next,
    /// The others have it already, or merging loses nothing that anybody wrote: a destroy, a touch, an end long ago.
    Harmless,
    /// They went apart, and what one of them says will be lost.
    Parted,
}

fn lineage(mine: &Record, base: Option<&Record>, current: &Record, epoch: u32) -> Lineage {
    let age = |record: &Record| (record.incarnation, record.version);
    let touched_at_most = base.is_some_and(|base| age(mine) <= age(base));
    if touched_at_most || age(mine) == age(current) {
        return Lineage::Harmless;
    }
    // Before the cut one region wrote both, one after the other.
    let same = mine.incarnation == current.incarnation || mine.home == current.home;
    let in_line = same && current.version.epoch < epoch;
    let current_lives = current.life == Life::Live;
    match (mine.incarnation.cmp(&current.incarnation), mine.life) {
        // Another session has the id by now.
        (Ordering::Less, Life::Live) if !in_line => Lineage::Parted,
        (Ordering::Less, Life::Live | Life::Dead { .. }) => Lineage::Harmless,
        (Ordering::Equal, Life::Live) if in_line && mine.version < current.version => Lineage::Harmless,
        (Ordering::Equal, Life::Live) if in_line && current_lives => Lineage::Next,
        (Ordering::Equal, Life::Live) => Lineage::Parted,
        // A destroy is what the user asked for, whatever was written elsewhere; an expiry only means that nobody was seen.
        (Ordering::Equal, Life::Dead { expired: true, .. }) if current_lives && !in_line => Lineage::Parted,
        (Ordering::Equal, Life::Dead { .. }) => Lineage::Harmless,
        (Ordering::Greater, _) if current_lives && !in_line => Lineage::Parted,
        (Ordering::Greater, _) => Lineage::Next,
    }
}

/// Which of two that went apart does not say how the session is from now on.
fn loser<'a>(mine: &'a Record, current: &'a Record) -> &'a Record {
    let said = |record: &Record| (record.incarnation, record.life, record.version);
    if prevails(said(mine), said(current)) { current } else { mine }
}

/// Whether the first of two that went apart says how the session is from now on.
pub(crate) fn prevails(mine: (Incarnation, Life, Version), current: (Incarnation, Life, Version)) -> bool {
    let ((mine, mine_life, mine_version), (current, current_life, current_version)) = (mine, current);
    match mine.cmp(&current) {
        Ordering::Less => false,
        Ordering::Greater => true,
        Ordering::Equal => match (mine_life, current_life) {
            (Life::Dead { .. }, _) => true,
            (Life::Live, Life::Dead { .. }) => false,
            (Life::Live, Life::Live) => mine_version >= current_version,
        },
    }
}

#[cfg(test)]
mod tests;
