//! `INFO`: what clients check when they connect and what exporters read all the time.
//!
//! Fields have Redis's names where they mean the same here; fields about what is not here (persistence files, scripts,
//! replication backlogs) are left out unless clients stumble without them.

use super::connection::REDIS_VERSION;
use crate::gateway::resp::{
    call::Call,
    plan::{Finish, Plan, Planned},
    quota,
    server::Server,
    table::{Spec, command, flag::*},
};
use crate::region::backend::{Read, Topology, Unavailable};
use sojourn_core::{Answer, NamespaceId, Query, query::Filter};
use std::{fmt::Write, sync::atomic::Ordering::Relaxed, time::Duration};

pub const COMMANDS: &[Spec] = &[command("info", -1, info).flags(LOADING | STALE).docs(
    "server",
    "1.0.0",
    "[section [section ...]]",
    "Returns numbers about the node and the region.",
)];

/// Writes the lines of one section.
type Section = fn(&Server, &Topology, &mut String);

/// Sections by name, and whether they come without being asked for. The keyspace, which needs a read, is the last.
const SECTIONS: [(&str, bool, Section); 10] = [
    ("server", true, server),
    ("clients", true, clients),
    ("memory", true, memory),
    ("persistence", true, persistence),
    ("stats", true, stats),
    ("replication", true, replication),
    ("modules", true, |_, _, _| ()),
    ("commandstats", false, command_stats),
    ("errorstats", true, error_stats),
    ("cluster", true, cluster),
];

const KEYSPACE: &str = "keyspace";

/// How long to wait for the numbers of the keyspace; without them they are left out.
const KEYSPACE_TIMEOUT: Duration = Duration::from_millis(300);

fn info(call: &mut Call<'_>) -> Planned {
    let asked: Vec<String> =
        call.args.from(1).iter().map(|word| String::from_utf8_lossy(word).to_ascii_lowercase()).collect();
    let all = asked.iter().any(|word| word == "all" || word == "everything");
    let default = asked.is_empty() || asked.iter().any(|word| word == "default");
    let wanted = |name: &str, by_default: bool| all || default && by_default || asked.iter().any(|word| word == name);
    let topology = call.server.topology();
    let mut text = String::new();
    for (name, _, write) in SECTIONS.into_iter().filter(|(name, by_default, _)| wanted(name, *by_default)) {
        begin(&mut text, name);
        write(call.server, &topology, &mut text);
    }
    if !wanted(KEYSPACE, true) {
        call.reply.verbatim(&text);
        return Ok(Plan::Done);
    }
    begin(&mut text, KEYSPACE);
    let (databases, reads) = keyspace(call, &topology);
    let read = call.server.backend.read(reads);
    Ok(Plan::task(async move {
        // Clients ask when they connect: a shard without a leader must not hold them up.
        if let Ok(answers) = tokio::time::timeout(KEYSPACE_TIMEOUT, read).await {
            tell_keyspace(&mut text, &databases, &answers);
        }
        let finish: Finish = Box::new(move |_, reply| {
            reply.verbatim(&text);
            Ok(())
        });
        Ok(finish)
    }))
}

fn begin(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push_str("\r\n");
    }
    let (first, rest) = name.split_at(1);
    // Writing to a string cannot fail, here and below.
    let _ = write!(text, "# {}{rest}\r\n", first.to_ascii_uppercase());
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = write!(text, "{name}:{value}\r\n");
}

fn server(server: &Server, topology: &Topology, text: &mut String) {
    let uptime = server.stats.started.elapsed().as_secs();
    line(text, "redis_version", REDIS_VERSION);
    line(text, "redis_mode", if server.options.cluster { "cluster" } else { "standalone" });
    line(text, "sojourn_version", env!("CARGO_PKG_VERSION"));
    line(text, "sojourn_region", &topology.region.name);
    line(text, "sojourn_node", topology.region.members.get(&topology.this_node).map_or("", |member| &member.name));
    line(text, "os", format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    line(text, "arch_bits", usize::BITS);
    line(text, "process_id", std::process::id());
    line(text, "run_id", super::cluster::name_of(topology, topology.this_node));
    line(text, "tcp_port", server.address.port());
    line(text, "server_time_usec", server.backend.now_ms() * 1000);
    line(text, "uptime_in_seconds", uptime);
    line(text, "uptime_in_days", uptime / (24 * 60 * 60));
    line(text, "hz", 10);
}

fn clients(server: &Server, _: &Topology, text: &mut String) {
    line(text, "connected_clients", server.clients.len());
    line(text, "maxclients", server.options.clients_max);
    line(text, "blocked_clients", 0);
    line(text, "tracking_clients", 0);
}

fn memory(server: &Server, _: &Topology, text: &mut String) {
    let bytes = (server.options.memory_bytes)();
    line(text, "used_memory", bytes);
    line(text, "used_memory_human", human(bytes));
    line(text, "used_memory_rss", bytes);
    line(text, "used_memory_rss_human", human(bytes));
    line(text, "maxmemory", 0);
    line(text, "maxmemory_human", "0B");
    line(text, "maxmemory_policy", "noeviction");
    line(text, "mem_fragmentation_ratio", "1.00");
}

/// Bytes as Redis shows them to people.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let unit = (bytes.max(1).ilog2() / 10).min(UNITS.len() as u32 - 1);
    match unit {
        0 => format!("{bytes}B"),
        unit => format!("{:.2}{}", bytes as f64 / 1024_f64.powi(unit as i32), UNITS[unit as usize]),
    }
}

fn persistence(_: &Server, topology: &Topology, text: &mut String) {
    let loading = topology.region.world == 0;
    line(text, "loading", u8::from(loading));
    line(text, "async_loading", 0);
    line(text, "rdb_bgsave_in_progress", 0);
    line(text, "rdb_last_bgsave_status", "ok");
    line(text, "aof_enabled", 1);
    line(text, "aof_rewrite_in_progress", 0);
    line(text, "aof_last_write_status", "ok");
}

fn stats(server: &Server, _: &Topology, text: &mut String) {
    let stats = &server.stats;
    line(text, "total_connections_received", stats.connections.load(Relaxed));
    line(text, "total_commands_processed", stats.commands.load(Relaxed));
    line(text, "instantaneous_ops_per_sec", stats.commands_per_second());
    line(text, "total_net_input_bytes", stats.bytes_in.load(Relaxed));
    line(text, "total_net_output_bytes", stats.bytes_out.load(Relaxed));
    line(text, "rejected_connections", stats.rejected.load(Relaxed));
    line(text, "evicted_keys", 0);
    line(text, "keyspace_hits", stats.hits.load(Relaxed));
    line(text, "keyspace_misses", stats.misses.load(Relaxed));
    line(text, "total_error_replies", stats.errors().values().sum::<u64>());
    line(text, "sojourn_size_warnings", stats.size_warnings.load(Relaxed));
    line(text, "sojourn_size_errors", stats.size_errors.load(Relaxed));
    line(text, "sojourn_size_refusals", stats.size_refusals.load(Relaxed));
    line(text, "sojourn_cut_unread", stats.cut_unread.load(Relaxed));
}

/// Every node takes writes, so to clients every node is a primary, with the others as its replicas.
fn replication(_: &Server, topology: &Topology, text: &mut String) {
    let others = topology.region.members.values().filter(|member| member.id != topology.this_node);
    let others: Vec<_> = others.collect();
    line(text, "role", "master");
    line(text, "connected_slaves", others.len());
    for (number, member) in others.iter().enumerate() {
        let (host, port) = super::cluster::place(&member.addresses.resp);
        let _ = write!(text, "slave{number}:ip={host},port={port},state=online,offset=0,lag=0\r\n");
    }
    line(text, "master_failover_state", "no-failover");
    line(text, "master_replid", super::cluster::name_of(topology, topology.this_node));
    line(text, "master_repl_offset", topology.shards.values().filter_map(|place| place.applied).sum::<u64>());
}

fn command_stats(server: &Server, _: &Topology, text: &mut String) {
    for (name, calls) in server.stats.calls() {
        let _ = write!(text, "cmdstat_{name}:calls={calls}\r\n");
    }
}

fn error_stats(server: &Server, _: &Topology, text: &mut String) {
    for (code, count) in server.stats.errors() {
        let _ = write!(text, "errorstat_{code}:count={count}\r\n");
    }
}

fn cluster(server: &Server, _: &Topology, text: &mut String) {
    line(text, "cluster_enabled", u8::from(server.options.cluster));
}

/// The databases that this connection may enter, and the reads that count what they hold.
fn keyspace(call: &Call<'_>, topology: &Topology) -> (Vec<u32>, Vec<Read>) {
    let namespaces = call.session.region().namespaces.values();
    let own = call.session.room.as_ref().map(|room| room.id);
    let shown = namespaces.filter(|namespace| Some(namespace.id) == own || call.session.may_enter(namespace));
    let mut shown: Vec<(u32, NamespaceId)> = shown
        .filter(|namespace| Some(namespace.id) == own || namespace.policy.database.is_some())
        .map(|namespace| (namespace.policy.database.unwrap_or(0), namespace.id))
        .collect();
    shown.sort_unstable();
    let shards = quota::shards(topology);
    let count = |namespace: NamespaceId| Query::Count { namespace, filter: Filter::default() };
    let reads = shown
        .iter()
        .flat_map(|(_, namespace)| shards.iter().map(|shard| Read { shard: Some(*shard), query: count(*namespace) }));
    (shown.iter().map(|(database, _)| *database).collect(), reads.collect())
}

/// One line for each database that holds something. A shard that does not answer is left out: whoever asks for numbers
/// in trouble needs the others.
fn tell_keyspace(text: &mut String, databases: &[u32], answers: &[Result<Answer, Unavailable>]) {
    let shards = answers.len() / databases.len().max(1);
    for (database, answers) in databases.iter().zip(answers.chunks(shards.max(1))) {
        let sessions = answers.iter().map(|answer| match answer {
            Ok(Answer::Total { sessions, .. }) => *sessions,
            _ => 0,
        });
        let keys: u64 = sessions.sum();
        if keys > 0 {
            // Every session ends some time.
            let _ = write!(text, "db{database}:keys={keys},expires={keys},avg_ttl=0\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn bytes_are_shown_as_redis_does() {
        for (bytes, text) in [(0, "0B"), (1_023, "1023B"), (1_536, "1.50K"), (25_276_514_304, "23.54G")] {
            assert_eq!(human(bytes), text);
        }
    }
}
