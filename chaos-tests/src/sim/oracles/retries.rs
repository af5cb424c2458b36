//! A write that was asked for several times under one name happens once, and what was refused never happens later.

use super::{Evidence, Findings};
use crate::sim::{
    ledger::{Asked, Told},
    workload::Nature,
};
use sojourn_core::{Answer, Key, Op, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// Adds up the counters, and looks for refusals that were not meant.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    counters(evidence, findings);
    refusals(evidence, findings);
    repeats(evidence, findings);
    let again = evidence.shards.values().flat_map(|shard| shard.requests.values()).filter(|steps| steps.len() > 1);
    findings.coverage.add("requests logged more than once", again.count() as u64);
}

/// Whoever asks again is told the same again.
fn repeats(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (number, again) in &evidence.book.repeats {
        let Asked::Write { commands, told: Told::Outcomes(outcomes) } = &evidence.calls[*number].asked else {
            continue;
        };
        for ((command, first), second) in commands.iter().zip(outcomes).zip(again) {
            if first != second {
                findings.report(format!("call {number}: {:?} was told {first:?}, and later {second:?}", command.op));
            }
            findings.coverage.count("answers given again");
        }
    }
}

/// Every addition brings a number of its own, and the sum is what was acknowledged and at most what was asked.
fn counters(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut told: BTreeMap<&Key, BTreeSet<i64>> = BTreeMap::new();
    let mut unknown: BTreeMap<&Key, i64> = BTreeMap::new();
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Write { commands, told: answer } = &call.asked else { continue };
        for (position, command) in commands.iter().enumerate() {
            let counter = evidence.cell(&command.key).is_some_and(|cell| cell.nature == Nature::Counter);
            if !counter || !matches!(command.op, Op::Increment { .. }) {
                continue;
            }
            match answer {
                Told::Outcomes(outcomes) => match &outcomes[position] {
                    Outcome::Count(sum) => {
                        if !told.entry(&command.key).or_default().insert(*sum) {
                            findings.report(format!("call {number}: two additions were both told {sum}"));
                        }
                    }
                    other => findings.report(format!("call {number}: an addition was told {other:?}")),
                },
                Told::Unknown => *unknown.entry(&command.key).or_default() += 1,
                Told::Nothing(_) => {}
            }
        }
    }
    for key in evidence.cells.iter().filter(|cell| cell.nature == Nature::Counter).flat_map(|cell| &cell.keys) {
        let acknowledged = told.get(key).map_or(0, |sums| sums.len() as i64);
        let at_most = acknowledged + unknown.get(key).copied().unwrap_or(0);
        for &number in evidence.holders(evidence.shard_of(key)) {
            let sum = value(evidence, number, key);
            if sum < acknowledged || sum > at_most {
                findings.report(format!(
                    "node {number}: {acknowledged} additions were acknowledged and {at_most} asked for, the sum is {sum}"
                ));
            }
        }
    }
}

fn value(evidence: &Evidence<'_>, node: usize, key: &Key) -> i64 {
    let Some(Answer::Record(Some(view))) = evidence.views.get(&(node, key.clone())) else { return 0 };
    view.fields.get(b"").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0)
}

fn refusals(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Write { commands, told: Told::Outcomes(outcomes) } = &call.asked else { continue };
        for (command, outcome) in commands.iter().zip(outcomes) {
            let Some(shard) = evidence.right(evidence.place_of(&command.key)) else { continue };
            let request = (command.request.origin, command.request.sequence);
            let steps = shard.requests.get(&request).into_iter().flatten();
            let happened =
                steps.map(|step| &shard.steps[*step].outcome).find(|other| !matches!(other, Outcome::Refused(_)));
            if let (Outcome::Refused(refusal), Some(happened)) = (outcome, happened) {
                findings.report(format!(
                    "call {number}: refused ({refusal}), but another copy of it answered {happened:?}"
                ));
            }
        }
    }
}
