//! The server as Redis clients and tools see it: its settings, its time, and what it does not have.

use super::need_subcommand;
use crate::gateway::resp::{
    call::Call,
    codec::BULK_BYTES_MAX,
    error::{self, Error},
    events::Classes,
    plan::{Plan, Planned},
    server::Permissions,
    stats::{SLOW_AFTER, SLOW_MAX},
    table::{Spec, command, flag::*},
};
use sojourn_core::glob;
use std::collections::BTreeMap;

const FLAGS: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

pub const COMMANDS: &[Spec] = &[
    command("config", -2, need_subcommand)
        .docs("server", "2.0.0", "subcommand", "Looks at settings.")
        .subcommands(CONFIG),
    command("time", 1, time).flags(LOADING | STALE | FAST).docs(
        "server",
        "2.6.0",
        "",
        "Returns the node's time in seconds and microseconds.",
    ),
    command("debug", -2, debug).flags(FLAGS).docs("server", "1.0.0", "subcommand", "Is refused."),
    command("function", -2, need_subcommand)
        .docs("scripting", "7.0.0", "subcommand", "Looks at functions: there are none.")
        .subcommands(FUNCTION),
    command("acl", -2, need_subcommand)
        .docs("server", "6.0.0", "subcommand", "Looks at who the connection is.")
        .subcommands(ACL),
];

const CONFIG: &[Spec] = &[
    command("config|get", -3, config_get).flags(FLAGS).docs(
        "server",
        "2.0.0",
        "pattern [pattern ...]",
        "Returns settings whose names match.",
    ),
    command("config|set", -4, config_set).flags(FLAGS).docs(
        "server",
        "2.0.0",
        "parameter value [parameter value ...]",
        "Changes which keyspace events this node tells; other settings are the node's configuration.",
    ),
    command("config|resetstat", 2, config_resetstat).flags(FLAGS).docs(
        "server",
        "2.0.0",
        "",
        "Starts to count calls and errors anew.",
    ),
    command("config|rewrite", 2, config_rewrite).flags(FLAGS).docs("server", "2.8.0", "", "Is refused."),
    command("config|help", 2, config_help).flags(LOADING | STALE).docs("server", "5.0.0", "", "Tells the subcommands."),
];

const FUNCTION: &[Spec] = &[
    command("function|list", -2, function_list).flags(NOSCRIPT).docs(
        "scripting",
        "7.0.0",
        "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        "Returns the functions: none.",
    ),
    command("function|flush", -2, function_flush).flags(NOSCRIPT | WRITE).docs(
        "scripting",
        "7.0.0",
        "[ASYNC|SYNC]",
        "Forgets all functions: none.",
    ),
];

const ACL: &[Spec] = &[command("acl|whoami", 2, whoami).flags(NOSCRIPT | LOADING | STALE).docs(
    "server",
    "6.0.0",
    "",
    "Returns the name of the connection's namespace.",
)];

/// What the connection may do beside reading and writing sessions.
///
/// # Errors
/// `NOAUTH` before it has a namespace.
pub fn permissions(call: &Call<'_>) -> Result<Permissions, Error> {
    let room = call.room()?;
    let namespace = call.session.region().namespaces.get(&room.id).ok_or(error::NO_AUTH)?;
    Ok((call.server.options.permissions)(namespace, call.session.client.peer.ip()))
}

const EVENTS: &str = "notify-keyspace-events";

/// The settings that tools ask for, and what holds here.
fn settings(call: &Call<'_>) -> Result<BTreeMap<&'static str, String>, Error> {
    let options = &call.server.options;
    let databases = call.session.region().namespaces.values().filter_map(|namespace| namespace.policy.database).max();
    let fixed = [
        ("appendfsync", "always"),
        ("appendonly", "yes"),
        ("maxmemory", "0"),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
        ("tcp-keepalive", "300"),
        ("timeout", "0"),
        // The sizes up to which `OBJECT ENCODING` speaks of the compact forms.
        ("hash-max-listpack-entries", "128"),
        ("hash-max-listpack-value", "64"),
        ("set-max-intset-entries", "512"),
        ("zset-max-listpack-entries", "128"),
        ("zset-max-listpack-value", "64"),
    ];
    let mut settings: BTreeMap<_, _> = fixed.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    settings.extend([
        ("bind", call.server.address.ip().to_string()),
        ("port", call.server.address.port().to_string()),
        ("cluster-enabled", if options.cluster { "yes" } else { "no" }.to_owned()),
        ("databases", (databases.unwrap_or(0) + 1).to_string()),
        ("maxclients", options.clients_max.to_string()),
        ("proto-max-bulk-len", BULK_BYTES_MAX.to_string()),
        ("slowlog-log-slower-than", SLOW_AFTER.as_micros().to_string()),
        ("slowlog-max-len", SLOW_MAX.to_string()),
        (EVENTS, call.server.hub.classes(call.room()?.id).letters()),
    ]);
    Ok(settings)
}

fn config_get(call: &mut Call<'_>) -> Planned {
    let mut settings = settings(call)?;
    let patterns = call.args.from(2);
    let asked =
        |name: &str| patterns.iter().any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()));
    settings.retain(|name, _| asked(name));
    call.reply.map(settings.len());
    for (name, value) in settings {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    Ok(Plan::Done)
}

fn config_set(call: &mut Call<'_>) -> Planned {
    if !call.args.len().is_multiple_of(2) {
        return Err(error::wrong_arity("config|set"));
    }
    let (settings, namespace) = (settings(call)?, call.room()?.id);
    let mut chosen = None;
    for at in (2..call.args.len()).step_by(2) {
        let name = String::from_utf8_lossy(call.args.at(at)).to_ascii_lowercase();
        let value = call.args.at(at + 1);
        match settings.get(name.as_str()) {
            Some(_) if name == EVENTS => {
                chosen = Some(
                    Classes::parse(value)
                        .ok_or_else(|| not_set(&name, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."))?,
                );
            }
            // Tools set what holds already.
            Some(current) if current.as_bytes() == value => {}
            Some(_) => return Err(not_set(&name, "can't set immutable config")),
            None => {
                return Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'").into());
            }
        }
    }
    if let Some(classes) = chosen {
        call.server.hub.set_classes(namespace, classes);
    }
    call.reply.ok();
    Ok(Plan::Done)
}

fn not_set(name: &str, reason: &str) -> Error {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}").into()
}

fn config_resetstat(call: &mut Call<'_>) -> Planned {
    if !permissions(call)?.watch_others {
        return Err(error::NO_PERMISSION);
    }
    call.server.stats.reset();
    call.reply.ok();
    Ok(Plan::Done)
}

fn config_rewrite(_: &mut Call<'_>) -> Planned {
    Err(Error::new("ERR The node's configuration file is changed by its operator, not by Redis clients"))
}

fn config_help(call: &mut Call<'_>) -> Planned {
    super::help(
        call,
        &[
            "GET <pattern>",
            "    Return parameters matching the glob-like <pattern> and their values.",
            "SET <directive> <value>",
            "    Set notify-keyspace-events.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
        ],
    )
}

fn time(call: &mut Call<'_>) -> Planned {
    let now = call.server.backend.now_ms();
    call.reply.array(2);
    call.reply.bulk((now / 1000).to_string().as_bytes());
    call.reply.bulk((now % 1000 * 1000).to_string().as_bytes());
    Ok(Plan::Done)
}

fn debug(_: &mut Call<'_>) -> Planned {
    Err(Error::new("ERR DEBUG command not allowed. No client may hold up a node that others share."))
}

fn function_list(call: &mut Call<'_>) -> Planned {
    call.reply.array(0);
    Ok(Plan::Done)
}

fn function_flush(call: &mut Call<'_>) -> Planned {
    call.reply.ok();
    Ok(Plan::Done)
}

fn whoami(call: &mut Call<'_>) -> Planned {
    let name = call.room()?.name.clone();
    call.reply.bulk(name.as_bytes());
    Ok(Plan::Done)
}
