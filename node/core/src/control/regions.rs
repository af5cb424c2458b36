//! Founding, joining, and what is set rather than moved: entrances, leases, routes.

use super::{ControlOutcome, ControlRefusal, ControlState, FailoverMode, FailoverPolicy, Phase, Region, Routing};
use crate::{
    ids::{NodeId, RegionId},
    lease::{LEASE_MS_MAX, LEASE_MS_MIN},
    routing::Coordinates,
};
use std::collections::{BTreeMap, BTreeSet};

/// The longest name of a region.
const NAME_BYTES_MAX: usize = 32;

impl ControlState {
    pub(super) fn found(&mut self, world: u128) -> Result<ControlOutcome, ControlRefusal> {
        if world == 0 || (self.world != 0 && self.world != world) {
            return Err(ControlRefusal::World(self.world));
        }
        self.world = world;
        Ok(ControlOutcome::Done)
    }

    pub(super) fn join(
        &mut self,
        id: RegionId,
        mark: u128,
        name: String,
        entrances: BTreeSet<String>,
        place: Option<Coordinates>,
        voter: Option<NodeId>,
    ) -> Result<ControlOutcome, ControlRefusal> {
        if self.world == 0 {
            return Err(ControlRefusal::World(0));
        }
        if let Some(known) = self.regions.values().find(|region| region.mark == mark) {
            return Ok(ControlOutcome::Region(known.id));
        }
        if let Some(known) = self.regions.get(&id) {
            return Err(ControlRefusal::RegionNumberTaken { region: id, name: known.name.clone() });
        }
        let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !letters {
            return Err(ControlRefusal::BadRegionName(name));
        }
        if self.regions.values().any(|region| region.name == name) {
            return Err(ControlRefusal::RegionNameTaken(name));
        }
        let region = Region {
            id,
            name,
            mark,
            entrances,
            place,
            heirs: Vec::new(),
            voter,
            draining: false,
            adopted: None,
            epoch: self.draw()?,
            lease_ms_max: self.failover.granted_ms(),
            phase: Phase::Serving,
            away: false,
            diverged: false,
            unheard: BTreeSet::new(),
            cut: BTreeMap::new(),
            orphans: None,
            strays: BTreeMap::new(),
        };
        self.regions.insert(id, region);
        Ok(ControlOutcome::Region(id))
    }

    pub(super) fn amend(
        &mut self,
        id: RegionId,
        entrances: BTreeSet<String>,
        place: Option<Coordinates>,
        heirs: Vec<RegionId>,
        voter: Option<NodeId>,
    ) -> Result<ControlOutcome, ControlRefusal> {
        let others = heirs.iter().all(|heir| *heir != id && self.regions.contains_key(heir));
        if !others || heirs.iter().collect::<BTreeSet<_>>().len() != heirs.len() {
            return Err(ControlRefusal::BadHeirs);
        }
        let region = self.region_mut(id)?;
        region.entrances = entrances;
        region.place = place;
        region.heirs = heirs;
        region.voter = voter;
        Ok(ControlOutcome::Done)
    }

    pub(super) fn set_failover(&mut self, mode: FailoverMode, lease_ms: u64) -> Result<ControlOutcome, ControlRefusal> {
        if !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease_ms) {
            return Err(ControlRefusal::BadLease(lease_ms));
        }
        let changed = u64::from(mode != self.failover.mode);
        self.failover = FailoverPolicy { mode, mode_version: self.failover.mode_version + changed, lease_ms };
        // Leases that were granted before last as long as they were granted for.
        let granted_ms = self.failover.granted_ms();
        self.regions.values_mut().for_each(|region| region.lease_ms_max = region.lease_ms_max.max(granted_ms));
        Ok(ControlOutcome::Done)
    }

    pub(super) fn adopt(&mut self, id: RegionId, mode_version: u64) -> Result<ControlOutcome, ControlRefusal> {
        let now = self.failover.mode_version;
        let region = self.region_mut(id)?;
        // A mode that has been changed twice is another one, even if it has the same name.
        if mode_version != now {
            return Err(ControlRefusal::Changed { now });
        }
        region.adopted = Some(mode_version);
        Ok(ControlOutcome::Done)
    }

    pub(super) fn set_routing(
        &mut self,
        over: u64,
        countries: BTreeMap<String, RegionId>,
        fallback: Option<RegionId>,
    ) -> Result<ControlOutcome, ControlRefusal> {
        let now = self.routing.version;
        if over != now {
            return Err(ControlRefusal::Changed { now });
        }
        countries.values().chain(&fallback).try_for_each(|region| self.region(*region).map(|_| ()))?;
        self.routing = Routing { version: now + 1, countries, fallback };
        Ok(ControlOutcome::Done)
    }
}
