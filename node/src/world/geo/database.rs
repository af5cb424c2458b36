//! One database in memory: addresses to countries and coordinates.

use super::GeoError;
use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions, path};
use sojourn_core::routing::{Coordinates, Country, Place};
use std::{borrow::Cow, collections::HashSet, net::IpAddr};

/// The file that `deploy/geo` describes. It stays in the binary, whose pages are read when they are needed.
static BUILT_IN: &[u8] = include_bytes!("../../../../deploy/geo/country.mmdb");

type Bytes = Cow<'static, [u8]>;

/// A database that was found in order.
pub struct Database {
    reader: Reader<Bytes>,
    networks: Option<u64>,
}

/// What a database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its type, such as `GeoLite2-City`.
    pub kind: String,
    /// When it was built, in ms since the Unix epoch.
    pub built_ms: u64,
    /// How many networks it has, if they were counted.
    pub networks: Option<u64>,
}

impl Database {
    /// The one that is built in. A test of ours has checked it.
    pub(super) fn built_in() -> Result<Self, GeoError> {
        Self::open("that is built in", Cow::Borrowed(BUILT_IN))
    }

    /// The database in `bytes`, after a look at all of it; `file` is for the error.
    pub(super) fn checked(file: &str, bytes: Vec<u8>) -> Result<Self, GeoError> {
        let mut database = Self::open(file, Cow::Owned(bytes))?;
        let (networks, countries) = database.census().map_err(|error| damaged(file, &error))?;
        if countries == 0 {
            return Err(GeoError::NoCountries { file: file.to_owned(), kind: database.about().kind });
        }
        database.networks = Some(networks);
        Ok(database)
    }

    fn open(file: &str, bytes: Bytes) -> Result<Self, GeoError> {
        let reader = Reader::from_source(bytes).map_err(|error| damaged(file, &error))?;
        Ok(Self { reader, networks: None })
    }

    /// Goes to every network and decodes every record. Returns how many networks there are, and records with a country.
    fn census(&self) -> Result<(u64, u64), MaxMindDbError> {
        let (mut networks, mut countries, mut seen) = (0, 0, HashSet::new());
        // A tree has one leaf more than it has nodes; a damaged one can go round in circles.
        let leaves_max = u64::from(self.reader.metadata().node_count) * 3 + 1;
        let leaves = self.reader.networks(WithinOptions::default().include_networks_without_data())?;
        for (leaf, found) in (0_u64..).zip(leaves) {
            let found = found?;
            if leaf > leaves_max {
                return Err(MaxMindDbError::invalid_database("its tree goes round in circles"));
            }
            networks += u64::from(found.has_data());
            // Many networks share a record.
            if found.offset().is_some_and(|offset| seen.insert(offset)) {
                found.decode::<serde::de::IgnoredAny>()?;
                countries += u64::from(country(&found).is_some());
            }
        }
        Ok((networks, countries))
    }

    /// Where an address is; nothing is known of one that the database lacks, as all IPv6 addresses in one for IPv4.
    pub fn place(&self, address: IpAddr) -> Place {
        let found = self.reader.lookup(address.to_canonical());
        found.map_or_else(
            |_| Place::default(),
            |found| Place { country: country(&found), coordinates: coordinates(&found) },
        )
    }

    /// What it says of itself.
    pub fn about(&self) -> About {
        let metadata = self.reader.metadata();
        About {
            kind: metadata.database_type.clone(),
            built_ms: metadata.build_epoch.saturating_mul(1_000),
            networks: self.networks,
        }
    }
}

/// The country in a record, in the form of MaxMind's databases or in the flat one. What is neither counts as none: files have
/// records without a country too.
fn country(found: &LookupResult<'_, Bytes>) -> Option<Country> {
    let nested = || found.decode_path::<&str>(&path!["country", "iso_code"]).ok().flatten();
    let flat = || found.decode_path::<&str>(&path!["country_code"]).ok().flatten();
    nested().or_else(flat)?.parse().ok()
}

fn coordinates(found: &LookupResult<'_, Bytes>) -> Option<Coordinates> {
    let degrees = |axis| found.decode_path::<f64>(&path!["location", axis]).ok().flatten();
    Coordinates::new(thousandths(degrees("latitude")?)?, thousandths(degrees("longitude")?)?)
}

fn thousandths(degrees: f64) -> Option<i32> {
    // What does not fit becomes the nearest number that does, which is off the globe.
    degrees.is_finite().then(|| (degrees * 1_000.0).round() as i32)
}

fn damaged(file: &str, error: &MaxMindDbError) -> GeoError {
    GeoError::Damaged { file: file.to_owned(), reason: error.to_string() }
}
