//! One Raft group of this node.

use super::{
    inbox::Inbox,
    log_store::LogStore,
    machine::{Adapter, Machine, SnapshotPlace},
    network::Links,
    snapshot::{Incoming, SnapshotFile},
    types::{Applied, Proposal, Types, Vote, payload_bytes},
};
use crate::{
    log::{GroupId, Log},
    peers::Rpc,
};
use futures::{future::BoxFuture, stream::BoxStream};
use openraft::{
    Config, EmptyNode, Raft, ReadPolicy, SnapshotPolicy,
    alias::SnapshotOf,
    errors::{Fatal, RaftError},
    raft::{
        AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
        VoteRequest, VoteResponse,
    },
};
use sojourn_core::NodeId;
use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// Times and sizes of Raft groups.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// The shortest silence after which a follower asks for votes.
    pub election_min: Duration,
    /// The longest.
    pub election_max: Duration,
    /// Entries after which a snapshot is written and the log purged.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot for followers that are a little late.
    pub keep_entries: u64,
    /// Room that the log must have beyond an append's entries before it is taken.
    pub log_room_bytes_min: u64,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
            snapshot_entries: 100_000,
            keep_entries: 10_000,
            log_room_bytes_min: 4 << 20,
        }
    }
}

impl GroupOptions {
    fn config(&self, group: GroupId) -> io::Result<Arc<Config>> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: format!("group {group}"),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election_min),
            election_timeout_max: ms(self.election_max),
            install_snapshot_timeout: 60_000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            enable_pre_vote: Some(true),
            backoff: "50ms".to_owned(),
            ..Config::default()
        };
        config.validate().map(Arc::new).map_err(io::Error::other)
    }
}

/// What a group is made of.
pub struct GroupParts {
    /// This node.
    pub node: NodeId,
    /// Which group.
    pub group: GroupId,
    /// The node's log.
    pub log: Log,
    /// The node's calls to others.
    pub rpc: Rpc,
    /// Where its snapshots go.
    pub place: SnapshotPlace,
    /// Times and sizes.
    pub options: GroupOptions,
}

/// A running group and its machine.
pub struct RunningGroup<M: Machine> {
    raft: Raft<Types, Adapter<M>>,
    machine: Arc<M>,
    incoming: Mutex<Incoming>,
    log: Log,
    log_room_bytes_min: u64,
}

impl<M: Machine> RunningGroup<M> {
    /// Starts the group from what the disk has of it and lets other nodes reach it.
    ///
    /// # Errors
    /// Unreadable log or snapshot: the text says what to do.
    pub async fn start(parts: GroupParts, machine: Arc<M>, inbox: &Inbox) -> io::Result<Arc<Self>> {
        let GroupParts { node, group, log, rpc, place, options } = parts;
        let partial: PathBuf = place.directory.join("incoming");
        place.disk.create_directory(&partial)?;
        let incoming = Incoming::new(place.disk.clone(), place.directory.clone());
        let adapter = Adapter::new(machine.clone(), place);
        let store = LogStore::new(log.group(group));
        let config = options.config(group)?;
        let raft = Raft::new(node.0, config, Links::new(rpc, group), store, adapter).await.map_err(io::Error::other)?;
        let log_room_bytes_min = options.log_room_bytes_min;
        let running = Arc::new(Self { raft, machine, incoming: Mutex::new(incoming), log, log_room_bytes_min });
        inbox.add(group, running.clone());
        Ok(running)
    }

    /// Founds the group with these voters; each of them may, with the same set.
    ///
    /// # Errors
    /// The group may have been founded before, which is no error.
    pub async fn found(&self, voters: impl IntoIterator<Item = NodeId>) -> io::Result<()> {
        if self.raft.is_initialized().await.map_err(io::Error::other)? {
            return Ok(());
        }
        let members: BTreeMap<u64, EmptyNode> = voters.into_iter().map(|node| (node.0, EmptyNode {})).collect();
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(_)) => Ok(()),
            Err(RaftError::Fatal(error)) => Err(io::Error::other(error)),
        }
    }

    /// Proposes and waits until it is applied here. `None` if this node does not lead or leadership was lost meanwhile:
    /// then the entry may still be applied.
    ///
    /// # Errors
    /// The group has stopped.
    pub async fn propose(&self, proposal: Proposal) -> io::Result<Option<Applied>> {
        match self.raft.client_write(proposal).await {
            Ok(response) => Ok(Some(response.data)),
            Err(RaftError::APIError(_)) => Ok(None),
            Err(RaftError::Fatal(error)) => Err(io::Error::other(error)),
        }
    }

    /// Waits until this machine holds everything that was acknowledged before the call; `false` if this node does not
    /// lead.
    ///
    /// # Errors
    /// The group has stopped.
    pub async fn confirm_read(&self) -> io::Result<bool> {
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(true),
            Err(RaftError::APIError(_)) => Ok(false),
            Err(RaftError::Fatal(error)) => Err(io::Error::other(error)),
        }
    }

    /// openraft's own handle: metrics, membership, transfer.
    pub fn raft(&self) -> &Raft<Types, Adapter<M>> {
        &self.raft
    }

    /// What the entries are applied to.
    pub fn machine(&self) -> &Arc<M> {
        &self.machine
    }
}

/// A group as the inbox needs it, whatever its machine.
pub trait Group: Send + Sync + 'static {
    /// Whether the log has room for an append.
    fn has_room(&self, request: &AppendEntriesRequest<Types>) -> bool;
    /// Takes a sender's appends in order.
    fn stream_append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<Types>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<Types>, Fatal<Types>>>;
    /// Answers a request for a vote.
    fn vote(&self, request: VoteRequest<Types>) -> BoxFuture<'_, Result<VoteResponse<Types>, RaftError<Types>>>;
    /// Answers the question before it.
    fn pre_vote(&self, request: VoteRequest<Types>) -> BoxFuture<'_, Result<VoteResponse<Types>, RaftError<Types>>>;
    /// Takes over from a leader that steps down.
    fn transfer(
        &self,
        request: TransferLeaderRequest<Types>,
    ) -> BoxFuture<'_, Result<TransferLeaderResponse<Types>, Fatal<Types>>>;
    /// Installs a snapshot that has arrived.
    fn install(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
    ) -> BoxFuture<'_, Result<SnapshotResponse<Types>, Fatal<Types>>>;
    /// The snapshot on its way here.
    fn incoming(&self) -> &Mutex<Incoming>;
}

impl<M: Machine> Group for RunningGroup<M> {
    fn has_room(&self, request: &AppendEntriesRequest<Types>) -> bool {
        if request.entries.is_empty() {
            return true;
        }
        let bytes: usize = request.entries.iter().map(payload_bytes).sum();
        self.log.room_bytes() > bytes as u64 + self.log_room_bytes_min
    }

    fn stream_append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<Types>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<Types>, Fatal<Types>>> {
        Box::pin(self.raft.stream_append(requests))
    }

    fn vote(&self, request: VoteRequest<Types>) -> BoxFuture<'_, Result<VoteResponse<Types>, RaftError<Types>>> {
        Box::pin(self.raft.vote(request))
    }

    fn pre_vote(&self, request: VoteRequest<Types>) -> BoxFuture<'_, Result<VoteResponse<Types>, RaftError<Types>>> {
        Box::pin(self.raft.pre_vote(request))
    }

    fn transfer(
        &self,
        request: TransferLeaderRequest<Types>,
    ) -> BoxFuture<'_, Result<TransferLeaderResponse<Types>, Fatal<Types>>> {
        Box::pin(self.raft.handle_transfer_leader(request))
    }

    fn install(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
    ) -> BoxFuture<'_, Result<SnapshotResponse<Types>, Fatal<Types>>> {
        Box::pin(self.raft.install_full_snapshot(vote, snapshot))
    }

    fn incoming(&self) -> &Mutex<Incoming> {
        &self.incoming
    }
}
