//! What the world agrees on: its regions, who acts for which of them, its namespaces, its routing table. Kept by the control
//! group, one Raft group across regions; [`ControlState::apply`] is its only mutator.
//!
//! A region's sessions are ordered by whoever *acts* for it: at first itself, after a failover others, each for a range of
//! slots. Whenever that changes, the region gets a new epoch of the one counter for the whole world before anybody acts under
//! it, so for each home, slot and epoch at most one region ever acts; who acts in vain is told by its epoch.
//! `handover` is the machine that moves the right to act from one to others without two ever having it.
//!
//! Migration phases of namespaces will be kept here too.

mod command;
mod handover;
mod namespaces;
mod region;
mod regions;
mod successors;
#[cfg(test)]
mod tests;

pub use command::{ControlCommand, ControlOutcome, ControlRefusal, Step};
pub use namespaces::{Residency, WorldNamespace, WorldPolicy};
pub use region::{Cause, Gap, Handover, Phase, Reach, Region, Report};
pub use successors::Successors;

use crate::{
    ids::{NamespaceId, RegionId, Slot},
    lease::LEASE_MS_DEFAULT,
};
use std::collections::{BTreeMap, BTreeSet};

/// The epoch of a region that is no part of a world yet; a world draws higher ones.
pub const EPOCH_ALONE: u32 = 1;

/// With fewer regions than this a loss cannot be told from a cut, so a person decides.
pub const AUTOMATIC_REGIONS_MIN: usize = 3;

/// Who decides that a region is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailoverMode {
    /// The control group, by leases: a region that cannot renew its lease acknowledges no write.
    Automatic,
    /// A person. There are no leases: a region that is cut off goes on serving its own users.
    #[default]
    Operator,
}

impl FailoverMode {
    /// The mode that has this version: a world begins with [`FailoverMode::Operator`] at 0, and every change of the mode raises
    /// the version by one. So a shard that has logged a version knows by itself whether it needs leases.
    pub fn of_version(mode_version: u64) -> Self {
        if mode_version.is_multiple_of(2) { Self::Operator } else { Self::Automatic }
    }
}

/// How losses are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailoverPolicy {
    /// Who decides.
    pub mode: FailoverMode,
    /// Raised with each change of `mode`. A region writes under leases once it says that it has logged this version.
    pub mode_version: u64,
    /// How long leases last, in ms.
    pub lease_ms: u64,
}

impl Default for FailoverPolicy {
    fn default() -> Self {
        Self { mode: FailoverMode::Operator, mode_version: 0, lease_ms: LEASE_MS_DEFAULT }
    }
}

impl FailoverPolicy {
    /// How long the leases are that are granted now; 0 if none are.
    fn granted_ms(&self) -> u64 {
        match self.mode {
            FailoverMode::Automatic => self.lease_ms,
            FailoverMode::Operator => 0,
        }
    }
}

/// Where new sessions are at home, by the country of a client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// Raised with each change.
    pub version: u64,
    /// Country codes as the address database has them.
    pub countries: BTreeMap<String, RegionId>,
    /// For all others; `None` for the region that was asked.
    pub fallback: Option<RegionId>,
}

/// The world's agreed state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlState {
    /// Drawn when the world was founded; 0 before.
    pub world: u128,
    /// Raised with each change, for those who watch.
    pub version: u64,
    /// Regions, by number; none is ever forgotten.
    pub regions: BTreeMap<RegionId, Region>,
    /// The highest epoch that was ever drawn, for any region.
    pub last_epoch: u32,
    /// The version with which the right to act was last taken from somebody or given to somebody.
    pub last_change_of_hands: u64,
    /// How losses are met.
    pub failover: FailoverPolicy,
    /// Namespaces, by number.
    pub namespaces: BTreeMap<NamespaceId, WorldNamespace>,
    /// The lowest namespace number that was never given out.
    pub next_namespace: u32,
    /// Numbers of namespaces that are gone: a region that joins late may still have one of its own under one of these.
    pub dropped_namespaces: BTreeSet<NamespaceId>,
    /// Where new sessions are at home.
    pub routing: Routing,
}

/// Who orders writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acting {
    /// The region.
    pub region: RegionId,
    /// The epoch that it writes under.
    pub epoch: u32,
}

/// What a region needs to write for a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A lease of so many ms, from when it asked.
    Lease {
        /// Its length.
        ms: u64,
    },
    /// Nothing: a person decides over losses.
    NoneNeeded,
}

impl Default for ControlState {
    /// A world that nobody has founded.
    fn default() -> Self {
        let default = namespaces::default_namespace();
        Self {
            world: 0,
            version: 0,
            regions: BTreeMap::new(),
            last_epoch: EPOCH_ALONE,
            last_change_of_hands: 0,
            failover: FailoverPolicy::default(),
            next_namespace: default.id.0 + 1,
            namespaces: BTreeMap::from([(default.id, default)]),
            dropped_namespaces: BTreeSet::new(),
            routing: Routing::default(),
        }
    }
}

impl ControlState {
    /// Applies one change. What is refused changes nothing.
    pub fn apply(&mut self, command: ControlCommand) -> ControlOutcome {
        match self.change(command) {
            Ok(outcome) => {
                self.version += 1;
                outcome
            }
            Err(refusal) => ControlOutcome::Refused(refusal),
        }
    }

    fn change(&mut self, command: ControlCommand) -> Result<ControlOutcome, ControlRefusal> {
        match command {
            ControlCommand::Found { world } => self.found(world),
            ControlCommand::Join { region, mark, name, entrances, place, voter } => {
                self.join(region, mark, name, entrances, place, voter)
            }
            ControlCommand::Amend { region, entrances, place, heirs, voter } => {
                self.amend(region, entrances, place, heirs, voter)
            }
            ControlCommand::Drain { region, draining } => {
                self.region_mut(region)?.draining = draining;
                Ok(ControlOutcome::Done)
            }
            ControlCommand::SetFailover { mode, lease_ms } => self.set_failover(mode, lease_ms),
            ControlCommand::Adopt { region, mode_version } => self.adopt(region, mode_version),
            ControlCommand::SetRouting { over, countries, fallback } => self.set_routing(over, countries, fallback),
            ControlCommand::CreateNamespace { name, policy } => self.create_namespace(name, *policy),
            ControlCommand::SetNamespace { name, over, policy } => self.set_namespace(name, over, *policy),
            ControlCommand::BringNamespace { namespace } => self.bring_namespace(*namespace),
            ControlCommand::DropNamespace { name } => self.drop_namespace(&name),
            ControlCommand::Fence { region, cause, at } => self.fence(region, cause, at),
            ControlCommand::Failback { region, at } => self.fail_back(region, at),
            ControlCommand::Handover { home, epoch, step } => self.step(home, epoch, step),
        }
    }

    /// Who orders writes to the sessions of `home` in `slot`; `None` while that is being decided anew.
    pub fn acting(&self, home: RegionId, slot: Slot) -> Option<Acting> {
        let home = self.regions.get(&home)?;
        home.acting(slot).map(|region| Acting { region, epoch: home.epoch })
    }

    /// The same for one namespace: one that may not be held where it would be written has nobody, nor has one whose writes
    /// waited for other regions as long as one of them may be known only where nobody was asked yet.
    pub fn acting_for(&self, home: RegionId, slot: Slot, namespace: NamespaceId) -> Option<Acting> {
        let policy = &self.namespaces.get(&namespace)?.policy;
        let acting = self.acting(home, slot)?;
        let unheard = &self.regions.get(&home)?.unheard;
        let open = policy.residency.allows(acting.region) && policy.is_covered(unheard);
        open.then_some(acting)
    }

    /// What `holder` needs to write to sessions of `home` under `epoch`, knowing version `seen` of this state. To be asked only
    /// while a quorum of the control group confirms that this is its state.
    ///
    /// # Errors
    /// It does not act for the home, or not under this epoch. Or it does not know who acts for other homes, or has not
    /// answered while that is decided: it may have been given sessions by a region that had lost the right to give them away.
    pub fn grant(&self, home: RegionId, epoch: u32, holder: RegionId, seen: u64) -> Result<Grant, ControlRefusal> {
        if seen < self.last_change_of_hands || self.regions.values().any(|other| other.awaits(holder)) {
            return Err(ControlRefusal::Changed { now: self.version });
        }
        let region = self.region(home)?;
        if region.epoch != epoch || !region.holders().contains(&holder) {
            return Err(ControlRefusal::NotActing { home, epoch: region.epoch });
        }
        Ok(match self.failover.mode {
            FailoverMode::Automatic => Grant::Lease { ms: self.failover.lease_ms },
            FailoverMode::Operator => Grant::NoneNeeded,
        })
    }

    /// Whether `region` acknowledges writes only under leases, and nowhere any other way.
    pub fn is_leased(&self, region: RegionId) -> bool {
        let adopted = self.regions.get(&region).and_then(|region| region.adopted);
        self.failover.mode == FailoverMode::Automatic && adopted == Some(self.failover.mode_version)
    }

    /// Whether the loss of `region` may be met without a person: there are enough regions, it writes under leases only, and
    /// fewer than half of them would be away.
    pub fn is_automatic(&self, region: RegionId) -> bool {
        let away = self.regions.values().filter(|other| other.id != region && other.away).count();
        self.regions.len() >= AUTOMATIC_REGIONS_MIN && self.is_leased(region) && 2 * (away + 1) < self.regions.len()
    }

    fn region(&self, id: RegionId) -> Result<&Region, ControlRefusal> {
        self.regions.get(&id).ok_or(ControlRefusal::UnknownRegion(id))
    }

    fn region_mut(&mut self, id: RegionId) -> Result<&mut Region, ControlRefusal> {
        self.regions.get_mut(&id).ok_or(ControlRefusal::UnknownRegion(id))
    }

    /// An epoch that no region ever had.
    fn draw(&mut self) -> Result<u32, ControlRefusal> {
        self.last_epoch = self.last_epoch.checked_add(1).ok_or(ControlRefusal::EpochsExhausted)?;
        Ok(self.last_epoch)
    }
}
