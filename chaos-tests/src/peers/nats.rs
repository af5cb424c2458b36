//! NATS with JetStream: a key-value bucket with three replicas, synced always (by default it syncs every two minutes).

use super::{READY_TIMEOUT, Servers, Site};
use crate::{
    load::{Target, create_nats_bucket},
    process::{Child, Launch, free_addresses, wait_until},
};
use anyhow::Context;
use std::{fs, net::SocketAddr, time::Duration};
use tokio::time::timeout;

const SERVERS: usize = 3;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn start(site: &Site) -> anyhow::Result<(Servers, Target)> {
    let addresses = free_addresses(2 * SERVERS)?;
    let (clients, routes) = addresses.split_at(SERVERS);
    let mut children = Vec::new();
    for (position, (client, route)) in clients.iter().zip(routes).enumerate() {
        let directory = site.place.join(format!("server-{position}"));
        fs::create_dir_all(&directory)?;
        let file = directory.join("nats.conf");
        let store = directory.join("data");
        fs::write(&file, configuration(position, *client, *route, routes, &store.display().to_string()))?;
        let mut launch = Launch::new(format!("nats-{position}"), &site.program, &directory)
            .arguments(["--config".into(), file.into_os_string()]);
        launch.trace_syncs = site.trace_syncs;
        children.push(Child::start(launch)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut refusal = None;
    let ready = wait_until("JetStream to make a bucket", READY_TIMEOUT, || {
        // A server that is not ready keeps silent.
        let made = runtime.block_on(async { timeout(ANSWER_TIMEOUT, create_nats_bucket(clients[0])).await });
        refusal = made.map_err(anyhow::Error::from).flatten().err();
        refusal.is_none()
    });
    ready.with_context(|| format!("{refusal:?}\n{}", children.iter().map(Child::tail).collect::<String>()))?;
    Ok((Servers::Processes(children), Target::Nats { addresses: clients.to_vec() }))
}

fn configuration(position: usize, client: SocketAddr, route: SocketAddr, routes: &[SocketAddr], store: &str) -> String {
    let routes: Vec<String> = routes.iter().map(|route| format!("\"nats://{route}\"")).collect();
    format!(
        "listen: \"{client}\"\nserver_name: \"s{position}\"\n\
         jetstream {{ store_dir: {store:?}, sync_interval: always, max_file_store: 64GB }}\n\
         cluster {{ name: compare, listen: \"{route}\", routes: [{}] }}\n",
        routes.join(", ")
    )
}
