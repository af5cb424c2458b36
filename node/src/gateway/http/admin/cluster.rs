//! The region, its members, its groups.

use super::{
    super::{
        Node,
        api::{AddMember, Added, Done, Drain, Remove, Status, Transfer},
    },
    Refused,
};
use crate::region::status::GroupName;
use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use sojourn_core::{NodeId, ShardId, region::Member};

type Body<T> = Result<Json<T>, JsonRejection>;
type Answer<T> = Result<Json<T>, Refused>;

const DONE: Json<Done> = Json(Done { done: true });

pub async fn status(State(node): State<Node>) -> Json<Status> {
    Json(node.admin.status().await.into())
}

pub async fn add(State(node): State<Node>, body: Body<AddMember>) -> Answer<Added> {
    let Json(AddMember { node: name, addresses }) = body?;
    tracing::info!(target: "audit", node = name, "a node is added");
    let id = node.admin.add_node(name, addresses.into()).await?;
    Ok(Json(Added { id: id.0 }))
}

pub async fn drain(State(node): State<Node>, body: Body<Drain>) -> Answer<Done> {
    let Json(Drain { node: name, draining }) = body?;
    tracing::info!(target: "audit", node = name, draining, "a node is drained, or no longer");
    node.admin.drain(node_id(&node, &name)?, draining).await?;
    Ok(DONE)
}

pub async fn remove(State(node): State<Node>, body: Body<Remove>) -> Answer<Done> {
    let Json(Remove { node: name, force }) = body?;
    tracing::info!(target: "audit", node = name, force, "a node is removed");
    node.admin.remove_node(node_id(&node, &name)?, force).await?;
    Ok(DONE)
}

pub async fn transfer(State(node): State<Node>, body: Body<Transfer>) -> Answer<Done> {
    let Json(Transfer { group, to }) = body?;
    tracing::info!(target: "audit", group, to, "a lead is handed over");
    node.admin.transfer_leader(group_name(&group)?, node_id(&node, &to)?).await?;
    Ok(DONE)
}

pub(super) fn node_id(node: &Node, name: &str) -> Result<NodeId, Refused> {
    let members = &node.backend.topology().region.members;
    let is_it = |member: &&Member| member.name == name || member.id.0.to_string() == name;
    members.values().find(is_it).map(|member| member.id).ok_or_else(|| {
        let names: Vec<&str> = members.values().map(|member| member.name.as_str()).collect();
        let error = format!("no node {name} in this region: it has {}", names.join(", "));
        Refused::new(StatusCode::NOT_FOUND, &error, "`sojourn cluster members` lists them")
    })
}

fn group_name(name: &str) -> Result<GroupName, Refused> {
    if name == "system" {
        return Ok(GroupName::System);
    }
    let refused = || {
        let error = format!("{name:?} is no group: say system, or the number of a shard");
        Refused::new(StatusCode::BAD_REQUEST, &error, "`sojourn cluster status` lists them")
    };
    name.parse().map(|shard| GroupName::Shard(ShardId(shard))).map_err(|_| refused())
}
