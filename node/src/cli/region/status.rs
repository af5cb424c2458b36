//! The world's regions as people read them.

use super::drain;
use crate::{
    cli::output::{Align, table},
    gateway::http::api::{Acts, Cut, Orphans, RegionStatus, Regions, Stray},
    notation::{about, show_duration},
};

/// One line a region, and what is to be said of some below.
pub fn regions(status: &Regions) -> String {
    let columns = [
        ("REGION", Align::Left),
        ("PHASE", Align::Left),
        ("EPOCH", Align::Right),
        ("WRITTEN BY", Align::Left),
        ("LEASES", Align::Left),
        ("HEARD", Align::Left),
        ("VOTER", Align::Left),
        ("NOTES", Align::Left),
    ];
    let rows = status.regions.iter().map(|region| row(status, region));
    let details: String = status.regions.iter().map(details).chain(contradictions(status)).collect();
    let details = format!("{details}{}", conflicts(status.conflicts));
    let details = if details.is_empty() { details } else { format!("\n{details}") };
    format!("{}\n{}{details}", headline(status), table(&columns, rows))
}

fn contradictions(status: &Regions) -> impl Iterator<Item = String> {
    status.contradictions.iter().map(|contradiction| format!("{}: {contradiction}\n", status.here))
}

fn conflicts(count: Option<u64>) -> String {
    match count {
        None | Some(0) => String::new(),
        Some(1) => "1 conflict lies in the journal: `sojourn region conflicts` shows it\n".to_owned(),
        Some(count) => format!("{count} conflicts lie in the journal: `sojourn region conflicts` shows them\n"),
    }
}

fn headline(status: &Regions) -> String {
    let Regions { here, version, failover, lease_ms, control, problem, contradictions: _, conflicts: _, regions: _ } =
        status;
    if let Some(problem) = problem {
        return format!("The world does not take region {here} in: {problem}\n");
    }
    let decides = match failover.as_str() {
        "automatic" => format!("losses are met by leases of {}", show_duration(*lease_ms)),
        _ => "a person decides over losses".to_owned(),
    };
    match (version, control) {
        (0, _) if status.regions.is_empty() => {
            "The regions of `world.regions` have not all met yet: nothing is agreed on\n".to_owned()
        }
        (0, _) => "A world of one region\n".to_owned(),
        (_, Some(control)) => {
            let voters: Vec<String> =
                control.voters.iter().map(|voter| format!("{}/{}", voter.region, voter.node)).collect();
            format!(
                "Control group: {}/{} leads in term {}, voters {}; {decides}\n",
                control.leader.region,
                control.leader.node,
                control.term,
                voters.join(", ")
            )
        }
        (_, None) => format!(
            "Control group: no leader answers, nothing can change; this is what region {here} last heard; {decides}\n"
        ),
    }
}

fn row(status: &Regions, region: &RegionStatus) -> Vec<String> {
    let dash = || "-".to_owned();
    let mut notes = Vec::new();
    let marks = [
        (region.region == status.here, "answers"),
        (region.away, "away"),
        (region.diverged, "diverged"),
        (region.draining, "draining"),
    ];
    notes.extend(marks.iter().filter(|(holds, _)| *holds).map(|(_, note)| (*note).to_owned()));
    let leases = match (status.failover.as_str(), region.leased) {
        (_, true) => "yes",
        ("automatic", false) => "not yet",
        (_, false) => "no",
    };
    vec![
        region.region.clone(),
        region.phase.replace('_', " "),
        region.epoch.to_string(),
        written_by(&region.acting),
        leases.to_owned(),
        region.silent_ms.map_or_else(dash, heard),
        region.voter.map_or_else(dash, |node| format!("{}/{node}", region.region)),
        notes.join(", "),
    ]
}

fn heard(silent_ms: u64) -> String {
    if silent_ms < 1_000 { "now".to_owned() } else { format!("{} ago", about(silent_ms)) }
}

fn written_by(acting: &[Acts]) -> String {
    match acting {
        [] => "nobody".to_owned(),
        [one] => one.region.clone(),
        ranges => {
            let range = |acts: &Acts| format!("{} {}-{}", acts.region, acts.first, acts.last);
            ranges.iter().map(range).collect::<Vec<_>>().join(", ")
        }
    }
}

fn details(region: &RegionStatus) -> String {
    let name = &region.region;
    let mut lines = Vec::new();
    if let Some(cause) = &region.cause {
        let why = match cause.as_str() {
            "lost" => "its leases were not renewed",
            "operator" => "a person moves it",
            "operator_force" => "a person gave it up",
            _ => "it takes over again",
        };
        let answered = if region.answered.is_empty() { "nobody".to_owned() } else { region.answered.join(", ") };
        lines.push(format!("{name}: who writes is decided anew, because {why}; answered: {answered}"));
    }
    if !region.unheard.is_empty() {
        lines.push(format!("{name}: not heard when others began to write: {}", region.unheard.join(", ")));
    }
    for cut in &region.cut {
        lines.push(format!("{name}: {}", missing(cut)));
    }
    if let Some(orphans) = &region.orphans {
        lines.push(format!("{name}: of what only it had written, {}", became(orphans)));
    }
    for Stray { region: stray, orphans } in &region.strays {
        lines.push(match orphans {
            Some(orphans) => {
                format!("{name}: of what only {stray} had written for it when that was lost, {}", became(orphans))
            }
            None => format!(
                "{name}: what {stray} wrote for it when that was lost is not settled yet; it is once {stray} is back"
            ),
        });
    }
    let drained: String = region.drain.iter().map(|draining| drain::left(name, draining)).collect();
    lines.iter().map(|line| format!("{line}\n")).chain([drained]).collect()
}

fn became(orphans: &Orphans) -> String {
    let Orphans { already_applied, merged, fast_forwarded, journaled } = orphans;
    format!("{already_applied} had arrived, {merged} merged, {fast_forwarded} went on, {journaled} lie in the journal")
}

/// What of a shard may be missing.
fn missing(cut: &Cut) -> String {
    let Cut { region, shard, at, entries, ms, since_ms: _ } = cut;
    let entries = if *entries == 0 { String::new() } else { format!(", {entries} entries at least") };
    match *ms {
        0 => format!("nothing of shard {shard} of {region} is missing; {at} has it"),
        EVER_MS.. => format!(
            "shard {shard} of {region} never told of a write; had it just begun, what it had is missing{entries}"
        ),
        ms => {
            format!(
                "what shard {shard} of {region} wrote in its last {} may be missing{entries}; {at} has most",
                about(ms)
            )
        }
    }
}

/// Longer than any shard has been there: nothing was ever heard of it.
const EVER_MS: u64 = 20 * 365 * 24 * 60 * 60 * 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        peers::AbroadRoster,
        world::control::{Figures, View},
    };
    use sojourn_core::{
        NamespaceId, NodeId, RegionId,
        control::{Cause, ControlCommand, ControlState, FailoverMode},
    };
    use std::{collections::BTreeMap, sync::Arc};

    fn view(fenced: bool) -> View {
        let mut state = ControlState::default();
        state.apply(ControlCommand::SetFailover { mode: FailoverMode::Automatic, lease_ms: 10_000 });
        state.apply(ControlCommand::Found { world: 7 });
        for (number, name) in [(0, "na"), (1, "eu"), (2, "apac")] {
            state.apply(ControlCommand::Join {
                region: RegionId(number),
                mark: u128::from(number),
                name: name.to_owned(),
                entrances: [].into(),
                place: None,
                voter: Some(NodeId(1)),
            });
        }
        if fenced {
            let cause = Cause::Operator { force: true };
            state.apply(ControlCommand::Fence { region: RegionId(0), cause, at: 5 });
        }
        View { here: RegionId(1), state: Some(Arc::new(state)), figures: None, complaint: None }
    }

    #[test]
    fn the_group_and_when_regions_were_heard_are_shown_as_its_leader_sees_them() {
        let number = |region| AbroadRoster::number(RegionId(region), NodeId(1));
        let figures = Figures {
            leader: number(2),
            term: 4,
            voters: [0, 1, 2].map(number).into(),
            learners: [].into(),
            silent_ms: BTreeMap::from([(RegionId(0), 60_000), (RegionId(2), 0)]),
        };
        let text = regions(&Regions::new("eu", RegionId(1), Some(&View { figures: Some(figures), ..view(false) })));
        let expected = "\
Control group: apac/1 leads in term 4, voters na/1, eu/1, apac/1; losses are met by leases of 10s

REGION  PHASE    EPOCH  WRITTEN BY  LEASES   HEARD   VOTER   NOTES
na      serving      2  na          not yet  1m ago  na/1
eu      serving      3  eu          not yet  -       eu/1    answers
apac    serving      4  apac        not yet  now     apac/1
";
        assert_eq!(text, expected);
    }

    #[test]
    fn each_region_has_a_line_and_what_is_decided_is_said_below() {
        let known = Regions::new("eu", RegionId(1), Some(&view(true)));
        let text = regions(&Regions { conflicts: Some(2), ..known });
        let expected = "\
Control group: no leader answers, nothing can change; this is what region eu last heard; losses are met by leases of 10s

REGION  PHASE    EPOCH  WRITTEN BY  LEASES   HEARD  VOTER   NOTES
na      fenced       5  nobody      not yet  -      na/1    away
eu      serving      3  eu          not yet  -      eu/1    answers
apac    serving      4  apac        not yet  -      apac/1

na: who writes is decided anew, because a person gave it up; answered: nobody
2 conflicts lie in the journal: `sojourn region conflicts` shows them
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_region_that_is_drained_says_how_many_homes_are_left() {
        let mut state = (*view(false).state.expect("a world")).clone();
        state.apply(ControlCommand::Drain { region: RegionId(0), draining: true });
        let view = View { state: Some(Arc::new(state)), ..view(false) };
        let with = |sessions: &[(u32, u64)]| {
            let sessions = sessions.iter().map(|(namespace, count)| (NamespaceId(*namespace), *count)).collect();
            let homes = BTreeMap::from([(RegionId(0), sessions), (RegionId(1), BTreeMap::from([(NamespaceId(0), 7)]))]);
            Regions::new("eu", RegionId(1), Some(&view)).with_homes(Some(&view), Some(&homes))
        };
        let text = regions(&with(&[(0, 40), (9, 2)]));
        assert!(text.ends_with("\n\nna: 42 homes are left: 42 go to eu\n") && text.contains("draining"), "{text}");
        assert!(regions(&with(&[])).ends_with("na: no homes are left\n"));
        let homes: Vec<Option<u64>> = with(&[(0, 1)]).regions.iter().map(|region| region.homes).collect();
        assert_eq!(homes, [Some(1), Some(7), Some(0)]);
    }

    #[test]
    fn a_namespace_that_is_not_as_in_the_world_is_said_below() {
        let status = Regions::new("eu", RegionId(1), Some(&view(false)));
        let text = regions(&Regions { contradictions: vec!["the namespace shop is odd".to_owned()], ..status });
        assert!(text.ends_with("\n\neu: the namespace shop is odd\n"), "{text}");
    }

    #[test]
    fn a_region_that_is_alone_or_not_taken_in_says_so() {
        let text = regions(&Regions::new("na", RegionId(0), None));
        assert!(text.starts_with("A world of one region\n") && text.contains("na      serving      1  na"), "{text}");
        let unmet = View { here: RegionId(0), state: None, figures: None, complaint: None };
        assert!(regions(&Regions::new("na", RegionId(0), Some(&unmet))).starts_with("The regions of `world.regions`"));
        let refused = View { complaint: Some("because".to_owned()), ..view(false) };
        let text = regions(&Regions::new("eu", RegionId(1), Some(&refused)));
        assert!(text.starts_with("The world does not take region eu in: because\n"), "{text}");
    }
}
