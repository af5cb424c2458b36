//! Whether some order of operations explains what clients of a steady cell were told, without asking any replica.
//!
//! The search of Wing and Gong with Lowe's memory: operations that could come next are tried one by one on the core's own
//! state, and what was tried is remembered as (operations done, state). Steady cells have no deadlines, so that no outcome
//! depends on the time. The search is bounded; one that gives up is counted and accuses nobody.

use super::{Evidence, Findings};
use crate::sim::{
    ledger::{Asked, Told},
    workload::{Cell, Nature},
};
use sojourn_core::{Answer, Command, Incarnation, Outcome, Query, Record, Refusal, RegionId, Request, State, View};
use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Steps of one search before it gives up.
const STEPS_MAX: usize = 40_000;

/// One operation of the history.
struct Operation {
    invoked: u64,
    /// `u64::MAX` if nobody knows whether it ended.
    ended: u64,
    what: What,
}

enum What {
    Write { command: Command, told: Option<Outcome> },
    Read { query: Query, answer: Option<View> },
}

/// Searches every steady cell.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for cell in evidence.cells.iter().filter(|cell| matches!(cell.nature, Nature::Steady | Nature::Counter)) {
        let mut operations = operations(evidence, cell);
        operations.sort_by_key(|operation| operation.invoked);
        match Search::new(&operations).run() {
            Some(true) => findings.coverage.count("cells explained"),
            None => findings.coverage.count("searches given up"),
            Some(false) => findings.report(format!(
                "no order of the {} operations on the cell of {:?} explains what clients were told",
                operations.len(),
                cell.keys.first()
            )),
        }
    }
}

fn operations(evidence: &Evidence<'_>, cell: &Cell) -> Vec<Operation> {
    let mut found = Vec::new();
    for call in evidence.calls {
        let ended = call.ended.unwrap_or(u64::MAX);
        match &call.asked {
            Asked::Read { query: Query::Get { key, projection }, answer: Some(Answer::Record(view)) } => {
                if cell.keys.contains(key) {
                    let query = Query::Get { key: key.clone(), projection: projection.clone() };
                    let what = What::Read { query, answer: view.as_deref().cloned().map(timeless) };
                    found.push(Operation { invoked: call.invoked, ended, what });
                }
            }
            Asked::Write { commands, told } => {
                for (position, command) in
                    commands.iter().enumerate().filter(|(_, command)| cell.keys.contains(&command.key))
                {
                    let told = match told {
                        Told::Outcomes(outcomes) => Some(outcomes[position].clone()),
                        Told::Unknown => None,
                        Told::Nothing(_) => continue,
                    };
                    let command = Command { request: Request::default(), ..command.clone() };
                    let what = What::Write { command, told: told.map(timeless_outcome) };
                    found.push(Operation { invoked: call.invoked, ended, what });
                }
            }
            Asked::Read { .. } | Asked::Rename { .. } => {}
        }
    }
    found
}

struct Search<'a> {
    operations: &'a [Operation],
    done: Vec<bool>,
    tried: HashSet<(u64, u64)>,
    steps: usize,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        Self { operations, done: vec![false; operations.len()], tried: HashSet::new(), steps: 0 }
    }

    /// Whether an order exists; `None` if the search gave up.
    fn run(&mut self) -> Option<bool> {
        // Depth first, on a stack of our own: a history is longer than the thread's stack is deep.
        let mut path: Vec<(State, Vec<usize>, Option<usize>)> = Vec::new();
        let state = State::new(RegionId(0), 1);
        let next = self.candidates();
        path.push((state, next, None));
        loop {
            let Some((state, next, _)) = path.last_mut() else { return Some(false) };
            if !self.operations.iter().zip(&self.done).any(|(operation, done)| !done && operation.ended != u64::MAX) {
                return Some(true);
            }
            let Some(chosen) = next.pop() else {
                if let Some((_, _, Some(undone))) = path.pop() {
                    self.done[undone] = false;
                }
                continue;
            };
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return None;
            }
            let Some(after) = step(state, &self.operations[chosen]) else { continue };
            self.done[chosen] = true;
            if self.tried.insert((fingerprint(&self.done), state_hash(&after))) {
                let next = self.candidates();
                path.push((after, next, Some(chosen)));
            } else {
                self.done[chosen] = false;
            }
        }
    }

    /// Operations that began before every open one ended; those that ended are tried first, earliest first.
    fn candidates(&self) -> Vec<usize> {
        let open = || (0..self.operations.len()).filter(|position| !self.done[*position]);
        let first_end = open().map(|position| self.operations[position].ended).min().unwrap_or(u64::MAX);
        let mut next: Vec<usize> =
            open().take_while(|position| self.operations[*position].invoked < first_end).collect();
        next.sort_by_key(|position| std::cmp::Reverse(self.operations[*position].ended));
        next
    }
}

fn fingerprint(done: &[bool]) -> u64 {
    let mut hasher = DefaultHasher::new();
    done.hash(&mut hasher);
    hasher.finish()
}

fn state_hash(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (key, record) in state.records(None) {
        Hash::hash(key, &mut hasher);
        format!("{record:?}").hash(&mut hasher);
    }
    format!("{:?}", state.meta().sequences).hash(&mut hasher);
    hasher.finish()
}

/// The state after an operation, if it may answer what was told.
fn step(state: &State, operation: &Operation) -> Option<State> {
    match &operation.what {
        What::Read { query, answer } => {
            let (Answer::Record(view), _) = state.query(STAMP, &|_, _| None, query) else { return None };
            (view.map(|view| timeless(*view)) == *answer).then(|| fork(state))
        }
        What::Write { command, told } => {
            let mut after = fork(state);
            let outcome = timeless_outcome(after.apply(STAMP, command.clone(), &mut Vec::new()));
            told.as_ref().is_none_or(|told| *told == outcome).then_some(after)
        }
    }
}

/// The time of everything.
const STAMP: u64 = 1_000;

fn fork(state: &State) -> State {
    let records = state.records(None).map(|(key, record)| (key.clone(), Record::clone(record)));
    State::restore(state.meta(), records)
}

/// A view without what depends on the time.
fn timeless(view: View) -> View {
    let incarnation = Incarnation { stamp: 0, ..view.incarnation };
    View { incarnation, written: 0, idle_deadline: 0, absolute_deadline: 0, ..view }
}

fn timeless_outcome(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Written { incarnation, version, .. } => {
            Outcome::Written { incarnation: Incarnation { stamp: 0, ..incarnation }, version, deadline: 0 }
        }
        Outcome::Record(view) => Outcome::Record(view.map(|view| Box::new(timeless(*view)))),
        Outcome::Many(outcomes) => Outcome::Many(outcomes.into_iter().map(timeless_outcome).collect()),
        Outcome::Refused(Refusal::Conflict { current }) => {
            Outcome::Refused(Refusal::Conflict { current: Box::new(timeless(*current)) })
        }
        other => other,
    }
}
