//! Somebody who decides over regions: has those that have settled what they wrote take over again and, where nobody else decides,
//! has others act for one, whether it is down or not.

use super::Regions;
use crate::sim::{plan::Losses, world::Running};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use sojourn_core::{
    RegionId,
    control::{Cause, ControlCommand, ControlState, Phase, Region},
};
use sojourn_node::{
    region::backend::Backend,
    world::control::{Agreement, NotAgreed},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// How often the person looks at most, in ms.
const LOOK_MS_MAX: u64 = 400;

/// Decides until told to end; gives up no region any more once harm is `over`.
pub async fn run(regions: Arc<Regions>, mut rng: StdRng, over: Duration, end: watch::Receiver<bool>) {
    while !*end.borrow() {
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..LOOK_MS_MAX))).await;
        let Some((running, known)) = look(&regions, &mut rng) else { continue };
        if let Some(region) = known.regions.values().find(|region| is_settled(&known, region.id))
            && rng.random()
        {
            wish(&regions, &running, "failback", |at| ControlCommand::Failback { region: region.id, at }).await;
        } else if regions.plan.losses() == Losses::Person && rng.random_ratio(1, 4) {
            let region = RegionId(rng.random_range(0..regions.plan.regions));
            let serves = known.regions.get(&region).is_some_and(|region| region.phase == Phase::Serving);
            let cause = Cause::Operator { force: rng.random_ratio(3, 4) };
            let others_serve = known.regions.values().all(|other| other.id == region || other.phase == Phase::Serving);
            if serves && others_serve && regions.history.ledger.now() < over {
                wish(&regions, &running, "failover", |at| ControlCommand::Fence { region, cause, at }).await;
            }
        }
    }
}

/// Whether every region acts for itself, as far as all nodes know.
pub fn is_content(regions: &Regions) -> bool {
    discontent(regions).is_none()
}

/// What a node knows of a region that does not act for itself, or lacks.
pub fn discontent(regions: &Regions) -> Option<String> {
    nodes(regions).find_map(|(name, machine, known)| {
        let Some(known) = known else { return Some(format!("node {machine} of {name} knows of no world")) };
        let away = known.regions.values().find(|region| !is_at_rest(region))?;
        Some(format!("node {machine} of {name} knows {away:?}"))
    })
}

/// Whether a region acts for itself, and nothing is open of what was written for it.
fn is_at_rest(region: &Region) -> bool {
    let is_settled = region.strays.values().all(Option::is_some);
    region.phase == Phase::Serving && region.unheard.is_empty() && is_settled
}

/// What a node lacks of a world of all regions that writes as it was founded to; nothing if every node knows that it does.
pub fn unmet(regions: &Regions) -> Option<String> {
    let leased = regions.plan.losses() == Losses::Automatic;
    nodes(regions).find_map(|(name, machine, known)| {
        let Some(known) = known else { return Some(format!("node {machine} of {name} knows of no world")) };
        let is_ready = |region: &RegionId| !leased || known.is_leased(*region);
        let unready = known.regions.keys().find(|region| !is_ready(region));
        let lacks = known.regions.len() < regions.all.len();
        (lacks || unready.is_some()).then(|| {
            let count = known.regions.len();
            format!("node {machine} of {name} knows {count} regions, of which {unready:?} does not write under leases")
        })
    })
}

/// Every node of the world, and what it knows of it.
fn nodes(regions: &Regions) -> impl Iterator<Item = (&str, usize, Option<Arc<ControlState>>)> {
    let nodes = regions.all.iter().flat_map(|world| (0..world.machines.len()).map(move |machine| (world, machine)));
    nodes.map(|(world, machine)| {
        let known = world.running(machine).and_then(|running| running.control?.watch().borrow().clone());
        (&*world.seat.name, machine, known)
    })
}

/// A node, and what it knows of the world.
fn look(regions: &Regions, rng: &mut StdRng) -> Option<(Running, Arc<ControlState>)> {
    let world = regions.all.choose(rng)?;
    let running = world.running(rng.random_range(0..world.machines.len()))?;
    let known = running.control.as_ref()?.watch().borrow().clone()?;
    Some((running, known))
}

fn is_settled(known: &ControlState, region: RegionId) -> bool {
    let region = known.regions.get(&region);
    region.is_some_and(|region| matches!(region.phase, Phase::Returning(_)) && !region.diverged)
}

async fn wish(regions: &Regions, running: &Running, what: &str, command: impl FnOnce(u64) -> ControlCommand) {
    let Some(control) = running.control.clone() else { return };
    let command = command(running.node.now_ms());
    regions.history.ledger.note(format_args!("a person wishes {command:?}"));
    let answer = running.life.spawn(async move { control.propose(command).await }).await;
    regions.history.ledger.count(match answer {
        Ok(Ok(_)) => format!("person: {what}s agreed on"),
        Ok(Err(NotAgreed::Refused(_))) => format!("person: {what}s refused"),
        Ok(Err(_)) | Err(_) => format!("person: {what}s that nobody answered"),
    });
}
