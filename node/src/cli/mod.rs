//! The `sojourn` command.

use crate::config::{self, KEYS, NodeConfig, Texts, flag_name};
use clap::{Arg, ArgMatches, Command};
use std::path::PathBuf;

/// Parses the arguments of this process and does what they say.
///
/// # Errors
/// What went wrong and what to do.
pub fn run() -> anyhow::Result<()> {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("serve", matches)) => serve(matches),
        _ => Ok(command().print_help()?),
    }
}

fn command() -> Command {
    let serve = Command::new("serve").about("Run one node").arg(
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .help("A TOML file; every key is also a flag and a variable"),
    );
    let serve = KEYS.iter().fold(serve, |serve, key| {
        let default = key.default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
        serve.arg(
            Arg::new(key.name).long(flag_name(key.name)).value_name("VALUE").help(format!("{}{default}", key.help)),
        )
    });
    Command::new("sojourn")
        .about("Keeps web sessions: durable on a quorum, spoken to by any Redis client")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve)
}

fn serve(matches: &ArgMatches) -> anyhow::Result<()> {
    let flags: Texts = KEYS
        .iter()
        .filter_map(|key| Some((key.name.to_owned(), matches.get_one::<String>(key.name)?.clone())))
        .collect();
    let environment = config::read_environment(std::env::vars());
    let file = match matches.get_one::<String>("config") {
        Some(path) => config::read_file(&PathBuf::from(path))?,
        None => Texts::new(),
    };
    let config = NodeConfig::from_texts(&[&flags, &environment, &file])?;
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("SOJOURN_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,openraft=error")),
        )
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(crate::run::serve(config))
}
