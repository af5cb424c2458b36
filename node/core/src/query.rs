//! Reads: what can be asked of a shard without changing it.

use crate::{
    ids::{Key, NamespaceId, RegionId, ShardId, Slot, Stamp},
    session::{Fields, Incarnation, Kind, Owner, Version},
    state::SlotPage,
    token::Token,
};
use std::collections::BTreeSet;

/// How much of a session a reader needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Everything.
    Whole,
    /// All but the fields; their number and size only.
    Summary,
    /// These fields only.
    Fields(Vec<Box<[u8]>>),
}

/// A session as a reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its shape.
    pub kind: Kind,
    /// Which session under this id; its stamp is when it was created.
    pub incarnation: Incarnation,
    /// Which body.
    pub version: Version,
    /// Its home, as far as the region that answers knows: which orders its writes, unless others act for that.
    pub home: RegionId,
    /// The last logged change.
    pub written: Stamp,
    /// 0 where the client set no expiry.
    pub idle_timeout_ms: u64,
    /// When it ends unless touched, what the leader holds in memory included.
    pub idle_deadline: Stamp,
    /// When it ends whatever happens.
    pub absolute_deadline: Stamp,
    /// Whose it is.
    pub owner: Option<Box<Owner>>,
    /// How many fields it has.
    pub field_count: u64,
    /// Their size, as [`Fields::bytes`] counts.
    pub bytes: u64,
    /// Those fields that the projection asked for.
    pub fields: Fields,
}

/// Restricts a listing. Empty restricts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only sessions of this user.
    pub user: Option<Box<[u8]>>,
    /// Only sessions with this label at this value.
    pub label: Option<(Box<[u8]>, Box<[u8]>)>,
    /// Only sessions that end before this stamp.
    pub expiring_before: Option<Stamp>,
    /// Only sessions of this kind.
    pub kind: Option<Kind>,
    /// Only ids that match this glob (Redis's syntax).
    pub pattern: Option<Box<[u8]>>,
}

/// A read of one shard.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// One session. Answers `Record`.
    Get {
        /// Which.
        key: Key,
        /// How much of it.
        projection: Projection,
    },
    /// One session, if this region orders it: what other regions ask. Answers `Seen`, or `Elsewhere`.
    GetAtHome {
        /// Which.
        key: Key,
        /// How much of it.
        projection: Projection,
    },
    /// One session, no less of it than the caller has seen. Answers `Seen`.
    GetSince {
        /// Which.
        key: Key,
        /// How much of it.
        projection: Projection,
        /// What the caller has seen; none for nothing.
        token: Option<Token>,
    },
    /// A page of a namespace in a stable order: by slot, then by a hash of the id; with only [`Filter::expiring_before`], by
    /// deadline first. A session that passes the filter all along comes at least once, unless its deadline is shortened while
    /// it is walked by deadline. Filters by user, label and deadline walk an index. Answers `Page`.
    Scan {
        /// Whose.
        namespace: NamespaceId,
        /// Which of them.
        filter: Filter,
        /// Where the last page ended; `None` to begin.
        from: Option<Cursor>,
        /// How many sessions to look at, 1 to [`PAGE_COUNT_MAX`]; all that share a cursor position come in one page.
        count: u64,
        /// The last slot that whoever asks believes to be served here from `from` on; answered by [`Answer::SlotMoved`] if one of
        /// them is not.
        until: Option<Slot>,
    },
    /// How many live sessions there are and their size. Answers `Total`; without a filter at once, and then with those whose
    /// end is not logged yet.
    Count {
        /// Whose.
        namespace: NamespaceId,
        /// Which of them.
        filter: Filter,
    },
    /// How many live sessions a slot holds, in any namespace (`CLUSTER COUNTKEYSINSLOT`). Answers `Total`.
    CountSlot {
        /// The slot.
        slot: Slot,
        /// Whose.
        namespace: NamespaceId,
    },
    /// A user's revocation epoch, 0 at first. Answers `Epoch`.
    RevocationEpoch {
        /// Whose user.
        namespace: NamespaceId,
        /// The user.
        user: Box<[u8]>,
    },
    /// Any session of the namespace, chosen by `seed` (`RANDOMKEY`). Answers `Page` with one id or none.
    Random {
        /// Whose.
        namespace: NamespaceId,
        /// Randomness to choose by.
        seed: u64,
    },
    /// What the shard has to do with some slots, and what it has of them, for whoever moves them. Answers `Slots`.
    Slots {
        /// Which.
        slots: BTreeSet<Slot>,
        /// From where on to copy; without it nothing is.
        copy: Option<SlotsFrom>,
    },
}

impl Query {
    /// The session that is asked for; none if it is of many.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Get { key, .. } | Self::GetAtHome { key, .. } | Self::GetSince { key, .. } => Some(key),
            Self::Scan { .. }
            | Self::Count { .. }
            | Self::CountSlot { .. }
            | Self::RevocationEpoch { .. }
            | Self::Random { .. }
            | Self::Slots { .. } => None,
        }
    }
}

/// Which part of some slots is to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotsFrom {
    /// What was written at this stamp or later.
    pub since: Stamp,
    /// The last key of the page before.
    pub after: Option<Key>,
}

/// The most sessions that one page looks at, whatever is asked for.
pub const PAGE_COUNT_MAX: u64 = 4_096;

/// A position in a scan: sessions at or after `(slot, hash)` are still to come, or those at or after
/// `(deadline, slot, hash)` in a walk by deadline. It means the same on every node and after slots moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The deadline in a walk by deadline, else 0.
    pub deadline: Stamp,
    /// The slot.
    pub slot: u16,
    /// The hash of the id, below 2^[`CURSOR_HASH_BITS`].
    pub hash: u64,
}

/// Bits of an id's hash in a cursor.
pub const CURSOR_HASH_BITS: u32 = crate::ids::HASH_BITS;

impl Cursor {
    /// The number that a client sees in a walk by key: below 2^53, so that clients which keep cursors in floats survive;
    /// never 0, which means "begin" and "ended" to clients.
    pub fn to_number(self) -> u64 {
        (u64::from(self.slot) << CURSOR_HASH_BITS | self.hash) + 1
    }

    /// The position of a number that a client sent; `None` for 0 and for numbers that were never given out.
    pub fn from_number(number: u64) -> Option<Self> {
        let number = number.checked_sub(1)?;
        let slot = u16::try_from(number >> CURSOR_HASH_BITS).ok().and_then(Slot::new)?;
        Some(Self { deadline: 0, slot: slot.number(), hash: number & ((1 << CURSOR_HASH_BITS) - 1) })
    }
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The id.
    pub id: Box<[u8]>,
    /// The session without its fields.
    pub view: View,
}

/// What a read is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A session, or none that lives.
    Record(Option<Box<View>>),
    /// A session, or none that lives, as one copy of it shows it.
    Seen {
        /// The session.
        view: Option<Box<View>>,
        /// What the caller has seen by now; none of a session that nobody knows.
        token: Option<Token>,
        /// How old the copy may be; 0 of what its home has answered.
        age_ms: u64,
    },
    /// Whoever acts for this home orders the session; this region does not.
    Elsewhere(RegionId),
    /// A page; `next` is where to go on, `None` at the end of this shard.
    Page {
        /// Sessions that passed the filter.
        lines: Vec<Line>,
        /// Where to go on.
        next: Option<Cursor>,
    },
    /// Numbers.
    Total {
        /// Live sessions.
        sessions: u64,
        /// The bytes of their fields.
        bytes: u64,
    },
    /// A revocation epoch.
    Epoch(u64),
    /// Another shard of the region serves the slot, or will in a moment: whoever asked goes by the slot table anew.
    SlotMoved {
        /// Where it is likely to be served.
        to: Option<ShardId>,
    },
    /// Slots and what there is of them.
    Slots(Box<SlotPage>),
}
