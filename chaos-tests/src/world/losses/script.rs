//! One loss from beginning to end.

use super::{
    Kind,
    judge::{self, After, Missing, Reported},
    load::{Load, Place},
    operator::Operator,
    told::{Told, now_ms},
};
use crate::{
    process::{Region, RegionOptions, World, wait_until},
    world::Plan,
};
use anyhow::Context;
use sojourn_core::SlotTable;
use sojourn_node::gateway::http::api::{Conflict, Orphans, RegionStatus};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long it may take until others act: regions are left alone for half a minute after their phase has changed.
const ACTING_MAX: Duration = Duration::from_secs(120);

/// How long a region may take to come back.
const BACK_MAX: Duration = Duration::from_secs(120);

/// How long the entries of the journal may take to come to another region.
const NOTED_MAX: Duration = Duration::from_secs(30);

/// How long a region writes on of which nobody hears any more, before it is lost.
const UNHEARD: Duration = Duration::from_secs(1);

/// What one loss did.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Sessions whose end was.
    pub destroyed: u64,
    /// How long it took until others acted.
    pub acting_s: f64,
    /// How long it took from the restart until all that only the region had was settled.
    pub settled_s: f64,
    /// What was missing while they acted.
    pub missing: Missing,
    /// What was wrong once the region was back.
    pub returned: After,
    /// What was wrong once it had taken over again.
    pub back: After,
    /// What became of what only it had.
    pub orphans: Orphans,
    /// Why that cannot be, if it cannot.
    pub wrong_counts: Option<String>,
}

pub(super) fn lose(plan: &Plan, world: &mut World, kind: Kind, round: usize) -> anyhow::Result<Loss> {
    let lost = round % world.regions().len();
    let name = world.regions()[lost].name().to_owned();
    // Whoever hears last decides: one that stays.
    let operator = Operator::at(&world.regions()[(lost + 1) % world.regions().len()])?;
    let slots = SlotTable::even(RegionOptions::default().shards);
    let serves = |region: &RegionStatus| region.phase == "serving" && region.leased;
    until(operator, &name, "to serve", BACK_MAX, serves)?;

    let load = Load::begin(place(world, lost, format!("loss{round}")))?;
    sleep(plan.warm_up);
    load.wait_written()?;
    load.lose();
    if round.is_multiple_of(2) {
        part(world, lost)?;
        sleep(UNHEARD);
    }
    kill(world, lost)?;
    // What was held on its way is gone with its sender: a network gives up, where ours would bring it once it is healed.
    forget_on_the_way(world, lost)?;
    world.heal();
    let (killed, killed_ms) = (Instant::now(), now_ms());
    if plan.losses_by_hand {
        operator.give_up(&name)?;
    }
    let open = until(operator, &name, "to be acted for", ACTING_MAX, |region| region.phase == "open")?;
    let acting_s = killed.elapsed().as_secs_f64();
    load.wait_written()?;
    let told = load.end()?;
    let reported = Reported::of(&open, killed_ms);
    let mut missing = Missing::default();
    for found in look(world, &told, |region| region != lost)? {
        let here = judge::missing((&told, &found), (lost, &slots), &reported)?;
        if here.count + here.revived >= missing.count + missing.revived {
            missing = here;
        }
    }

    let restarted = Instant::now();
    let returned_as = bring_back(world, lost, operator)?;
    let settled_s = restarted.elapsed().as_secs_f64();
    let orphans = returned_as.orphans.context("a region that has returned says what became of its writes")?;
    let conflicts = conflicts(operator, (&name, round), orphans.journaled)?;
    let journal = judge::journaled(&conflicts, kind);
    let mut returned = After::default();
    for found in look(world, &told, |_| true)? {
        returned += judge::after((&told, &found), &missing.numbers, &journal);
    }
    let counted = (&orphans, &conflicts[..]);
    let wrong_counts = judge::wrong_counts((&told, &missing), (lost, &slots), &reported, counted)?;

    let load = Load::begin(place(world, lost, format!("back{round}")))?;
    operator.fail_back(&name)?;
    until(operator, &name, "to serve again", BACK_MAX, serves)?;
    load.wait_written()?;
    let told_since = load.end()?;
    let mut back = After::default();
    for (told, journal) in [(&told, &journal), (&told_since, &BTreeMap::new())] {
        for found in look(world, told, |_| true)? {
            back += judge::after((told, &found), &missing.numbers, journal);
        }
    }
    let all = || told.iter().chain(&told_since);
    let acknowledged = all().flat_map(Told::all).filter(|write| write.acknowledged_ms.is_some()).count() as u64;
    let destroyed = all().filter(|told| told.is_destroyed()).count() as u64;
    Ok(Loss { acknowledged, destroyed, acting_s, settled_s, missing, returned, back, orphans, wrong_counts })
}

fn place(world: &World, lost: usize, name: String) -> Place {
    let regions = world.regions().iter().map(|region| region.nodes().iter().map(|node| node.resp).collect());
    Place { regions: regions.collect(), lost, name }
}

/// Waits until a region is as it should be.
fn until(
    operator: Operator,
    name: &str,
    what: &str,
    patience: Duration,
    holds: impl Fn(&RegionStatus) -> bool,
) -> anyhow::Result<RegionStatus> {
    let mut last = None;
    let waited = wait_until(&format!("{name} {what}"), patience, || {
        last = operator.region(name).ok();
        last.as_ref().is_some_and(&holds)
    });
    waited.with_context(|| format!("it was last seen as {last:?}"))?;
    last.context("it was seen just now")
}

/// Parts a region from the others.
fn part(world: &World, lost: usize) -> anyhow::Result<()> {
    (0..world.regions().len()).filter(|other| *other != lost).try_for_each(|other| world.cut(lost, other, false))
}

fn forget_on_the_way(world: &World, lost: usize) -> anyhow::Result<()> {
    for other in (0..world.regions().len()).filter(|other| *other != lost) {
        world.wan().break_connections(world.pair(lost, other)?);
    }
    Ok(())
}

fn kill(world: &mut World, lost: usize) -> anyhow::Result<()> {
    let region = &mut world.regions_mut()[lost];
    (0..region.nodes().len()).try_for_each(|position| region.kill(position))
}

/// Starts the region again and waits until all that only it had is settled.
fn bring_back(world: &mut World, lost: usize, operator: Operator) -> anyhow::Result<RegionStatus> {
    let region = &mut world.regions_mut()[lost];
    (0..region.nodes().len()).try_for_each(|position| region.start_node(position))?;
    region.wait_ready()?;
    let settled = |region: &RegionStatus| region.phase == "returning" && !region.diverged;
    until(operator, region.name(), "to have its writes settled", BACK_MAX, settled)
}

/// Entries of the journal about sessions of this loss, once there are as many as were counted.
fn conflicts(operator: Operator, (name, round): (&str, usize), counted: u64) -> anyhow::Result<Vec<Conflict>> {
    let (mut entries, ids) = (Vec::new(), format!("loss{round}:"));
    // If they do not come, the counts are found wrong.
    let _in_time = wait_until("the journal", NOTED_MAX, || {
        let all = operator.conflicts().unwrap_or_default();
        entries = all.into_iter().filter(|one| one.home == name && one.session.starts_with(&ids)).collect();
        entries.len() as u64 == counted
    });
    Ok(entries)
}

/// What each of some regions finds of all sessions.
fn look(world: &World, told: &[Told], asked: impl Fn(usize) -> bool) -> anyhow::Result<Vec<Vec<u64>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let regions = world.regions().iter().enumerate().filter(|(position, _)| asked(*position));
    let nodes = regions.map(|(_, region): (_, &Region)| region.nodes().first().map(|node| node.resp));
    let nodes: Vec<SocketAddr> = nodes.collect::<Option<_>>().context("a region has nodes")?;
    nodes.into_iter().map(|node| runtime.block_on(judge::look(node, told))).collect()
}
