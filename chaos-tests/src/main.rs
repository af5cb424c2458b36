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
    /// Runs a region in virtual time through faults drawn from seeds.
    Sim(sojourn_chaos_tests::sim::SimArgs),
}

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    let Commands::Sim(args) = Arguments::parse().command;
    match sojourn_chaos_tests::sim::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
