//! What nodes of different regions ask and tell each other, and how it looks on the wire.

use crate::region::{
    backend::Unavailable,
    standing::Standing,
    sweep::{Sweep, Swept},
};
use sojourn_core::{
    Key, NodeId, Record, RegionId, ShardId, Slot, SlotSet, SlotTable, Stamp, digest::SlotDigest, feed::FeedCursor,
    state::Believed, stream::Span,
};
use sojourn_proto::{
    wire::{Wire, WireError},
    wire_enum, wire_struct,
};
use std::collections::BTreeMap;

/// Follow a shard: [`Follow`], answered by [`Followed`].
pub(super) const FOLLOW: u8 = 30;
/// A page of a copy: [`CopyOf`], answered by [`Copied`].
pub(super) const COPY: u8 = 31;
/// A follower has taken something in, or wants to hear how far the shard is: a [`Tick`], without an answer.
pub(super) const TICK: u8 = 32;
/// Changes for a follower: the stream's number in eight bytes and a packed [`Batch`], without an answer.
pub(super) const BATCH: u8 = 33;
/// A stream has ended at its source: its number, without an answer.
pub(super) const OVER: u8 = 34;
/// Writes for sessions that the other region orders: commands, answered by outcomes.
pub(super) const WRITE: u8 = 35;
/// A read of such a session: its key and what is wanted of it.
pub(super) const READ: u8 = 36;

/// About what the world agrees on: a question of the control group.
pub(super) const CONTROL: u8 = 38;
/// A [`Sweep`] over the whole region, answered by what became of it.
pub(super) const SWEEP: u8 = 37;

/// Which of these origins are of nodes of the region, and below which of their sequences nothing is asked again.
pub(super) const SETTLED: u8 = 46;

/// A page of what a shard holds of a home: [`HeldOf`], answered by a packed [`Held`].
pub(super) const HELD: u8 = 45;
/// Digests of a part of a shard: [`DigestsOf`], answered by [`Digests`], or by none where another node leads.
pub(super) const DIGESTS: u8 = 44;

/// How all shards of the region stand, once all are past a stamp: that stamp, answered by a [`Survey`].
pub(super) const SURVEY: u8 = 47;

/// Asks to follow a shard.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Follow {
    /// A number by which the follower knows the stream.
    pub stream: u64,
    /// The shard.
    pub shard: ShardId,
    /// The slots that the follower serves.
    pub slots: SlotSet,
    /// How far the follower is; none if it has nothing.
    pub cursor: Option<FeedCursor>,
    /// For which slots that stands.
    pub stands: SlotSet,
    /// Bytes that may be on their way before the follower has taken them in.
    pub window_bytes: u64,
}

/// What a follower is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Followed {
    /// Batches come from now on, of the slots for which the follower's cursor stands.
    Streaming,
    /// The feed does not reach back to the cursor: take a copy of these slots, then follow from here.
    CopyFirst {
        /// The end of the feed now.
        begin: FeedCursor,
        /// Those of the follower's slots that the shard serves.
        slots: SlotSet,
    },
    /// The follower's cursor stands for other slots than those of its that the shard serves since then: take a copy of what is lacking.
    Bounded {
        /// The latter.
        slots: SlotSet,
    },
    /// Another node leads the shard.
    NotLeader {
        /// Which, if this one knows.
        leader: Option<NodeId>,
    },
}

/// What a follower tells its source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Which stream.
    pub stream: u64,
    /// Bytes of batches that were taken in since it began.
    pub taken_bytes: u64,
    /// The index up to which the follower's region has everything on its disks.
    pub logged_index: u64,
    /// The follower's boot clock in ms, to be echoed by the first batch up to which all is sent that was committed when this
    /// arrived.
    pub ping_ms: Option<u64>,
}

/// What changed, after what was sent last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    /// The cursor that it follows on.
    pub after: FeedCursor,
    /// The cursor after it.
    pub next: FeedCursor,
    /// The stamp of the last entry that it tells of; 0 if it tells of none.
    pub as_of: Stamp,
    /// See [`Tick::ping_ms`].
    pub echo_ms: Option<u64>,
    /// The homes for which the source acts, and under which epochs.
    pub acts: Believed,
    /// Whether somebody waits to hear that it is logged.
    pub is_awaited: bool,
    /// The last index of the source's feed.
    pub end_index: u64,
    /// The latest record of each session that changed.
    pub records: Vec<(Key, Record)>,
    /// See [`sojourn_core::stream::Piece::Changes`].
    pub turned: SlotSet,
}

/// Asks for a page of a copy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CopyOf {
    /// The shard.
    pub shard: ShardId,
    /// Where the copy was begun.
    pub begin: FeedCursor,
    /// Which part.
    pub span: Span,
}

/// A page of a copy.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Copied {
    /// What there is.
    Page {
        /// The stamp of the source's log before it was read.
        as_of: Stamp,
        /// Of which slots it speaks: those that were asked for and that the shard serves.
        slots: SlotSet,
        /// See [`Span::until`].
        until: Option<Key>,
        /// The homes for which the source acts, and under which epochs.
        homes: Believed,
        /// Sessions that the region orders.
        records: Vec<(Key, Record)>,
        /// Sessions that another one orders.
        elsewhere: Vec<Key>,
    },
    /// What changed since the copy was begun is not known any more: begin anew.
    BeginAnew,
    /// Another node leads the shard.
    NotLeader,
}

/// Asks for a page of what a shard holds of a home, whoever wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeldOf {
    /// The shard.
    pub shard: ShardId,
    /// Whose sessions.
    pub home: RegionId,
    /// The epoch that it must have promised: before that more may come in.
    pub epoch: u32,
    /// What was written at this stamp or later.
    pub since: Stamp,
    /// Which part.
    pub span: Span,
}

/// Such a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Held {
    /// What there is.
    Page {
        /// The sessions.
        records: Vec<(Key, Record)>,
        /// See [`Span::until`].
        until: Option<Key>,
    },
    /// It has not promised the epoch.
    NotYet,
    /// Another node leads the shard.
    NotLeader,
}

wire_struct!(HeldOf { shard, home, epoch, since, span });
wire_enum!(Held { 0 => Page { records, until }, 1 => NotYet, 2 => NotLeader });
/// Asks for digests.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DigestsOf {
    /// The shard.
    pub shard: ShardId,
    /// Of which slots, from first to last.
    pub slots: Vec<(Slot, Slot)>,
}

/// What a shard has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Digests {
    /// Nothing of it was changed by a later entry.
    pub index: u64,
    /// For whom it acts, and under which epochs.
    pub homes: Believed,
    /// Slot by slot, but for those in which there never was anything.
    pub slots: Vec<SlotDigest>,
}

/// The shards of a region.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Survey {
    /// Which slots they have.
    pub slots: SlotTable,
    /// How they stand.
    pub shards: BTreeMap<ShardId, Standing>,
}

wire_struct!(Survey { slots, shards });
wire_struct!(DigestsOf { shard, slots });
wire_struct!(Digests { index, homes, slots });
wire_struct!(Follow { stream, shard, slots, cursor, stands, window_bytes });
wire_enum!(Followed { 0 => Streaming, 1 => CopyFirst { begin, slots }, 2 => NotLeader { leader }, 3 => Bounded { slots } });
wire_struct!(Tick { stream, taken_bytes, logged_index, ping_ms });
wire_struct!(Batch { after, next, as_of, echo_ms, end_index, is_awaited, acts, records, turned });
wire_struct!(CopyOf { shard, begin, span });
wire_enum!(Copied { 0 => Page { as_of, slots, until, homes, records, elsewhere }, 1 => BeginAnew, 2 => NotLeader });
wire_struct!(Sweep { namespace, rules, op });
wire_enum!(Swept { 0 => Ended[count], 1 => EpochTooLow { highest } });
wire_enum!(Unavailable {
    0 => NoLeader { shard, retry_after_ms },
    1 => HomeAway { region, retry_after_ms },
    2 => DiskFull,
    3 => Overloaded { requests_max },
    4 => Loading,
    5 => Refused[reason],
    6 => NotCopied { reached, retry_after_ms },
    7 => NotActing { region, retry_after_ms },
    8 => Undecided[why],
});

/// A result between regions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told<T>(pub Result<T, Unavailable>);

impl<T: Wire> Wire for Told<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Ok(value) => {
                out.push(1);
                value.put(out);
            }
            Err(error) => {
                out.push(0);
                error.put(out);
            }
        }
    }
    fn take(input: &mut sojourn_proto::wire::Reader<'_>) -> Result<Self, WireError> {
        Ok(Self(if bool::take(input)? { Ok(T::take(input)?) } else { Err(Unavailable::take(input)?) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sojourn_proto::wire::decode_all;

    proptest! {
        #[test]
        fn noise_is_never_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _outcome = decode_all::<Batch>(&noise);
            let _outcome = decode_all::<Copied>(&noise);
            let _outcome = decode_all::<Follow>(&noise);
        }
    }
}
