//! What all regions have acknowledged as revoked is seen in none.

use super::{Evidence, Findings};
use crate::sim::regions::history::Asked;

/// Looks for reads of a session whose login is older than a revocation that was acknowledged before.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let revocations = evidence.calls.iter().filter_map(|call| match &call.asked {
        Asked::Revoke { user, epoch } => Some((call.ended?, user, *epoch)),
        Asked::Write { .. } | Asked::Read { .. } => None,
    });
    let revocations: Vec<_> = revocations.collect();
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Read { answer: Some(Some(view)), .. } = &call.asked else { continue };
        let Some(owner) = &view.owner else { continue };
        let over = revocations.iter().find(|(ended, user, epoch)| {
            ended.tick < call.invoked.tick && **user == owner.user && owner.revocation_epoch < *epoch
        });
        if let Some((ended, _, epoch)) = over {
            findings.report(format!(
                "call {number} in region {}: read {view:?}, which epoch {epoch} had ended at {:?}",
                call.region, ended.at
            ));
        }
        findings.coverage.count("owned sessions read");
    }
}
