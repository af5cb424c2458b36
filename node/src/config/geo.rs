//! What is configured of the way of new sessions to their regions.

use super::{ConfigError, Source};
use crate::world::guide::{DefaultRegion, GuideOptions};
use sojourn_core::routing::Countries;
use std::path::PathBuf;

/// How new sessions come to their regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeoConfig {
    /// The file that says where addresses are, instead of what is built in.
    pub database: Option<PathBuf>,
    /// What the operator decides.
    pub guide: GuideOptions,
}

impl Source<'_> {
    pub(super) fn geo(&self) -> Result<GeoConfig, ConfigError> {
        let rows: Option<Countries> = self.understood("geo.countries")?;
        let countries = rows.map_or_else(Countries::default, |rows| Countries::default().overridden_by(rows));
        let default = match self.text("geo.default").unwrap_or_default() {
            asked if asked == "asked" => DefaultRegion::Asked,
            name => DefaultRegion::Named(name),
        };
        let database = self.text("geo.database").map(PathBuf::from);
        Ok(GeoConfig { database, guide: GuideOptions { countries, default } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NodeConfig, Texts};

    #[test]
    fn a_table_of_countries_changes_only_its_own_rows() {
        let given = [("geo.countries", "IE=eu,US=apac"), ("geo.default", "asked"), ("geo.database", "/geo/x.mmdb")];
        let given: Texts = given.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let config = NodeConfig::from_texts(&[&given]).expect("a good configuration");
        let GeoConfig { database, guide: GuideOptions { countries, default } } = config.geo;
        let region = |country: &str| countries.region(country.parse().expect("a country"));
        assert_eq!(
            (region("IE"), region("US"), region("GB"), region("BR")),
            (Some("eu"), Some("apac"), Some("eu"), None)
        );
        assert_eq!((default, database), (DefaultRegion::Asked, Some(PathBuf::from("/geo/x.mmdb"))));
    }

    #[test]
    fn a_region_is_where_it_says_or_where_its_name_is_known_to_be() {
        let given: Texts = [("region.coordinates".to_owned(), "48.2,16.4".to_owned())].into();
        let config = |given| NodeConfig::from_texts(&[given]).expect("a good configuration");
        assert_eq!(config(&given).coordinates_of("eu").map(|at| at.to_string()).as_deref(), Some("48.200,16.400"));
        let unsaid = config(&Texts::new());
        assert!(unsaid.coordinates_of("eu").is_some() && unsaid.coordinates_of("mars").is_none());
    }
}
