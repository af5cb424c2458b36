//! A session that is renamed between slots lives under one of both ids once it is settled, whatever crashed on the way: never
//! under both, never under none, and with its fields.
//!
//! Sessions of a moving cell bear a mark from their creation on. What may end one is known (a destroy, another session that
//! takes its id), so every other mark that somebody was told of must be found under exactly one id in the end.

use super::{Evidence, Findings};
use crate::sim::{
    ledger::{Asked, Told},
    reference::Shard,
    workload::{MARK, Nature},
};
use sojourn_core::{Answer, Body, Fields, Key, Life, Op, Outcome, Record, command::MoveStep};
use std::collections::{BTreeMap, BTreeSet};

type Mark = Box<[u8]>;

/// Follows every mark through the logs, then looks where it is.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let cells = evidence.cells.iter().filter(|cell| cell.nature == Nature::Moving);
    let keys: Vec<&Key> = cells.flat_map(|cell| &cell.keys).collect();
    one_at_a_time(evidence, &keys, findings);
    let mut ended = BTreeSet::new();
    for shard in evidence.shards.values() {
        for (number, step) in shard.steps.iter().enumerate().filter(|(_, step)| keys.contains(&&step.command.key)) {
            let before = || record(shard, &step.command.key, number);
            let after = || record(shard, &step.command.key, number + 1);
            match (&step.command.op, &step.outcome) {
                (Op::Destroy, Outcome::Count(1)) => ended.extend(before().as_ref().and_then(mark_of)),
                (Op::Move { step: MoveStep::Arrive { view, .. } }, Outcome::Count(1)) => {
                    let first = after().is_some_and(|record| record.life == Life::Live) && before() != after();
                    if first {
                        ended.extend(before().as_ref().and_then(mark_of));
                        same_fields(&view.fields, after().as_ref(), findings);
                        findings.coverage.count("sessions arrived in another slot");
                    }
                }
                (Op::Move { step: MoveStep::Settle { arrived: false, .. } }, Outcome::Count(1)) => {
                    findings.coverage.count("sessions given their id back");
                    // Whoever took the id meanwhile stays.
                    if before().as_ref().and_then(mark_of).is_some() {
                        ended.extend(departed(shard, &step.command.key, number));
                    }
                }
                _ => {}
            }
        }
        for (from, departure) in &shard.state.meta().moves.departures {
            findings.report(format!("{from:?} is still on its way to {:?} after the heal", departure.to));
        }
    }
    where_they_are(evidence, &keys, &ended, findings);
}

/// No mark lives under two ids at any time.
fn one_at_a_time(evidence: &Evidence<'_>, keys: &[&Key], findings: &mut Findings) {
    let mut events = Vec::new();
    for key in keys {
        let place = evidence.place_of(key);
        let Some(shard) = evidence.right(place) else { continue };
        for (state, record) in shard.records(key, 0, shard.steps.len()) {
            events.push((shard.tick(state), place, state, *key, record.as_deref().and_then(mark_of)));
        }
    }
    events.sort_by_key(|(tick, place, state, ..)| (*tick, *place, *state));
    let mut bears: BTreeMap<&Key, Mark> = BTreeMap::new();
    for (tick, _, _, key, mark) in events {
        bears.remove(key);
        let Some(mark) = mark else { continue };
        if let Some((other, _)) = bears.iter().find(|(_, there)| **there == mark) {
            findings.report(format!("at {tick} a session lives under {key:?} and under {other:?}"));
        }
        bears.insert(key, mark);
    }
}

/// Every mark that somebody was told of, and that nothing ended, is under one id in the end.
fn where_they_are(evidence: &Evidence<'_>, keys: &[&Key], ended: &BTreeSet<Mark>, findings: &mut Findings) {
    let mut found: BTreeMap<Mark, BTreeSet<&Key>> = BTreeMap::new();
    for ((_, key), answer) in evidence.views {
        if let (true, Answer::Record(Some(view))) = (keys.contains(&key), answer) {
            found.entry(view.fields.get(MARK).map_or_else(Mark::default, Mark::from)).or_default().insert(key);
        }
    }
    for (mark, keys) in found.iter().filter(|(mark, keys)| mark.is_empty() || keys.len() > 1) {
        findings.report(format!("the mark {mark:?} is found under {keys:?} in the end"));
    }
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Write { commands, told: Told::Outcomes(outcomes) } = &call.asked else { continue };
        for (command, outcome) in commands.iter().zip(outcomes) {
            let (Op::Create { fields, .. }, Outcome::Written { .. }) = (&command.op, outcome) else { continue };
            let Some(mark) = fields.get(MARK).map(Mark::from) else { continue };
            if !ended.contains(&mark) && !found.contains_key(&mark) {
                let text = format!("call {number}: the session created as {:?} is under no id in the end", command.key);
                findings.report(text);
            }
            findings.coverage.count("marked sessions looked for");
        }
    }
}

fn same_fields(left: &Fields, arrived: Option<&Record>, findings: &mut Findings) {
    let came = arrived.and_then(fields_of);
    if came != Some(left) {
        findings.report(format!("a session left with the fields {left:?} and arrived as {arrived:?}"));
    }
}

/// The mark of the session that left `key` last before step `before`.
fn departed(shard: &Shard, key: &Key, before: usize) -> Option<Mark> {
    shard.steps[..before].iter().rev().filter(|step| step.command.key == *key).find_map(|step| {
        match (&step.command.op, &step.outcome) {
            (Op::Move { step: MoveStep::Depart { .. } }, Outcome::Record(Some(view))) => {
                view.fields.get(MARK).map(Mark::from)
            }
            _ => None,
        }
    })
}

fn record(shard: &Shard, key: &Key, state: usize) -> Option<Record> {
    shard.records(key, state, state).pop().and_then(|(_, record)| record).map(|record| Record::clone(&record))
}

fn fields_of(record: &Record) -> Option<&Fields> {
    match &record.body {
        Body::Hot(fields) if record.life == Life::Live => Some(fields),
        Body::Hot(_) | Body::Cold { .. } => None,
    }
}

fn mark_of(record: &Record) -> Option<Mark> {
    fields_of(record)?.get(MARK).map(Mark::from)
}
