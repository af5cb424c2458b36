//! When the regions of a world have met: before that nobody can write for one that is lost.

use super::plan::Plan;
use crate::{cli::client::Client, gateway::http::api::Regions};
use futures::future::join_all;
use std::time::Duration;

/// How long they may take. A world that cannot agree on anything is one to look at, so it is shown all the same.
const MEET_MAX: Duration = Duration::from_secs(30);

/// How often they are asked.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Waits until the regions have met; whether they have in time. One alone has nobody to meet.
pub async fn met(plan: &Plan) -> bool {
    if plan.regions.len() < 2 {
        return true;
    }
    let nodes = plan.regions.iter().filter_map(|region| plan.nodes.iter().find(|node| node.region == *region));
    let clients: Vec<Client> = nodes.map(|node| Client::of(format!("127.0.0.1:{}", node.ports.http))).collect();
    let asked = async {
        loop {
            let told = join_all(clients.iter().map(|client| client.get::<Regions>("/v1/regions"))).await;
            if told.iter().all(|told| told.as_ref().is_ok_and(|told| agrees(told, plan.regions.len()))) {
                return;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    tokio::time::timeout(MEET_MAX, asked).await.is_ok()
}

/// Whether a region knows all `regions`, all have a voter in the control group, and losses are met as its policy says.
fn agrees(told: &Regions, regions: usize) -> bool {
    let vote = told.control.as_ref().is_some_and(|control| control.voters.len() == regions);
    let leased = || told.regions.iter().all(|region| region.leased);
    vote && told.regions.len() == regions && (told.failover != "automatic" || leased())
}
