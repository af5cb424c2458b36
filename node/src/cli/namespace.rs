//! `sojourn namespace`: applications and what holds for their sessions.

use super::{
    client::{Client, NodeArgs},
    output::{self, Align, Format, json, table},
    password,
};
use crate::{
    gateway::http::api::{Change, Create, Created, Done, Namespace, Namespaces},
    notation::SETTINGS,
};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use std::collections::BTreeMap;

const EXAMPLES: &str = "\
Examples:
  sojourn namespace create shop --idle-timeout 30m --password
  sojourn namespace set shop --fields json --user-path passport.user --label-paths role=user.role
  sojourn namespace show shop -o json";

/// Create, change and list namespaces: one for each application, with its own lifetimes, limits and password.
///
/// What is created, changed or dropped through a node of one region holds in all regions of its world.
///
/// A Redis client is in the namespace that it logs in to with AUTH name password, or that SELECT db chooses; without
/// either in `default`, which is open to this machine only until it has a password.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct NamespaceArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Create a namespace
    Create {
        /// Its name: 1 to 64 letters, digits, `_` or `-`
        name: String,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        password: password::PasswordArgs,
    },
    /// Change settings of a namespace; what is not named stays
    Set {
        /// Its name
        name: String,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        password: password::PasswordArgs,
        /// Take the password away: then only this machine is let in
        #[arg(long, conflicts_with = "password")]
        no_password: bool,
    },
    /// Show all settings of a namespace
    Show {
        /// Its name
        name: String,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// List namespaces
    List {
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Forget a namespace: its sessions are out of reach at once
    Drop {
        /// Its name
        name: String,
    },
}

/// The settings that were given, by name.
#[derive(Debug, Default)]
struct Settings(BTreeMap<String, String>);

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        SETTINGS.iter().fold(command, |command, setting| {
            let default = (setting.show)(&sojourn_core::policy::Policy::default());
            let default = if default.is_empty() { String::new() } else { format!(" [if never set: {default}]") };
            command.arg(
                Arg::new(setting.name)
                    .long(setting.name.replace('_', "-"))
                    .value_name(setting.value)
                    .help_heading("Settings, with durations such as 30m or 14d and sizes such as 100KiB")
                    .help(format!("{}{default}", setting.help)),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = SETTINGS
            .iter()
            .filter_map(|setting| Some((setting.name.to_owned(), matches.get_one::<String>(setting.name)?.clone())));
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Does what was asked.
///
/// # Errors
/// What went wrong and what to do.
pub async fn run(args: NamespaceArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.node);
    match args.act {
        Act::Create { name, settings: Settings(settings), password } => {
            let body = Create { namespace: name.clone(), settings, password_hash: password.hash()? };
            let open = body.password_hash.is_none();
            let Created { id } = client.post("/v1/namespaces", &body).await?;
            let note =
                if open { "\nIt has no password, so only clients on its nodes' machines are let in." } else { "" };
            output::print(&format!("Namespace {name} is created, with number {id}.{note}\n"))
        }
        Act::Set { name, settings: Settings(settings), password, no_password } => {
            let password_hash = if no_password { Some(String::new()) } else { password.hash()? };
            anyhow::ensure!(
                !settings.is_empty() || password_hash.is_some(),
                "nothing to change: name a setting; `sojourn namespace set --help` lists them"
            );
            let body = Change { settings, password_hash };
            let changed: Namespace = client.patch(&path(&name), &body).await?;
            output::print(&details(&changed))
        }
        Act::Show { name, output } => {
            let namespace: Namespace = client.get(&path(&name)).await?;
            output::print(&if output == Format::Json { json(&namespace)? } else { details(&namespace) })
        }
        Act::List { output } => {
            let Namespaces { namespaces } = client.get("/v1/namespaces").await?;
            output::print(&if output == Format::Json { json(&namespaces)? } else { lines(&namespaces) })
        }
        Act::Drop { name } => {
            let Done { .. } = client.delete(&path(&name)).await?;
            output::print(&format!("Namespace {name} is dropped.\n"))
        }
    }
}

/// A name goes into the path as it is: what is no name is no path segment either.
fn path(name: &str) -> String {
    let letters = name.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    format!("/v1/namespaces/{}", letters.collect::<String>())
}

fn lines(namespaces: &[Namespace]) -> String {
    let columns = [
        ("NAMESPACE", Align::Left),
        ("DB", Align::Right),
        ("PASSWORD", Align::Left),
        ("IDLE TIMEOUT", Align::Right),
        ("TOUCH", Align::Right),
        ("SIZE MAX", Align::Right),
        ("SESSIONS MAX", Align::Right),
        ("FIELDS", Align::Left),
    ];
    let rows = namespaces.iter().map(|namespace| {
        let setting = |name: &str| namespace.settings.get(name).cloned().unwrap_or_default();
        vec![
            namespace.namespace.clone(),
            setting("db"),
            if namespace.has_password { "set" } else { "none" }.to_owned(),
            setting("idle_timeout"),
            setting("touch_interval"),
            setting("size_max"),
            setting("max_sessions"),
            setting("fields"),
        ]
    });
    table(&columns, rows)
}

fn details(namespace: &Namespace) -> String {
    let password = if namespace.has_password { "set" } else { "none: only this machine is let in" };
    let facts = [("namespace", namespace.namespace.as_str()), ("password", password)];
    let settings = SETTINGS.iter().filter_map(|setting| {
        let value = namespace.settings.get(setting.name)?;
        Some((setting.name, if value.is_empty() { "-" } else { value.as_str() }))
    });
    facts.into_iter().chain(settings).map(|(name, value)| format!("{name:<26}{value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        args: NamespaceArgs,
    }

    #[test]
    fn settings_are_flags() {
        let typed = ["namespace", "create", "shop", "--idle-timeout", "30m", "--redact", "password"];
        let Act::Create { name, settings, .. } = Typed::try_parse_from(typed).expect("understood").args.act else {
            panic!("another command")
        };
        let expected = [("idle_timeout", "30m"), ("redact", "password")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!((name.as_str(), settings.0), ("shop", BTreeMap::from(expected)));
    }

    #[test]
    fn an_odd_name_stays_one_path_segment() {
        assert_eq!(path("shop-1"), "/v1/namespaces/shop-1");
        assert_eq!(path("../x?y"), "/v1/namespaces/%2E%2E%2Fx%3Fy");
    }
}
