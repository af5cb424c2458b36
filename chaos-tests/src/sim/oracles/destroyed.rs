//! Destroyed means destroyed: what a client knows to be gone is never seen again.

use super::{Evidence, Findings};
use crate::sim::ledger::{Asked, Told};
use sojourn_core::{Answer, Incarnation, Key, Op, Outcome, Query, View};
use std::collections::BTreeMap;

/// Looks for reads of an incarnation that was seen, then destroyed, all before the read began.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut seen: BTreeMap<&Key, Vec<(u64, Incarnation)>> = BTreeMap::new();
    for call in evidence.calls {
        if let (Asked::Read { query: Query::Get { key, .. }, answer: Some(Answer::Record(Some(view))) }, Some(ended)) =
            (&call.asked, call.ended)
        {
            seen.entry(key).or_default().push((ended, view.incarnation));
        }
    }
    let mut gone: BTreeMap<&Key, Vec<(u64, Incarnation)>> = BTreeMap::new();
    for call in evidence.calls {
        let (Asked::Write { commands, told: Told::Outcomes(outcomes) }, Some(ended)) = (&call.asked, call.ended) else {
            continue;
        };
        for (command, outcome) in commands.iter().zip(outcomes) {
            let destroyed = match command.op {
                Op::Destroy => *outcome == Outcome::Count(1),
                Op::GetDelete => matches!(outcome, Outcome::Bytes(_)),
                _ => false,
            };
            let before = seen.get(&command.key).into_iter().flatten().filter(|(seen, _)| *seen < call.invoked);
            if let (true, Some(last)) = (destroyed, before.map(|(_, incarnation)| *incarnation).max()) {
                gone.entry(&command.key).or_default().push((ended, last));
                findings.coverage.count("sessions seen and destroyed");
            }
        }
    }
    for (number, call) in evidence.calls.iter().enumerate() {
        if let Asked::Read { query: Query::Get { key, .. }, answer: Some(Answer::Record(Some(view))) } = &call.asked {
            judge(number, call.invoked, view, gone.get(key).map_or(&[][..], Vec::as_slice), findings);
        }
    }
}

fn judge(number: usize, invoked: u64, view: &View, gone: &[(u64, Incarnation)], findings: &mut Findings) {
    let back = gone.iter().find(|(ended, last)| *ended < invoked && view.incarnation <= *last);
    if let Some((_, last)) = back {
        findings.report(format!("call {number}: read {view:?} after {last:?} under this id was destroyed"));
    }
}
