//! `sojourn region`: the regions of the world, and the way to them.

use super::{
    client::{Client, NodeArgs},
    output::{self, Align, Format, json, table},
};
use crate::gateway::http::api::{Degrees, GeoDatabase, Route, RouteOf};
use clap::{Args, Subcommand};

/// Look at the regions of the world.
#[derive(Debug, Args)]
pub struct RegionArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Explain in which region a new session of a client would be at home
    ///
    /// The table of countries decides, then the nearest region, then the default. Keys `geo.countries`, `geo.default`,
    /// `geo.database` and `region.coordinates` of the node that is asked.
    Route {
        /// The client's address, such as 81.2.69.142
        address: String,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
}

/// Does what was asked.
///
/// # Errors
/// What went wrong and what to do.
pub async fn run(args: RegionArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.node);
    match args.act {
        Act::Route { address, output } => {
            let route: Route = client.post("/v1/regions/route", &RouteOf { address }).await?;
            output::print(&if output == Format::Json { json(&route)? } else { explained(&route) })
        }
    }
}

fn explained(route: &Route) -> String {
    let Route {
        address, country, coordinates, measured_from, table_region: _, region, reason, regions, database, ..
    } = route;
    let dash = || "-".to_owned();
    let place = coordinates.map(|Degrees { latitude, longitude }| {
        let from = measured_from.as_deref().map(|from| if from == "country" { " (middle of the country)" } else { "" });
        format!("{latitude:.3},{longitude:.3}{}", from.unwrap_or_default())
    });
    let facts = [
        ("address", address.clone()),
        ("country", country.clone().unwrap_or_else(dash)),
        ("coordinates", place.unwrap_or_else(dash)),
        ("home", region.clone().unwrap_or_else(|| "none".to_owned())),
        ("why", reason.clone()),
        ("database", database_line(database)),
    ];
    let facts: String = facts.iter().map(|(name, value)| format!("{name:<13}{value}\n")).collect();
    let columns = [("REGION", Align::Left), ("DISTANCE", Align::Right), ("NEW SESSIONS", Align::Left)];
    let rows = regions.iter().map(|candidate| {
        vec![
            candidate.region.clone(),
            candidate.distance_km.map_or_else(dash, |km| format!("{km} km")),
            if candidate.takes_new { "yes" } else { "no" }.to_owned(),
        ]
    });
    format!("{facts}\n{}", table(&columns, rows))
}

fn database_line(GeoDatabase { file, kind, built_ms: _ }: &GeoDatabase) -> String {
    format!("{} ({kind})", file.as_deref().unwrap_or("built in"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::http::api::Candidate;

    #[test]
    fn a_route_is_explained_line_by_line() {
        let candidate =
            |region: &str, distance_km| Candidate { region: region.to_owned(), distance_km, takes_new: true };
        let route = Route {
            address: "81.2.69.142".to_owned(),
            country: Some("GB".to_owned()),
            coordinates: Some(Degrees { latitude: 54.1, longitude: -2.0 }),
            measured_from: Some("country".to_owned()),
            table_region: Some("eu".to_owned()),
            region: Some("eu".to_owned()),
            why: "country".to_owned(),
            instead_of: None,
            reason: "the table sends GB to eu".to_owned(),
            regions: vec![candidate("na", Some(5_800)), candidate("eu", None)],
            database: GeoDatabase { file: None, kind: "country".to_owned(), built_ms: 1 },
        };
        let text = explained(&route);
        let expected = "\
address      81.2.69.142
country      GB
coordinates  54.100,-2.000 (middle of the country)
home         eu
why          the table sends GB to eu
database     built in (country)

REGION  DISTANCE  NEW SESSIONS
na       5800 km  yes
eu             -  yes
";
        assert_eq!(text, expected);
    }
}
