//! Numbers about the endpoint, for `INFO`, `SLOWLOG` and the node's metrics.

use super::{commands, error::Error};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Kinds of errors that are counted apart; more share one line.
const ERROR_CODES_MAX: usize = 64;

/// Slow commands that are kept.
pub const SLOW_MAX: usize = 128;

/// Commands that take at least this long are slow.
pub const SLOW_AFTER: Duration = Duration::from_millis(10);

/// How often the rate of commands is taken anew.
const RATE_EVERY: Duration = Duration::from_millis(100);

/// Counters of one endpoint. All only grow but `connected`.
pub struct Stats {
    /// When the endpoint started.
    pub started: Instant,
    /// Connections that were accepted.
    pub connections: AtomicU64,
    /// Connections that were turned away because there were too many.
    pub rejected: AtomicU64,
    /// Commands that were answered.
    pub commands: AtomicU64,
    /// Bytes read from clients.
    pub bytes_in: AtomicU64,
    /// Bytes written to clients.
    pub bytes_out: AtomicU64,
    /// Reads that found a session.
    pub hits: AtomicU64,
    /// Reads that found none.
    pub misses: AtomicU64,
    /// Values above the namespace's `size_warn_bytes`.
    pub size_warnings: AtomicU64,
    /// Values above the namespace's `size_error_bytes`.
    pub size_errors: AtomicU64,
    /// Values above the namespace's `size_bytes_max`, refused.
    pub size_refusals: AtomicU64,
    /// Connections that were cut because their replies piled up.
    pub cut_unread: AtomicU64,
    size_logged_s: AtomicU64,
    calls: Box<[AtomicU64]>,
    errors: Mutex<BTreeMap<String, u64>>,
    slow: Mutex<SlowLog>,
    rate: Mutex<Rate>,
}

struct Rate {
    taken: Instant,
    commands: u64,
    per_second: u64,
}

#[derive(Default)]
struct SlowLog {
    entries: VecDeque<Slow>,
    next_id: u64,
}

/// A command that took long. Ids are shown hashed.
#[derive(Clone, Debug)]
pub struct Slow {
    /// Counts from 0.
    pub id: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How long it took, waiting for the region included.
    pub took: Duration,
    /// The command's name and what stands for its arguments.
    pub words: Vec<String>,
    /// The client's address.
    pub peer: String,
    /// The client's name.
    pub name: String,
}

impl Default for Stats {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            connections: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            size_warnings: AtomicU64::new(0),
            size_errors: AtomicU64::new(0),
            size_refusals: AtomicU64::new(0),
            cut_unread: AtomicU64::new(0),
            size_logged_s: AtomicU64::new(0),
            calls: (0..commands::count()).map(|_| AtomicU64::new(0)).collect(),
            errors: Mutex::default(),
            slow: Mutex::default(),
            rate: Mutex::new(Rate { taken: now, commands: 0, per_second: 0 }),
        }
    }
}

impl Stats {
    /// Counts a call of the command with this index.
    pub fn count_call(&self, index: usize) {
        self.commands.fetch_add(1, Relaxed);
        if let Some(calls) = self.calls.get(index) {
            calls.fetch_add(1, Relaxed);
        }
    }

    /// Whether a line about a large session may be logged now: one each second.
    pub fn may_log_size(&self) -> bool {
        let second = self.started.elapsed().as_secs() + 1;
        self.size_logged_s.swap(second, Relaxed) != second
    }

    /// Calls of each command that was called, by name.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let calls = self.calls.iter().map(|calls| calls.load(Relaxed));
        commands::names().zip(calls).filter(|(_, calls)| *calls > 0)
    }

    /// Counts an error that was told to a client.
    pub fn count_error(&self, error: &Error) {
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(error.code()) {
            *count += 1;
            return;
        }
        let code = if errors.len() < ERROR_CODES_MAX { error.code() } else { "OTHER" };
        *errors.entry(code.to_owned()).or_default() += 1;
    }

    /// How often each code was told.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// Commands per second lately.
    pub fn commands_per_second(&self) -> u64 {
        let mut rate = self.rate.lock();
        let elapsed = rate.taken.elapsed();
        if elapsed >= RATE_EVERY {
            let commands = self.commands.load(Relaxed);
            let new = commands.saturating_sub(rate.commands) as f64;
            *rate = Rate { taken: Instant::now(), commands, per_second: (new / elapsed.as_secs_f64()) as u64 };
        }
        rate.per_second
    }

    /// Keeps a slow command.
    pub fn add_slow(&self, mut slow: Slow) {
        let mut log = self.slow.lock();
        slow.id = log.next_id;
        log.next_id += 1;
        log.entries.push_front(slow);
        log.entries.truncate(SLOW_MAX);
    }

    /// The newest slow commands.
    pub fn slow(&self, count_max: usize) -> Vec<Slow> {
        self.slow.lock().entries.iter().take(count_max).cloned().collect()
    }

    /// How many slow commands are kept.
    pub fn slow_count(&self) -> usize {
        self.slow.lock().entries.len()
    }

    /// Forgets the slow commands.
    pub fn forget_slow(&self) {
        self.slow.lock().entries.clear();
    }

    /// Starts counting errors and calls anew (`CONFIG RESETSTAT`).
    pub fn reset(&self) {
        self.errors.lock().clear();
        for counter in self.calls.iter().chain([&self.hits, &self.misses]) {
            counter.store(0, Relaxed);
        }
    }
}
