//! Which country belongs to which region, by name: what is configured, and what holds otherwise.

use super::{BadCountry, Coordinates, Country};
use crate::ids::RegionId;
use std::{collections::BTreeMap, fmt, str::FromStr};

/// The regions of countries, by the regions' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countries(BTreeMap<Country, String>);

/// Countries of the three regions that a world has unless it is told otherwise.
const DEFAULTS: [(&str, &str); 3] = [
    ("na", "US CA MX"),
    ("eu", "GB DE FR IT ES NL BE SE NO DK FI PL"),
    ("apac", "CN JP KR IN AU NZ SG MY TH VN ID PH"),
];

/// Where they are unless they say so themselves: in Virginia, in Frankfurt, in Singapore.
const SITES: [(&str, Option<Coordinates>); 3] = [
    ("na", Coordinates::new(39_040, -77_490)),
    ("eu", Coordinates::new(50_110, 8_680)),
    ("apac", Coordinates::new(1_350, 103_820)),
];

/// Where a region of this name is unless it says so itself, if that is known.
pub fn coordinates_of_region(name: &str) -> Option<Coordinates> {
    SITES.iter().find(|(known, _)| *known == name).and_then(|(_, site)| *site)
}

/// A text that is no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCountries {
    /// A row without an equals sign or a region.
    #[error("{0:?} is no row of the table: write a country and its region, such as US=na, separated by commas")]
    Row(String),
    /// A row's left side.
    #[error(transparent)]
    Country(#[from] BadCountry),
    /// One country in two rows.
    #[error("{0} has two rows in the table: keep one")]
    Twice(Country),
}

impl Default for Countries {
    /// The table of a world of `na`, `eu` and `apac`.
    fn default() -> Self {
        let rows = DEFAULTS.iter().flat_map(|(region, countries)| countries.split(' ').map(move |row| (row, region)));
        Self(rows.filter_map(|(country, region)| Some((country.parse().ok()?, (*region).to_owned()))).collect())
    }
}

impl Countries {
    /// This table with the rows of another one instead of its own for the same countries.
    #[must_use]
    pub fn overridden_by(mut self, rows: Self) -> Self {
        self.0.extend(rows.0);
        self
    }

    /// The name of the region of a country.
    pub fn region(&self, country: Country) -> Option<&str> {
        self.0.get(&country).map(String::as_str)
    }

    /// The names of regions in the table.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// The table by the regions' numbers. Countries of regions that there are not are left out: they go to the nearest one.
    pub fn resolve(&self, number_of: impl Fn(&str) -> Option<RegionId>) -> BTreeMap<Country, RegionId> {
        self.0.iter().filter_map(|(country, region)| Some((*country, number_of(region)?))).collect()
    }
}

impl FromStr for Countries {
    type Err = BadCountries;

    /// Reads `US=na,GB=eu`; an empty text is an empty table.
    fn from_str(text: &str) -> Result<Self, BadCountries> {
        let mut table = BTreeMap::new();
        for row in text.split(',').map(str::trim).filter(|row| !row.is_empty()) {
            let (country, region) = row.split_once('=').ok_or_else(|| BadCountries::Row(row.to_owned()))?;
            let (country, region): (Country, &str) = (country.trim().parse()?, region.trim());
            if region.is_empty() {
                return Err(BadCountries::Row(row.to_owned()));
            }
            if table.insert(country, region.to_owned()).is_some() {
                return Err(BadCountries::Twice(country));
            }
        }
        Ok(Self(table))
    }
}

impl fmt::Display for Countries {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0.iter().enumerate();
        rows.map(|(at, (country, region))| (if at == 0 { "" } else { "," }, country, region))
            .try_for_each(|(comma, country, region)| write!(f, "{comma}{country}={region}"))
    }
}
