//! How much memory the fields of sessions may take on this node, over all shards.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The bound that all shards of a node share.
#[derive(Debug)]
pub struct Memory {
    bytes_max: u64,
    bytes: AtomicU64,
}

impl Memory {
    /// At most `bytes_max` bytes for fields.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, bytes: AtomicU64::new(0) })
    }

    /// The bound.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// What all shards hold.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

/// One shard's part of it.
#[derive(Debug)]
pub struct MemoryShare {
    memory: Arc<Memory>,
    /// What this shard said last.
    bytes: AtomicU64,
}

impl MemoryShare {
    /// A share that holds nothing yet.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self { memory, bytes: AtomicU64::new(0) }
    }

    /// Says that this shard now holds `bytes`. Returns how many of them it should let go of: shards give in proportion to
    /// what they hold.
    pub fn report(&self, bytes: u64) -> u64 {
        let before = self.bytes.swap(bytes, Relaxed);
        let all = if bytes >= before {
            self.memory.bytes.fetch_add(bytes - before, Relaxed) + (bytes - before)
        } else {
            self.memory.bytes.fetch_sub(before - bytes, Relaxed).saturating_sub(before - bytes)
        };
        let excess = all.saturating_sub(self.memory.bytes_max);
        if excess == 0 {
            return 0;
        }
        let part = u128::from(excess) * u128::from(bytes) / u128::from(all.max(1));
        u64::try_from(part).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.memory.bytes.fetch_sub(self.bytes.load(Relaxed), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, MemoryShare};

    #[test]
    fn shards_give_in_proportion_to_what_they_hold() {
        let memory = Memory::new(100);
        let (small, large) = (MemoryShare::new(memory.clone()), MemoryShare::new(memory.clone()));
        assert_eq!(small.report(40), 0);
        assert_eq!(large.report(160), 81);
        assert_eq!(small.report(40), 21);
        assert_eq!(large.report(60), 0);
        drop(large);
        assert_eq!(memory.bytes(), 40);
    }
}
