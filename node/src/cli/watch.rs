//! `--watch`: an answer again and again, in place.

use super::output;
use std::{future::Future, io::IsTerminal, time::Duration};

/// Whether and how often to look again.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WatchArgs {
    /// Look again every so many seconds until Ctrl-C
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
}

/// Moves to the upper left corner and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[2J";

impl WatchArgs {
    /// Prints what `answer` makes, once, or again and again: then a failure is shown and passes.
    ///
    /// # Errors
    /// What `answer` fails with, if it is asked once.
    pub async fn run<F: Future<Output = anyhow::Result<String>>>(self, answer: impl Fn() -> F) -> anyhow::Result<()> {
        let Some(seconds) = self.watch else { return output::print(&answer().await?) };
        let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
        let mut ticks = tokio::time::interval(Duration::from_secs(seconds));
        loop {
            ticks.tick().await;
            let text = answer().await.unwrap_or_else(|error| format!("{error:#}\n"));
            output::print(&format!("{clear}{text}"))?;
        }
    }
}
