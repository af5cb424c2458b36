//! Clocks of tests: one that is moved by hand, and the virtual time of a runtime that is paused.

use crate::{
    env::{Clock, Random, Spawn, Work},
    raft::{simulated_u64, spawn},
};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// Stands still until it is moved.
#[derive(Default)]
pub struct Hands {
    wall_ms: AtomicU64,
    boot_ms: AtomicU64,
}

impl Hands {
    /// Moves both clocks on.
    pub fn pass(&self, ms: u64) {
        self.jump(ms.cast_signed());
        self.boot_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets the wall clock on or back.
    pub fn jump(&self, ms: i64) {
        self.wall_ms.fetch_add(ms.cast_unsigned(), Ordering::Relaxed);
    }

    /// Puts the boot clock to a time.
    pub fn set_boot_ms(&self, ms: u64) {
        self.boot_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Relaxed)
    }

    fn boot(&self) -> Duration {
        Duration::from_millis(self.boot_ms.load(Ordering::Relaxed))
    }
}

/// Clocks, randomness and tasks of nodes in a simulation without faults of their own.
pub struct Virtual {
    start: Instant,
}

impl Virtual {
    /// Time begins.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for Virtual {
    fn wall_ms(&self) -> u64 {
        1_000_000 + u64::try_from(self.boot().as_millis()).expect("a short test")
    }

    fn boot(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Random for Virtual {
    fn next_u64(&self) -> u64 {
        simulated_u64().expect("a simulation")
    }
}

impl Spawn for Virtual {
    fn spawn(&self, _name: &'static str, work: Work) {
        drop(spawn(work));
    }

    fn spawn_blocking(&self, _name: &'static str, work: Work) {
        drop(spawn(work));
    }
}
