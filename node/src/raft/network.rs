//! openraft's network over calls between nodes: appends are pipelined, and all groups share one stream per peer.

use super::{
    snapshot::Snapshot,
    types::{LogId, Types, Vote, decode_entry, encode_entry, malformed},
};
use crate::{
    log::GroupId,
    peers::{CallError, Lane, Rpc},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
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
use std::{future::Future, io, time::Duration};

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
    commit_news_delay: Duration,
}

impl Links {
    /// Links for `group` over `rpc`. For the delay, see [`super::GroupOptions`].
    pub fn new(rpc: Rpc, group: GroupId, commit_news_delay: Duration) -> Self {
        Self { rpc, group, commit_news_delay }
    }
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Link {
        let Self { rpc, group, commit_news_delay } = self.clone();
        Link { rpc, group, target: NodeId(target), commit_news_delay }
    }
}

/// The way to one replica.
#[derive(Clone)]
pub struct Link {
    pub(super) rpc: Rpc,
    pub(super) group: GroupId,
    pub(super) target: NodeId,
    commit_news_delay: Duration,
}

impl Link {
    fn append(
        &self,
        request: &AppendEntriesRequest<Types>,
    ) -> impl Future<Output = Result<StreamAppendResult<Types>, RPCError<Types>>> + Send + use<> {
        let call = encode_append(self.group, request)
            .map(|body| self.rpc.call(self.target, Lane::Fast, service::APPEND, &[&body], APPEND_TIMEOUT));
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

/// A stream of appends in which news of nothing but a commit waits for the next entries: a busy group would else send, and
/// every follower answer, two appends for each entry. openraft asks for no answer to each request of a stream.
struct Unhurried<S> {
    input: futures::stream::Fuse<S>,
    /// The last entry that the follower was sent in this stream.
    sent: Option<Option<LogId>>,
    held: Option<AppendEntriesRequest<Types>>,
    held_until: std::pin::Pin<Box<tokio::time::Sleep>>,
    delay: Duration,
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static> Unhurried<S> {
    fn new(input: S, delay: Duration) -> Self {
        let held_until = Box::pin(tokio::time::sleep(delay));
        Self { input: input.fuse(), sent: None, held: None, held_until, delay }
    }

    fn into_stream(self) -> BoxStream<'static, AppendEntriesRequest<Types>> {
        futures::stream::unfold(self, |mut this| async move { Some((this.next().await?, this)) }).boxed()
    }

    async fn next(&mut self) -> Option<AppendEntriesRequest<Types>> {
        loop {
            let holds = self.held.is_some();
            let request = tokio::select! {
                biased;
                request = self.input.next() => request,
                () = &mut self.held_until, if holds => return self.held.take(),
            };
            let Some(request) = request else { return self.held.take() };
            if request.entries.is_empty() && self.sent == Some(request.prev_log_id) {
                if !holds {
                    self.held_until.as_mut().reset(tokio::time::Instant::now() + self.delay);
                }
                self.held = Some(request);
            } else {
                // It was made later, so it says at least as much of the commit.
                self.held = None;
                self.sent = Some(request.entries.last().map_or(request.prev_log_id, |entry| Some(entry.log_id)));
                return Some(request);
            }
        }
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
        let input = Unhurried::new(input, self.commit_news_delay).into_stream();
        // `append` posts the request before it returns its future: the order of the input is the order on the wire.
        let answers = input.map(move |request| link.append(&request)).buffered(APPENDS_IN_FLIGHT_MAX);
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

/// `group u32 | postcard(vote, previous, committed) | (length u32 | entry)*`.
fn encode_append(group: GroupId, request: &AppendEntriesRequest<Types>) -> io::Result<Bytes> {
    let mut out = BytesMut::with_capacity(256);
    out.put_u32_le(group);
    let head = (&request.vote, &request.prev_log_id, &request.leader_commit);
    let head = postcard::to_stdvec(&head).map_err(io::Error::other)?;
    out.put_u32_le(u32::try_from(head.len()).map_err(io::Error::other)?);
    out.put_slice(&head);
    for entry in &request.entries {
        let bytes = encode_entry(entry)?;
        out.put_u32_le(u32::try_from(bytes.len()).map_err(io::Error::other)?);
        out.put_slice(&bytes);
    }
    Ok(out.freeze())
}

/// Reads what `encode_append` wrote, the group already taken off; entries share `body`.
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
    if body.len() < 4 {
        return Err(malformed("a cut message between nodes"));
    }
    let length = body.get_u32_le() as usize;
    if body.len() < length {
        return Err(malformed("a cut message between nodes"));
    }
    Ok(body.split_to(length))
}
