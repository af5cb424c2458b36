//! Guides new sessions to their regions: what is configured, where regions are and where addresses are, brought together for
//! the rules of [`sojourn_core::routing`].

mod explanation;

#[cfg(test)]
mod tests;

pub use explanation::Explanation;

use super::geo::Geo;
use parking_lot::Mutex;
use sojourn_core::{
    RegionId,
    routing::{Atlas, Coordinates, Countries, Decision, Fallback, Homeless, Newcomer, Origin, Placeless, locatable},
};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// A region, as far as new sessions are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its number.
    pub id: RegionId,
    /// Its name.
    pub name: String,
    /// Where it is, if it says so.
    pub coordinates: Option<Coordinates>,
    /// Whether it takes new sessions: it is neither lost nor draining.
    pub open: bool,
}

/// The regions of the world, as this node knows them.
pub trait Regions: Send + Sync + 'static {
    /// All of them. The same `Arc` for as long as nothing changes.
    fn regions(&self) -> Arc<[Region]>;

    /// The region of this node.
    fn own(&self) -> RegionId;
}

/// A world of one region.
pub struct Alone {
    own: RegionId,
    regions: Arc<[Region]>,
}

impl Alone {
    /// The world that consists of `region`.
    pub fn new(region: Region) -> Self {
        Self { own: region.id, regions: [region].into() }
    }
}

impl Regions for Alone {
    fn regions(&self) -> Arc<[Region]> {
        self.regions.clone()
    }

    fn own(&self) -> RegionId {
        self.own
    }
}

/// Where sessions go that nothing else decides, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultRegion {
    /// To this region; where there is none of that name, to the one that was asked.
    Named(String),
    /// To the one that was asked.
    Asked,
}

/// What an operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuideOptions {
    /// The regions of countries.
    pub countries: Countries,
    /// The region of what is left.
    pub default: DefaultRegion,
}

/// What is asked for beside the place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The region that the namespace's sessions must not leave.
    pub residency: Option<RegionId>,
    /// The region that the caller named.
    pub chosen: Option<RegionId>,
}

/// Says where new sessions are at home.
pub struct Guide {
    geo: Arc<Geo>,
    regions: Arc<dyn Regions>,
    options: GuideOptions,
    /// The rules for the regions as they were last, so that they are made once for each change.
    latest: Mutex<(Arc<[Region]>, Arc<Atlas>)>,
}

impl Guide {
    /// A guide to these regions.
    pub fn new(geo: Arc<Geo>, regions: Arc<dyn Regions>, options: GuideOptions) -> Self {
        let all = regions.regions();
        let atlas = Arc::new(options.atlas(&all));
        Self { geo, regions, options, latest: Mutex::new((all, atlas)) }
    }

    /// The home of a session whose client has this address.
    ///
    /// # Errors
    /// No region may take it.
    pub fn home(&self, address: Option<IpAddr>, wish: Wish) -> Result<Decision, Homeless> {
        let origin = match address.ok_or(Placeless::Unsaid).and_then(locatable) {
            Ok(address) => Origin::At(self.geo.place(address)),
            Err(placeless) => Origin::Nowhere(placeless),
        };
        let Wish { residency, chosen } = wish;
        self.atlas().decide(&Newcomer { asked: self.regions.own(), origin, residency, chosen })
    }

    fn atlas(&self) -> Arc<Atlas> {
        let all = self.regions.regions();
        let mut latest = self.latest.lock();
        if !Arc::ptr_eq(&latest.0, &all) {
            *latest = (all.clone(), Arc::new(self.options.atlas(&all)));
        }
        latest.1.clone()
    }
}

impl GuideOptions {
    fn atlas(&self, regions: &[Region]) -> Atlas {
        let number_of = |name: &str| regions.iter().find(|region| region.name == name).map(|region| region.id);
        let named = match &self.default {
            DefaultRegion::Named(name) => number_of(name),
            DefaultRegion::Asked => None,
        };
        Atlas {
            countries: self.countries.resolve(number_of),
            sites: regions.iter().filter_map(|region| Some((region.id, region.coordinates?))).collect(),
            fallback: named.map_or(Fallback::Asked, Fallback::To),
            open: regions.iter().filter(|region| region.open).map(|region| region.id).collect::<BTreeSet<_>>(),
        }
    }
}
