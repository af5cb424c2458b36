//! Is the node alive, is it ready, and what is where.

use super::Node;
use crate::region::backend::Topology;
use axum::{Router, extract::State, http::StatusCode, routing::get};

/// What the process answers, whatever its node does.
pub(super) fn of_the_process<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(async || HOME)).route("/livez", get(async || "ok\n"))
}

pub(super) fn routes() -> Router<Node> {
    Router::new().route("/readyz", get(ready))
}

const HOME: &str = "\
Sojourn keeps web sessions. This is the HTTP endpoint of one of its nodes.

  GET   /livez                    does the process answer?
  GET   /readyz                   can it serve sessions? If not, what is missing
  GET   /metrics                  figures for Prometheus

Administration, from this machine only; JSON in and out, as `sojourn cluster|session|namespace` speak it:

  GET   /v1/status                the region, its members, its Raft groups
  POST  /v1/members               reserve a number for a new node
  POST  /v1/members/drain         move leads and replicas away from a node, or stop that
  POST  /v1/members/remove        forget a node
  POST  /v1/groups/transfer       give the lead of a group to another node
  POST  /v1/sessions/get          one session; ids are credentials, so they are in the body
  POST  /v1/sessions/list         sessions by user, label, deadline or pattern
  POST  /v1/sessions/count        how many
  POST  /v1/sessions/ttl          set when a session ends
  POST  /v1/sessions/destroy      end a session for good
  GET   /v1/namespaces            all namespaces and their settings
  POST  /v1/namespaces            create one
  GET   /v1/namespaces/{name}     one of them
  PATCH /v1/namespaces/{name}     change settings
  DELETE /v1/namespaces/{name}    forget one
";

async fn ready(State(node): State<Node>) -> (StatusCode, String) {
    readiness(&missing(&node.backend.topology()))
}

/// The answer to whether the node is ready, by what is missing.
pub(super) fn readiness(missing: &[String]) -> (StatusCode, String) {
    if missing.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        let lines: String = missing.iter().map(|what| format!("  {what}\n")).collect();
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready:\n{lines}"))
    }
}

/// What keeps the node from serving sessions.
fn missing(topology: &Topology) -> Vec<String> {
    if topology.region.world == 0 {
        return vec![
            "the region is not founded, or this node has not heard of it: do most of its nodes run?".to_owned(),
        ];
    }
    let without = topology.shards.iter().filter(|(_, place)| place.leader.is_none());
    without.map(|(shard, _)| format!("shard {} has no leader that this node knows", shard.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::backend::ShardPlace;
    use sojourn_core::{NodeId, ShardId, region::RegionState};
    use std::{collections::BTreeMap, sync::Arc};

    #[test]
    fn what_is_missing_is_named() {
        let led = ShardPlace { leader: Some(NodeId(1)), ..ShardPlace::default() };
        let topology = |world, second: &ShardPlace| Topology {
            region: Arc::new(RegionState { world, ..RegionState::default() }),
            this_node: NodeId(1),
            shards: BTreeMap::from([(ShardId(0), led.clone()), (ShardId(1), second.clone())]),
        };
        assert!(missing(&topology(7, &led)).is_empty());
        assert_eq!(missing(&topology(7, &ShardPlace::default())), ["shard 1 has no leader that this node knows"]);
        assert!(missing(&topology(0, &led))[0].contains("not founded"));
    }
}
