//! An operator who changes who is in the region while clients ask and things break: what `sojourn cluster add-node`, `drain`,
//! `remove-node` and `transfer-leader` do, wish after wish, each asked for again until the region has taken it.

use super::world::{Running, Standing, World};
use rand::{Rng, rngs::StdRng};
use sojourn_core::{NodeId, ShardId, Slot, region::RegionRefusal};
use sojourn_node::region::{
    admin::{Admin, AdminError},
    backend::Backend,
    status::GroupName,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// One thing that the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// A number is reserved for the machine that is to come.
    Reserve,
    /// The spare machine is switched on and joins.
    Join,
    /// Leads and replicas leave a node.
    Drain(usize),
    /// They may come back.
    Undrain(usize),
    /// A drained node is forgotten.
    Remove(usize),
    /// A node loses its power and stays down.
    Kill(usize),
    /// What is down is forgotten.
    RemoveDead(usize),
    /// A node leads something.
    Lead(usize),
    /// A slot goes to another shard.
    Slot(Slot),
}

/// How long an operator waits before a wish is uttered again, in ms.
const AGAIN_AFTER_MS_MAX: u64 = 300;

/// Slots that an operator moves who does nothing else.
const SLOTS_MOVED: usize = 16;

/// How often a lead is asked for: it may stay where it is for good reasons.
const LEAD_TRIES: u32 = 3;

/// What one try brought.
enum Tried {
    Done,
    /// Not now, and why.
    Again(String),
}

/// Utters all wishes; returns when the last is granted, with the members that the region should have then.
pub async fn run(world: Arc<World>, mut rng: StdRng, slots: Vec<Slot>) -> BTreeSet<NodeId> {
    let mut members = founders(&world);
    for wish in wishes(&world, &mut rng, &slots) {
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..900))).await;
        world.ledger.note(format_args!("OPERATOR {wish:?}"));
        let mut tries = 0;
        while let Tried::Again(why) = grant(&world, wish, &mut rng).await {
            tries += 1;
            world.ledger.note(format_args!("OPERATOR {wish:?} waits: {why}"));
            if matches!(wish, Wish::Lead(_)) && tries >= LEAD_TRIES {
                break;
            }
            tokio::time::sleep(Duration::from_millis(rng.random_range(20..AGAIN_AFTER_MS_MAX))).await;
        }
        match wish {
            Wish::Join => drop(members.insert(world.machines[world.machines.len() - 1].id)),
            Wish::Remove(number) | Wish::RemoveDead(number) => drop(members.remove(&world.machines[number].id)),
            Wish::Reserve | Wish::Drain(_) | Wish::Undrain(_) | Wish::Kill(_) | Wish::Lead(_) | Wish::Slot(_) => {}
        }
    }
    members
}

/// The members of a region that no operator has touched.
pub fn founders(world: &World) -> BTreeSet<NodeId> {
    world.machines.iter().map(|machine| machine.id).filter(|id| id.0 <= world.plan.nodes).collect()
}

/// A story that the region has to go along with.
fn wishes(world: &World, rng: &mut StdRng, slots: &[Slot]) -> Vec<Wish> {
    use Wish::{Drain, Join, Kill, Lead, Remove, RemoveDead, Reserve, Undrain};
    let some_slot = |rng: &mut StdRng| Wish::Slot(slots[rng.random_range(0..slots.len())]);
    if world.plan.moves_slots() {
        return (0..SLOTS_MOVED).map(|_| some_slot(rng)).collect();
    }
    let spare = world.machines.len() - 1;
    let victim = rng.random_range(0..spare);
    let mut wishes = match rng.random_range(0..7) {
        0 | 1 => vec![Join, Lead(spare), Drain(victim), Remove(victim)],
        2 => vec![Kill(victim), RemoveDead(victim), Reserve, Join],
        3 => vec![Join, Kill(victim), RemoveDead(victim), Lead(spare)],
        4 => vec![Drain(victim), Reserve, Join, Remove(victim)],
        5 => vec![Join, Lead(spare), Drain(victim), Undrain(victim), Lead(victim)],
        _ => vec![Reserve, Join, Lead(spare), Drain(spare), Remove(spare)],
    };
    if rng.random() {
        wishes.insert(0, Lead(victim));
    }
    for _ in 0..rng.random_range(1..=3) {
        let at = rng.random_range(0..=wishes.len());
        let wish = some_slot(rng);
        wishes.insert(at, wish);
    }
    wishes
}

impl Wish {
    fn removes(self) -> bool {
        matches!(self, Self::Remove(_) | Self::RemoveDead(_))
    }

    /// How coverage calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Reserve => "operator: numbers reserved",
            Self::Join => "operator: nodes joined",
            Self::Drain(_) => "operator: nodes drained",
            Self::Undrain(_) => "operator: drains taken back",
            Self::Remove(_) => "operator: drained nodes removed",
            Self::Kill(_) => "operator: nodes lost",
            Self::RemoveDead(_) => "operator: lost nodes removed",
            Self::Lead(_) => "operator: leads transferred",
            Self::Slot(_) => "operator: slots moved",
        }
    }
}

/// Tries to have one wish granted.
async fn grant(world: &Arc<World>, wish: Wish, rng: &mut StdRng) -> Tried {
    let tried = match wish {
        Wish::Join => join(world),
        Wish::Kill(number) => {
            world.set_standing(number, Standing::Held);
            world.end(number, super::world::End::Power);
            Tried::Done
        }
        Wish::Reserve
        | Wish::Drain(_)
        | Wish::Undrain(_)
        | Wish::Remove(_)
        | Wish::RemoveDead(_)
        | Wish::Lead(_)
        | Wish::Slot(_) => {
            let number = rng.random_range(0..world.machines.len());
            let Some(running) = world.running(number) else { return Tried::Again(format!("node {number} is down")) };
            ask(world, running, wish, rng).await
        }
    };
    if let Tried::Done = tried {
        world.ledger.count(wish.name());
        if world.ledger.now() < world.plan.faults {
            world.ledger.count(format!("{} amid faults", wish.name()));
        }
        if let Wish::RemoveDead(number) = wish {
            // It comes back one day, and must hear that it is no member.
            world.set_standing(number, Standing::Invited);
            super::faults::restart(world, number, Duration::from_millis(rng.random_range(0..3_000)));
        }
    }
    tried
}

/// Switches the spare machine on and waits until the region has seen its disk.
fn join(world: &Arc<World>) -> Tried {
    let spare = world.machines.len() - 1;
    world.set_standing(spare, Standing::Invited);
    super::faults::restart(world, spare, Duration::ZERO);
    let region = world.region();
    let seen = region.and_then(|region| region.members.get(&world.machines[spare].id)?.disk).is_some();
    if seen { Tried::Done } else { Tried::Again("it has not come in yet".to_owned()) }
}

/// Asks one node, as the command line does.
async fn ask(world: &World, running: Running, wish: Wish, rng: &mut StdRng) -> Tried {
    let spare = world.machines[world.machines.len() - 1].id;
    let id = |number: usize| world.machines[number].id;
    let group = match rng.random_range(0..=super::world::SHARDS) {
        0 => GroupName::System,
        shard => GroupName::Shard(ShardId(shard - 1)),
    };
    let node = running.node.clone();
    let asked = match wish {
        Wish::Reserve => {
            let added = node.add_node(world.seat.name_of(spare), world.seat.addresses(spare));
            running.life.spawn(async move { added.await.map(drop) })
        }
        Wish::Drain(number) => running.life.spawn(node.drain(id(number), true)),
        Wish::Undrain(number) => running.life.spawn(node.drain(id(number), false)),
        Wish::Remove(number) => running.life.spawn(node.remove_node(id(number), false)),
        Wish::RemoveDead(number) => running.life.spawn(node.remove_node(id(number), true)),
        Wish::Lead(number) => running.life.spawn(node.transfer_leader(group, id(number))),
        Wish::Slot(slot) => {
            let from = node.region().slots.shard(slot);
            let to = ShardId((from.0 + rng.random_range(1..super::world::SHARDS)) % super::world::SHARDS);
            let moved = node.move_slots(from, to, (slot, slot));
            running.life.spawn(async move { moved.await.map(drop) })
        }
        Wish::Join | Wish::Kill(_) => return Tried::Done,
    };
    drop(running);
    match asked.await {
        Ok(Ok(())) => Tried::Done,
        // An earlier try was granted without anybody being told; or the node that was asked is behind.
        Ok(Err(AdminError::Refused(RegionRefusal::UnknownNode(node)))) if wish.removes() => {
            let gone = world.region().is_some_and(|region| region.has_removed(node));
            if gone { Tried::Done } else { Tried::Again("whoever was asked does not know the node".to_owned()) }
        }
        // An earlier try was granted, or an earlier wish.
        Ok(Err(AdminError::Refused(RegionRefusal::SlotMoves { .. }))) => Tried::Done,
        Ok(Err(error)) => Tried::Again(error.to_string()),
        Err(_) => Tried::Again("the node died meanwhile".to_owned()),
    }
}
