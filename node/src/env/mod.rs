//! The seams of the shell: everything a node asks of the machine it runs on.
//!
//! Time, disk, spawning and randomness are reached through these traits and nowhere else, so that the simulation can
//! run the very same proposer, log, state machine and read path under virtual time and on a disk that lies. The network
//! between nodes is the fifth seam: `peers::Network`.

mod clock;
mod disk;
mod news;
mod plants;
mod real;
pub mod simulated;

pub use clock::{Clock, SlewedClock};
pub use disk::{Disk, DiskFile, DiskLock, FileMark, SyncFuture};
pub use news::{Heard, News, Silent};
pub use plants::Plants;
pub use real::{RealClock, RealDisk, RealEnv, machine_memory_bytes, memory_bytes, raise_open_files};

use std::{future::Future, pin::Pin, sync::Arc};

/// A spawned piece of work.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// How a node starts concurrent work.
pub trait Spawn: Send + Sync + 'static {
    /// Runs `work` beside everything else.
    fn spawn(&self, name: &'static str, work: Work);

    /// Runs `work` where it may block on the disk without holding anybody up: a thread of its own, when real.
    fn spawn_blocking(&self, name: &'static str, work: Work);

    /// Drops what takes long to drop, such as a hundred thousand sessions, without holding anybody up: on a thread of its own, when real.
    fn discard(&self, what: Box<dyn Send>) {
        drop(what);
    }
}

/// Where unguessable numbers come from.
pub trait Random: Send + Sync + 'static {
    /// 64 bits: from the operating system's generator when real, from the seed when simulated.
    fn next_u64(&self) -> u64;

    /// 128 bits.
    fn next_u128(&self) -> u128 {
        (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())
    }
}

/// All seams of one node, cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Wall clock for stamps, boot clock for leases.
    pub clock: Arc<dyn Clock>,
    /// The data directory's disk.
    pub disk: Arc<dyn Disk>,
    /// Tasks and threads.
    pub spawn: Arc<dyn Spawn>,
    /// Unguessable numbers.
    pub random: Arc<dyn Random>,
    /// Bugs planted on purpose; none outside of simulations.
    pub plants: Plants,
}

impl Env {
    /// Spawns `work` beside everything else.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn.spawn(name, Box::pin(work));
    }
}
