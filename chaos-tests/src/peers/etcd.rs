//! etcd: three members. It syncs its log before it answers; that cannot be turned off but by `--unsafe-no-fsync`.

use super::{READY_TIMEOUT, Servers, Site};
use crate::{
    load::{Target, etcd_status},
    process::{Child, Launch, free_addresses, wait_until},
};
use anyhow::Context;
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::time::timeout;

const MEMBERS: usize = 3;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Enough for a million sessions and their history; the default, 2 GiB, is not.
const QUOTA_BYTES: u64 = 16 << 30;

pub(super) fn start(site: &Site) -> anyhow::Result<(Servers, Target)> {
    let addresses = free_addresses(2 * MEMBERS)?;
    let (clients, peers) = addresses.split_at(MEMBERS);
    let cluster: Vec<String> =
        peers.iter().enumerate().map(|(position, peer)| format!("m{position}=http://{peer}")).collect();
    let cluster = cluster.join(",");
    let mut children = Vec::new();
    for (position, (client, peer)) in clients.iter().zip(peers).enumerate() {
        let mut launch = member(&site.program, &site.place, position, *client, *peer, &cluster);
        launch.trace_syncs = site.trace_syncs;
        children.push(Child::start(launch)?);
    }
    wait_ready(clients).with_context(|| children.iter().map(Child::tail).collect::<String>())?;
    Ok((Servers::Processes(children), Target::Etcd { addresses: clients.to_vec() }))
}

/// Waits until every member knows a leader.
pub(super) fn wait_ready(clients: &[SocketAddr]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let agreed = |client: &SocketAddr| {
        let status = runtime.block_on(async { timeout(ANSWER_TIMEOUT, etcd_status(*client)).await });
        status.is_ok_and(|status| status.is_ok_and(|status| status.leader.is_some()))
    };
    wait_until("etcd to have a leader", READY_TIMEOUT, || clients.iter().all(agreed)).map(drop)
}

fn member(
    program: &Path,
    place: &Path,
    position: usize,
    client: SocketAddr,
    peer: SocketAddr,
    cluster: &str,
) -> Launch {
    let directory = place.join(format!("member-{position}"));
    let data = directory.join("data");
    Launch::new(format!("etcd-{position}"), program, &directory)
        .arguments(["--name".to_owned(), format!("m{position}"), "--data-dir".to_owned(), data.display().to_string()])
        .arguments(["--listen-client-urls".to_owned(), format!("http://{client}")])
        .arguments(["--advertise-client-urls".to_owned(), format!("http://{client}")])
        .arguments(["--listen-peer-urls".to_owned(), format!("http://{peer}")])
        .arguments(["--initial-advertise-peer-urls".to_owned(), format!("http://{peer}")])
        .arguments(["--initial-cluster", cluster, "--initial-cluster-state", "new"])
        .arguments(["--quota-backend-bytes".to_owned(), QUOTA_BYTES.to_string()])
}
