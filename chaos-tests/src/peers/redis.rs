//! Redis and Valkey: alone, or a primary with two replicas, always with an append-only file that is synced always.

use super::{READY_TIMEOUT, Servers, Site, Store};
use crate::{
    load::{Confirm, Target},
    process::{Child, Launch, free_addresses, wait_until},
    resp::{Client, Reply},
};
use anyhow::Context;
use std::{net::SocketAddr, time::Duration};

const REPLICAS: usize = 2;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn start(store: Store, site: &Site) -> anyhow::Result<(Servers, Target)> {
    let (replicas, confirm) = match store {
        Store::RedisWait => (REPLICAS, Confirm::Received),
        Store::ValkeyWaitaof => (REPLICAS, Confirm::Synced),
        Store::RedisAlone | Store::Sojourn | Store::Etcd | Store::Nats => (0, Confirm::None),
    };
    let addresses = free_addresses(1 + replicas)?;
    let primary = addresses[0];
    let mut children = Vec::new();
    for (position, address) in addresses.iter().enumerate() {
        children.push(Child::start(server(store, site, position, *address, primary))?);
    }
    let ready = wait_until("Redis to be ready", READY_TIMEOUT, || is_ready(&addresses, confirm).unwrap_or(false));
    ready.with_context(|| children.iter().map(Child::tail).collect::<String>())?;
    Ok((Servers::Processes(children), Target::Resp { addresses: vec![primary], confirm }))
}

fn server(store: Store, site: &Site, position: usize, address: SocketAddr, primary: SocketAddr) -> Launch {
    let port = address.port().to_string();
    let place = site.place.join(format!("server-{position}"));
    let mut launch = Launch::new(format!("{}-{position}", store.name()), &site.program, place);
    launch.trace_syncs = site.trace_syncs;
    let launch = launch
        .arguments(["--port", &port, "--bind", "127.0.0.1", "--daemonize", "no", "--save", ""])
        .arguments(["--appendonly", "yes", "--appendfsync", "always"]);
    if address == primary {
        return launch;
    }
    launch.arguments(["--replicaof", "127.0.0.1", &primary.port().to_string()])
}

/// Whether all replicas follow the primary, nobody rewrites its file any more, and a write is confirmed.
fn is_ready(addresses: &[SocketAddr], confirm: Confirm) -> anyhow::Result<bool> {
    let mut clients = Vec::new();
    for address in addresses {
        clients.push(Client::connect(*address, ANSWER_TIMEOUT)?);
    }
    let info = clients[0].say("INFO replication")?.text().unwrap_or_default();
    if info.matches("state=online").count() + 1 != addresses.len() {
        return Ok(false);
    }
    for client in &mut clients {
        let info = client.say("INFO persistence")?.text().unwrap_or_default();
        if !info.contains("aof_rewrite_in_progress:0") || !info.contains("aof_rewrite_scheduled:0") {
            return Ok(false);
        }
    }
    clients[0].say("SET ready yes EX 1")?;
    let replicas = match confirm {
        Confirm::None => return Ok(true),
        Confirm::Received => clients[0].say("WAIT 1 500")?,
        Confirm::Synced => clients[0].say("WAITAOF 1 1 500")?,
    };
    Ok(matches!(&replicas, Reply::Number(1..))
        || matches!(&replicas, Reply::Array(both) if matches!(both[..], [_, Reply::Number(1..)])))
}
