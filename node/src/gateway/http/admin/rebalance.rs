//! How replicas and leads move.

use super::{
    super::{
        Node,
        api::{Done, Rebalance, SetRebalancing, WhatIf},
    },
    Refused,
    cluster::node_id,
};
use crate::region::rebalance;
use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
};

pub async fn show(State(node): State<Node>) -> Result<Json<Rebalance>, Refused> {
    Ok(Json(node.admin.rebalance(rebalance::WhatIf::default()).await?.into()))
}

pub async fn plan(
    State(node): State<Node>,
    body: Result<Json<WhatIf>, JsonRejection>,
) -> Result<Json<Rebalance>, Refused> {
    let Json(WhatIf { drained, joining }) = body?;
    let drained = drained.map(|name| node_id(&node, &name)).transpose()?;
    Ok(Json(node.admin.rebalance(rebalance::WhatIf { drained, joining }).await?.into()))
}

pub async fn set(
    State(node): State<Node>,
    body: Result<Json<SetRebalancing>, JsonRejection>,
) -> Result<Json<Done>, Refused> {
    let Json(SetRebalancing { paused, bytes_per_s_max }) = body?;
    tracing::info!(target: "audit", ?paused, ?bytes_per_s_max, "how replicas are moved is changed");
    node.admin.set_rebalancing(paused, bytes_per_s_max).await?;
    Ok(Json(Done { done: true }))
}
