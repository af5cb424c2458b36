//! `sojourn serve`: one node, configured by file, environment and flags.

use crate::config::{self, KEYS, NodeConfig, Texts, environment_name, flag_name};
use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use std::path::PathBuf;

/// What was said on the command line.
#[derive(Debug)]
pub struct ServeArgs {
    config: Option<PathBuf>,
    print_config: bool,
    parent: Option<i32>,
    flags: Texts,
}

const ABOUT: &str = "Run one node";

const LONG_ABOUT: &str = "Run one node.\n\nEvery key of the configuration is a flag here, a variable in the environment \
                          and a key in the file; a flag wins over the environment, the environment over the file. An \
                          unknown key is an error.";

impl clap::Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        let command = command
            .about(ABOUT)
            .long_about(LONG_ABOUT)
            .arg(Arg::new("config").long("config").value_name("FILE").help("Read this TOML file"))
            .arg(
                Arg::new("print_config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Print all keys with the values that would hold, as TOML, and exit"),
            )
            // Set by `sojourn dev`: the node ends when this process, its parent, ends.
            .arg(Arg::new("parent").long("parent").hide(true).value_parser(clap::value_parser!(i32)));
        KEYS.iter().fold(command, |command, key| {
            let default = key.default.map(|value| format!(", default {value}")).unwrap_or_default();
            let help = format!("{} [{}{default}]", key.help, environment_name(key.name));
            command.arg(
                Arg::new(key.name)
                    .long(flag_name(key.name))
                    .value_name("VALUE")
                    .help(help)
                    .help_heading("Keys of the configuration")
                    // A flag may be given alone: `--insecure`.
                    .num_args(if key.is_switch() { 0..=1 } else { 1..=1 })
                    .default_missing_value("true"),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flag = |key: &config::Key| Some((key.name.to_owned(), matches.get_one::<String>(key.name)?.clone()));
        Ok(Self {
            config: matches.get_one::<String>("config").map(PathBuf::from),
            print_config: matches.get_flag("print_config"),
            parent: matches.get_one("parent").copied(),
            flags: KEYS.iter().filter_map(flag).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// What is wrong with the configuration, or keeps the node from running.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let environment = config::read_environment(std::env::vars());
    let file = match &args.config {
        Some(path) => config::read_file(path)?,
        None => Texts::new(),
    };
    let sources = [&args.flags, &environment, &file];
    let config = NodeConfig::from_texts(&sources)?;
    if args.print_config {
        return super::output::print(&config::describe(&sources));
    }
    if let Some(parent) = args.parent {
        die_with(parent)?;
    }
    crate::telemetry::init_logs(&config.log)?;
    // One thread needs none of what several need to share work.
    let mut runtime = match config.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if config.threads > 0 {
        runtime.worker_threads(config.threads);
    }
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(crate::run::serve(config))
}

/// Leaves no orphan behind, however the parent ends.
fn die_with(parent: i32) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot ask to be ended with the parent")?;
    // It may have ended before we asked.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    anyhow::ensure!(now == Some(parent), "the parent, process {parent}, has ended");
    Ok(())
}
