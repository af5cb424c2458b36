//! `chaos-tests`: what Sojourn survives.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Shows what Sojourn survives.
#[derive(Debug, Parser)]
#[command(name = "chaos-tests", version)]
struct Arguments {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Debug, Subcommand)]
enum Commands {
    /// Runs a region, or a world of several, in virtual time through faults drawn from seeds.
    Sim(sojourn_chaos_tests::sim::SimArgs),
    /// Measures three regions with 80 ms between them.
    World(sojourn_chaos_tests::world::WorldArgs),
}

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Commands::Sim(args) => sojourn_chaos_tests::sim::run(&args).map_err(|error| error.to_string()),
        Commands::World(args) => sojourn_chaos_tests::world::run(&args).map_err(|error| format!("{error:#}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
