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
        Self(crc(hash_tag(id)) % SLOTS)
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

/// CRC-16/XMODEM: begins with 0, so that it is linear over bits for inputs of one length.
pub(crate) const fn crc(bytes: &[u8]) -> u16 {
    const CRC: crc::Crc<u16, crc::Table<16>> = crc::Crc::<u16, crc::Table<16>>::new(&crc::CRC_16_XMODEM);
    CRC.checksum(bytes)
}

fn hash_tag(id: &[u8]) -> &[u8] {
    let Some(open) = id.iter().position(|&byte| byte == b'{') else { return id };
    let rest = &id[open + 1..];
    match rest.iter().position(|&byte| byte == b'}') {
        Some(length) if length > 0 => &rest[..length],
        Some(_) | None => id,
    }
}

/// Bits of an id's hash in a [`Key`] and in a scan's cursor.
pub const HASH_BITS: u32 = 38;

/// Bits of the namespace's number that take part in the order of keys before the hash does.
const NAMESPACE_BITS: u32 = 12;

/// Bytes of the namespace's number in front of the id.
const NAMESPACE_BYTES: usize = 4;

/// A session's name: slot, namespace and id.
///
/// Ordered by slot, then by the low bits of the namespace, then by a hash of the id: a slot is one range, a namespace one
/// range of it, and a scan's order is the order of keys. Nearly every comparison is decided by one number without
/// following the pointer. The hash is not meant to withstand people who look for collisions: those cost time, not truth.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Slot, low bits of the namespace, hash of the id, from the high end.
    position: u64,
    /// The namespace, big-endian, and the id.
    name: Arc<[u8]>,
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
        let position = position(Slot::of(id), namespace, hash(id));
        Ok(Self { position, name: namespace.0.to_be_bytes().iter().chain(id).copied().collect() })
    }

    /// A key that no session has, at or before all of this position: the begin of a range.
    pub(crate) fn lowest(position: u64) -> Self {
        Self { position, name: Arc::default() }
    }

    /// The slot that the id hashes to.
    pub fn slot(&self) -> Slot {
        Slot((self.position >> (HASH_BITS + NAMESPACE_BITS)) as u16)
    }

    /// The namespace.
    pub fn namespace(&self) -> NamespaceId {
        let number = self.name.first_chunk().map_or(0, |bytes: &[u8; NAMESPACE_BYTES]| u32::from_be_bytes(*bytes));
        NamespaceId(number)
    }

    /// The id: a bearer credential, not for logs.
    pub fn id(&self) -> &[u8] {
        self.name.get(NAMESPACE_BYTES..).unwrap_or_default()
    }

    /// The hash of the id that orders keys within a slot and a namespace, below 2^[`HASH_BITS`].
    pub fn hash(&self) -> u64 {
        self.position & ((1 << HASH_BITS) - 1)
    }

    /// The low bits of a namespace's number that order keys within a slot.
    pub(crate) fn bits_of(namespace: NamespaceId) -> u64 {
        u64::from(namespace.0) & ((1 << NAMESPACE_BITS) - 1)
    }

    /// Those of this key.
    pub(crate) fn namespace_bits(&self) -> u64 {
        (self.position >> HASH_BITS) & ((1 << NAMESPACE_BITS) - 1)
    }

    /// Where the key stands in the order of keys, but for those that share slot, hash and low namespace bits with it.
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// The place in the order of keys of ids that hash to `hash`.
pub(crate) fn position(slot: Slot, namespace: NamespaceId, hash: u64) -> u64 {
    let namespace = Key::bits_of(namespace);
    u64::from(slot.0) << (HASH_BITS + NAMESPACE_BITS) | namespace << HASH_BITS | hash & ((1 << HASH_BITS) - 1)
}

/// Mixes eight bytes at a time, then as MurmurHash3's 64-bit finalizer does.
fn hash(id: &[u8]) -> u64 {
    let mut hash = id.len() as u64;
    for chunk in id.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    (hash ^ (hash >> 33)) >> (64 - HASH_BITS)
}

impl std::fmt::Debug for Key {
    /// Ids are credentials: the debug form shows where a session is, not what it is called.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key(namespace {}, slot {}, {} bytes)", self.namespace().0, self.slot().0, self.id().len())
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

    /// How many slots a shard has.
    pub fn count(&self, shard: ShardId) -> u32 {
        self.shards.iter().map(|other| u32::from(*other == shard)).sum()
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
    fn a_key_gives_back_what_it_was_made_of() {
        for (namespace, id) in [(0, "a"), (4_096, "sess:1"), (u32::MAX, "a-much-longer-id-of-a-session")] {
            let key = Key::new(NamespaceId(namespace), id.as_bytes()).expect("a key");
            assert_eq!(key.namespace(), NamespaceId(namespace));
            assert_eq!(key.id(), id.as_bytes());
            assert_eq!(key.slot(), Slot::of(id.as_bytes()));
            assert!(Key::lowest(key.position()) < key);
            assert_eq!(key.position(), position(key.slot(), key.namespace(), key.hash()));
        }
    }

    #[test]
    fn keys_are_ordered_by_slot_first() {
        let keys = (0..200).map(|i: u32| Key::new(NamespaceId(i * 977), format!("id{i}").as_bytes()).expect("a key"));
        let mut keys: Vec<Key> = keys.collect();
        keys.sort();
        assert!(keys.is_sorted_by_key(|key| (key.slot(), key.namespace().0 & 0xfff, key.hash())));
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
