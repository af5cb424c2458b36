//! The log on a disk that lies, and on a real one.

mod basic;
mod crash;
mod damage;
mod faults;
mod model;
mod space;

use super::{GroupLog, GroupState, Log, LogEntry, LogFailure, LogOptions, OpenError};
use crate::env::{
    Clock, Env, Plants, Random, Spawn, Work,
    simulated::{SimulatedDisk, SyncDelay},
};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::oneshot, task::AbortHandle};

const DIRECTORY: &str = "/data/log";

/// A machine: its disk, what runs on it, and the log it has open.
struct Machine {
    disk: SimulatedDisk,
    seed: u64,
    plants: Plants,
    options: LogOptions,
    tasks: Arc<Tasks>,
    failures: Arc<Mutex<Vec<LogFailure>>>,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let options = LogOptions {
            segment_bytes: 128 << 10,
            segments_ahead: 1,
            cache_bytes_max: 8 << 10,
            log_bytes_max: 2 << 20,
            batch_bytes_max: 16 << 10,
            queue_bytes_max: 64 << 10,
            ..LogOptions::new(DIRECTORY)
        };
        let (tasks, failures) = (Arc::default(), Arc::default());
        Self { disk: SimulatedDisk::new(seed), seed, plants: Plants::default(), options, tasks, failures }
    }

    fn on(disk: SimulatedDisk, seed: u64) -> Self {
        Self { disk, ..Self::new(seed) }
    }

    async fn try_open(&self) -> Result<Log, OpenError> {
        let env = Env {
            clock: Arc::new(StoppedClock),
            disk: Arc::new(self.disk.clone()),
            spawn: self.tasks.clone(),
            random: Arc::new(SeededRandom(Mutex::new(StdRng::seed_from_u64(self.seed)))),
            plants: self.plants,
        };
        let failures = self.failures.clone();
        Log::open(&env, self.options.clone(), Arc::new(move |failure| failures.lock().push(failure))).await
    }

    async fn open(&self) -> Log {
        self.try_open().await.unwrap()
    }

    /// Cuts the power.
    fn crash(&mut self) {
        self.tasks.abort();
        self.disk = self.disk.crash();
    }

    /// Ends the process only.
    fn kill(&mut self) {
        self.tasks.abort();
        self.disk = self.disk.kill();
    }

    fn segment(&self, sequence: u64) -> PathBuf {
        super::steward::segment_path(&self.options.directory, sequence)
    }
}

/// Everything runs as tasks of the test's runtime, and ends with the machine.
#[derive(Default)]
struct Tasks(Mutex<Vec<AbortHandle>>);

impl Tasks {
    fn abort(&self) {
        self.0.lock().drain(..).for_each(|task| task.abort());
    }
}

impl Spawn for Tasks {
    fn spawn(&self, _: &'static str, work: Work) {
        self.0.lock().push(tokio::spawn(work).abort_handle());
    }

    fn spawn_blocking(&self, name: &'static str, work: Work) {
        self.spawn(name, work);
    }
}

struct StoppedClock;

impl Clock for StoppedClock {
    fn wall_ms(&self) -> u64 {
        0
    }

    fn boot(&self) -> Duration {
        Duration::ZERO
    }
}

struct SeededRandom(Mutex<StdRng>);

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().random()
    }
}

/// Syncs that take some turns of the runtime, so that operations queue meanwhile.
fn slow_syncs(turns: u32) -> Option<SyncDelay> {
    Some(Arc::new(move |_| {
        Box::pin(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        })
    }))
}

fn entry(index: u64, size: usize) -> LogEntry {
    let bytes: Vec<u8> = (0..size).map(|at| (index as usize * 31 + at) as u8).collect();
    LogEntry { index, bytes: bytes.into() }
}

fn entries(range: std::ops::RangeInclusive<u64>, size: usize) -> Vec<LogEntry> {
    range.map(|index| entry(index, size)).collect()
}

type Answer = oneshot::Receiver<io::Result<()>>;

/// The operations of a group, with an answer to wait for.
trait Answered {
    fn appending(&self, entries: Vec<LogEntry>) -> Answer;
    fn voting(&self, vote: &'static [u8]) -> Answer;
    fn truncating(&self, index: Option<u64>) -> Answer;
    fn removing(&self) -> Answer;
    fn all(&self) -> Vec<LogEntry>;
}

fn answer(operation: impl FnOnce(super::Done)) -> Answer {
    let (sender, receiver) = oneshot::channel();
    operation(Box::new(move |result| drop(sender.send(result))));
    receiver
}

impl Answered for GroupLog {
    fn appending(&self, entries: Vec<LogEntry>) -> Answer {
        answer(|done| self.append(entries, done))
    }

    fn voting(&self, vote: &'static [u8]) -> Answer {
        answer(|done| self.save_vote(Bytes::from_static(vote), done))
    }

    fn truncating(&self, index: Option<u64>) -> Answer {
        answer(|done| self.truncate_after(index, done))
    }

    fn removing(&self) -> Answer {
        answer(|done| self.remove(done))
    }

    fn all(&self) -> Vec<LogEntry> {
        let Some(first) = self.state().first_index else { return Vec::new() };
        self.read(first, u64::MAX, usize::MAX).unwrap()
    }
}

/// Runs the tasks until the steward has done what it can.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
