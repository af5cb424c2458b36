//! What a region had acknowledged and others did not have is not dropped silently, whether the sessions were its own or of a home that
//! it acted for: when it comes back, each session that it changed after the cut is settled once, the counts that are reported add up,
//! and where both sides wrote both values are in the journal.

use super::{Evidence, Findings};
use crate::sim::regions::{
    hands::{By, Reconciled},
    reference::{Change, Rank, Settlement},
};
use sojourn_core::{
    Body, Key, State,
    orphans::Tally,
    state::{Conflict, JOURNAL},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Compares what was changed after each cut with what was settled.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let conflicts = conflicts(evidence);
    for reconciled in &evidence.reference.hands.reconciled {
        check_return(evidence, findings, reconciled, &conflicts);
    }
}

fn check_return(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    reconciled: &Reconciled,
    conflicts: &BTreeSet<(Key, Rank)>,
) {
    let Reconciled { by, home, epoch, orphans: reported, .. } = reconciled;
    let settlements = evidence.reference.settlements.iter();
    let settled: BTreeMap<(u64, u64), &Settlement> = settlements
        .filter(|settlement| (settlement.by, settlement.home, settlement.epoch) == (*by, *home, *epoch))
        .map(|settlement| (settlement.request, settlement))
        .collect();
    let sum = settled.values().fold(Tally::default(), |sum, settlement| add(sum, settlement.tally));
    if sum != *reported {
        let (by, home) = (by.0, home.0);
        findings.report(format!(
            "region {by} reports {reported:?} of region {home} for epoch {epoch}, settled were {sum:?}"
        ));
    }
    // A region that left again before it took over has settled in several returns what it wrote when it last did.
    let acted = evidence.reference.hands.last_acted(*by, *home, *epoch).unwrap_or(0);
    let since_acted = evidence.reference.settlements.iter().filter(|settlement| {
        (settlement.by, settlement.home) == (*by, *home) && (acted + 1..=*epoch).contains(&settlement.epoch)
    });
    let looked_at: BTreeSet<(&Key, Rank)> =
        since_acted.flat_map(|settlement| settlement.mine.iter().map(|(key, rank)| (key, *rank))).collect();
    let cut = written_after(evidence, reconciled);
    for (key, change) in &cut {
        if !looked_at.contains(&(*key, change.rank())) {
            findings.report(format!(
                "{key:?}: {:?} wrote {:?}, which others did not have when they began to act, and nobody settled it",
                change.by,
                change.rank()
            ));
        }
    }
    for settlement in settled.values().filter(|settlement| settlement.tally.journaled > 0) {
        for (key, rank) in &settlement.mine {
            if !conflicts.contains(&(key.clone(), *rank)) {
                findings.report(format!("{key:?}: {rank:?} lost, or made others lose, and is not in the journal"));
            }
        }
    }
    let Tally { already_applied, merged, fast_forwarded, journaled } = *reported;
    findings.coverage.count(if by == home { "returns settled" } else { "writes for other homes settled" });
    findings.coverage.add("orphans applied already", already_applied);
    findings.coverage.add("orphans merged", merged);
    findings.coverage.add("orphans that went on", fast_forwarded);
    findings.coverage.add("orphans in the journal", journaled);
    findings.coverage.add("sessions changed beyond a cut", cut.len() as u64);
}

/// The last of what a region changed of each session after the cut and before it heard of it.
fn written_after<'a>(evidence: &'a Evidence<'_>, reconciled: &Reconciled) -> BTreeMap<&'a Key, &'a Change> {
    let mut last: BTreeMap<&Key, &Change> = BTreeMap::new();
    let is_orphan = |by: &By| {
        let gap = reconciled.cut.get(&(by.region, by.shard));
        let Reconciled { by: region, home, epoch, .. } = *reconciled;
        let since = evidence.reference.hands.last_acted(region, home, epoch);
        by.region == region
            && by.home == reconciled.home
            && since == Some(by.epoch)
            && gap.is_none_or(|gap| by.is_beyond(gap))
    };
    // Until it had heard of its loss, it merged what several regions had created at once, as ever.
    let Reconciled { by, home, epoch, .. } = *reconciled;
    let acted = evidence.reference.hands.last_acted(by, home, epoch).unwrap_or(0);
    let promised = evidence.reference.promised.range((by, home, acted + 1)..=(by, home, epoch)).next();
    let heard_at = promised.map_or(Duration::ZERO, |(_, at)| *at);
    for (key, history) in &evidence.reference.histories {
        let is_merged = |change: &Change| {
            let later = |other: &Change| other.record.incarnation > change.record.incarnation && other.by.home != home;
            history.iter().any(|other| later(other) && other.by.at < heard_at)
        };
        // What it gave away is settled by where it went.
        let own = history.iter().filter(|change| !change.settled && !change.releases() && is_orphan(&change.by));
        let own = own.filter(|change| !is_merged(change));
        if let Some(change) = own.max_by_key(|change| change.rank()) {
            last.insert(key, change);
        }
    }
    last
}

/// What the journals of all regions name, by session and what its region had.
fn conflicts(evidence: &Evidence<'_>) -> BTreeSet<(Key, Rank)> {
    let entries = |state: &State| -> Vec<(Key, Rank)> {
        let records = state.records(None).filter(|(key, _)| key.namespace() == JOURNAL);
        let entries = records.filter_map(|(_, record)| match &record.body {
            Body::Hot(fields) => Conflict::from_fields(fields),
            Body::Cold { .. } => None,
        });
        entries.map(|entry| (entry.key, (entry.mine.incarnation, entry.mine.version))).collect()
    };
    evidence.reference.shards.values().flat_map(entries).collect()
}

fn add(sum: Tally, more: Tally) -> Tally {
    Tally {
        already_applied: sum.already_applied + more.already_applied,
        merged: sum.merged + more.merged,
        fast_forwarded: sum.fast_forwarded + more.fast_forwarded,
        journaled: sum.journaled + more.journaled,
    }
}
