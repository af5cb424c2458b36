//! Whether a copy is what its source has, slot by slot, without comparing every record.
//!
//! A source sums up what it orders in a slot; who follows sums up its copies in the same way. The answer is sure where the follower
//! has taken in all that the source had changed by then, and nothing later in that slot: the sequence of a slot's versions
//! tells. Deadlines that only use has moved are no part of it, nor is what is over: each side forgets that in its own time. Of
//! fields it knows number and size, as those may be on disk only.

use crate::{
    ids::{Key, Slot},
    session::{Incarnation, Life, Owner, Record, Version},
};

/// What a source has in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotDigest {
    /// The slot.
    pub slot: Slot,
    /// No version in it has a higher sequence.
    pub sequence: u64,
    /// The sum over its living sessions.
    pub sum: u64,
}

/// Whether two copies of a living session are told apart by digests.
pub(crate) fn is_alike(one: &Record, other: &Record) -> bool {
    shape(one) == shape(other) && one.owner == other.owner
}

/// What a digest sees of a record, beside its owner.
fn shape(record: &Record) -> [u64; 9] {
    let Version { epoch, home_epoch, sequence } = record.version;
    let Incarnation { stamp, region } = record.incarnation;
    [
        stamp,
        u64::from(region.0) << 32 | record.kind as u64,
        u64::from(epoch) << 32 | u64::from(home_epoch),
        sequence,
        record.idle_timeout_ms,
        record.absolute_deadline,
        record.body_bytes(),
        record.field_count(),
        u64::from(record.owner.is_some()),
    ]
}

/// What a living session adds to its slot's sum.
pub(crate) fn share(key: &Key, record: &Record) -> u64 {
    let mut mixed = mix_bytes(u64::from(key.namespace().0), key.id());
    for word in shape(record) {
        mixed = mix(mixed, word);
    }
    let Some(Owner { user, revocation_epoch, labels }) = record.owner.as_deref() else { return mixed };
    mixed = mix(mix_bytes(mixed, user), *revocation_epoch);
    labels.iter().fold(mixed, |mixed, (name, value)| mix_bytes(mix_bytes(mixed, name), value))
}

/// What a record that is kept aside adds to its slot's sum, alive or over, with all that a reader may see of it.
pub(crate) fn whole(key: &Key, record: &Record) -> u64 {
    let life = match record.life {
        Life::Live => [0; 3],
        Life::Dead { at, collect_at, expired } => [at, collect_at, 1 + u64::from(expired)],
    };
    let times = [record.written, record.idle_deadline, u64::from(record.home.0)];
    life.into_iter().chain(times).fold(share(key, record), mix)
}

/// Some words as one.
pub(crate) fn mixed(words: [u64; 4]) -> u64 {
    words.into_iter().fold(0, mix)
}

/// A key as one word.
pub(crate) fn name(key: &Key) -> u64 {
    mix_bytes(u64::from(key.namespace().0), key.id())
}

/// Some bytes as one word.
pub(crate) fn bytes(bytes: &[u8]) -> u64 {
    mix_bytes(0, bytes)
}

fn mix_bytes(mixed: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.fold(mix(mixed, bytes.len() as u64), mix)
}

/// As SplitMix64 mixes. Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
fn mix(mixed: u64, word: u64) -> u64 {
    let mut mixed = (mixed ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
