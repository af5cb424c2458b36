//! Takes what nodes of other regions ask and tell.

use super::{
    calls::{self, Told},
    control::Doorway,
    follow::Followers,
    packing,
    sources::Sources,
    tombs::survey,
};
use crate::{
    peers::{AbroadRoster, Reply, Service},
    raft::spawn,
    region::{
        RegionNode,
        abroad::Reach,
        backend::{Backend, Read, Unavailable},
        sweep::Sweep,
    },
};
use bytes::Bytes;
use sojourn_core::{Command, Key, NodeId, Projection, Query, Stamp};
use sojourn_proto::wire::{Wire, decode_all, encode};
use std::sync::Arc;

/// This node as other regions reach it.
pub(super) struct Door {
    node: RegionNode,
    sources: Arc<Sources>,
    followers: Arc<Followers>,
    control: Doorway,
}

impl Door {
    pub fn new(node: RegionNode, sources: Arc<Sources>, followers: Arc<Followers>, control: Doorway) -> Self {
        Self { node, sources, followers, control }
    }

    fn write(&self, from: NodeId, commands: Vec<Command>, reply: Reply) {
        if let Some(region) = AbroadRoster::region_of(from) {
            self.node.note_writes(region, &commands);
        }
        let written = self.node.write_within(Reach::Region, commands);
        drop(spawn(async move {
            let told: Vec<_> = written.await.into_iter().map(Told).collect();
            reply.send(&[&encode(&told)]);
        }));
    }

    fn read(&self, from: NodeId, (key, projection): (Key, Projection), reply: Reply) {
        if let Some(region) = AbroadRoster::region_of(from) {
            self.node.note_use(region, &key);
        }
        let query = Query::GetAtHome { key, projection };
        let read = self.node.read(vec![Read { shard: None, query }]);
        drop(spawn(async move {
            let answer = read.await.pop().unwrap_or(Err(Unavailable::Loading));
            reply.send(&[&encode(&Told(answer))]);
        }));
    }

    fn survey(&self, past: Stamp, reply: Reply) {
        let node = self.node.clone();
        drop(spawn(async move {
            match survey(&node, past).await {
                Ok(survey) => reply.send(&[&packing::pack(&survey)]),
                Err(error) => reply.refuse(&error.to_string()),
            }
        }));
    }

    fn settled(&self, origins: Vec<u64>, reply: Reply) {
        let node = self.node.clone();
        drop(spawn(async move { reply.send(&[&encode(&node.settled(origins).await)]) }));
    }

    fn sweep(&self, sweep: Sweep, reply: Reply) {
        let node = self.node.clone();
        drop(spawn(async move { reply.send(&[&encode(&Told(node.sweep(sweep).await))]) }));
    }
}

/// Hands a message over, or says that it is none.
fn take<T: Wire>(body: &[u8], reply: Reply, handle: impl FnOnce(T, Reply)) {
    match decode_all(body) {
        Ok(message) => handle(message, reply),
        Err(error) => reply.refuse(&error.to_string()),
    }
}

impl Service for Door {
    fn handle(&self, from: NodeId, number: u8, body: Bytes, reply: Reply) {
        let Some((body, reply)) = self.control.handle(from, number, body, reply) else { return };
        match number {
            calls::WRITE => take(&body, reply, |commands, reply| self.write(from, commands, reply)),
            calls::READ => take(&body, reply, |asked, reply| self.read(from, asked, reply)),
            calls::SWEEP => take(&body, reply, |sweep, reply| self.sweep(sweep, reply)),
            calls::SETTLED => take(&body, reply, |origins, reply| self.settled(origins, reply)),
            calls::FOLLOW => take(&body, reply, |follow, reply| self.sources.follow(from, follow, reply)),
            calls::COPY => take(&body, reply, |copy, reply| self.sources.copy(copy, reply)),
            calls::HELD => take(&body, reply, |wanted, reply| self.sources.held(wanted, reply)),
            calls::DIGESTS => take(&body, reply, |of, reply| self.sources.digests(of, reply)),
            calls::SURVEY => take(&body, reply, |past, reply| self.survey(past, reply)),
            calls::TICK => take(&body, reply, |tick, _| self.sources.tick(from, &tick)),
            calls::BATCH => self.followers.take(from, body),
            calls::OVER => take(&body, reply, |stream, _| self.followers.end(from, stream)),
            other => reply.refuse(&format!("call {other} between regions is unknown to this version")),
        }
    }

    fn lost(&self, peer: NodeId) {
        self.sources.lose(peer);
        self.followers.lose(peer);
        self.control.lost(peer);
    }
}
