//! Whether the order in which writes were applied explains everything that clients were told, in real time too.
//!
//! Replicas show the order of all writes, so nothing is searched for: a write that ended before another began must come
//! before it, and a read must see a state between what had ended when it began and what had been applied when it ended.
//! Reads take the earliest state that fits, which leaves those after them the most room. Source: Herlihy and Wing 1990;
//! shards are independent objects, so that each may be judged by itself, and so is a slot that went from one to another.

use super::{Evidence, Findings};
use crate::sim::{
    ledger::{Asked, Told},
    reference::{Shard, Step},
    workload::Rename,
};
use sojourn_core::{Answer, Key, Life, Op, Outcome, Projection, Query, Record, ShardId, Slot, View, command::MoveStep};
use std::collections::BTreeMap;

/// One operation on one shard, between two moments.
struct Operation<'a> {
    call: usize,
    invoked: u64,
    ended: u64,
    what: What<'a>,
}

enum What<'a> {
    Write {
        request: (u64, u64),
        told: &'a Outcome,
    },
    Read {
        key: &'a Key,
        answer: &'a Option<Box<View>>,
    },
    /// One side of a rename that happened: the old id's or the new one's.
    Renamed {
        here: &'a Key,
        other: &'a Key,
    },
}

/// Judges every shard.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut operations: BTreeMap<(ShardId, Option<Slot>), Vec<Operation<'_>>> = BTreeMap::new();
    for (number, call) in evidence.calls.iter().enumerate() {
        let Some(ended) = call.ended else { continue };
        let mut push = |key: &Key, what| {
            let operation = Operation { call: number, invoked: call.invoked, ended, what };
            operations.entry(evidence.place_of(key)).or_default().push(operation);
        };
        match &call.asked {
            Asked::Write { commands, told: Told::Outcomes(outcomes) } => {
                for (command, told) in commands.iter().zip(outcomes) {
                    let request = (command.request.origin, command.request.sequence);
                    push(&command.key, What::Write { request, told });
                }
            }
            Asked::Read { query: Query::Get { key, .. }, answer: Some(Answer::Record(answer)) } => {
                push(key, What::Read { key, answer });
            }
            Asked::Rename { rename: Rename { from, to, .. }, told: Some(Outcome::Count(1)) } => {
                push(from, What::Renamed { here: from, other: to });
                push(to, What::Renamed { here: to, other: from });
            }
            Asked::Write { .. } | Asked::Read { .. } | Asked::Rename { .. } => {}
        }
    }
    for (place, operations) in operations {
        if let Some(reference) = evidence.right(place) {
            judge(reference, &operations, findings);
        }
    }
}

fn judge(shard: &Shard, operations: &[Operation<'_>], findings: &mut Findings) {
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (position, operation) in operations.iter().enumerate() {
        events.push((operation.invoked, position, false));
        events.push((operation.ended, position, true));
    }
    events.sort_unstable();
    // The lowest state that an operation which begins now may see.
    let mut lowest = 0;
    let mut lowest_of = vec![0; operations.len()];
    for (_, position, ends) in events {
        let operation = &operations[position];
        if !ends {
            lowest_of[position] = lowest;
            continue;
        }
        let after = match operation.what {
            What::Write { request, told } => write(shard, operation, request, told, lowest_of[position]),
            What::Renamed { here, other } => renamed(shard, operation, here, other, lowest_of[position]),
            What::Read { key, answer } => read(shard, operation, key, answer, lowest_of[position]),
        };
        match after {
            Ok(after) => lowest = lowest.max(after),
            Err(what) => findings.report(what),
        }
        findings.coverage.count("operations judged");
    }
}

/// The state after the write.
fn write(
    shard: &Shard,
    operation: &Operation<'_>,
    request: (u64, u64),
    told: &Outcome,
    lowest: usize,
) -> Result<usize, String> {
    let call = operation.call;
    let steps = shard.requests.get(&request).ok_or_else(|| {
        format!("call {call}: a write was acknowledged with {told:?}, but its shard never applied it")
    })?;
    let fits = steps.iter().copied().find(|step| shard.steps[*step].outcome == *told);
    let Some(step) = fits else {
        let right: Vec<&Outcome> = steps.iter().map(|step| &shard.steps[*step].outcome).collect();
        return Err(format!(
            "call {call}: {:?} was told {told:?}, right is {right:?}",
            shard.steps[steps[0]].command.op
        ));
    };
    if step < lowest {
        let what = &shard.steps[step].command.op;
        return Err(format!("call {call}: {what:?} is step {step}, but state {lowest} was seen before it was asked"));
    }
    Ok(step + 1)
}

/// The earliest state after this side of a rename, which took place while it was asked for.
fn renamed(shard: &Shard, operation: &Operation<'_>, here: &Key, other: &Key, lowest: usize) -> Result<usize, String> {
    let happened = |step: &(usize, &Step)| {
        let (_, Step { command, outcome, tick, .. }) = step;
        let did = match &command.op {
            Op::Move { step: MoveStep::Depart { to, .. } } => to == other && matches!(outcome, Outcome::Record(_)),
            Op::Move { step: MoveStep::Arrive { from, .. } } => from == other && *outcome == Outcome::Count(1),
            _ => false,
        };
        did && command.key == *here && (operation.invoked..=operation.ended).contains(tick)
    };
    let found = shard.steps.iter().enumerate().skip(lowest).find(happened).map(|(step, _)| step + 1);
    found.ok_or_else(|| {
        format!("call {}: a rename between {here:?} and {other:?} was acknowledged, and did not happen", operation.call)
    })
}

/// The earliest state that explains the read.
fn read(
    shard: &Shard,
    operation: &Operation<'_>,
    key: &Key,
    answer: &Option<Box<View>>,
    lowest: usize,
) -> Result<usize, String> {
    let reached = shard.reached(operation.ended).max(lowest);
    let records = shard.records(key, lowest, reached);
    let untils = records.iter().skip(1).map(|(next, _)| next - 1).chain([reached]);
    let fits = records.iter().zip(untils).find_map(|((from, record), until)| {
        // The read was at some moment before the next entry, whose stamp is the latest that its leader's time can have been.
        let mut explaining =
            (*from..=until).filter(|state| explains(record.as_deref(), shard.stamp((state + 1).min(reached)), answer));
        explaining.next().filter(|state| answer.is_some() || !lives_on(shard, key, *state, record.as_deref()))
    });
    match fits {
        Some(state) => Ok(state),
        None => Err(format!(
            "call {}: {key:?} was read as {answer:?}, but states {lowest} to {reached} have {records:?}",
            operation.call
        )),
    }
}

/// Whether the log goes on with a session for longer than `record` says: then nobody may be told that it is over.
fn lives_on(shard: &Shard, key: &Key, state: usize, record: Option<&Record>) -> bool {
    let Some(record) = record.filter(|record| record.life == Life::Live) else { return false };
    let later = shard.records(key, state, shard.steps.len()).into_iter().skip(1).filter_map(|(_, later)| later);
    later
        .take_while(|later| later.incarnation == record.incarnation && later.life == Life::Live)
        .any(|later| later.deadline() > record.deadline())
}

fn explains(record: Option<&Record>, stamp: u64, answer: &Option<Box<View>>) -> bool {
    let live = record.filter(|record| record.life == Life::Live);
    match (live, answer) {
        (None, None) => true,
        // Past its deadline by the log's own time: gone, whoever says so first.
        (Some(record), None) => record.deadline() <= stamp,
        (None, Some(_)) => false,
        (Some(record), Some(view)) => {
            // The leader may know of a later deadline than the log.
            let later = view.idle_deadline >= record.idle_deadline
                && view.idle_deadline <= record.absolute_deadline.max(record.idle_deadline);
            let right = View::of(record, &Projection::Whole, view.idle_deadline);
            later && right.is_ok_and(|right| right == **view)
        }
    }
}
