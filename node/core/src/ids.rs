//! The names of things: regions, nodes, shards, slots, namespaces, session keys, and stamps.

use std::sync::Arc;

/// Milliseconds since the Unix epoch, as a shard leader stamped them into the log.
pub type Stamp = u64;

/// A deadline that never comes.
pub const NEVER: Stamp = u64::MAX;

/// Slots of every world, as in Redis Cluster.
pub const SLOTS: u16 = 16_384;

/// The longest session id in bytes.
pub const ID_BYTES_MAX: usize = 512;

/// A region of the world; numbered by the order in which regions joined it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u16);

/// A node of a region; never used again after the node was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// One Raft group of a region that holds sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// One application's sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub u32);

/// `crc16(id) mod 16384`: the unit that is placed and moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of an id, by the hash tag between the first `{` and the next `}` where there is one that is not empty.
    ///
    /// Source: Redis Cluster specification, "Hash tags"; the CRC is CRC-16/XMODEM.
    pub fn of(id: &[u8]) -> Self {
        const CRC: crc::Crc<u16, crc::Table<16>> = crc::Crc::<u16, crc::Table<16>>::new(&crc::CRC_16_XMODEM);
        Self(CRC.checksum(hash_tag(id)) % SLOTS)
    }

    /// Slot number `number`, if there is one.
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    /// The number, below [`SLOTS`].
    pub const fn number(self) -> u16 {
        self.0
    }
}

fn hash_tag(id: &[u8]) -> &[u8] {
    let Some(open) = id.iter().position(|&byte| byte == b'{') else { return id };
    let rest = &id[open + 1..];
    match rest.iter().position(|&byte| byte == b'}') {
        Some(length) if length > 0 => &rest[..length],
        Some(_) | None => id,
    }
}

/// A session's name: slot, namespace and id. Ordered by slot first, so that a slot is one range.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    slot: Slot,
    namespace: NamespaceId,
    id: Arc<[u8]>,
}

/// Why some bytes are not a session id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No bytes at all.
    #[error("a session id must not be empty")]
    Empty,
    /// More than [`ID_BYTES_MAX`] bytes.
    #[error("a session id has at most {ID_BYTES_MAX} bytes, this one has {bytes}")]
    TooLong {
        /// The length of what was offered.
        bytes: usize,
    },
}

impl Key {
    /// The key of `id` in `namespace`.
    ///
    /// # Errors
    /// Ids have 1 to [`ID_BYTES_MAX`] bytes.
    pub fn new(namespace: NamespaceId, id: &[u8]) -> Result<Self, KeyError> {
        if id.is_empty() {
            return Err(KeyError::Empty);
        }
        if id.len() > ID_BYTES_MAX {
            return Err(KeyError::TooLong { bytes: id.len() });
        }
        Ok(Self { slot: Slot::of(id), namespace, id: id.into() })
    }

    /// The slot that the id hashes to.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The namespace.
    pub fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// The id: a bearer credential, not for logs.
    pub fn id(&self) -> &[u8] {
        &self.id
    }
}

impl std::fmt::Debug for Key {
    /// Ids are credentials: the debug form shows where a session is, not what it is called.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key(namespace {}, slot {}, {} bytes)", self.namespace.0, self.slot.0, self.id.len())
    }
}

/// Which shard holds each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotTable {
    shards: Vec<ShardId>,
}

impl SlotTable {
    /// Slots in equal contiguous ranges over `shard_count` (at least one) shards.
    pub fn even(shard_count: u32) -> Self {
        let shard_count = shard_count.max(1);
        let shards = (0..SLOTS).map(|slot| ShardId(u32::from(slot) * shard_count / u32::from(SLOTS))).collect();
        Self { shards }
    }

    /// The table with exactly one shard for each of [`SLOTS`] slots, if `shards` is that.
    pub fn from_shards(shards: Vec<ShardId>) -> Option<Self> {
        (shards.len() == usize::from(SLOTS)).then_some(Self { shards })
    }

    /// The shard of `slot`.
    pub fn shard(&self, slot: Slot) -> ShardId {
        self.shards[usize::from(slot.number())]
    }

    /// One entry a slot, in order.
    pub fn shards(&self) -> &[ShardId] {
        &self.shards
    }

    /// Ranges `(first, last, shard)` of neighbouring slots with the same shard, in order.
    pub fn ranges(&self) -> Vec<(u16, u16, ShardId)> {
        let mut ranges: Vec<(u16, u16, ShardId)> = Vec::new();
        for (slot, &shard) in (0..SLOTS).zip(&self.shards) {
            match ranges.last_mut() {
                Some((_, last, same)) if *same == shard => *last = slot,
                Some(_) | None => ranges.push((slot, slot, shard)),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_agree_with_redis_cluster() {
        // `CLUSTER KEYSLOT` of Redis 7 for the same keys.
        for (id, slot) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("{user1000}.following", 3_443),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
        ] {
            assert_eq!(Slot::of(id.as_bytes()).number(), slot, "{id}");
        }
    }

    #[test]
    fn ids_have_1_to_512_bytes() {
        let namespace = NamespaceId(0);
        assert_eq!(Key::new(namespace, b""), Err(KeyError::Empty));
        assert!(Key::new(namespace, &[7; 512]).is_ok());
        assert_eq!(Key::new(namespace, &[7; 513]), Err(KeyError::TooLong { bytes: 513 }));
    }

    #[test]
    fn an_even_table_covers_every_slot_with_every_shard() {
        for shard_count in [1, 3, 4, 256] {
            let ranges = SlotTable::even(shard_count).ranges();
            assert_eq!(ranges.len(), shard_count as usize);
            assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, SLOTS - 1));
        }
    }
}
