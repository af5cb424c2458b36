//! Change streams: how a shard of one region follows the shards of another.
//!
//! Whoever follows keeps a cursor in its own log, in the same entry as the changes that it stands for: a change may be sent
//! twice and counts once. Who is too late for the changes gets a copy, page by page in the order of keys, and goes on with
//! the changes since the copy was begun.
//!
//! A shard tells what it orders: the sessions of every home for which it acts. When the right to act for a home changes hands,
//! followers are told of the home's sessions by another source from then on. They hold what the old one told up to some
//! entry, and the new one holds at least as much as anybody who answered; what lies between comes once, in [`Piece::Held`].

use crate::{
    feed::FeedCursor,
    ids::{Key, RegionId, SLOTS, ShardId, Slot, Stamp},
    session::Record,
    slot_set::SlotSet,
    state::Believed,
};
use std::sync::Arc;

/// Where changes come from: a shard of another region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Its region.
    pub region: RegionId,
    /// The shard.
    pub shard: ShardId,
}

/// How far a shard has followed a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// All changes up to here are in; none before the first copy was complete.
    pub cursor: Option<FeedCursor>,
    /// For which slots the cursor stands.
    pub slots: SlotSet,
    /// The latest stamp of the source's log that a piece was of.
    pub as_of: Stamp,
    /// All that the source logged up to this stamp is in: its own, since what it tells may have been written elsewhere, by a
    /// clock that is ahead of it.
    pub held: Stamp,
    /// The copy that is being taken.
    pub copying: Option<Copying>,
}

impl Progress {
    /// Whether the source may speak for slots of this shard: it did when it was heard last, or was never heard.
    pub fn shares_slots(&self) -> bool {
        self.cursor.is_none() || !self.slots.is_empty()
    }
}

/// A copy on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Copying {
    /// Where its changes go on: the end of the source's feed when the copy was begun.
    pub begin: FeedCursor,
    /// The last key that is in; none yet before the first page.
    pub after: Option<Key>,
    /// What [`Progress::held`] will be: the stamp of the first page, since all others are read after it.
    pub held: Stamp,
    /// The slots of which all pages so far spoke.
    pub slots: SlotSet,
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Changes after a cursor.
    Changes {
        /// The cursor that they follow on: another one than that of the follower changes nothing.
        after: FeedCursor,
        /// The cursor after them.
        next: FeedCursor,
        /// The latest record of each session that changed.
        records: Vec<(Key, Record)>,
        /// Slots of the follower's that its source has let go or taken in meanwhile: the cursor stands for them no more. What was changed
        /// in them before is among the records.
        turned: SlotSet,
    },
    /// A page of a copy.
    Page {
        /// The stamp of this shard's log when it was asked for. Refused if the shard has logged a sweep since: the page may have
        /// been read before others knew of what this shard has forgotten by now.
        asked: Stamp,
        /// See [`Copying::begin`]: another one than that of the copy on its way begins a new copy, if this is its first page and
        /// the cursor does not go back by it.
        begin: FeedCursor,
        /// Which part.
        span: Span,
        /// The homes for which the source acts, and under which epochs. What it does not know of these is forgotten here, unless
        /// a later epoch was promised.
        homes: Believed,
        /// Whether what is here of homes that this region acts for no more gives way to it: a region that has returned, and
        /// has settled what it wrote while others acted, has their copy in place of its own.
        replaces: bool,
        /// Every session that the source orders, and such as have travelled.
        records: Vec<(Key, Record)>,
        /// Every session that it knows and another region orders.
        elsewhere: Vec<Key>,
    },
    /// The source speaks for these slots only from its cursor on: others that the cursor stood for went to another of its region's
    /// shards before.
    Bounded {
        /// Those, and maybe some for which the cursor does not stand yet.
        slots: SlotSet,
    },
    /// Some of what the source holds of a home, whoever wrote it: for those who are about to act for the home, and for those
    /// who follow whoever acts. Says nothing of what the source told by itself.
    Held {
        /// As for a page of a copy.
        asked: Stamp,
        /// Whose sessions.
        home: RegionId,
        /// The epoch that was drawn: refused unless it is the one that was promised here.
        epoch: u32,
        /// Sessions that are at home there, and such as have travelled.
        records: Vec<(Key, Record)>,
    },
}

/// A part of a shard in the order of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The key before it; none for the first part.
    pub after: Option<Key>,
    /// Its last key; none if it is all the rest.
    pub until: Option<Key>,
    /// Only these slots.
    pub slots: SlotSet,
}

impl Span {
    /// All slots, after a key.
    pub fn all_after(after: Option<Key>) -> Self {
        let slots = SlotSet::of(Slot::new(0).zip(Slot::new(SLOTS - 1)));
        Self { after, until: None, slots }
    }
}

/// What a source knows of a span.
#[derive(Clone, Debug)]
pub struct CopyPage {
    /// The homes for which it acts, and under which epochs.
    pub homes: Believed,
    /// Sessions that it orders, and such as have travelled.
    pub records: Vec<(Key, Arc<Record>)>,
    /// Sessions that another region orders.
    pub elsewhere: Vec<Key>,
    /// The last key that the page speaks of: see [`Span::until`].
    pub until: Option<Key>,
}

/// What a source holds of a home in a span.
#[derive(Clone, Debug)]
pub struct HeldPage {
    /// See [`Piece::Held`].
    pub records: Vec<(Key, Arc<Record>)>,
    /// The last key that the page speaks of: see [`Span::until`].
    pub until: Option<Key>,
}

/// What a shard takes into its own log.
#[derive(Clone, Debug, PartialEq)]
pub struct Absorbed {
    /// Where it comes from.
    pub source: Source,
    /// The stamp of the last entry that it tells of, or that had been applied before its page was read; 0 where it is of none.
    pub as_of: Stamp,
    /// For which homes the source is believed although something may be written under an earlier epoch than was promised here,
    /// and under which epoch: those for which it acts. Of its own home a region believes those who act for it only when what
    /// it wrote itself meanwhile is settled.
    pub believed: Believed,
    /// What.
    pub piece: Piece,
}
