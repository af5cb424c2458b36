//! Which region a new session is at home in: by where its client is, unless somebody has said.
//!
//! [`Atlas::decide`] goes from the surest to the vaguest: the namespace's residency, the caller's choice, the table of
//! countries, the nearest region, the default. A client without a place of its own (loopback, a private network) stays in the
//! region that it asked. Only regions that take new sessions are chosen: where the one that a reason names takes none, the
//! nearest that does stands in for it, and the decision says so.

mod address;
mod centroids;
mod coordinates;
mod country;
mod table;

#[cfg(test)]
mod tests;

pub use address::{Placeless, locatable};
pub use coordinates::{BadCoordinates, Coordinates};
pub use country::{BadCountry, Country};
pub use table::{BadCountries, Countries, coordinates_of_region};

use crate::ids::RegionId;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Where a client is, as far as its address tells. Nothing known is a value too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The country.
    pub country: Option<Country>,
    /// Where exactly, if the database knows it.
    pub coordinates: Option<Coordinates>,
}

/// How exactly a place is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Coordinates of the address itself.
    Address,
    /// The middle of its country.
    Country,
}

impl Place {
    /// The coordinates to measure from: those of the address, else the middle of the country.
    pub fn position(&self) -> Option<(Coordinates, Precision)> {
        let own = self.coordinates.map(|own| (own, Precision::Address));
        own.or_else(|| Some((self.country?.centroid()?, Precision::Country)))
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From an address that says nothing about a place.
    Nowhere(Placeless),
    /// From a public address.
    At(Place),
}

/// A new session that needs a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// The region whose node was asked.
    pub asked: RegionId,
    /// Where the client is.
    pub origin: Origin,
    /// The region that the namespace's sessions must not leave.
    pub residency: Option<RegionId>,
    /// The region that the caller named.
    pub chosen: Option<RegionId>,
}

/// Where sessions go that nothing else decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// To this region.
    To(RegionId),
    /// To whichever was asked.
    Asked,
}

/// What decisions are made by, as the world is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atlas {
    /// The region of each country that has one.
    pub countries: BTreeMap<Country, RegionId>,
    /// Where regions are, as far as that is known: the others are nobody's nearest.
    pub sites: BTreeMap<RegionId, Coordinates>,
    /// What is left.
    pub fallback: Fallback,
    /// The regions that take new sessions: not those that are lost or draining.
    pub open: BTreeSet<RegionId>,
}

/// A session's home, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The home.
    pub region: RegionId,
    /// What decided.
    pub why: Why,
    /// The region that the reason names, where it takes no new sessions and `region` stands in for it.
    pub instead_of: Option<RegionId>,
}

/// What decided on a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The namespace's sessions must not leave the region.
    Residency,
    /// The caller named it.
    Chosen,
    /// The table has the client's country.
    Country(Country),
    /// No region is nearer to the client.
    Nearest {
        /// How far it is, in km.
        distance_km: u32,
        /// From what that is measured.
        precision: Precision,
    },
    /// Nothing is known of the client's place, or of where regions are.
    Default,
    /// The client's address says nothing about a place.
    Placeless(Placeless),
}

/// Why a new session has no home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Homeless {
    /// No other region may stand in for this one.
    #[error(
        "region {} takes no new sessions at the moment, and the namespace's sessions must not leave it: try again later; \
         `sojourn region status` shows what it waits for", .0.0
    )]
    Residency(RegionId),
    /// None is open.
    #[error("no region takes new sessions at the moment: try again later; `sojourn region status` shows why")]
    AllClosed,
}

impl Atlas {
    /// The home of a new session. Residency comes before the caller's choice: it is the namespace's promise.
    ///
    /// # Errors
    /// No region may take it.
    pub fn decide(&self, newcomer: &Newcomer) -> Result<Decision, Homeless> {
        let Newcomer { asked, origin, residency, chosen } = *newcomer;
        if let Some(region) = residency {
            let open = self.open.contains(&region);
            let decision = Decision { region, why: Why::Residency, instead_of: None };
            return if open { Ok(decision) } else { Err(Homeless::Residency(region)) };
        }
        if let Some(chosen) = chosen {
            return self.there(chosen, Why::Chosen, None);
        }
        let place = match origin {
            Origin::Nowhere(placeless) => return self.there(asked, Why::Placeless(placeless), None),
            Origin::At(place) => place,
        };
        let position = place.position();
        let listed = place.country.and_then(|country| Some((country, *self.countries.get(&country)?)));
        if let Some((country, region)) = listed {
            return self.there(region, Why::Country(country), position.map(|(position, _)| position));
        }
        let nearest = position.and_then(|(position, precision)| Some((self.nearest(position)?, precision)));
        if let Some(((region, distance_km), precision)) = nearest {
            return Ok(Decision { region, why: Why::Nearest { distance_km, precision }, instead_of: None });
        }
        match self.fallback {
            Fallback::To(region) => self.there(region, Why::Default, None),
            Fallback::Asked => self.there(asked, Why::Default, None),
        }
    }

    /// The open region nearest to a position, and how many km it is away. Of two just as near the one that came first.
    pub fn nearest(&self, position: Coordinates) -> Option<(RegionId, u32)> {
        let open = self.sites.iter().filter(|(region, _)| self.open.contains(region));
        open.map(|(region, site)| (*region, site.distance_km(position))).min_by_key(|(region, km)| (*km, *region))
    }

    /// This region if it is open; else the open one that is nearest to the client or, if nobody knows where that is, to it.
    fn there(&self, region: RegionId, why: Why, client: Option<Coordinates>) -> Result<Decision, Homeless> {
        if self.open.contains(&region) {
            return Ok(Decision { region, why, instead_of: None });
        }
        let near = client.or_else(|| self.sites.get(&region).copied());
        let nearest = near.and_then(|near| self.nearest(near)).map(|(nearest, _)| nearest);
        let stand_in = nearest.or_else(|| self.open.first().copied()).ok_or(Homeless::AllClosed)?;
        Ok(Decision { region: stand_in, why, instead_of: Some(region) })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "address",
            Self::Country => "country",
        })
    }
}
