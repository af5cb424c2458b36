//! What a caller is told of a command, or why it changed nothing.

use crate::{
    ids::{RegionId, ShardId, Stamp},
    orphans::Tally,
    query::View,
    session::{Incarnation, Version},
    slots::SlotRefusal,
};

/// What a caller is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It happened.
    Done,
    /// Nothing there, or a condition failed.
    Nothing,
    /// A number.
    Count(i64),
    /// A value.
    Bytes(Box<[u8]>),
    /// A score.
    Score(f64),
    /// Members.
    Members(Vec<Box<[u8]>>),
    /// Members with their scores.
    Scored(Vec<(Box<[u8]>, f64)>),
    /// A session was written: what it is now and when it ends.
    Written {
        /// Which session under the id.
        incarnation: Incarnation,
        /// The version after the write.
        version: Version,
        /// The earlier of its deadlines.
        deadline: Stamp,
    },
    /// A session as it is, or none.
    Record(Option<Box<View>>),
    /// One outcome for each step.
    Many(Vec<Outcome>),
    /// What became of writes that a region made while others acted for it.
    Settled(Tally),
    /// Nothing changed, and why.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// `create` found a living session.
    #[error("a session with this id exists")]
    Exists,
    /// `RENAME` and kin found no source.
    #[error("no session with this id")]
    Missing,
    /// An update found a session destroyed, expired or never created.
    #[error("the session is gone: it was destroyed, has expired, or never existed; an update never creates one")]
    Gone,
    /// A write over a version that is not current.
    #[error("the session was changed meanwhile; read the current record that came with this and try again")]
    Conflict {
        /// The record as it is.
        current: Box<View>,
    },
    /// A `RESTORE` over something that lives.
    #[error("the target id is in use")]
    Busy,
    /// An operation on a session of another kind.
    #[error("the operation does not fit a session of this kind")]
    WrongKind,
    /// A value that should be an integer is none, or out of range.
    #[error("the value is not an integer or out of range")]
    NotInteger,
    /// A value that should be a float is none.
    #[error("the value is not a valid float")]
    NotFloat,
    /// A hash's value that should be an integer is none.
    #[error("the hash value is not an integer")]
    HashNotInteger,
    /// A hash's value that should be a float is none.
    #[error("the hash value is not a float")]
    HashNotFloat,
    /// An increment beyond 64 bits.
    #[error("the increment would overflow")]
    Overflow,
    /// A float result that is no number.
    #[error("the result would be NaN or infinite")]
    NotFinite,
    /// More bytes than the namespace allows.
    #[error("the session would have {bytes} bytes, the namespace allows {bytes_max}")]
    TooLarge {
        /// The size it would have.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
        /// The largest fields and their sizes, at most five, largest first.
        largest: Vec<(Box<[u8]>, u64)>,
    },
    /// The login read a revocation epoch that is below the user's.
    #[error("the user's sessions were revoked after this login began; log in again")]
    Revoked {
        /// The user's epoch.
        epoch: u64,
    },
    /// The namespace refuses ids that were destroyed.
    #[error("a session with this id was destroyed and the namespace refuses to create it again")]
    Destroyed,
    /// Keys of one command lie in several shards.
    #[error("the keys of one atomic command must hash to the same slot")]
    CrossSlot,
    /// A read for another shard than the one asked, after slots moved.
    #[error("the slot is not held by this shard")]
    NotHere,
    /// Another shard of the region serves the slot, or will in a moment: whoever asked goes by the slot table anew.
    #[error("the slot is on its way to another shard, or there")]
    SlotMoved {
        /// Where it is likely to be served.
        to: Option<ShardId>,
    },
    /// A step of a slot's move was not taken.
    #[error(transparent)]
    Slot(SlotRefusal),
    /// Another region orders the writes of the session.
    #[error("the session's home is region {}", home.0)]
    Elsewhere {
        /// Which.
        home: RegionId,
    },
    /// Who asks, or whoever wrote what is told, has lost the right to act for a home.
    #[error("nothing that is written for region {} under an epoch before {epoch} counts any more", home.0)]
    Fenced {
        /// Whose sessions.
        home: RegionId,
        /// The epoch that counts.
        epoch: u32,
    },
}
