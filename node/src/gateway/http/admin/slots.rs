//! How slots move between shards.

use super::{
    super::{
        Node,
        api::{Done, MoveSlots, ShardSlots, SlotsPlan, SlotsWanted, StopSlots},
    },
    Refused,
};
use crate::region::{admin::AdminError, rebalance::foresee_slots};
use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
};
use sojourn_core::{ShardId, Slot, region::RegionRefusal};

type Body<T> = Result<Json<T>, JsonRejection>;

pub async fn move_slots(State(node): State<Node>, body: Body<MoveSlots>) -> Result<Json<SlotsWanted>, Refused> {
    let Json(wanted) = body?;
    let MoveSlots { from, to, first, last } = wanted;
    tracing::info!(target: "audit", from, to, first, last, "slots are moved");
    let number = node.admin.move_slots(ShardId(from), ShardId(to), slots(wanted)?).await?;
    Ok(Json(SlotsWanted { number }))
}

pub async fn plan(State(node): State<Node>, body: Body<MoveSlots>) -> Result<Json<SlotsPlan>, Refused> {
    let Json(wanted) = body?;
    let shards = foresee_slots(&node.backend.region(), ShardId(wanted.from), ShardId(wanted.to), slots(wanted)?)?;
    let shards = shards.into_iter().map(|(shard, (now, then))| ShardSlots { shard: shard.0, now, then });
    Ok(Json(SlotsPlan { shards: shards.collect() }))
}

pub async fn stop(State(node): State<Node>, body: Body<StopSlots>) -> Result<Json<Done>, Refused> {
    let Json(StopSlots { number }) = body?;
    tracing::info!(target: "audit", number, "a move of slots is stopped");
    node.admin.give_slots_up(number).await?;
    Ok(Json(Done { done: true }))
}

fn slots(MoveSlots { first, last, .. }: MoveSlots) -> Result<(Slot, Slot), AdminError> {
    Slot::new(first).zip(Slot::new(last)).ok_or(AdminError::Refused(RegionRefusal::NoSlots))
}
