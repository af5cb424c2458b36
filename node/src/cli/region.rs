//! `sojourn region`: the regions of the world, and the way to them.

mod conflicts;
mod drain;
mod status;

use super::{
    client::{Client, NodeArgs},
    output::{self, Align, Format, json, table},
    watch::WatchArgs,
};
use crate::{
    gateway::http::api::{
        Degrees, Done, DrainRegion, DrainWhatIf, Draining, FailBack, FailOver, GeoDatabase, LossPolicy, Regions, Route,
        RouteOf,
    },
    notation::parse_duration,
};
use clap::{Args, Subcommand};

/// Look at the regions of the world, and decide over them.
#[derive(Debug, Args)]
pub struct RegionArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Show each region: who writes to its sessions, under which epoch, what may be missing
    #[command(alias = "list")]
    Status {
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Take the right to write from a region and give it to others
    ///
    /// Its leases are waited for, and regions without leases must let go by themselves. With --force it is given up at once: say
    /// that only if it is certainly down, or if what it still writes may wait for its return.
    Failover {
        /// The region's name
        name: String,
        /// Do not wait for it: it is down, or may be parted from
        #[arg(long)]
        force: bool,
    },
    /// Give a region that has returned and was reconciled its own sessions back
    Failback {
        /// The region's name
        name: String,
    },
    /// Move homes away from a region
    ///
    /// It takes no new homes, and its sessions get a home in the nearest region that takes them, or in the one that they are used
    /// from where their namespace lets sessions travel. What may be held nowhere else stays. Clients go on reading and writing
    /// meanwhile; `sojourn region status` shows how many homes are left.
    Drain {
        /// The region's name
        name: String,
        /// Stop draining: the region keeps what it still has and takes new homes again
        #[arg(long, conflicts_with = "dry_run")]
        undo: bool,
        /// Only show how many homes would go where
        #[arg(long)]
        dry_run: bool,
    },
    /// Change who decides that a region is lost, and how long leases last
    Policy {
        /// By leases, or by a person
        #[arg(long, value_parser = ["automatic", "operator"])]
        failover: Option<String>,
        /// How long a region may write without hearing of the others, such as 10s
        #[arg(long, value_name = "DURATION", value_parser = lease_ms)]
        lease: Option<u64>,
    },
    /// Show what a region wrote that lost against what others wrote meanwhile
    ///
    /// A region that was lost and comes back may have written what nobody else had. Where others have written to the same session
    /// since, one value is kept and both are noted, for 90 days. With `-o json` both come whole, as one list that is written page
    /// by page. Ids are credentials: a stand-in is shown, as `sojourn session list` does.
    Conflicts(conflicts::ConflictsArgs),
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
        Act::Status { output, watch } => {
            let answer = async || {
                let regions: Regions = client.get("/v1/regions").await?;
                Ok(if output == Format::Json { json(&regions)? } else { status::regions(&regions) })
            };
            watch.run(answer).await
        }
        Act::Failover { name, force } => {
            let body = FailOver { region: name.clone(), force };
            let Done { .. } = client.post("/v1/regions/failover", &body).await?;
            output::print(&format!("{name} is failed over; `sojourn region status --watch` shows who takes over\n"))
        }
        Act::Failback { name } => {
            let Done { .. } = client.post("/v1/regions/failback", &FailBack { region: name.clone() }).await?;
            output::print(&format!("{name} takes over again; `sojourn region status --watch` shows how far it is\n"))
        }
        Act::Drain { name, dry_run: true, undo: _ } => {
            let what_if = DrainWhatIf { region: name.clone() };
            let draining: Draining = client.post("/v1/regions/drain/plan", &what_if).await?;
            output::print(&format!("{}Nothing was changed.\n", drain::foreseen(&name, &draining)))
        }
        Act::Drain { name, undo, dry_run: false } => {
            let body = DrainRegion { region: name.clone(), draining: !undo };
            let Done { .. } = client.post("/v1/regions/drain", &body).await?;
            output::print(&if undo {
                format!("{name} keeps its homes and takes new ones again\n")
            } else {
                format!(
                    "{name} is being drained: homes move away from it; `sojourn region status` shows how many are left\n"
                )
            })
        }
        Act::Policy { failover, lease } => {
            if failover.is_none() && lease.is_none() {
                anyhow::bail!("nothing to change\n  say --failover automatic or operator, or --lease with a duration");
            }
            let Done { .. } = client.post("/v1/regions/policy", &LossPolicy { failover, lease_ms: lease }).await?;
            output::print("changed; `sojourn region status` shows it\n")
        }
        Act::Conflicts(args) => conflicts::run(&client, args).await,
        Act::Route { address, output } => {
            let route: Route = client.post("/v1/regions/route", &RouteOf { address }).await?;
            output::print(&if output == Format::Json { json(&route)? } else { explained(&route) })
        }
    }
}

fn lease_ms(text: &str) -> Result<u64, String> {
    parse_duration(text).ok_or_else(|| "use a duration such as 10s".to_owned())
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
