//! The nodes' time, as far as a client knows it.

use parking_lot::Mutex;
use std::time::Instant;

/// Counts on from what a node last said. Never reads the machine's own wall clock.
pub(crate) struct NodeClock(Mutex<(Instant, u64)>);

impl NodeClock {
    pub fn new(now_ms: u64) -> Self {
        Self(Mutex::new((Instant::now(), now_ms)))
    }

    /// Takes over what a node says now.
    pub fn set(&self, now_ms: u64) {
        *self.0.lock() = (Instant::now(), now_ms);
    }

    /// In ms since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        let (at, ms) = *self.0.lock();
        ms.saturating_add(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
