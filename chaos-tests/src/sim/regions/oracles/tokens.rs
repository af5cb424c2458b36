//! A client that passes along what it has seen is shown no less, in whatever region it asks.

use super::{Evidence, Findings, Nature};
use crate::sim::regions::history::Asked;

/// Compares each read with what the client had passed along.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Read { key, token: Some(token), answer: Some(answer) } = &call.asked else { continue };
        let floor = (token.incarnation, token.version);
        // What several regions create at once is merged later, and others may act without what was seen of a region that was lost.
        let contested = matches!(evidence.nature(key), Some(Nature::Contested | Nature::Brief));
        if contested || evidence.reference.is_change_cut(key, floor) {
            continue;
        }
        let seen = match answer {
            Some(view) => Some((view.incarnation, view.version)),
            None => evidence.reference.first_end(key, floor),
        };
        let revoked = evidence.nature(key) == Some(Nature::Owned) && answer.is_none();
        if seen.is_none_or(|seen| seen < floor) && !revoked {
            findings.report(format!(
                "call {number} in region {} at {:?}: read {answer:?} of {key:?} after {floor:?} was passed along",
                call.region, call.invoked.at
            ));
        }
        findings.coverage.count("reads with tokens judged");
    }
}
