//! Nothing acknowledged is lost: some region has every write that a client was told of, as it was told.

use super::{Evidence, Findings};
use crate::sim::{ledger::Told, regions::history::Asked};
use sojourn_core::{Op, Outcome, Refusal};

/// Compares what was told with what the regions logged.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Write { command, told } = &call.asked else { continue };
        let request = (command.request.origin, command.request.sequence);
        let applied = evidence.reference.requests.get(&request);
        match told {
            Told::Outcomes(outcomes) => {
                let outcome = outcomes.first();
                let same = applied.is_some_and(|all| all.iter().any(|applied| Some(&applied.outcome) == outcome));
                if !same && !is_unlogged(&command.op, outcome) {
                    findings.report(format!("call {number}: told {outcome:?}, but regions have {applied:?}"));
                }
                findings.coverage.count("writes acknowledged");
            }
            Told::Unknown | Told::Nothing(_) if applied.is_some() => {
                findings.coverage.count("writes unknown and applied");
            }
            Told::Unknown | Told::Nothing(_) => findings.coverage.count("writes unknown and not applied"),
        }
        if applied.is_some_and(|all| all.iter().any(|applied| applied.region != call.region)) {
            findings.coverage.count("writes ordered in another region");
        }
    }
}

/// Whether such an answer needs no entry: what could not be decided is not remembered.
fn is_unlogged(op: &Op, outcome: Option<&Outcome>) -> bool {
    matches!(op, Op::Touch) || matches!(outcome, Some(Outcome::Refused(Refusal::NotHere)))
}
