//! Change streams: how a shard of one region follows the shards of another.
//!
//! Whoever follows keeps a cursor in its own log, in the same entry as the changes that it stands for: a change may be sent
//! twice and counts once. Who is too late for the changes gets a copy, page by page in the order of keys, and goes on with
//! the changes since the copy was begun.

use crate::{
    feed::FeedCursor,
    ids::{Key, RegionId, SLOTS, ShardId, Slot, Stamp},
    session::Record,
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
    /// The stamp of the source's log there.
    pub as_of: Stamp,
    /// The copy that is being taken.
    pub copying: Option<Copying>,
}

/// A copy on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Copying {
    /// Where its changes go on: the end of the source's feed when the copy was begun.
    pub begin: FeedCursor,
    /// The last key that is in; none yet before the first page.
    pub after: Option<Key>,
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
    },
    /// A page of a copy.
    Page {
        /// See [`Copying::begin`]: another one than that of the copy on its way begins a new copy, if this is its first page.
        begin: FeedCursor,
        /// Which part.
        span: Span,
        /// Every session that the source orders.
        records: Vec<(Key, Record)>,
        /// Every session that it knows and another region orders.
        elsewhere: Vec<Key>,
    },
}

/// A part of a shard in the order of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The key before it; none for the first part.
    pub after: Option<Key>,
    /// Its last key; none if it is all the rest.
    pub until: Option<Key>,
    /// Only these slots, in ranges from first to last.
    pub slots: Vec<(Slot, Slot)>,
}

impl Span {
    /// All slots, after a key.
    pub fn all_after(after: Option<Key>) -> Self {
        let slots = Slot::new(0).zip(Slot::new(SLOTS - 1)).into_iter().collect();
        Self { after, until: None, slots }
    }
}

/// What a source knows of a span.
#[derive(Clone, Debug)]
pub struct CopyPage {
    /// Sessions that it orders.
    pub records: Vec<(Key, Arc<Record>)>,
    /// Sessions that another region orders.
    pub elsewhere: Vec<Key>,
    /// The last key that the page speaks of: see [`Span::until`].
    pub until: Option<Key>,
}

/// What a shard takes into its own log.
#[derive(Clone, Debug, PartialEq)]
pub struct Absorbed {
    /// Where it comes from.
    pub source: Source,
    /// The stamp of the source's log at its end.
    pub as_of: Stamp,
    /// What.
    pub piece: Piece,
}
