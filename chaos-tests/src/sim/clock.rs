//! The clocks of one simulated machine, and how far a node that follows the rules may be from them.

use parking_lot::Mutex;
use sojourn_node::env::Clock;
use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};
use tokio::time::Instant;

/// When every simulation begins, in ms since the Unix epoch.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// A machine's wall clock and boot clock: both drift, the first also jumps.
pub struct MachineClock {
    start: Instant,
    drift_ppm: i64,
    offset_ms: AtomicI64,
    /// What a node on this machine may take for the time, since it started.
    bounds: Mutex<Option<Bounds>>,
}

/// The earliest and the latest time that a node may believe in.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Whether the node is on its way up: it takes the clock as it is at some moment of that.
    starting: bool,
    boot_ms: u64,
    /// The earliest.
    pub low_ms: u64,
    /// The latest.
    pub high_ms: u64,
}

impl MachineClock {
    /// A clock of a machine that drifts by `drift_ppm` and is `offset_ms` wrong from the start.
    pub fn new(drift_ppm: i64, offset_ms: i64) -> Self {
        Self { start: Instant::now(), drift_ppm, offset_ms: offset_ms.into(), bounds: Mutex::new(None) }
    }

    /// Sets the wall clock forward or back.
    pub fn jump(&self, by_ms: i64) {
        self.bounds();
        self.offset_ms.fetch_add(by_ms, Relaxed);
        let wall_ms = self.wall_ms();
        if let Some(bounds) = self.bounds.lock().as_mut().filter(|bounds| bounds.starting) {
            bounds.low_ms = bounds.low_ms.min(wall_ms);
            bounds.high_ms = bounds.high_ms.max(wall_ms);
        }
    }

    /// A node starts: it takes the wall clock as it is.
    pub fn node_starts(&self) {
        let wall_ms = self.wall_ms();
        let bounds = Bounds { starting: true, boot_ms: self.boot_ms(), low_ms: wall_ms, high_ms: wall_ms };
        *self.bounds.lock() = Some(bounds);
    }

    /// The node is up: a jump from now on is one that it follows slowly.
    pub fn node_is_up(&self) {
        if let Some(bounds) = self.bounds.lock().as_mut() {
            bounds.starting = false;
        }
    }

    /// A node ends.
    pub fn node_ends(&self) {
        *self.bounds.lock() = None;
    }

    /// What the node on this machine may take for the time, if one runs.
    ///
    /// DESIGN §5: a jump is followed by at most a tenth of the time that passes.
    pub fn bounds(&self) -> Option<Bounds> {
        let (boot_ms, wall_ms) = (self.boot_ms(), self.wall_ms());
        let mut bounds = self.bounds.lock();
        let Bounds { starting, boot_ms: before_ms, low_ms, high_ms } = (*bounds)?;
        let passed = boot_ms - before_ms;
        let (low, high) = (low_ms + passed, high_ms + passed);
        let next = Bounds {
            starting,
            boot_ms,
            low_ms: low.min(wall_ms.max(low - passed / 10)),
            high_ms: high.max(wall_ms.min(high + passed.div_ceil(10))),
        };
        *bounds = Some(next);
        *bounds
    }

    fn boot_ms(&self) -> u64 {
        u64::try_from(self.boot().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Clock for MachineClock {
    fn wall_ms(&self) -> u64 {
        (EPOCH_MS + self.boot_ms()).saturating_add_signed(self.offset_ms.load(Relaxed))
    }

    fn boot(&self) -> Duration {
        let passed = self.start.elapsed();
        let drift_us = passed.as_millis() as i64 * self.drift_ppm / 1_000;
        Duration::from_micros((passed.as_micros() as u64).saturating_add_signed(drift_us))
    }
}
