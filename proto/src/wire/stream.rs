//! What shards of different regions tell each other.

use super::{Reader, Wire, WireError};
use crate::{wire_enum, wire_struct};
use sojourn_core::{
    Slot, SlotSet,
    digest::SlotDigest,
    feed::{FeedCursor, FeedId},
    stream::{Absorbed, Copying, Piece, Progress, Source, Span},
};

impl Wire for FeedId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        u64::take(input).map(Self)
    }
}

impl Wire for SlotSet {
    fn put(&self, out: &mut Vec<u8>) {
        self.to_vec().put(out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Vec::<(Slot, Slot)>::take(input).map(Self::of)
    }
}

wire_struct!(FeedCursor { feed, index });
wire_struct!(Source { region, shard });
wire_struct!(Copying { begin, after, held, slots });
wire_struct!(Progress { cursor, slots, as_of, held, copying });
wire_struct!(SlotDigest { slot, sequence, sum });
wire_struct!(Span { after, until, slots });
wire_enum!(Piece {
    0 => Changes { after, next, records, turned },
    1 => Page { asked, begin, span, homes, replaces, records, elsewhere },
    2 => Held { asked, home, epoch, records },
    3 => Bounded { slots },
});
wire_struct!(Absorbed { source, as_of, believed, piece });
