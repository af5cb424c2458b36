//! What clients were told while a region was lost.

use anyhow::Context;
use sojourn_core::{Key, ShardId, SlotTable, Stamp, region::DEFAULT_NAMESPACE};
use std::time::{SystemTime, UNIX_EPOCH};

/// A write as its client saw it. Times are of this machine's wall clock, by which its nodes stamp, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// What was written; those of one session ascend.
    pub number: u64,
    /// When it was sent.
    pub sent_ms: Stamp,
    /// When it was acknowledged, if it was.
    pub acknowledged_ms: Option<Stamp>,
}

/// All that one session's only client was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The session.
    pub id: String,
    /// The region where it was created, by its position.
    pub home: usize,
    /// Its writes, in order.
    pub writes: Vec<Write>,
    /// Its end, where one was asked for.
    pub end: Option<Write>,
}

impl Told {
    /// The last number that was acknowledged; 0 for none.
    pub fn acknowledged(&self) -> u64 {
        self.writes.iter().rev().find(|write| write.acknowledged_ms.is_some()).map_or(0, |write| write.number)
    }

    /// Whether its end was acknowledged.
    pub fn is_destroyed(&self) -> bool {
        self.end.is_some_and(|end| end.acknowledged_ms.is_some())
    }

    /// All that was asked of it, in order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Write> {
        self.writes.iter().chain(&self.end)
    }

    /// Which shard of a region that divides its slots evenly has it.
    pub fn shard(&self, slots: &SlotTable) -> anyhow::Result<ShardId> {
        let key = Key::new(DEFAULT_NAMESPACE, self.id.as_bytes());
        Ok(slots.shard(key.ok().with_context(|| format!("{} is no id", self.id))?.slot()))
    }
}

/// The wall clock, in ms.
pub(super) fn now_ms() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
