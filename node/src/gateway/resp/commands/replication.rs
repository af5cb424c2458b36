//! The region as a primary with replicas, for clients that know Redis that way: `ROLE`, `WAIT`, and what clients with a
//! list of Sentinels ask. Every node answers for every session, so every node calls itself the primary.

use super::{
    cluster::{name_of, place},
    need_subcommand,
};
use crate::gateway::resp::{
    call::Call,
    error::Error,
    plan::{Plan, Planned},
    reply::Reply,
    table::{Spec, command, flag::*},
};
use crate::region::backend::Topology;
use sojourn_core::region::Member;

const FLAGS: u32 = NOSCRIPT | LOADING | STALE;

pub const COMMANDS: &[Spec] = &[
    command("role", 1, role).flags(FLAGS | FAST).docs("server", "2.8.12", "", "Returns that this node takes writes."),
    command("wait", 3, wait).flags(NOSCRIPT | BARRIER).docs(
        "generic",
        "3.0.0",
        "numreplicas timeout",
        "Returns how many other nodes have every acknowledged write on disk: a quorum less this one.",
    ),
    command("sentinel", -2, need_subcommand)
        .docs("server", "2.8.0", "subcommand", "Answers clients that look for the primary.")
        .subcommands(SENTINEL),
];

const SENTINEL: &[Spec] = &[
    command("sentinel|get-master-addr-by-name", 3, master_address).flags(FLAGS).docs(
        "server",
        "2.8.0",
        "name",
        "Returns this node's address, whatever the name.",
    ),
    command("sentinel|masters", 2, masters).flags(FLAGS).docs("server", "2.8.0", "", "Describes this node."),
    command("sentinel|master", 3, master).flags(FLAGS).docs("server", "2.8.0", "name", "Describes this node."),
    command("sentinel|sentinels", 3, sentinels).flags(FLAGS).docs(
        "server",
        "2.8.0",
        "name",
        "Describes the other nodes.",
    ),
    command("sentinel|replicas", 3, replicas).flags(FLAGS).docs(
        "server",
        "5.0.0",
        "name",
        "Returns none: each node takes writes.",
    ),
    command("sentinel|slaves", 3, replicas).flags(FLAGS).docs(
        "server",
        "2.8.0",
        "name",
        "Returns none: each node takes writes.",
    ),
];

fn others(topology: &Topology) -> Vec<&Member> {
    topology.region.members.values().filter(|member| member.id != topology.this_node).collect()
}

fn role(call: &mut Call<'_>) -> Planned {
    let topology = call.server.topology();
    let others = others(&topology);
    let offset: u64 = topology.shards.values().filter_map(|place| place.applied).sum();
    call.reply.array(3);
    call.reply.bulk(b"master");
    call.reply.count(offset);
    call.reply.array(others.len());
    for member in others {
        let (host, port) = place(&member.addresses.resp);
        call.reply.array(3);
        for word in [host, &port.to_string(), &offset.to_string()] {
            call.reply.bulk(word.as_bytes());
        }
    }
    Ok(Plan::Done)
}

/// Everything before was acknowledged, so a quorum of the shard with the fewest replicas has it.
fn wait(call: &mut Call<'_>) -> Planned {
    let (_, timeout) = (call.integer(1)?, call.integer(2)?);
    if timeout < 0 {
        return Err(Error::new("ERR timeout is negative"));
    }
    let topology = call.server.topology();
    let fewest = topology.shards.values().map(|place| place.voters.len()).min().unwrap_or(0);
    call.reply.count(fewest as u64 / 2);
    Ok(Plan::Done)
}

/// The address of this node as the region knows it, else as the client reached it.
fn own_address(call: &Call<'_>, topology: &Topology) -> (String, u16) {
    match topology.region.members.get(&topology.this_node) {
        Some(member) => {
            let (host, port) = place(&member.addresses.resp);
            (host.to_owned(), port)
        }
        None => (call.session.client.local.ip().to_string(), call.session.client.local.port()),
    }
}

fn master_address(call: &mut Call<'_>) -> Planned {
    let (host, port) = own_address(call, &call.server.topology());
    call.reply.array(2);
    call.reply.bulk(host.as_bytes());
    call.reply.bulk(port.to_string().as_bytes());
    Ok(Plan::Done)
}

/// The name that Sentinel's documentation gives a primary, and so most clients.
const MASTER_NAME: &[u8] = b"mymaster";

fn masters(call: &mut Call<'_>) -> Planned {
    call.reply.array(1);
    tell_master(call, MASTER_NAME)
}

fn master(call: &mut Call<'_>) -> Planned {
    tell_master(call, call.args.at(2))
}

fn tell_master(call: &mut Call<'_>, name: &[u8]) -> Planned {
    let topology = call.server.topology();
    let (host, port) = own_address(call, &topology);
    let id = name_of(&topology, topology.this_node);
    tell_instance(call.reply, name, &host, port, &id, "master");
    Ok(Plan::Done)
}

fn sentinels(call: &mut Call<'_>) -> Planned {
    let topology = call.server.topology();
    let others = others(&topology);
    call.reply.array(others.len());
    for member in others {
        let (host, port) = place(&member.addresses.resp);
        tell_instance(call.reply, member.name.as_bytes(), host, port, &name_of(&topology, member.id), "sentinel");
    }
    Ok(Plan::Done)
}

fn tell_instance(reply: &mut Reply, name: &[u8], host: &str, port: u16, id: &str, flags: &str) {
    reply.map(5);
    let port = port.to_string();
    let parts: [(&str, &[u8]); 5] = [
        ("name", name),
        ("ip", host.as_bytes()),
        ("port", port.as_bytes()),
        ("runid", id.as_bytes()),
        ("flags", flags.as_bytes()),
    ];
    for (part, value) in parts {
        reply.bulk(part.as_bytes());
        reply.bulk(value);
    }
}

fn replicas(call: &mut Call<'_>) -> Planned {
    call.reply.array(0);
    Ok(Plan::Done)
}
