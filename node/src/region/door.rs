//! Takes what other nodes ask; groups are reachable before all of the node is.

use super::{abroad::Reach, admin::encode_transferred, calls, entrance, node::Inner};
use crate::{
    peers::{Reply, Service},
    raft::{Inbox, spawn},
    shard::{Bundle, NotProposed},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use sojourn_core::{NodeId, Outcome, Query, ShardId, placement::GroupName};
use sojourn_proto::wire::{decode_all, encode};
use std::sync::{Arc, Weak};

/// The node as other nodes reach it.
#[derive(Default)]
pub(super) struct Door {
    /// The groups.
    pub inbox: Inbox,
    /// The rest of the node, once it runs.
    pub node: parking_lot::Mutex<Weak<Inner>>,
}

impl Service for Door {
    fn handle(&self, from: NodeId, number: u8, body: Bytes, reply: Reply) {
        let Some((body, reply)) = self.inbox.handle(from, number, body, reply) else { return };
        let Some(inner) = self.node.lock().upgrade() else { return reply.refuse("the node is starting") };
        match number {
            calls::WRITE => inner.handle_write(Reach::World, body, reply),
            calls::WRITE_AT_HOME => inner.handle_write(Reach::Region, body, reply),
            calls::READ => inner.handle_read(from, body, reply),
            calls::PUBLISH => {
                if let Ok(published) = decode_all(&body) {
                    inner.tell_published(published);
                }
            }
            calls::CHANGE => match decode_all(&body) {
                Ok(command) => drop(spawn(async move {
                    reply.send(&[&calls::encode_answer(&inner.change_once(&command).await)]);
                })),
                Err(error) => reply.refuse(&error.to_string()),
            },
            calls::STATUS => reply.send(&[&inner.status_bytes()]),
            calls::TRANSFER => match decode_all(&body) {
                Ok((group, to)) => drop(spawn(async move {
                    reply.send(&[&encode_transferred(inner.transfer_here(group, to).await)]);
                })),
                Err(error) => reply.refuse(&error.to_string()),
            },
            calls::IS_OUT => match decode_all(&body) {
                Ok(GroupName::Shard(shard)) => drop(spawn(async move {
                    reply.send(&[&calls::encode_answer(&inner.is_out_here(shard, from).await)]);
                })),
                // Every member has a copy of the system group.
                Ok(GroupName::System) => reply.send(&[&calls::encode_answer(&Ok(false))]),
                Err(error) => reply.refuse(&error.to_string()),
            },
            calls::STANDING => match decode_all(&body) {
                Ok(shard) => drop(spawn(async move {
                    reply.send(&[&calls::encode_answer(&inner.standing_here(shard).await)]);
                })),
                Err(error) => reply.refuse(&error.to_string()),
            },
            calls::HELD => match decode_all(&body) {
                Ok((shard, wanted)) => drop(spawn(async move {
                    reply.send(&[&calls::encode_answer(&inner.held_here(shard, &wanted).await)]);
                })),
                Err(error) => reply.refuse(&error.to_string()),
            },
            calls::SETTLED => match decode_all::<Vec<u64>>(&body) {
                Ok(origins) => reply.send(&[&encode(&inner.requests.settled(&origins))]),
                Err(error) => reply.refuse(&error.to_string()),
            },
            calls::LEADER => match decode_all(&body) {
                Ok(shard) => {
                    reply.send(&[&encode(&inner.own_lead(shard).map(|lead| (lead.term, lead.node)))]);
                }
                Err(error) => reply.refuse(&error.to_string()),
            },
            calls::COUNSEL => inner.advise(body, reply),
            other => reply.refuse(&format!("call {other} is unknown to this version")),
        }
    }

    fn lost(&self, peer: NodeId) {
        self.inbox.lost(peer);
    }

    fn asked(&self, question: Bytes) -> BoxFuture<'static, Option<Vec<u8>>> {
        let inner = self.node.lock().upgrade();
        Box::pin(async move { Some(entrance::answer(inner?, question).await) })
    }
}

impl Inner {
    fn handle_write(self: Arc<Self>, reach: Reach, mut body: Bytes, reply: Reply) {
        let (Some(shard), Some(count)) = (calls::take_u32(&mut body), calls::take_u32(&mut body)) else {
            return reply.refuse("a cut message");
        };
        let bundle = match Bundle::received(count, body) {
            Ok(bundle) => bundle,
            Err(error) => return reply.refuse(&error.to_string()),
        };
        let Some(held) = self.shards.get(ShardId(shard)) else {
            return reply.send(&[&calls::encode_answer::<Vec<Outcome>>(&Err(NotProposed::NotLeader))]);
        };
        // Queued here and now, so that what one node forwards keeps its order.
        let outcomes = self.write_here(&held, reach, bundle);
        drop(spawn(async move { reply.send(&[&calls::encode_answer(&outcomes.await)]) }));
    }

    fn handle_read(self: Arc<Self>, from: NodeId, mut body: Bytes, reply: Reply) {
        let Some((shard, vote)) = calls::take_u32(&mut body).zip(calls::take_vote(&mut body)) else {
            return reply.refuse("a cut message");
        };
        match decode_all::<Vec<Query>>(&body) {
            Ok(queries) => drop(spawn(async move {
                let answers = self.read_here(ShardId(shard), &queries, Some((from, vote))).await;
                reply.send(&[&calls::encode_answer(&answers)]);
            })),
            Err(error) => reply.refuse(&error.to_string()),
        }
    }
}
