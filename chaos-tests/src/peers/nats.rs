//! NATS with JetStream: a key-value bucket with three replicas, synced always (by default it syncs every two minutes).

use super::{READY_TIMEOUT, Servers, Site};
use crate::{
    load::{Target, create_nats_bucket},
    process::{Child, Launch, free_addresses, wait_until},
};
use anyhow::bail;
use std::{fs, net::SocketAddr, time::Duration};
use tokio::time::{sleep, timeout};

const SERVERS: usize = 3;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Servers that start together at times never agree on a leader of JetStream: then they are founded anew, elsewhere.
const FOUNDINGS_MAX: usize = 4;

/// Between two askings for the bucket: each is work for the servers that are getting ready.
const ASK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn start(site: &Site) -> anyhow::Result<(Servers, Target)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut refusals = String::new();
    for founding in 0..FOUNDINGS_MAX {
        let (children, clients) = found(site, founding)?;
        let mut refusal = None;
        let ready = wait_until("JetStream to make a bucket", READY_TIMEOUT / 2, || {
            // A server that is not ready keeps silent.
            let made = runtime.block_on(async {
                let made = timeout(ANSWER_TIMEOUT, create_nats_bucket(clients[0])).await;
                sleep(ASK_EVERY).await;
                made
            });
            refusal = made.map_err(anyhow::Error::from).flatten().err();
            refusal.is_none()
        });
        let Err(error) = ready else {
            return Ok((Servers::Processes(children), Target::Nats { addresses: clients }));
        };
        let tails = children.iter().map(Child::tail).collect::<String>();
        let refusal = refusal.map(|refusal| refusal.to_string()).unwrap_or_default();
        refusals += &format!("\n{error}: {refusal}\n{tails}");
    }
    bail!("NATS was founded {FOUNDINGS_MAX} times:{refusals}")
}

/// Starts servers that know nothing yet.
fn found(site: &Site, founding: usize) -> anyhow::Result<(Vec<Child>, Vec<SocketAddr>)> {
    let addresses = free_addresses(2 * SERVERS)?;
    let (clients, routes) = addresses.split_at(SERVERS);
    let mut children = Vec::new();
    for (position, (client, route)) in clients.iter().zip(routes).enumerate() {
        let directory = site.place.join(format!("founding-{founding}/server-{position}"));
        fs::create_dir_all(&directory)?;
        let file = directory.join("nats.conf");
        let store = directory.join("data");
        fs::write(&file, configuration(position, *client, *route, routes, &store.display().to_string()))?;
        let mut launch = Launch::new(format!("nats-{position}"), &site.program, &directory)
            .arguments(["--config".into(), file.into_os_string()]);
        launch.trace_syncs = site.trace_syncs;
        children.push(Child::start(launch)?);
    }
    Ok((children, clients.to_vec()))
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
