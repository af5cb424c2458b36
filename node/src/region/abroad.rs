//! Sessions that another region orders: where their requests go.
//!
//! The shard's leader decides, for all nodes of the region. A session's requests go to whichever region acts for its home, to
//! nobody while that changes hands. What the copies here cannot vouch for is asked there. A session that is not known here is
//! not missing before the other regions were asked: it may be so new that its copy is on its way.

mod reads;
mod writes;

pub use reads::Found;
pub(super) use reads::aged;

use super::{
    arrivals::Arrivals,
    backend::Unavailable,
    copies::Copies,
    machine::Agreed,
    node::RegionNode,
    shards::Shard,
    sweep::{Sweep, Swept},
};
use crate::{
    env::{Heard, Plants},
    raft::RunningGroup,
    shard::NotProposed,
};
use futures::future::BoxFuture;
use sojourn_core::{
    Answer, Command, Key, Outcome, Projection, RegionId, Slot, control::ControlState, draining::takes_in,
    mint::Provenance,
};
use std::{sync::Arc, time::Duration};

/// How long a request waits for a session that is on its way to another home.
const ARRIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How far a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To whichever region orders its session.
    World,
    /// No further than this region: another one has sent it.
    Region,
}

/// The other regions of the world, as this one reaches them.
pub trait Abroad: Send + Sync + 'static {
    /// Writes at a region, those of one session in order; one result each. Repeating a request is safe.
    fn write(&self, home: RegionId, commands: Vec<Command>) -> BoxFuture<'static, Vec<Result<Outcome, Unavailable>>>;

    /// Reads a session at a region, if that one orders it.
    fn read(&self, home: RegionId, key: Key, projection: Projection)
    -> BoxFuture<'static, Result<Answer, Unavailable>>;

    /// Has an operation done on every shard of a region: see [`RegionNode::sweep`](super::RegionNode::sweep).
    fn sweep(&self, region: RegionId, sweep: Sweep) -> BoxFuture<'static, Result<Swept, Unavailable>>;

    /// Asks a region for those of `origins` that are its nodes', as [`RegionNode::settled`](super::RegionNode::settled); nothing if it
    /// does not answer.
    fn settled(&self, region: RegionId, origins: Vec<u64>) -> BoxFuture<'static, Vec<(u64, u64)>>;

    /// All other regions.
    fn regions(&self) -> Vec<RegionId>;
}

/// Who orders a session, as far as a shard can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Here,
    Away(RegionId),
    /// Nobody, at present: it is of this home.
    Nobody(RegionId),
    /// This region does not know it; another one may.
    Unknown,
}

/// Tells which region is asked, for the shards that a node leads.
pub struct Ways {
    pub(super) here: RegionId,
    pub(super) agreed: Arc<RunningGroup<Agreed>>,
    pub(super) abroad: Arc<dyn Abroad>,
    /// What the world agrees on, as this node knows it.
    pub(super) world: Heard<Option<Arc<ControlState>>>,
    /// Sessions that have travelled and were seen where they went.
    pub(super) arrivals: Arrivals,
    /// Simulation only.
    pub(super) plants: Plants,
}

impl Ways {
    fn place(&self, held: &Shard, key: &Key) -> Place {
        let (served, known) =
            held.group.machine().audit(|state| (state.serves(key.slot()), state.record(key).cloned()));
        if !served {
            // What is asked for here is answered by the shard: it says who serves the slot.
            return Place::Here;
        }
        if let Some(record) = known {
            return self.place_of(held, record.home, key);
        }
        match self.agreed.machine().now().mint_key.provenance(key.namespace(), key.id()) {
            Provenance::Minted(minted) => self.place_of(held, minted.region, key),
            Provenance::Foreign | Provenance::Forged => {
                held.copies().and_then(|copies| copies.found(key)).map_or(Place::Unknown, Place::Away)
            }
        }
    }

    /// Where a session of a home is ordered.
    fn place_of(&self, held: &Shard, home: RegionId, key: &Key) -> Place {
        match self.acting(home, key) {
            Some(region) if region != self.here => Place::Away(region),
            // It may not have logged yet that it acts, or have logged that it does not any more.
            Some(_) if held.group.machine().acts_for(home) => Place::Here,
            Some(_) | None => Place::Nobody(home),
        }
    }

    /// The region that acts for a session's home, as far as this node knows; by itself a home acts for itself. Nobody where a
    /// write that waited for other regions may be known only to one that was not heard yet.
    fn acting(&self, home: RegionId, key: &Key) -> Option<RegionId> {
        let world = self.world.borrow();
        let Some((world, known)) = world.as_ref().and_then(|world| Some((world, world.regions.get(&home)?))) else {
            return Some(home);
        };
        let policy = world.namespaces.get(&key.namespace()).map(|namespace| &namespace.policy);
        let is_open =
            self.plants.geo_opens_without_quorum || policy.is_none_or(|policy| policy.is_covered(&known.unheard));
        world.acting(home, key.slot()).filter(|_| is_open).map(|acting| acting.region)
    }

    /// A home of which this region may not order these sessions now: they are of namespaces whose writes wait for other regions,
    /// and this node does not know (yet) that all that was acknowledged in them is here.
    fn uncovered(&self, held: &Shard, keys: &[Key]) -> Option<RegionId> {
        let region = self.agreed.machine().now();
        let waits = |key: &&Key| {
            region.namespaces.get(&key.namespace()).is_some_and(|namespace| namespace.policy.ack_regions > 0)
        };
        keys.iter().filter(waits).find_map(|key| {
            let home = held.group.machine().record(key).map_or(self.here, |record| record.home);
            let acts = held.group.machine().acts_for(home);
            (acts && self.acting(home, key) != Some(self.here)).then_some(home)
        })
    }

    /// Where a session of a home is written.
    pub(super) fn target(&self, held: &Shard, home: RegionId, key: &Key) -> Result<RegionId, NotProposed> {
        match self.place_of(held, home, key) {
            Place::Here | Place::Unknown => Ok(self.here),
            Place::Away(region) => Ok(region),
            Place::Nobody(home) => Err(NotProposed::NotActing(home)),
        }
    }

    /// Whether a region takes sessions in that travel: it acts for itself and keeps its homes.
    pub(super) fn takes_in(&self, to: RegionId, key: &Key) -> bool {
        self.world.borrow().as_ref().is_some_and(|world| takes_in(world, to, key.namespace()))
    }

    /// What the world agrees on, if this region is being drained by that.
    pub(super) fn drained(&self) -> Option<Arc<ControlState>> {
        let world = self.world.borrow().clone()?;
        world.regions.get(&self.here).is_some_and(|region| region.draining).then_some(world)
    }

    /// Whether a region was silent for so long that it is taken for lost. One that hears less than half of a world that writes under
    /// leases has been parted from it: the others go on without it, and may know what it does not.
    fn is_lost(&self, copies: &Copies, region: RegionId, slot: Slot) -> bool {
        copies.has_lost(region, slot)
            && self.world.borrow().as_ref().is_none_or(|world| {
                let others = world.regions.keys().filter(|other| **other != self.here);
                let silent = others.filter(|other| copies.has_lost(**other, slot)).count();
                !world.is_leased(self.here) || 2 * silent < world.regions.len()
            })
    }

    /// The other regions that act for anybody: no session is ordered by those that do not.
    fn acting_regions(&self) -> Vec<RegionId> {
        let mut regions = self.abroad.regions();
        if let Some(world) = self.world.borrow().as_ref() {
            let acts = |region: &RegionId| world.regions.values().any(|home| home.holders().contains(region));
            regions.retain(|region| !world.regions.contains_key(region) || acts(region));
        }
        regions
    }

    /// Whoever leads next waits for copies from after its own start. What was done elsewhere for one that leads no more may be
    /// later than these: its caller asks the next leader, who hears the same again and remembers it. So it is where the sessions' slots
    /// have gone to another shard.
    async fn still_answers(&self, held: &Shard, keys: &[Key]) -> Result<(), NotProposed> {
        let leads = self.plants.answers_when_deposed || held.reads.confirm().await;
        let serves = |key: &Key| held.group.machine().serves(key.slot());
        if leads && keys.iter().all(serves) { Ok(()) } else { Err(NotProposed::NotLeader) }
    }

    /// A home for which nobody acts in this slot: a session that nobody knows may be one of its.
    fn orphaned(&self, slot: Slot) -> Option<RegionId> {
        let world = self.world.borrow();
        world.as_ref()?.regions.values().find(|home| home.acting(slot).is_none()).map(|home| home.id)
    }
}

impl RegionNode {
    /// Writes at another region, as [`Abroad::write`] does.
    pub async fn write_at(&self, region: RegionId, commands: Vec<Command>) -> Vec<Result<Outcome, Unavailable>> {
        match self.inner.ways.get() {
            Some(ways) => ways.abroad.write(region, commands).await,
            None => vec![Err(Unavailable::Loading); commands.len()],
        }
    }
}

fn not_proposed(home: RegionId, error: &Unavailable) -> NotProposed {
    match error {
        Unavailable::DiskFull => NotProposed::NoRoom,
        Unavailable::Overloaded { .. } => NotProposed::Overloaded,
        Unavailable::NotCopied { reached, .. } => NotProposed::NotCopied { reached: *reached },
        Unavailable::NotActing { region, .. } => NotProposed::NotActing(RegionId(*region)),
        Unavailable::NoLeader { .. }
        | Unavailable::HomeAway { .. }
        | Unavailable::Loading
        | Unavailable::Undecided(_)
        | Unavailable::Refused(_) => NotProposed::HomeAway(home),
    }
}
