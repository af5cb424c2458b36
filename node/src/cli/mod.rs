//! The `sojourn` command: what people type, and what they read.
//!
//! Each subcommand is a file: its arguments, what it asks, how the answer looks. Exit codes: 0 done, 1 failed, 2 not
//! understood.

mod certs;
mod client;
mod cluster;
mod dev;
mod namespace;
mod output;
mod password;
mod rebalance;
mod region;
mod serve;
mod session;
mod slots;
mod watch;

use clap::{Parser, Subcommand};

/// Keeps web sessions: durable on a quorum of nodes, spoken to by any Redis client.
///
/// `sojourn dev` starts a whole region on this machine, with no configuration, and says how to use it.
#[derive(Debug, Parser)]
#[command(name = "sojourn", version, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::DevArgs),
    Serve(serve::ServeArgs),
    Cluster(cluster::ClusterArgs),
    Session(session::SessionArgs),
    Namespace(namespace::NamespaceArgs),
    Region(region::RegionArgs),
    Certs(certs::CertsArgs),
}

/// Parses the arguments of this process and does what they say.
///
/// # Errors
/// What went wrong and what to do.
pub fn run() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Dev(args) => dev::run(args),
        Command::Serve(args) => serve::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Cluster(args) => ask(cluster::run(args)),
        Command::Session(args) => ask(session::run(args)),
        Command::Namespace(args) => ask(namespace::run(args)),
        Command::Region(args) => ask(region::run(args)),
    }
}

/// Runs what only waits for answers.
fn ask(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_of_commands_is_sound() {
        Cli::command().debug_assert();
    }
}
