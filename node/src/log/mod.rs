//! One group-committed, segmented log for all Raft groups of a node.
//!
//! Whatever the groups queue while the disk is busy becomes one frame: one write, one sync, then everybody is told, in
//! order. The room deals in bytes and indexes; what a vote or an entry means is the Raft adapter's.
//!
//! - `format`: the bytes on disk. `recovery`: from bytes to state, and when to refuse them.
//! - `memory`: one group in memory. `state`: everything under the lock; `accept`: the only way in.
//! - `writer`: the one loop that writes and syncs. `steward`: the one that prepares and recycles segments.
//!
//! Invariants:
//! 1. What `done` was called for with `Ok` is recovered by every later open, or the open is refused.
//! 2. What is recovered is a prefix of the operations of each group, in the order in which they were accepted.
//! 3. An operation accepted has its room reserved: only a failing disk can fail it, and then nothing later succeeds.
//! 4. A segment is given up only when everything in it is obsolete by records that are durable elsewhere.

mod accept;
mod error;
mod format;
mod group;
mod memory;
mod options;
mod recovery;
mod replay;
mod state;
mod steward;
#[cfg(test)]
mod tests;
mod writer;

pub use error::{LogFailure, OpenError};
pub use group::{GroupLog, GroupState, LogEntry};
pub use options::{LogOptions, LogStatistics};

use crate::env::{DiskLock, Env};
use options::Counts;
use parking_lot::Mutex;
use state::State;
use std::{
    io,
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::{Notify, watch};

/// A Raft group of this node.
pub type GroupId = u32;

/// Called once, when an operation is durable or has failed; on the writer's thread, or at once if it is refused.
///
/// It must not block: everybody else's operations wait behind it.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Votes, committed and purged values are small; their bound keeps the start of a segment small.
pub const STATE_VALUE_BYTES_MAX: usize = 256;

/// How many tasks have to end before the log is closed.
const TASKS: usize = 2;

/// The log of a node; cheap to clone. When the last handle and the last [`GroupLog`] are dropped it closes itself.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

/// What the writer and the steward share with the callers.
struct Shared {
    env: Env,
    options: LogOptions,
    state: Mutex<State>,
    counts: Counts,
    writer_wake: Notify,
    steward_wake: Notify,
    /// How many of the [`TASKS`] have ended.
    ended: watch::Sender<usize>,
    on_fatal: Arc<dyn Fn(LogFailure) + Send + Sync>,
    lock: Mutex<Option<DiskLock>>,
    created: bool,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.start_closing();
    }
}

impl Log {
    /// Opens the log in `options.directory`, creating it if missing, and starts its writer with
    /// [`crate::env::Spawn::spawn_blocking`]. Reads every segment once, blocking the caller.
    ///
    /// `on_fatal` is called at most once, when a write or sync inside reserved space fails: the owner has to stop the
    /// node, because everything queued and everything later fails too.
    ///
    /// # Errors
    /// [`OpenError`] says what to do.
    pub async fn open(
        env: &Env,
        options: LogOptions,
        on_fatal: Arc<dyn Fn(LogFailure) + Send + Sync>,
    ) -> Result<Self, OpenError> {
        options.check()?;
        let opened = recovery::open(env, &options).await?;
        let shared = Arc::new(Shared {
            env: env.clone(),
            options,
            state: Mutex::new(opened.state),
            counts: Counts::default(),
            writer_wake: Notify::new(),
            steward_wake: Notify::new(),
            ended: watch::Sender::new(0),
            on_fatal,
            lock: Mutex::new(Some(opened.lock)),
            created: opened.created,
        });
        shared.steward_wake.notify_one();
        env.spawn.spawn_blocking("log-writer", Box::pin(writer::run(shared.clone())));
        env.spawn.spawn_blocking("log-steward", Box::pin(steward::run(shared.clone())));
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    /// Whether this open found no log and made one. A node that has an identity and finds no log has lost its disk: it
    /// must not vote with an empty log, but join again under a new identity.
    pub fn was_created(&self) -> bool {
        self.handle.shared.created
    }

    /// The log of one group; an unknown group comes to be with its first operation.
    pub fn group(&self, group: GroupId) -> GroupLog {
        GroupLog::new(self.handle.clone(), group)
    }

    /// The groups that have anything in the log.
    pub fn groups(&self) -> Vec<GroupId> {
        self.handle.shared.state.lock().groups.keys().copied().collect()
    }

    /// Bytes that can still be appended inside reserved space and inside the queue's bound, less what is queued.
    ///
    /// An append of `n` entries of `b` bytes in all counts as `b + 24 n + 5 KiB`, and 10 KiB more for each full
    /// `batch_bytes_max`; the largest entry is needed once more for each segment ahead. Zero while the log is failed.
    pub fn room_bytes(&self) -> u64 {
        let shared = &self.handle.shared;
        let state = shared.state.lock();
        if state.usable().is_err() {
            return 0;
        }
        let reserved = state.room(0).saturating_sub(shared.options.reserve_bytes());
        reserved.min((shared.options.queue_bytes_max as u64).saturating_sub(state.queue_bytes))
    }

    /// The most bytes that it may take.
    pub fn bytes_max(&self) -> u64 {
        self.handle.shared.options.log_bytes_max
    }

    /// Whether it has reached that or the disk is full.
    pub fn is_out_of_space(&self) -> bool {
        self.handle.shared.counts.space_refused.load(Ordering::Relaxed)
    }

    /// Bytes of the segments that hold records.
    pub fn used_bytes(&self) -> u64 {
        let shared = &self.handle.shared;
        shared.state.lock().segments.len() as u64 * shared.options.segment_bytes
    }

    /// Tries again to reserve space, after the disk was full or the cap reached. Cheap; the owner polls it while
    /// [`Log::room_bytes`] is low.
    pub fn retry_space(&self) {
        let shared = &self.handle.shared;
        shared.state.lock().queue_owed_purges(&shared.options);
        shared.writer_wake.notify_one();
        shared.counts.space_refused.store(false, Ordering::Relaxed);
        shared.steward_wake.notify_one();
    }

    /// Counters since the log was opened, and gauges.
    pub fn statistics(&self) -> LogStatistics {
        let shared = &self.handle.shared;
        shared.counts.read(&shared.state.lock())
    }

    /// Writes what is queued, stops the writer, and lets go of the directory. Later operations are refused.
    pub async fn close(&self) {
        let shared = &self.handle.shared;
        shared.start_closing();
        // The sender is ours, so the wait cannot fail.
        let _ = shared.ended.subscribe().wait_for(|ended| *ended == TASKS).await;
        drop(shared.lock.lock().take());
    }
}

impl Shared {
    fn start_closing(&self) {
        self.state.lock().closing = true;
        self.writer_wake.notify_one();
        self.steward_wake.notify_one();
    }

    /// From here on nothing is acknowledged: whether the disk kept what it was given is unknown.
    fn poison(&self, failure: LogFailure) {
        let waiting = {
            let mut state = self.state.lock();
            if state.failure.is_some() {
                return;
            }
            state.failure = Some(failure.clone());
            state.take_waiting()
        };
        tracing::error!(error = %failure, "the log failed");
        for done in waiting {
            done(Err(failure.as_io()));
        }
        (self.on_fatal)(failure);
        self.writer_wake.notify_one();
        self.steward_wake.notify_one();
    }
}

/// Says that a task ended, also when it panicked; a panic fails the log instead of leaving it waiting for ever.
struct TaskGuard<'a> {
    shared: &'a Shared,
    name: &'static str,
}

impl Drop for TaskGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = io::Error::other("the task panicked, which is a bug");
            self.shared.poison(LogFailure::new(self.name, &self.shared.options.directory, &error));
        }
        self.shared.ended.send_modify(|ended| *ended += 1);
    }
}
