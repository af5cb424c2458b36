//! Passwords come from a prompt, from standard input or from the environment, never from the command line, where every
//! process of the machine could read them; what leaves here is a slow hash.

use crate::security::password;
use anyhow::{Context, ensure};
use rand::TryRngCore;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{IsTerminal, stderr, stdin};

/// Where a password may be found without asking.
const VARIABLE: &str = "SOJOURN_NAMESPACE_PASSWORD";

/// Whether to set a password.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct PasswordArgs {
    /// Set a password: from SOJOURN_NAMESPACE_PASSWORD, else asked for, else the first line of standard input
    #[arg(long)]
    password: bool,
}

impl PasswordArgs {
    /// The hash of the password, if one is to be set.
    ///
    /// # Errors
    /// None was given.
    pub fn hash(self) -> anyhow::Result<Option<String>> {
        if !self.password {
            return Ok(None);
        }
        let password = match std::env::var(VARIABLE) {
            Ok(password) => password,
            Err(_) if stdin().is_terminal() => ask()?,
            Err(_) => line()?,
        };
        ensure!(!password.is_empty(), "the password is empty: give one, or leave out --password");
        let mut salt = [0; 16];
        rand::rngs::OsRng.try_fill_bytes(&mut salt).context("the operating system has no random numbers")?;
        Ok(Some(password::hash(password.as_bytes(), &salt)))
    }
}

fn ask() -> anyhow::Result<String> {
    let password = hidden("Password: ")?;
    ensure!(password == hidden("Again: ")?, "the two passwords differ: try again");
    Ok(password)
}

/// A line that is not shown while it is typed.
fn hidden(prompt: &str) -> anyhow::Result<String> {
    write_error(prompt);
    let shown = tcgetattr(stdin())?;
    let mut unseen = shown.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin(), OptionalActions::Now, &unseen)?;
    let line = line();
    tcsetattr(stdin(), OptionalActions::Now, &shown)?;
    write_error("\n");
    line
}

fn write_error(text: &str) {
    // A prompt that nobody sees is no reason to fail.
    let _unseen = std::io::Write::write_all(&mut stderr(), text.as_bytes());
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    stdin().read_line(&mut line).context("cannot read the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
