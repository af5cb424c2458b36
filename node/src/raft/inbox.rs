//! Answers Raft's calls from other nodes.
//!
//! Appends of one sender to one group go into openraft as one stream, in the order of arrival, so that several are under
//! way at once; their answers leave in the same order.

use super::{
    Group,
    network::{decode, decode_append, service},
    snapshot::{PieceAnswer, PieceHead, Snapshot},
    types::{LeaderId, Types, Vote},
};
use crate::{log::GroupId, peers::Reply};
use bytes::{Buf, Bytes};
use futures::{StreamExt, stream::BoxStream};
use openraft::{
    alias::SnapshotOf,
    errors::Fatal,
    raft::{AppendEntriesRequest, StreamAppendResult, TransferLeaderRequest, VoteRequest},
};
use parking_lot::Mutex;
use serde::Serialize;
use sojourn_core::NodeId;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
};
use tokio::sync::mpsc;

/// The groups of one node, as other nodes reach them.
#[derive(Default)]
pub struct Inbox {
    /// Not kept alive from here: groups make calls, and calls of others come in here.
    groups: Mutex<BTreeMap<GroupId, Weak<dyn Group>>>,
    appends: Mutex<BTreeMap<(NodeId, GroupId), mpsc::UnboundedSender<Append>>>,
}

/// One append under way. A sender has a bounded number of them open, so the queues need no bound of their own.
struct Append {
    request: AppendEntriesRequest<Types>,
    reply: Reply,
}

impl Inbox {
    /// Lets others reach `group` for as long as it lives.
    pub fn add(&self, id: GroupId, group: &Arc<impl Group>) {
        let group: Weak<_> = Arc::downgrade(group);
        self.groups.lock().insert(id, group);
    }

    /// Forgets a group.
    pub fn remove(&self, id: GroupId) {
        self.groups.lock().remove(&id);
        self.appends.lock().retain(|(_, group), _| *group != id);
    }

    /// A peer's connection broke: what it sends next starts anew.
    pub fn lost(&self, peer: NodeId) {
        self.appends.lock().retain(|(from, _), _| *from != peer);
    }

    /// Takes a call. Returns the reply back if the call is not Raft's.
    pub fn handle(&self, from: NodeId, number: u8, mut body: Bytes, reply: Reply) -> Option<(Bytes, Reply)> {
        if !(service::APPEND..=service::SUPPORT).contains(&number) {
            return Some((body, reply));
        }
        if body.len() < 4 {
            reply.refuse("a cut message");
            return None;
        }
        let id = body.get_u32_le();
        let Some(group) = self.groups.lock().get(&id).and_then(Weak::upgrade) else {
            reply.refuse("this node does not hold that group (yet)");
            return None;
        };
        match number {
            service::APPEND => self.append(from, id, group, body, reply),
            service::CONFIRM => match decode::<Vote>(&body) {
                Ok(vote) => {
                    group.support().note(vote.leader_id());
                    reply.send(&[&[u8::from(group.votes_for(vote.leader_id()))]]);
                }
                Err(error) => reply.refuse(&error.to_string()),
            },
            service::SUPPORT => match decode::<Vote>(&body) {
                Ok(vote) => match quiet_ms(&*group, vote.leader_id()) {
                    Some(quiet_ms) => reply.send(&[&quiet_ms.to_le_bytes()]),
                    None => reply.refuse("this replica does not vote for that leader"),
                },
                Err(error) => reply.refuse(&error.to_string()),
            },
            _slow => drop(super::spawn(answer(group, number, body, reply))),
        }
        None
    }

    fn append(&self, from: NodeId, id: GroupId, group: Arc<dyn Group>, mut body: Bytes, reply: Reply) {
        let request = match decode_append(&mut body) {
            Ok(request) => request,
            Err(error) => return reply.refuse(&error.to_string()),
        };
        if !group.has_room(&request) {
            return reply.refuse("no room in the log");
        }
        group.support().note(request.vote.leader_id());
        let mut appends = self.appends.lock();
        let queue = appends.entry((from, id)).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            super::spawn(run_appends(group, receiver));
            sender
        });
        if let Err(mpsc::error::SendError(append)) = queue.send(Append { request, reply }) {
            appends.remove(&(from, id));
            append.reply.refuse("the group is stopping");
        }
    }
}

/// For how long a replica that votes for `leader` has helped none before it. Its vote comes first: from then on it helps none.
fn quiet_ms(group: &dyn Group, leader: &LeaderId) -> Option<u64> {
    let quiet = group.votes_for(leader).then(|| group.support().quiet(leader)).flatten()?;
    Some(u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX))
}

type Results = BoxStream<'static, Result<StreamAppendResult<Types>, Fatal<Types>>>;

/// Feeds one sender's appends to a group. A rejected append ends openraft's stream: what was sent after it is refused, and
/// the sender starts again from where the rejection says.
async fn run_appends(group: Arc<dyn Group>, mut arrivals: mpsc::UnboundedReceiver<Append>) {
    loop {
        let (feed, fed) = mpsc::unbounded_channel();
        let fed = futures::stream::unfold(fed, |mut fed| async move { Some((fed.recv().await?, fed)) });
        let mut results: Results = group.stream_append(fed.boxed());
        let mut replies: VecDeque<Reply> = VecDeque::new();
        loop {
            tokio::select! {
                biased;
                result = results.next(), if !replies.is_empty() => {
                    let Some(reply) = replies.pop_front() else { break };
                    match result {
                        Some(Ok(result)) => {
                            let rejected = result.is_err();
                            respond(reply, &result);
                            if rejected { break }
                        }
                        Some(Err(_)) | None => {
                            reply.refuse("the group stopped");
                            return;
                        }
                    }
                }
                arrival = arrivals.recv() => {
                    let Some(Append { request, reply }) = arrival else { return };
                    replies.push_back(reply);
                    // The receiver lives inside `results`.
                    let _closed = feed.send(request);
                }
            }
        }
        for reply in replies {
            reply.refuse("an earlier append was rejected");
        }
    }
}

async fn answer(group: Arc<dyn Group>, number: u8, body: Bytes, reply: Reply) {
    match number {
        service::VOTE => match decode::<VoteRequest<Types>>(&body) {
            Ok(request) => match group.vote(request).await {
                Ok(response) => respond(reply, &response),
                Err(error) => reply.refuse(&error.to_string()),
            },
            Err(error) => reply.refuse(&error.to_string()),
        },
        service::PRE_VOTE => match decode::<VoteRequest<Types>>(&body) {
            Ok(request) => match group.pre_vote(request).await {
                Ok(response) => respond(reply, &response),
                Err(error) => reply.refuse(&error.to_string()),
            },
            Err(error) => reply.refuse(&error.to_string()),
        },
        service::TRANSFER => match decode::<TransferLeaderRequest<Types>>(&body) {
            Ok(request) => match group.transfer(request).await {
                Ok(response) => respond(reply, &response),
                Err(error) => reply.refuse(&error.to_string()),
            },
            Err(error) => reply.refuse(&error.to_string()),
        },
        _snapshot => match take_piece(&*group, body).await {
            Ok(answer) => respond(reply, &answer),
            Err(error) => reply.refuse(&error.to_string()),
        },
    }
}

async fn take_piece(group: &dyn Group, mut body: Bytes) -> std::io::Result<PieceAnswer> {
    if body.len() < 4 {
        return Err(super::malformed("a cut piece of a snapshot"));
    }
    let head_length = body.get_u32_le() as usize;
    if body.len() < head_length {
        return Err(super::malformed("a cut piece of a snapshot"));
    }
    let head: PieceHead = decode(&body.split_to(head_length))?;
    let taken = group.incoming().lock().await.take(&head, body).await?;
    match taken {
        Err(next) => Ok(PieceAnswer::Continue(next)),
        Ok(snapshot) => {
            let snapshot = SnapshotOf::<Types, _> { meta: head.meta, snapshot: Snapshot::Arrived(snapshot) };
            let response = group.install(head.vote, snapshot).await.map_err(std::io::Error::other)?;
            Ok(PieceAnswer::Finished(response.vote))
        }
    }
}

fn respond<T: Serialize>(reply: Reply, value: &T) {
    match postcard::to_stdvec(value) {
        Ok(bytes) => reply.send(&[&bytes]),
        Err(error) => reply.refuse(&error.to_string()),
    }
}
