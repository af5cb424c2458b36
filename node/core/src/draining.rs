//! Where the sessions of a region go that is being drained.
//!
//! Each goes to the region that it is used from, if that is known, else to the nearest; only to one that takes sessions in, and
//! that may hold it. What may be held nowhere else stays. A plan, no memory: whoever leads a shard next finds by what the world
//! agrees on what is still to go, and where; nothing that has gone comes back because the draining ends.

use crate::{
    control::{ControlState, Phase, Region, Residency},
    ids::{NamespaceId, RegionId},
};
use std::collections::BTreeMap;

/// Why a session stays in a region that is being drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stays {
    /// It may be held in no other region.
    Pinned,
    /// None of those that may hold it takes sessions in now: they are drained too, or others act for them.
    NoRegion,
    /// Others act for the region, who do not move its sessions.
    NotActing,
}

/// Whether a region takes in sessions of a namespace that get another home: it acts for itself, keeps its homes and may hold them.
pub fn takes_in(world: &ControlState, to: RegionId, namespace: NamespaceId) -> bool {
    let region = world.regions.get(&to);
    region.is_some_and(|region| !region.draining && region.phase == Phase::Serving) && may_hold(world, to, namespace)
}

/// Where a session of `from` goes that is used from `used_from` as far as is known.
///
/// # Errors
/// It stays.
pub fn destination(
    world: &ControlState,
    from: RegionId,
    namespace: NamespaceId,
    used_from: Option<RegionId>,
) -> Result<RegionId, Stays> {
    let home = world.regions.get(&from).filter(|home| home.phase == Phase::Serving).ok_or(Stays::NotActing)?;
    let mut others = world.regions.values().filter(|other| other.id != from && may_hold(world, other.id, namespace));
    let rank = |other: &&Region| (Some(other.id) != used_from, away_km(home, other), other.id);
    let taking = others.clone().filter(|other| takes_in(world, other.id, namespace));
    match taking.min_by_key(rank) {
        Some(other) => Ok(other.id),
        None if others.next().is_none() && world.regions.len() > 1 => Err(Stays::Pinned),
        None => Err(Stays::NoRegion),
    }
}

fn may_hold(world: &ControlState, region: RegionId, namespace: NamespaceId) -> bool {
    let residency = world.namespaces.get(&namespace).map_or(&Residency::Anywhere, |known| &known.policy.residency);
    residency.allows(region)
}

/// Those whose places are not known are the farthest.
fn away_km(one: &Region, other: &Region) -> u32 {
    one.place.zip(other.place).map_or(u32::MAX, |(one, other)| one.distance_km(other))
}

/// What becomes of so many sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// How many go where, if none is used from anywhere else.
    pub goes: BTreeMap<RegionId, u64>,
    /// How many of which namespace stay, and why.
    pub stays: BTreeMap<(Stays, NamespaceId), u64>,
}

impl Forecast {
    /// What becomes of the sessions of `from`, of which each namespace has so many.
    pub fn of(world: &ControlState, from: RegionId, sessions: &BTreeMap<NamespaceId, u64>) -> Self {
        let mut forecast = Self::default();
        for (namespace, count) in sessions.iter().filter(|(_, count)| **count > 0) {
            let part = match destination(world, from, *namespace, None) {
                Ok(to) => forecast.goes.entry(to).or_default(),
                Err(why) => forecast.stays.entry((why, *namespace)).or_default(),
            };
            *part += count;
        }
        forecast
    }
}

#[cfg(test)]
mod tests;
