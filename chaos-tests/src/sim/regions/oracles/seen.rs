//! What clients of a region see goes forward: what the region has written through whatever region, what it has read before, and what
//! anybody was told before a copy may be too old. At home, what anybody was told.

use super::{
    super::{
        history::{Asked, Moment},
        reference::{Change, Rank},
    },
    Evidence, Findings, Nature,
};
use crate::sim::ledger::Told;
use sojourn_core::{Key, Outcome};
use sojourn_node::region::copies::STALE_MAX;
use std::{collections::BTreeMap, time::Duration};

/// Clocks of nodes drift while a copy ages.
const SLACK: Duration = Duration::from_millis(5);

/// Something that somebody knew of a session.
struct Known {
    region: usize,
    since: Moment,
    rank: Rank,
    read: bool,
}

/// Compares each read with all that was known before it.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut known: BTreeMap<&Key, Vec<Known>> = BTreeMap::new();
    for call in &evidence.calls {
        let (Some(since), region) = (call.ended, call.region) else { continue };
        let (key, rank, read) = match &call.asked {
            Asked::Write { command, told: Told::Outcomes(outcomes) } => {
                let request = (command.request.origin, command.request.sequence);
                if evidence.may_be_lost(request) {
                    continue;
                }
                let refused = matches!(outcomes.first(), Some(Outcome::Refused(_)));
                let rank = evidence.reference.effective(request).and_then(|applied| applied.rank);
                (&command.key, rank.filter(|_| !refused), false)
            }
            // Others may act without what was seen of a region that was lost.
            Asked::Read { key, answer: Some(Some(view)), .. } => {
                let rank = (view.incarnation, view.version);
                (key, Some(rank).filter(|rank| !evidence.reference.is_change_cut(key, *rank)), true)
            }
            _ => continue,
        };
        // What several regions create at once is merged later: who lost sees another session.
        if matches!(evidence.nature(key), Some(Nature::Contested | Nature::Brief)) {
            continue;
        }
        if let Some(rank) = rank {
            known.entry(key).or_default().push(Known { region, since, rank, read });
        }
    }
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Read { key, token, answer: Some(answer) } = &call.asked else { continue };
        let Some(known) = known.get(key) else { continue };
        let history = evidence.reference.histories.get(key);
        // Where a session that has travelled was at home when it was read is not known, nor who acted for it then.
        let moves = |change: &Change| change.releases() || evidence.reference.hands.has_changed(change.by.home);
        let stayed = history.filter(|history| !history.iter().any(moves));
        let home = stayed.and_then(|history| history.first()).map(|change| change.region);
        let binding = known.iter().filter(|known| {
            let before = known.since.tick < call.invoked.tick;
            let old = known.since.at + STALE_MAX + SLACK < call.invoked.at;
            // A copy that shows what a client has seen answers it, whatever others of its region know.
            let ours = known.region == call.region && token.is_none();
            before && (ours || home == Some(call.region) || old)
        });
        let Some(floor) = binding.max_by_key(|known| known.rank) else { continue };
        let (what, seen) = match answer {
            Some(view) => (format!("{view:?}"), Some((view.incarnation, view.version))),
            None => ("nothing".to_owned(), evidence.reference.first_end(key, floor.rank)),
        };
        let revoked = evidence.nature(key) == Some(Nature::Owned) && answer.is_none();
        if seen.is_none_or(|seen| seen < floor.rank) && !revoked {
            let how = if floor.read { "seen" } else { "written" };
            findings.report(format!(
                "call {number} in region {} at {:?}: read {what} of {key:?} (home {home:?}) after {:?} was {how} through \
                 region {} at {:?}",
                call.region, call.invoked.at, floor.rank, floor.region, floor.since.at
            ));
        }
        findings.coverage.count(if home == Some(call.region) { "reads at home judged" } else { "reads abroad judged" });
    }
}
