//! openraft's network over calls between nodes: appends are pipelined, and all groups share one stream per peer.

use super::{
    pace::{Pace, Paced},
    snapshot::Snapshot,
    types::{LogId, Types, Vote, decode_entry, malformed, payload, put_entry_head},
};
use crate::{
    log::GroupId,
    peers::{CallError, Lane, Rpc},
};
use bytes::{Buf, BufMut, Bytes};
use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use openraft::{
    EmptyNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    alias::SnapshotOf,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use sojourn_core::NodeId;
use std::{future::Future, io, sync::Arc, time::Duration};

/// The kinds of calls between nodes that are Raft's.
pub mod service {
    /// `AppendEntries`.
    pub const APPEND: u8 = 1;
    /// `RequestVote`.
    pub const VOTE: u8 = 2;
    /// The question before a vote.
    pub const PRE_VOTE: u8 = 3;
    /// A leader hands over.
    pub const TRANSFER: u8 = 4;
    /// A piece of a snapshot.
    pub const SNAPSHOT: u8 = 5;
    /// Whether a replica still votes for a leader.
    pub const CONFIRM: u8 = 6;
    /// For how long one that votes for a leader has helped none before it: milliseconds in eight bytes.
    pub const SUPPORT: u8 = 7;
}

/// Appends under way to one follower of one group.
const APPENDS_IN_FLIGHT_MAX: usize = 64;

/// How long an append may go unanswered: longer than a slow sync, so that a busy disk is not taken for a dead peer.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes links to the other replicas of one group.
#[derive(Clone)]
pub struct Links {
    rpc: Rpc,
    group: GroupId,
    pace: Arc<Pace>,
    commit_news_delay: Duration,
}

impl Links {
    /// Links for `group` over `rpc`. For the delay, see [`super::GroupOptions`].
    pub(super) fn new(rpc: Rpc, group: GroupId, pace: Arc<Pace>, commit_news_delay: Duration) -> Self {
        Self { rpc, group, pace, commit_news_delay }
    }
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Link {
        let Self { rpc, group, pace, commit_news_delay } = self.clone();
        Link { rpc, group, target: NodeId(target), pace, commit_news_delay }
    }
}

/// The way to one replica.
#[derive(Clone)]
pub struct Link {
    pub(super) rpc: Rpc,
    pub(super) group: GroupId,
    pub(super) target: NodeId,
    pace: Arc<Pace>,
    commit_news_delay: Duration,
}

impl Link {
    fn append(
        &self,
        request: &AppendEntriesRequest<Types>,
    ) -> impl Future<Output = Result<StreamAppendResult<Types>, RPCError<Types>>> + Send + use<> {
        let call = Encoded::new(self.group, request)
            .map(|body| self.rpc.call(self.target, Lane::Fast, service::APPEND, &body.parts(), APPEND_TIMEOUT));
        async move {
            let body = call.map_err(|error| network_error(&error))?.await.map_err(rpc_error)?;
            decode(&body).map_err(|error| network_error(&error))
        }
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        service: u8,
        question: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<Types>> {
        let body = postcard::to_stdvec(question).map_err(|error| network_error(&error))?;
        let group = self.group.to_le_bytes();
        let answer = self.rpc.call(self.target, Lane::Fast, service, &[&group, &body], option.soft_ttl()).await;
        decode(&answer.map_err(rpc_error)?).map_err(|error| network_error(&error))
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.append(&request).await.map(AppendEntriesResponse::from)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let link = self.clone();
        let (pace, bulk) = (self.pace.clone(), self.rpc.bulk().clone());
        let input = Paced::new(input, pace, self.target.0, bulk, self.commit_news_delay).into_stream();
        // `append` posts the request before it returns its future: the order of the input is the order on the wire.
        let answers = input.map(move |request| link.append(&request)).buffered(APPENDS_IN_FLIGHT_MAX);
        let (pace, follower) = (self.pace.clone(), self.target.0);
        let answers = answers.inspect(move |answer| match answer {
            Ok(Ok(logged)) => pace.answered(follower, logged.map_or(0, |id| id.index)),
            Ok(Err(_)) => pace.rejected(follower),
            Err(_) => pace.failed(follower),
        });
        Box::pin(async move { Ok(answers.boxed()) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(service::VOTE, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(service::PRE_VOTE, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, Snapshot>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        super::snapshot::send(self, vote, snapshot, cancel).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.ask(service::TRANSFER, &request, &option).await
    }
}

/// The failure of a call as openraft wants it: a peer that cannot be reached or has no room is left alone for a while, what
/// was only late is tried again.
pub(super) fn rpc_error(error: CallError) -> RPCError<Types> {
    match error {
        CallError::Unreachable(_) | CallError::Overloaded { .. } | CallError::Refused(_) => {
            RPCError::Unreachable(Unreachable::new(&error))
        }
        CallError::TimedOut(_) => network_error(&error),
    }
}

pub(super) fn network_error<E: std::error::Error + 'static>(error: &E) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(error))
}

/// A value as postcard.
pub(super) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(io::Error::other)
}

/// Reads a postcard value.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    postcard::from_bytes(body).map_err(io::Error::other)
}

/// `group u32 | length u32 | postcard(vote, previous, committed) | (length u32 | entry)*`, with what entries carry left where it is: it is
/// copied once, into the frame.
struct Encoded<'a> {
    /// All but the payloads, one after the other.
    heads: Vec<u8>,
    /// Up to where the heads go before each payload.
    payloads: Vec<(usize, &'a [u8])>,
}

impl<'a> Encoded<'a> {
    fn new(group: GroupId, request: &'a AppendEntriesRequest<Types>) -> io::Result<Self> {
        let mut heads = Vec::with_capacity(64 + 32 * request.entries.len());
        heads.put_u32_le(group);
        put_sized(&mut heads, 0, |heads| {
            postcard::to_extend(&(&request.vote, &request.prev_log_id, &request.leader_commit), heads)
        })?;
        let mut payloads = Vec::with_capacity(request.entries.len());
        for entry in &request.entries {
            let payload = payload(entry);
            put_sized(&mut heads, payload.len(), |heads| put_entry_head(heads, entry))?;
            payloads.push((heads.len(), payload));
        }
        Ok(Self { heads, payloads })
    }

    fn parts(&self) -> Vec<&[u8]> {
        let mut parts = Vec::with_capacity(2 * self.payloads.len() + 1);
        let mut from = 0;
        for (until, payload) in &self.payloads {
            parts.extend([&self.heads[from..*until], payload]);
            from = *until;
        }
        parts.push(&self.heads[from..]);
        parts
    }
}

/// Appends what `put` does behind its length, `more` bytes that are elsewhere included.
fn put_sized(
    heads: &mut Vec<u8>,
    more: usize,
    put: impl FnOnce(Vec<u8>) -> postcard::Result<Vec<u8>>,
) -> io::Result<()> {
    let begin = heads.len();
    heads.put_u32_le(0);
    *heads = put(std::mem::take(heads)).map_err(io::Error::other)?;
    let length = heads.len() - begin - LENGTH_BYTES + more;
    let length = u32::try_from(length).map_err(io::Error::other)?;
    heads[begin..begin + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

const LENGTH_BYTES: usize = 4;

/// Reads what [`Encoded`] is, the group already taken off; entries share `body`.
pub(super) fn decode_append(body: &mut Bytes) -> io::Result<AppendEntriesRequest<Types>> {
    let head = take_sized(body)?;
    let (vote, prev_log_id, leader_commit): (Vote, Option<LogId>, Option<LogId>) = decode(&head)?;
    let mut entries = Vec::new();
    while !body.is_empty() {
        entries.push(decode_entry(&take_sized(body)?)?);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

fn take_sized(body: &mut Bytes) -> io::Result<Bytes> {
    if body.len() < LENGTH_BYTES {
        return Err(malformed("a cut message between nodes"));
    }
    let length = body.get_u32_le() as usize;
    if body.len() < length {
        return Err(malformed("a cut message between nodes"));
    }
    Ok(body.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{LeaderId, LogEntry, Proposal};
    use openraft::{Entry, EntryPayload, Membership, entry::RaftEntry, vote::RaftLeaderId};

    #[test]
    fn appends_are_read_as_they_were_written() {
        let leader = LeaderId::new(3, 1).to_committed();
        let id = |index| LogId::new(leader, index);
        let membership = Membership::new_with_defaults(vec![[1, 2, 3].into()], [4]);
        let entries: Vec<LogEntry> = vec![
            Entry::new(id(8), EntryPayload::Blank),
            Entry::new(id(9), EntryPayload::Normal(Proposal(Bytes::from(vec![7; 300])))),
            Entry::new(id(10), EntryPayload::Membership(membership)),
            Entry::new(id(11), EntryPayload::Normal(Proposal(Bytes::new()))),
        ];
        for count in 0..=entries.len() {
            let request = AppendEntriesRequest::<Types> {
                vote: Vote::new_committed(3, 1),
                prev_log_id: Some(id(7)),
                entries: entries[..count].to_vec(),
                leader_commit: Some(id(6)),
            };
            let mut body = Bytes::from(Encoded::new(5, &request).unwrap().parts().concat());
            assert_eq!(body.get_u32_le(), 5);
            let read = decode_append(&mut body).unwrap();
            assert_eq!((read.vote, read.prev_log_id), (request.vote, request.prev_log_id));
            assert_eq!((read.leader_commit, read.entries), (request.leader_commit, request.entries));
        }
    }
}
