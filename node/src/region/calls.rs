//! What nodes of a region ask each other beside Raft, and how it looks on the wire.

use crate::shard::NotProposed;
use bytes::{Buf, Bytes};
use sojourn_core::{RegionId, ShardId};
use sojourn_proto::wire::{Wire, WireError, decode_all, encode};

/// A bundle of writes for a shard that the other node leads.
pub const WRITE: u8 = 10;
/// Reads, likewise.
pub const READ: u8 = 11;
/// A message to subscribers.
pub const PUBLISH: u8 = 12;
/// A change of what the region agrees on, for the leader of the system group.
pub const CHANGE: u8 = 13;
/// How a node is.
pub const STATUS: u8 = 14;
/// Hand the lead of a group over.
pub const TRANSFER: u8 = 15;
/// Whether the caller is no part of a group, for the group's leader.
pub const IS_OUT: u8 = 16;
/// As [`WRITE`], of what another region asks: written here or not at all.
pub const WRITE_AT_HOME: u8 = 18;
/// About what the world agrees on.
pub const COUNSEL: u8 = 19;
/// Who leads a shard, for a node that holds it.
pub const LEADER: u8 = 17;
/// How a shard stands to other regions, for its leader.
pub const STANDING: u8 = 21;
/// A page of what a shard holds of a home, from its leader.
pub const HELD: u8 = 22;

/// Which of these origins are the node's, and below which of their sequences nothing is asked again.
pub const SETTLED: u8 = 23;

/// The first bytes of a forwarded call.
pub fn shard_head(shard: ShardId) -> [u8; 4] {
    shard.0.to_le_bytes()
}

/// Takes a little-endian number off the front.
pub fn take_u32(body: &mut Bytes) -> Option<u32> {
    (body.len() >= 4).then(|| body.get_u32_le())
}

/// A vote in front of forwarded reads, a length before it; a longer one than any is, as none.
pub fn vote_head(vote: &[u8]) -> Vec<u8> {
    match u8::try_from(vote.len()) {
        Ok(length) => [&[length], vote].concat(),
        Err(_) => vec![0],
    }
}

/// Takes what [`vote_head`] made off the front.
pub fn take_vote(body: &mut Bytes) -> Option<Bytes> {
    let length = usize::from(*body.first()?);
    (body.len() > length).then(|| {
        body.advance(1);
        body.split_to(length)
    })
}

const DONE: u8 = 0;
const NOT_LEADER: u8 = 1;
const NO_ROOM: u8 = 2;
const OVERLOADED: u8 = 3;
const STOPPED: u8 = 4;
const HOME_AWAY: u8 = 5;
const NOT_COPIED: u8 = 6;
const NOT_ACTING: u8 = 7;

/// The bytes of an answer: a status and, after [`DONE`], the value.
pub fn encode_answer<T: Wire>(answer: &Result<T, NotProposed>) -> Vec<u8> {
    let status = match answer {
        Ok(value) => {
            let mut out = vec![DONE];
            value.put(&mut out);
            return out;
        }
        Err(NotProposed::NotLeader) => NOT_LEADER,
        Err(NotProposed::NoRoom) => NO_ROOM,
        Err(NotProposed::Overloaded) => OVERLOADED,
        Err(NotProposed::Stopped) => STOPPED,
        Err(NotProposed::HomeAway(region)) => return encode_region(HOME_AWAY, region),
        Err(NotProposed::NotActing(region)) => return encode_region(NOT_ACTING, region),
        Err(NotProposed::NotCopied { reached }) => {
            let mut out = vec![NOT_COPIED];
            reached.put(&mut out);
            return out;
        }
    };
    vec![status]
}

fn encode_region(status: u8, region: &RegionId) -> Vec<u8> {
    let mut out = vec![status];
    region.put(&mut out);
    out
}

/// Reads back what [`encode_answer`] wrote.
///
/// # Errors
/// Bytes of another version.
pub fn decode_answer<T: Wire>(bytes: &[u8]) -> Result<Result<T, NotProposed>, WireError> {
    let (status, rest) = bytes.split_first().ok_or(WireError::Cut)?;
    match *status {
        DONE => decode_all(rest).map(Ok),
        NOT_LEADER => Ok(Err(NotProposed::NotLeader)),
        NO_ROOM => Ok(Err(NotProposed::NoRoom)),
        OVERLOADED => Ok(Err(NotProposed::Overloaded)),
        STOPPED => Ok(Err(NotProposed::Stopped)),
        HOME_AWAY => decode_all(rest).map(|region| Err(NotProposed::HomeAway(region))),
        NOT_COPIED => decode_all(rest).map(|reached| Err(NotProposed::NotCopied { reached })),
        NOT_ACTING => decode_all(rest).map(|region| Err(NotProposed::NotActing(region))),
        tag => Err(WireError::UnknownTag { of: "an answer", tag: u64::from(tag) }),
    }
}

/// A published message: namespace, channel, message.
pub type Published = (sojourn_core::NamespaceId, (Box<[u8]>, Box<[u8]>));

/// The bytes of a published message.
pub fn encode_published(published: &Published) -> Vec<u8> {
    encode(published)
}
