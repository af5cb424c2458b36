//! The deadlines that a shard's leader keeps in memory beyond what is logged.
//!
//! Who answers a touch without logging it owes three things: reads that see it, writes that begin with it, and no end before
//! it. So it is read with the state, goes ahead of every write to its session in the same entry of the log, and keeps
//! the expiry from proposing an end. While a write to a session is on its way, touches of it are logged behind that.

use super::chores::own;
use parking_lot::{RwLock, RwLockReadGuard};
use sojourn_core::{
    Command, Key, NamespaceId, Op, Outcome, Record, Stamp, State,
    touch::{self, Touch},
};
use std::{collections::BTreeMap, sync::Arc};

/// How old a logged deadline may get, in ms, by namespace and idle timeout of a session.
pub type Intervals = Arc<dyn Fn(NamespaceId, u64) -> u64 + Send + Sync>;

/// The most deadlines in memory; what does not fit is logged.
const TOUCHES_MAX: usize = 65_536;

/// How many deadlines one round of tending looks at.
const TENDED_MAX: usize = 512;

/// How far the clocks of two leaders may be apart: what was logged so shortly before a change of leader has grace too.
const CLOCKS_APART_MS: u64 = 1_000;

/// See the room.
pub(super) struct Touches {
    held: RwLock<Held>,
    intervals: Intervals,
}

#[derive(Default)]
struct Held {
    /// The term that this node leads in, and since when.
    term: u64,
    since: Stamp,
    touches: BTreeMap<Key, Touch>,
    /// Sessions that entries on their way write to.
    under_way: Vec<(u64, Arc<[Key]>)>,
    last_ticket: u64,
    /// Where tending goes on.
    tended: Option<Key>,
}

/// Names the entry that an [`Ahead`] belongs to.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    absorbed: Vec<(Key, Touch)>,
}

impl Touches {
    pub fn new(intervals: Intervals) -> Self {
        Self { held: RwLock::default(), intervals }
    }

    /// Takes note that this node leads in `term`; `now` is no earlier than the last stamp of the terms before.
    pub fn lead(&self, term: u64, now: Stamp) {
        if self.held.read().term == term {
            return;
        }
        let mut held = self.held.write();
        if held.term != term {
            held.term = term;
            held.since = now.saturating_add(CLOCKS_APART_MS);
            held.touches.clear();
        }
    }

    /// Takes note of sessions that came from another shard, whose leader may have known more of them than it had logged: as
    /// after a change of leader, nobody's end comes before that would have been logged.
    pub fn join(&self, now: Stamp) {
        let mut held = self.held.write();
        held.since = held.since.max(now.saturating_add(CLOCKS_APART_MS));
    }

    /// What is known now, for as long as the guard lives.
    pub fn known(&self) -> Known<'_> {
        Known { held: self.held.read(), intervals: &self.intervals }
    }

    /// Answers `commands` if they are nothing but touches that need not be logged.
    pub fn answer(&self, now: Stamp, state: &RwLock<State>, commands: &[Command]) -> Option<Vec<Outcome>> {
        let mut held = self.held.write();
        let state = state.read();
        let now = now.max(state.last_stamp());
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut touches = Vec::with_capacity(commands.len());
        for command in commands {
            if held.is_under_way(&command.key) {
                return None;
            }
            let record = state.record(&command.key)?;
            let known = |key: &Key, record: &Record| held.known(now, key, record, &self.intervals);
            if !state.is_alive(now, &known, &command.key, record) {
                return None;
            }
            let interval_ms = (self.intervals)(command.key.namespace(), record.idle_timeout_ms);
            let deadline = known(&command.key, record).unwrap_or(record.idle_deadline);
            let (touch, outcome) = touch::answer(now, command, record, deadline, interval_ms)?;
            touches.push((command.key.clone(), touch));
            outcomes.push(outcome);
        }
        drop(state);
        if held.touches.len() + touches.len() > TOUCHES_MAX {
            return None;
        }
        held.touches.extend(touches);
        Some(outcomes)
    }

    /// What must go ahead of writes to `keys` that are proposed now. The ticket is given back once it is known what became of
    /// the entry.
    pub fn go_ahead(&self, now: Stamp, state: &RwLock<State>, keys: Arc<[Key]>) -> (Vec<Command>, Ticket) {
        let mut held = self.held.write();
        let mut ahead = BTreeMap::new();
        if !held.touches.is_empty() {
            let touched = keys.iter().filter_map(|key| Some((key.clone(), *held.touches.get(key)?)));
            ahead.extend(touched);
        }
        let absorbed = ahead.iter().map(|(key, touch)| (key.clone(), *touch)).collect();
        let state = state.read();
        if state.is_any_due(now) {
            for key in keys.iter().filter(|key| !ahead.contains_key(*key)).collect::<Vec<_>>() {
                let Some(record) = state.record(key) else { continue };
                if let Some(deadline) = held.known(now, key, record, &self.intervals) {
                    ahead.insert(key.clone(), Touch { version: record.version, deadline });
                }
            }
        }
        held.last_ticket += 1;
        let number = held.last_ticket;
        held.under_way.push((number, keys));
        (ahead.into_iter().map(|(key, touch)| extend(key, touch)).collect(), Ticket { number, absorbed })
    }

    /// The entry of `ticket` was applied, or nobody knows.
    pub fn arrived(&self, ticket: Ticket, applied: bool) {
        let mut held = self.held.write();
        held.under_way.retain(|(number, _)| *number != ticket.number);
        if applied {
            for (key, touch) in ticket.absorbed {
                if held.touches.get(&key) == Some(&touch) {
                    held.touches.remove(&key);
                }
            }
        }
    }

    /// Looks at the next few touches: forgets what writes have overtaken, and names the sessions whose touches should be
    /// logged, because the policy has changed or because there are many.
    pub fn tend(&self, state: &RwLock<State>) -> Vec<Key> {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut held = self.held.write();
        let crowded = held.touches.len() > TOUCHES_MAX / 2;
        let from = held.tended.take().map_or(Unbounded, Excluded);
        let looked: Vec<(Key, Touch)> =
            held.touches.range((from, Unbounded)).take(TENDED_MAX).map(|(key, touch)| (key.clone(), *touch)).collect();
        held.tended = looked.last().map(|(key, _)| key.clone());
        let state = state.read();
        let mut log = Vec::new();
        for (key, touch) in looked {
            let record = state.record(&key).map(|record| (record, touch.of(record)));
            let Some((record, Some(deadline))) = record else {
                held.touches.remove(&key);
                continue;
            };
            let interval_ms = (self.intervals)(key.namespace(), record.idle_timeout_ms);
            if crowded || deadline - record.idle_deadline > interval_ms {
                log.push(key);
            }
        }
        log
    }

    /// The sessions of the first touches: to log them all before another node leads.
    pub fn first(&self) -> Vec<Key> {
        self.held.read().touches.keys().take(TENDED_MAX).cloned().collect()
    }
}

/// A view of what is known.
pub(super) struct Known<'a> {
    held: RwLockReadGuard<'a, Held>,
    intervals: &'a Intervals,
}

impl Known<'_> {
    /// The idle deadline of a session beyond what is logged, if there is more to know.
    pub fn deadline(&self, now: Stamp, key: &Key, record: &Record) -> Option<Stamp> {
        self.held.known(now, key, record, self.intervals)
    }
}

impl Held {
    fn known(&self, now: Stamp, key: &Key, record: &Record, intervals: &Intervals) -> Option<Stamp> {
        let touch = if self.touches.is_empty() { None } else { self.touches.get(key) };
        let touched = touch.and_then(|touch| touch.of(record));
        if record.idle_deadline > now || record.written > self.since {
            return touched;
        }
        touched.max(touch::grace(now, self.since, record, intervals(key.namespace(), record.idle_timeout_ms)))
    }

    fn is_under_way(&self, key: &Key) -> bool {
        self.under_way.iter().any(|(_, keys)| keys.contains(key))
    }
}

fn extend(key: Key, Touch { version, deadline }: Touch) -> Command {
    own(key, Op::Extend { version, deadline })
}

#[cfg(test)]
mod tests;
