//! The region as a Redis Cluster: for clients that send each command to the leader of its slot.
//!
//! A listener in cluster mode answers `-MOVED` for slots that other nodes lead; without it every node answers for every
//! slot, and these commands tell the truth all the same. A node that leads several shards is one primary with all their
//! slots. As in a Redis Cluster a node is a primary or a replica: only holders that lead nothing are told as replicas, since
//! clients that like to read from those ask them for `READONLY`, and primaries not.

use super::need_subcommand;
use crate::gateway::resp::{
    call::Call,
    error::Error,
    plan::{Plan, Planned},
    reply::Reply,
    table::{Spec, command, flag::*},
};
use crate::region::backend::{Read, Topology};
use sojourn_core::{NodeId, Query, ShardId, Slot, region::Member};
use std::{collections::BTreeMap, fmt::Write};

const FLAGS: u32 = LOADING | STALE;

pub const COMMANDS: &[Spec] = &[
    command("cluster", -2, need_subcommand)
        .docs("cluster", "3.0.0", "subcommand", "Tells which node leads which slots.")
        .subcommands(CLUSTER),
    command("readonly", 1, readonly).flags(FLAGS | FAST).docs(
        "cluster",
        "3.0.0",
        "",
        "Lets this connection read sessions that other nodes lead without -MOVED.",
    ),
    command("readwrite", 1, readwrite).flags(FLAGS | FAST).docs("cluster", "3.0.0", "", "Ends READONLY."),
    command("asking", 1, asking).flags(FAST).docs("cluster", "3.0.0", "", "Is accepted: no node answers -ASK."),
];

const CLUSTER: &[Spec] = &[
    command("cluster|slots", 2, slots).flags(FLAGS).docs(
        "cluster",
        "3.0.0",
        "",
        "Returns the nodes of ranges of slots.",
    ),
    command("cluster|shards", 2, shards).flags(FLAGS).docs(
        "cluster",
        "7.0.0",
        "",
        "Returns the slots of shards and their nodes.",
    ),
    command("cluster|nodes", 2, nodes).flags(FLAGS).docs(
        "cluster",
        "3.0.0",
        "",
        "Returns the nodes and their slots as text.",
    ),
    command("cluster|info", 2, info).flags(FLAGS).docs("cluster", "3.0.0", "", "Returns the cluster's state as text."),
    command("cluster|myid", 2, my_id).flags(FLAGS).docs("cluster", "3.0.0", "", "Returns this node's name."),
    command("cluster|keyslot", 3, key_slot).flags(FLAGS).docs("cluster", "3.0.0", "key", "Returns the slot of a key."),
    command("cluster|countkeysinslot", 3, count_keys_in_slot).flags(FLAGS).docs(
        "cluster",
        "3.0.0",
        "slot",
        "Counts the keys of the namespace in a slot.",
    ),
    command("cluster|help", 2, cluster_help).flags(FLAGS).docs("cluster", "5.0.0", "", "Tells the subcommands."),
];

/// A node's name as clusters have them: 40 hexadecimal digits, from the world's number and the node's.
pub fn name_of(topology: &Topology, node: NodeId) -> String {
    format!("{:032x}{:08x}", topology.region.world, node.0)
}

/// The host and the port of an address, without the brackets around an IPv6 address.
pub fn place(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (host, port.parse().unwrap_or(0))
}

/// The leader of a shard and its replicas; nobody without a leader.
fn holders(topology: &Topology, shard: ShardId) -> Vec<&Member> {
    let Some(leader) = topology.leader(shard) else { return Vec::new() };
    let others = topology.shards.get(&shard).map(|place| place.voters.as_slice()).unwrap_or_default();
    let leads = |node: NodeId| topology.shards.values().any(|place| place.leader == Some(node));
    let others = others.iter().filter(|node| !leads(**node)).filter_map(|node| topology.region.members.get(node));
    std::iter::once(leader).chain(others).collect()
}

fn slots(call: &mut Call<'_>) -> Planned {
    let topology = call.server.topology();
    let ranges = topology.slots().ranges().into_iter();
    let ranges = ranges.map(|(first, last, shard)| (first, last, holders(&topology, shard)));
    let served: Vec<_> = ranges.filter(|(.., holders)| !holders.is_empty()).collect();
    call.reply.array(served.len());
    for (first, last, holders) in served {
        call.reply.array(2 + holders.len());
        call.reply.integer(first.into());
        call.reply.integer(last.into());
        for member in holders {
            let (host, port) = place(&member.addresses.resp);
            call.reply.array(4);
            call.reply.bulk(host.as_bytes());
            call.reply.integer(port.into());
            call.reply.bulk(name_of(&topology, member.id).as_bytes());
            // Further names of the host: none.
            call.reply.array(0);
        }
    }
    Ok(Plan::Done)
}

/// Ranges of slots by the shard that holds them.
fn ranges_of_shards(topology: &Topology) -> BTreeMap<ShardId, Vec<(u16, u16)>> {
    let mut shards: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (first, last, shard) in topology.slots().ranges() {
        shards.entry(shard).or_default().push((first, last));
    }
    shards
}

fn shards(call: &mut Call<'_>) -> Planned {
    let topology = call.server.topology();
    let shards = ranges_of_shards(&topology);
    call.reply.array(shards.len());
    for (shard, ranges) in shards {
        call.reply.map(2);
        call.reply.bulk(b"slots");
        call.reply.array(ranges.len() * 2);
        for (first, last) in ranges {
            call.reply.integer(first.into());
            call.reply.integer(last.into());
        }
        call.reply.bulk(b"nodes");
        let holders = holders(&topology, shard);
        call.reply.array(holders.len());
        for (at, member) in holders.into_iter().enumerate() {
            tell_shard_node(call.reply, &topology, member, at == 0);
        }
    }
    Ok(Plan::Done)
}

fn tell_shard_node(reply: &mut Reply, topology: &Topology, member: &Member, leads: bool) {
    let (host, port) = place(&member.addresses.resp);
    reply.map(7);
    let texts = [("id", name_of(topology, member.id)), ("ip", host.to_owned()), ("endpoint", host.to_owned())];
    for (name, text) in texts {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    reply.bulk(b"port");
    reply.integer(port.into());
    reply.bulk(b"role");
    reply.bulk(if leads { b"master" } else { b"replica" });
    reply.bulk(b"replication-offset");
    reply.integer(0);
    reply.bulk(b"health");
    reply.bulk(b"online");
}

fn nodes(call: &mut Call<'_>) -> Planned {
    let topology = call.server.topology();
    let ranges = topology.slots().ranges();
    let mut text = String::new();
    for member in topology.region.members.values() {
        let (host, port) = place(&member.addresses.resp);
        let (_, peers_port) = place(&member.addresses.peers);
        let myself = if member.id == topology.this_node { "myself," } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{} {host}:{port}@{peers_port} {myself}master - 0 0 {} connected",
            name_of(&topology, member.id),
            member.id.0
        );
        let led = |shard: &ShardId| topology.leader(*shard).is_some_and(|leader| leader.id == member.id);
        for (first, last, _) in ranges.iter().filter(|(.., shard)| led(shard)) {
            let _ = if first == last { write!(text, " {first}") } else { write!(text, " {first}-{last}") };
        }
        text.push('\n');
    }
    call.reply.verbatim(&text);
    Ok(Plan::Done)
}

fn info(call: &mut Call<'_>) -> Planned {
    let topology = call.server.topology();
    let ranges = topology.slots().ranges();
    let slots = |(first, last, _): &(u16, u16, ShardId)| u32::from(last - first) + 1;
    let assigned: u32 = ranges.iter().map(slots).sum();
    let served: u32 = ranges.iter().filter(|(.., shard)| topology.leader(*shard).is_some()).map(slots).sum();
    let mut leaders: Vec<_> = topology.shards.values().filter_map(|place| place.leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let term = topology.shards.values().map(|place| place.term).max().unwrap_or(0);
    let lines = [
        ("cluster_state", if served == assigned { "ok" } else { "fail" }.to_owned()),
        ("cluster_slots_assigned", assigned.to_string()),
        ("cluster_slots_ok", served.to_string()),
        ("cluster_slots_pfail", "0".to_owned()),
        ("cluster_slots_fail", (assigned - served).to_string()),
        ("cluster_known_nodes", topology.region.members.len().to_string()),
        ("cluster_size", leaders.len().to_string()),
        ("cluster_current_epoch", term.to_string()),
        ("cluster_my_epoch", term.to_string()),
    ];
    let text: String = lines.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
    call.reply.verbatim(&text);
    Ok(Plan::Done)
}

fn my_id(call: &mut Call<'_>) -> Planned {
    let topology = call.server.topology();
    call.reply.bulk(name_of(&topology, topology.this_node).as_bytes());
    Ok(Plan::Done)
}

fn key_slot(call: &mut Call<'_>) -> Planned {
    call.reply.integer(Slot::of(call.args.at(2)).number().into());
    Ok(Plan::Done)
}

fn count_keys_in_slot(call: &mut Call<'_>) -> Planned {
    let slot = u16::try_from(call.integer(2)?).ok().and_then(Slot::new).ok_or(Error::new("ERR Invalid slot"))?;
    let query = Query::CountSlot { slot, namespace: call.room()?.id };
    Ok(Plan::reads(vec![Read { shard: None, query }], |reply, results| {
        reply.count(results.total()?.0);
        Ok(())
    }))
}

fn set_readonly(call: &mut Call<'_>, readonly: bool) -> Planned {
    call.session.client.details.lock().readonly = readonly;
    call.session.reads_anywhere = readonly;
    call.reply.ok();
    Ok(Plan::Done)
}

fn readonly(call: &mut Call<'_>) -> Planned {
    set_readonly(call, true)
}

fn readwrite(call: &mut Call<'_>) -> Planned {
    set_readonly(call, false)
}

fn asking(call: &mut Call<'_>) -> Planned {
    call.reply.ok();
    Ok(Plan::Done)
}

fn cluster_help(call: &mut Call<'_>) -> Planned {
    super::help(
        call,
        &[
            "COUNTKEYSINSLOT <slot>",
            "    Return the number of keys in <slot>.",
            "INFO",
            "    Return information about the cluster.",
            "KEYSLOT <key>",
            "    Return the hash slot for <key>.",
            "MYID",
            "    Return the node id.",
            "NODES",
            "    Return cluster configuration seen by node.",
            "SHARDS",
            "    Return information about slot range mappings and the nodes associated with them.",
            "SLOTS",
            "    Return information about slots range mappings.",
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn addresses_fall_into_host_and_port() {
        assert_eq!(place("127.0.0.1:7401"), ("127.0.0.1", 7401));
        assert_eq!(place("[::1]:7401"), ("::1", 7401));
        assert_eq!(place("nowhere"), ("nowhere", 0));
    }
}
