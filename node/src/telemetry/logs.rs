//! Log lines on standard error, for people or for programs.

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// How lines look.
    pub format: LogFormat,
    /// The least important level, or levels by module, as `info,sojourn_node::raft=debug`.
    pub level: String,
}

/// Speaks of what a node survives by design, at every change of leader.
const QUIET: &str = "openraft=error";

/// Starts logging, once in a process.
///
/// # Errors
/// The level is none.
pub fn init_logs(options: &LogOptions) -> anyhow::Result<()> {
    // What comes later in the list wins, so a level for openraft can still be asked for.
    let filter = EnvFilter::try_new(format!("{QUIET},{}", options.level))?;
    // A line that finds no room, or no reader any more, is lost. To complain of it on standard error fails there, too, and would end
    // the node.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match options.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}
