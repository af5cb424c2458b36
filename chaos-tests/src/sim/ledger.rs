//! All that is known of a run: what clients asked and were told, what replicas applied, what was done to them.

use super::{coverage::Coverage, trace::Trace, workload::Rename};
use bytes::Bytes;
use openraft::EntryPayload;
use parking_lot::Mutex;
use sojourn_core::{Answer, Command, Outcome, Query};
use sojourn_node::{
    log::GroupId,
    raft::{LogEntry, LogId, Observer},
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A moment in the one order of all events.
pub type Tick = u64;

/// What a client asked and was told.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who asked.
    pub client: u64,
    /// When.
    pub invoked: Tick,
    /// The earliest time that a running node could believe in then, in ms since the Unix epoch.
    pub earliest_ms: u64,
    /// When it was told the last of it; `None` if it was never told.
    pub ended: Option<Tick>,
    /// What.
    pub asked: Asked,
}

/// A question and its answer.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A bundle of writes; the outcomes are `None` if they are unknown.
    Write {
        /// What was asked.
        commands: Vec<Command>,
        /// What was told.
        told: Told,
    },
    /// A read.
    Read {
        /// What was asked.
        query: Query,
        /// What was told, if anything.
        answer: Option<Answer>,
    },
    /// A session goes to another slot.
    Rename {
        /// What was asked.
        rename: Rename,
        /// What was told, if anything.
        told: Option<Outcome>,
    },
}

/// What a client knows of its writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Nothing certain.
    Unknown,
    /// That nothing was written, for this reason.
    Nothing(String),
    /// The outcomes.
    Outcomes(Vec<Outcome>),
}

/// An entry as the first replica applied it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its id.
    pub id: LogId,
    /// Its payload; `None` for entries of Raft's own.
    pub payload: Option<Bytes>,
    /// When the first replica applied it.
    pub tick: Tick,
    /// The same in virtual time.
    pub at: Duration,
    /// The latest time that a running node could believe in then, in ms since the Unix epoch.
    pub latest_ms: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who noticed.
    pub oracle: &'static str,
    /// What.
    pub what: String,
}

/// Everything about one run. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    start: Instant,
    label: String,
    book: Arc<Mutex<Book>>,
}

/// What the ledger holds.
pub struct Book {
    /// The order of events.
    pub trace: Trace,
    /// The last moment.
    pub tick: Tick,
    /// What clients asked, in the order in which they asked.
    pub calls: Vec<Call>,
    /// What was told to those who asked again although they knew: the number of the call, and the outcomes.
    pub repeats: Vec<(usize, Vec<Outcome>)>,
    /// What was applied, by group and index.
    pub entries: BTreeMap<GroupId, BTreeMap<u64, Seen>>,
    /// The next index that each node's replica of a group has to apply.
    next: BTreeMap<(usize, GroupId), u64>,
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// What happened how often.
    pub coverage: Coverage,
    /// The earliest time that a running node could believe in when the clocks were last looked at.
    pub earliest_ms: u64,
    /// The latest time that any node could believe in so far, in ms since the Unix epoch.
    pub latest_ms: u64,
}

impl Book {
    /// The index that a node's replica of a group applies next.
    pub fn next(&self, node: usize, group: GroupId) -> u64 {
        self.next.get(&(node, group)).copied().unwrap_or(0)
    }
}

impl Ledger {
    /// The ledger of a run, or of the region of a run that is called `label`, which starts now.
    pub fn new(print: bool, label: String) -> Self {
        let book = Book {
            trace: Trace::new(print, label.clone()),
            tick: 0,
            calls: Vec::new(),
            repeats: Vec::new(),
            entries: BTreeMap::new(),
            next: BTreeMap::new(),
            violations: Vec::new(),
            coverage: Coverage::default(),
            earliest_ms: 0,
            latest_ms: 0,
        };
        Self { start: Instant::now(), label, book: Arc::new(Mutex::new(book)) }
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Looks into the book, or writes into it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        look(&mut self.book.lock())
    }

    /// Notes an event.
    pub fn note(&self, event: fmt::Arguments<'_>) -> Tick {
        let at = self.now();
        self.with(|book| {
            book.tick += 1;
            book.trace.note(at, event);
            book.tick
        })
    }

    /// Counts something that happened.
    pub fn count(&self, what: impl Into<String>) {
        self.with(|book| book.coverage.count(what));
    }

    /// A promise was broken.
    pub fn violation(&self, oracle: &'static str, what: String) {
        let what = if self.label.is_empty() { what } else { format!("{}: {what}", self.label) };
        self.note(format_args!("VIOLATION {oracle}: {what}"));
        self.with(|book| book.violations.push(Violation { oracle, what }));
    }

    /// A client asks.
    pub fn asked(&self, client: u64, asked: Asked) -> usize {
        let number = self.with(|book| book.calls.len());
        let invoked = self.note(format_args!("client {client} call {number}: {asked:?}"));
        self.with(|book| {
            let earliest_ms = book.earliest_ms;
            book.calls.push(Call { client, invoked, earliest_ms, ended: None, asked });
        });
        number
    }

    /// A client was told the outcome of call `number`, or gives up.
    pub fn told(&self, number: usize, told: Told) {
        let tick = self.note(format_args!("call {number} told {told:?}"));
        self.with(|book| {
            let call = &mut book.calls[number];
            call.ended = (told != Told::Unknown).then_some(tick);
            if let Asked::Write { told: known, .. } = &mut call.asked {
                *known = told;
            }
        });
    }

    /// A client was told what became of its rename.
    pub fn renamed(&self, number: usize, outcome: Outcome) {
        let tick = self.note(format_args!("call {number} renamed {outcome:?}"));
        self.with(|book| {
            let call = &mut book.calls[number];
            call.ended = Some(tick);
            if let Asked::Rename { told, .. } = &mut call.asked {
                *told = Some(outcome);
            }
        });
    }

    /// A client asked for call `number` again although it was told, and was told this.
    pub fn told_again(&self, number: usize, outcomes: Vec<Outcome>) {
        self.note(format_args!("call {number} told again {outcomes:?}"));
        self.with(|book| book.repeats.push((number, outcomes)));
    }

    /// A client was answered a read.
    pub fn answered(&self, number: usize, given: Answer) {
        let tick = self.note(format_args!("call {number} answered {given:?}"));
        self.with(|book| {
            let call = &mut book.calls[number];
            call.ended = Some(tick);
            if let Asked::Read { answer, .. } = &mut call.asked {
                *answer = Some(given);
            }
        });
    }
}

/// Watches one node's life for the ledger.
pub struct Eyes {
    /// Where it goes.
    pub ledger: Ledger,
    /// Which node.
    pub node: usize,
    /// Called when the node halts itself.
    pub on_halt: Box<dyn Fn(&str) + Send + Sync>,
}

impl Observer for Eyes {
    fn applied(&self, group: GroupId, entry: &LogEntry) {
        let (node, index, id, at) = (self.node, entry.log_id.index, entry.log_id, self.ledger.now());
        let tick = self.ledger.note(format_args!("node {node} applies {group}/{id:?}"));
        let payload = match &entry.payload {
            EntryPayload::Normal(proposal) => Some(proposal.0.clone()),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        };
        let fault = self.ledger.with(|book| {
            let next = book.next.insert((node, group), index + 1).unwrap_or(0);
            let latest_ms = book.latest_ms;
            let entries = book.entries.entry(group).or_default();
            let known = entries.get(&index).map(|seen| seen.id);
            let lost = known.filter(|known| *known != id);
            if lost.is_some() {
                // What the others applied from here on is gone: what replicas have now is what they are judged by.
                drop(entries.split_off(&index));
            }
            let seen =
                entries.entry(index).or_insert_with(|| Seen { id, payload: payload.clone(), tick, at, latest_ms });
            if next != index {
                return Some(format!("node {node} applied {group}/{index} when {next} was due"));
            }
            let other = lost.or((seen.payload != payload).then_some(seen.id))?;
            Some(format!("node {node} applied {id:?} of group {group} where another replica applied {other:?}"))
        });
        if let Some(what) = fault {
            self.ledger.violation("agreement", what);
        }
    }

    fn restored(&self, group: GroupId, index: Option<u64>) {
        let node = self.node;
        self.ledger.note(format_args!("node {node} restores group {group} at {index:?}"));
        self.ledger.with(|book| {
            let before = book.next.insert((node, group), index.map_or(0, |index| index + 1));
            if before.is_some_and(|before| before > 0) && index.is_some() {
                book.coverage.count("snapshots restored");
            }
        });
    }

    fn halted(&self, reason: &str) {
        self.ledger.violation("recovery", format!("node {} halted: {reason}", self.node));
        (self.on_halt)(reason);
    }
}

impl Ledger {
    /// A node starts from its disk: what it applied before is to be read again.
    pub fn starts(&self, node: usize) {
        self.note(format_args!("node {node} starts"));
        self.with(|book| book.next.retain(|(of, _), _| *of != node));
    }
}
