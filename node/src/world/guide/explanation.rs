//! A decision with all that led to it, for people.

use super::{Guide, Region, Wish};
use crate::world::geo::About;
use sojourn_core::{
    RegionId,
    routing::{Decision, Homeless, Place, Placeless, Precision, Why, locatable},
};
use std::{net::IpAddr, path::PathBuf, sync::Arc};

/// Where a session of an address would be at home, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The address as it was given.
    pub address: IpAddr,
    /// What was looked up, or why nothing was.
    pub looked_up: Result<IpAddr, Placeless>,
    /// Where that is.
    pub place: Place,
    /// The name of its country's region in the table, whether the world has such a region or not.
    pub listed: Option<String>,
    /// The home.
    pub decision: Result<Decision, Homeless>,
    /// The regions, each with its distance in km.
    pub regions: Vec<(Region, Option<u32>)>,
    /// The database's file; none for the one that is built in.
    pub file: Option<PathBuf>,
    /// What the database says of itself.
    pub about: About,
}

impl Guide {
    /// Explains where a session of this address would be at home if nobody chose.
    pub fn explain(&self, address: IpAddr) -> Explanation {
        let database = self.geo.database();
        let looked_up = locatable(address);
        let place = looked_up.map_or_else(|_| Place::default(), |address| database.place(address));
        let regions: Arc<[Region]> = self.regions.regions();
        let distance = |region: &Region| Some(region.coordinates?.distance_km(place.position()?.0));
        Explanation {
            address,
            looked_up,
            place,
            listed: place.country.and_then(|country| self.options.countries.region(country)).map(str::to_owned),
            decision: self.home(Some(address), Wish::default()),
            regions: regions.iter().map(|region| (region.clone(), distance(region))).collect(),
            file: self.geo.file().map(Into::into),
            about: database.about(),
        }
    }
}

impl Explanation {
    /// A region's name.
    pub fn name_of(&self, region: RegionId) -> String {
        let known = self.regions.iter().find(|(known, _)| known.id == region);
        known.map_or_else(|| format!("region {}", region.0), |(known, _)| known.name.clone())
    }

    /// The reason in words.
    pub fn reason(&self) -> String {
        let Decision { region, why, instead_of } = match &self.decision {
            Ok(decision) => *decision,
            Err(homeless) => return homeless.to_string(),
        };
        let (name, named) = (self.name_of(region), self.name_of(instead_of.unwrap_or(region)));
        let reason = match why {
            Why::Residency => format!("the namespace's sessions must not leave {named}"),
            Why::Chosen => format!("the caller named {named}"),
            Why::Country(country) => format!("the table sends {country} to {named}"),
            Why::Nearest { distance_km, precision } => self.nearest(&named, distance_km, precision),
            Why::Default if self.place.position().is_some() => {
                format!("no open region says where it is, and {named} is what is left")
            }
            Why::Default => format!("the database does not know where the address is, and {named} is what is left"),
            Why::Placeless(placeless) => format!("it is {placeless}, so it stays in {named}, which was asked"),
        };
        match instead_of {
            Some(_) => format!("{reason}; but {named} takes no new sessions, and {name} stands in for it"),
            None => reason,
        }
    }

    fn nearest(&self, name: &str, distance_km: u32, precision: Precision) -> String {
        let country = self.place.country.map_or_else(String::new, |country| country.to_string());
        let from = match precision {
            Precision::Address => "the address".to_owned(),
            Precision::Country => format!("the middle of {country}"),
        };
        let listed = match &self.listed {
            Some(listed) => format!("the table sends {country} to {listed}, which this world does not have"),
            None => "the table does not have its country".to_owned(),
        };
        format!("{listed}; {name} is the nearest to {from}, {distance_km} km")
    }
}
