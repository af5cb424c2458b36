//! Regions and the way to them in JSON.

use crate::world::guide::Explanation;
use serde::{Deserialize, Serialize};
use sojourn_core::routing::{Coordinates, Precision, Why};

/// `POST /v1/regions/route`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteOf {
    /// A client's address.
    pub address: String,
}

/// Where a session of that address would be at home, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The address that was looked up: the IPv4 address where an IPv6 one only carries it.
    pub address: String,
    /// The two letters of its country, if it is known.
    pub country: Option<String>,
    /// Where distances are measured from, if that is known.
    pub coordinates: Option<Degrees>,
    /// What is at these coordinates: `address`, or the middle of the `country`.
    pub measured_from: Option<String>,
    /// The country's region by the table, whether the world has such a region or not.
    pub table_region: Option<String>,
    /// The home; none if no region takes new sessions.
    pub region: Option<String>,
    /// What decided: `country`, `nearest`, `default`, `placeless`, `residency`, `chosen`, or `none`.
    pub why: String,
    /// The region that would have been the home if it took new sessions.
    pub instead_of: Option<String>,
    /// The reason in words.
    pub reason: String,
    /// The regions.
    pub regions: Vec<Candidate>,
    /// What said where the address is.
    pub database: GeoDatabase,
}

/// A place in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Degrees {
    /// North of the equator.
    pub latitude: f64,
    /// East of Greenwich.
    pub longitude: f64,
}

/// A region that might have been the home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub region: String,
    /// How far it is, if that is known.
    pub distance_km: Option<u32>,
    /// Whether it takes new sessions.
    pub takes_new: bool,
}

/// A geo-IP database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeoDatabase {
    /// Its file; none for the one that is built in.
    pub file: Option<String>,
    /// Its type, such as `GeoLite2-City`.
    pub kind: String,
    /// When it was built.
    pub built_ms: u64,
}

impl From<Explanation> for Route {
    fn from(explanation: Explanation) -> Self {
        let (reason, decided) = (explanation.reason(), explanation.decision.ok());
        let name = |region| explanation.name_of(region);
        let region = decided.map(|decided| name(decided.region));
        let instead_of = decided.and_then(|decided| decided.instead_of).map(name);
        let Explanation { address, looked_up, place, listed, decision: _, regions, file, about } = explanation;
        let position = place.position();
        Self {
            address: looked_up.unwrap_or(address).to_string(),
            country: place.country.map(|country| country.to_string()),
            coordinates: position.map(|(coordinates, _)| coordinates.into()),
            measured_from: position.map(|(_, precision): (_, Precision)| precision.to_string()),
            table_region: listed,
            region,
            why: decided.map_or("none", |decided| why(decided.why)).to_owned(),
            instead_of,
            reason,
            regions: regions
                .into_iter()
                .map(|(region, distance_km)| Candidate { region: region.name, distance_km, takes_new: region.open })
                .collect(),
            database: GeoDatabase {
                file: file.map(|file| file.display().to_string()),
                kind: about.kind,
                built_ms: about.built_ms,
            },
        }
    }
}

fn why(why: Why) -> &'static str {
    match why {
        Why::Residency => "residency",
        Why::Chosen => "chosen",
        Why::Country(_) => "country",
        Why::Nearest { .. } => "nearest",
        Why::Default => "default",
        Why::Placeless(_) => "placeless",
    }
}

impl From<Coordinates> for Degrees {
    fn from(coordinates: Coordinates) -> Self {
        let degrees = |mdeg: i32| f64::from(mdeg) / 1_000.0;
        Self { latitude: degrees(coordinates.latitude_mdeg()), longitude: degrees(coordinates.longitude_mdeg()) }
    }
}
