//! `sojourn dev`: a whole world on this machine, each node a process that can be killed for real.

mod child;
mod control;
mod directory;
mod meeting;
mod page;
mod plan;
mod ports;
mod wan;
mod world;

use super::output::{self, Format};
use anyhow::{Context, anyhow, ensure};
use clap::{Args, Subcommand};
use control::{Reply, Request};
use directory::{DataDir, Founded};
use plan::{BASE_PORT, NODES_MAX, Plan};
use rand::TryRngCore;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use wan::PairDelay;

/// Where a world is kept if nothing else is said.
pub const DATA_DIR: &str = ".data/dev";

/// Start a world on this machine, or act on the one that runs.
///
/// Without a subcommand: starts regions `na`, `eu` and `apac` (or those of --regions) with three nodes each, as processes of their
/// own, waits until they are ready and have met, and says how to use them. Ctrl-C ends all of it; what was stored is there again the next time, unless --fresh is given.
///
/// Node j of region k (na 0, eu 1, apac 2) listens on 7400 + 100·k + 10·j: gRPC on that, Redis clients on +1, HTTP on +2, other nodes on +3.
/// What goes from one region to another goes through 7400 + 100·k + 99, where `dev wan` delays, limits and cuts it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false, subcommand_negates_reqs = true)]
pub struct DevArgs {
    #[command(subcommand)]
    act: Option<Act>,

    /// Where the world is kept
    #[arg(long, global = true, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,

    /// The regions to start; one is enough for most tries, and lighter
    #[arg(long, value_name = "NAMES", default_value = "na,eu,apac", value_delimiter = ',')]
    regions: Vec<String>,

    /// How long what goes between two regions takes, one way, such as na-eu=80ms,na-apac=150ms,eu-apac=120ms
    #[arg(long, value_name = "PAIRS", value_delimiter = ',')]
    wan_delay: Vec<PairDelay>,

    /// How many nodes each region has
    #[arg(long, value_name = "COUNT", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: u16,

    /// The first port
    #[arg(long, value_name = "PORT", default_value_t = BASE_PORT)]
    base_port: u16,

    /// Throw away what an earlier run stored
    #[arg(long)]
    fresh: bool,

    /// Start a node that died again after so many seconds, instead of leaving it down
    #[arg(long, value_name = "SECONDS")]
    restart_after: Option<u64>,
}

/// What can be done to the running world.
#[derive(Debug, Subcommand)]
enum Act {
    /// Show the nodes: running or not, where, how often started
    Status {
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Kill a node with SIGKILL; it stays down until it is started
    Kill {
        /// Its name, such as na-2, or a region's: all its nodes
        node: String,
    },
    /// Freeze a node with SIGSTOP
    Stop {
        /// Its name, such as na-2, or a region's: all its nodes
        node: String,
    },
    /// Let a frozen node go on with SIGCONT
    Cont {
        /// Its name, such as na-2, or a region's: all its nodes
        node: String,
    },
    /// Start a node that is down and wait until it is ready
    Start {
        /// Its name, such as na-2, or a region's: all its nodes
        node: String,
    },
    /// Look at the ways between regions, delay, limit, cut and heal them
    #[command(subcommand)]
    Wan(wan::Act),
}

/// Starts a world and runs it until it is told to end, or acts on the running one.
///
/// # Errors
/// What keeps it from starting, with the mend; for the subcommands, what the running world refuses.
pub fn run(args: DevArgs) -> anyhow::Result<()> {
    let (request, format) = match &args.act {
        None => return start(&args),
        Some(Act::Status { output }) => (Request::Status, *output),
        Some(Act::Kill { node }) => return each(&args.data_dir, node, |node| Request::Kill { node }),
        Some(Act::Stop { node }) => return each(&args.data_dir, node, |node| Request::Stop { node }),
        Some(Act::Cont { node }) => return each(&args.data_dir, node, |node| Request::Cont { node }),
        Some(Act::Start { node }) => return each(&args.data_dir, node, |node| Request::Start { node }),
        Some(Act::Wan(act)) => {
            let (ask, format) = act.request();
            (Request::Wan { ask }, format)
        }
    };
    match (control::ask(&args.data_dir, &request)?, format) {
        (Reply::Nodes(nodes), Format::Table) => output::print(&page::status(&nodes)),
        (Reply::Nodes(nodes), Format::Json) => output::print(&output::json(&nodes)?),
        (Reply::Links(links), Format::Table) => output::print(&wan::links(&links)),
        (Reply::Links(links), Format::Json) => output::print(&output::json(&links)?),
        (Reply::Done(text) | Reply::Refused(text), _) => output::print(&format!("{text}\n")),
    }
}

/// Acts on a node, or on all nodes of a region at once: started one after the other, the first would wait for the next.
fn each(data_dir: &Path, name: &str, request: impl Fn(String) -> Request + Sync) -> anyhow::Result<()> {
    let known = match control::ask(data_dir, &Request::Status)? {
        Reply::Nodes(nodes) => nodes,
        Reply::Links(_) | Reply::Done(_) | Reply::Refused(_) => Vec::new(),
    };
    let of_region = known.into_iter().map(|node| node.node).filter(|node| region_of(node) == Some(name));
    let mut named: Vec<String> = of_region.collect();
    if named.is_empty() {
        named.push(name.to_owned());
    }
    let ask = |node: &String| control::ask(data_dir, &request(node.clone()));
    let answers = std::thread::scope(|scope| {
        let asked: Vec<_> = named.iter().map(|node| scope.spawn(move || ask(node))).collect();
        asked.into_iter().map(|asked| asked.join().map_err(|_| anyhow!("asking failed"))?).collect::<Vec<_>>()
    });
    let mut failed = Vec::new();
    for answer in answers {
        match answer {
            Ok(Reply::Done(text) | Reply::Refused(text)) => output::print(&format!("{text}\n"))?,
            Ok(Reply::Nodes(_) | Reply::Links(_)) => {}
            Err(error) => failed.push(error.to_string()),
        }
    }
    ensure!(failed.is_empty(), failed.join("\n"));
    Ok(())
}

/// The region of a node of this name.
fn region_of(node: &str) -> Option<&str> {
    node.rsplit_once('-').map(|(region, _)| region)
}

fn start(args: &DevArgs) -> anyhow::Result<()> {
    check_regions(&args.regions)?;
    wan::check(&args.wan_delay, &args.regions)?;
    let data_dir = DataDir::take(&args.data_dir)?;
    let asked =
        Founded { world: fresh_world()?, regions: args.regions.clone(), base_port: args.base_port, nodes: args.nodes };
    let founded = data_dir.founded()?;
    if let (Some(founded), false) = (&founded, args.fresh) {
        directory::check_same(founded, &asked, data_dir.path())?;
    }
    let plan = planned(founded.as_ref().filter(|_| !args.fresh).unwrap_or(&asked), &data_dir)?;
    ports::check_free(&plan)?;
    if args.fresh {
        data_dir.clear(&planned(founded.as_ref().unwrap_or(&asked), &data_dir)?)?;
    }
    if args.fresh || founded.is_none() {
        data_dir.found(&asked)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Children end with the thread that started them, so everything runs on this one.
    runtime.block_on(async {
        let wan = wan::open(&plan, &args.wan_delay).await?;
        world::run(plan, wan, args.restart_after.map(Duration::from_secs)).await
    })
}

fn check_regions(names: &[String]) -> anyhow::Result<()> {
    for (at, name) in names.iter().enumerate() {
        let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        ensure!(!name.is_empty() && letters, "--regions {name}: use small letters and digits for a region's name");
        ensure!(!names[..at].contains(name), "--regions names {name} twice");
    }
    Ok(())
}

fn planned(founded: &Founded, data_dir: &DataDir) -> anyhow::Result<Plan> {
    let Founded { world, regions, base_port, nodes } = founded;
    let world = u128::from_str_radix(world, 16).context("the world's number is damaged: start with --fresh")?;
    Plan::new(data_dir.path(), world, regions, *base_port, *nodes)
        .with_context(|| format!("--base-port {base_port} leaves no room for {nodes} nodes below port 65536"))
}

fn fresh_world() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).context("the operating system has no random numbers")?;
    // 0 would mean "not founded".
    Ok(format!("{:x}", u128::from_le_bytes(bytes).max(1)))
}
