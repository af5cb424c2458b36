//! One Raft group of this node.

use super::{
    confirm::Late,
    inbox::Inbox,
    incoming::Incoming,
    keeper::{Keeper, KeeperOptions, KeeperParts, NO_ROOM_PAUSE},
    log_store::LogStore,
    machine::{Adapter, Machine},
    network::Links,
    snapshot::Snapshot,
    support::Support,
    types::{Applied, LeaderId, Proposal, Types, Vote, malformed, payload_bytes},
};
use crate::{
    engine::Engine,
    env::Env,
    log::{GroupId, Log},
    peers::Rpc,
};
use futures::{future::BoxFuture, stream::BoxStream};
use openraft::{
    Config, EmptyNode, Raft, SnapshotPolicy,
    alias::SnapshotOf,
    errors::{Fatal, RaftError},
    raft::{
        AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
        VoteRequest, VoteResponse,
    },
};
use sojourn_core::NodeId;
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::{Mutex, oneshot};

/// Times and sizes of Raft groups.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// The shortest silence after which a follower asks for votes.
    pub election_min: Duration,
    /// The longest.
    pub election_max: Duration,
    /// Entries after which the engine gets what they changed, and the log is purged: a restart applies at most about so
    /// many again.
    pub snapshot_entries: u64,
    /// Entries kept behind that for followers that are a little late.
    pub keep_entries: u64,
    /// The log of all groups above which no entries are kept for late followers, in bytes: a restart reads all of it.
    pub keep_log_bytes_max: u64,
    /// Bytes of changes after which the engine gets them.
    pub unsaved_bytes_max: u64,
    /// The longest that a change waits for that.
    pub unsaved_age_max: Duration,
    /// Room that the log must have beyond an append's entries before it is taken.
    pub log_room_bytes_min: u64,
    /// How long a replica may take to say whether it still votes for the leader: longer than the way to it and back.
    pub confirm_timeout: Duration,
    /// How long news of nothing but a commit waits for entries that carry it along. It bounds how much later than the leader an idle
    /// group's followers apply.
    pub commit_news_delay: Duration,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
            snapshot_entries: 50_000,
            keep_entries: 10_000,
            keep_log_bytes_max: 256 << 20,
            unsaved_bytes_max: 16 << 20,
            unsaved_age_max: Duration::from_secs(30),
            log_room_bytes_min: 4 << 20,
            confirm_timeout: Duration::from_millis(200),
            commit_news_delay: Duration::from_millis(5),
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
            snapshot_policy: SnapshotPolicy::Never,
            // The log goes when `RunningGroup::save` says so, and never by openraft's own reckoning beside it.
            max_in_snapshot_log_to_keep: u64::MAX,
            enable_pre_vote: Some(true),
            // A leader sends entries before they are on its own disk: one that went on in its old term after a crash could
            // give a position that followers hold already to another entry.
            enable_leader_restore: Some(false),
            backoff: "50ms".to_owned(),
            ..Config::default()
        };
        config.validate().map(Arc::new).map_err(io::Error::other)
    }

    fn keeper(&self) -> KeeperOptions {
        KeeperOptions {
            unsaved_bytes_max: self.unsaved_bytes_max,
            unsaved_entries_max: self.snapshot_entries,
            unsaved_age_max: self.unsaved_age_max,
        }
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
    /// The seams.
    pub env: Env,
    /// Where the group's state is kept.
    pub engine: Arc<dyn Engine>,
    /// Where snapshots are while they are sent and received.
    pub snapshots: PathBuf,
    /// Times and sizes.
    pub options: GroupOptions,
}

/// A running group and its machine.
pub struct RunningGroup<M: Machine> {
    raft: Raft<Types, Adapter<M>>,
    pub(super) keeper: Arc<Keeper<M>>,
    pub(super) rpc: Rpc,
    pub(super) late: Late,
    pub(super) support: Support,
    incoming: Mutex<Incoming>,
    pub(super) log: Log,
    pub(super) group: GroupId,
    log_room_bytes_min: u64,
    pub(super) confirm_timeout: Duration,
    keep_log_bytes_max: u64,
    keep_entries: u64,
}

impl<M: Machine> RunningGroup<M> {
    /// Starts the group from what the disk has of it and lets other nodes reach it.
    ///
    /// # Errors
    /// Unreadable log or snapshot: the text says what to do.
    pub async fn start(parts: GroupParts, machine: Arc<M>, inbox: &Inbox) -> io::Result<Arc<Self>> {
        let GroupParts { node, group, log, rpc, env, engine, snapshots, options } = parts;
        let incoming = Mutex::new(Incoming::new(env.clone(), snapshots.clone()));
        let support = Support::new(env.clock.clone());
        let keeper = KeeperParts { node, env, engine, group, log: log.clone(), snapshots, options: options.keeper() };
        let keeper = Arc::new(Keeper::open(keeper, machine).await?);
        check_whole(group, keeper.applied().index(), &log)?;
        let (store, adapter) = (LogStore::new(log.group(group)), Adapter::new(keeper.clone()));
        let config = options.config(group)?;
        let links = Links::new(rpc.clone(), group, keeper.pace.clone(), options.commit_news_delay);
        let raft = Raft::new(node.0, config, links, store, adapter).await.map_err(io::Error::other)?;
        let GroupOptions { log_room_bytes_min, confirm_timeout, keep_log_bytes_max, keep_entries, .. } = options;
        let late = Late::default();
        let running = Arc::new(Self {
            raft,
            keeper,
            rpc,
            late,
            support,
            incoming,
            log,
            group,
            log_room_bytes_min,
            confirm_timeout,
            keep_log_bytes_max,
            keep_entries,
        });
        drop(super::spawn(run_keeper(Arc::downgrade(&running))));
        inbox.add(group, &running);
        Ok(running)
    }

    /// Founds the group with these voters; each of them may, with the same set.
    ///
    /// # Errors
    /// The group may have been founded before, which is no error.
    pub async fn found(&self, voters: impl IntoIterator<Item = NodeId>) -> io::Result<()> {
        if self.is_founded().await? {
            return Ok(());
        }
        let members: BTreeMap<u64, EmptyNode> = voters.into_iter().map(|node| (node.0, EmptyNode {})).collect();
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(_)) => Ok(()),
            Err(RaftError::Fatal(error)) => Err(io::Error::other(error)),
        }
    }

    /// Whether the group was founded, as far as this replica's log knows.
    ///
    /// # Errors
    /// The group has stopped.
    pub async fn is_founded(&self) -> io::Result<bool> {
        self.raft.is_initialized().await.map_err(io::Error::other)
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

    /// openraft's own handle: metrics, membership, transfer.
    pub fn raft(&self) -> &Raft<Types, Adapter<M>> {
        &self.raft
    }

    /// What the entries are applied to.
    pub fn machine(&self) -> &Arc<M> {
        self.keeper.machine()
    }

    /// Gives the engine what it does not have yet, and lets go of the log up to there.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub async fn save(&self) -> io::Result<()> {
        if self.keeper.purges_ahead() {
            self.note_checkpoint().await;
            self.purge().await;
        }
        if self.keeper.save().await? {
            // A group that is stopping purges at its next start.
            let _stopping = self.raft.trigger().snapshot().await;
        }
        self.purge().await;
        Ok(())
    }

    /// Has the engine take what it lacks soon, so that the log can let go of it.
    pub fn make_room(&self) {
        self.keeper.wake.notify_one();
    }

    /// Lets go of the log up to what the engine has, but for what late followers may need.
    async fn purge(&self) {
        // One group that keeps old entries keeps every segment since: on a small or full disk nobody may.
        let tight = self.log.used_bytes() > self.keep_log_bytes_max.min(self.log.bytes_max() / 2);
        let kept = if tight || self.log.is_out_of_space() { 0 } else { self.keep_entries };
        let purgeable = self.keeper.purgeable().and_then(|index| index.checked_sub(kept));
        if let Some(index) = purgeable {
            let _stopping = self.raft.trigger().purge_log(index).await;
        }
    }

    /// The planted bug only: openraft purges no further than what it takes for the last snapshot.
    async fn note_checkpoint(&self) {
        let applied = self.keeper.applied().applied;
        let _stopping = self.raft.trigger().snapshot().await;
        let noted = self.raft.wait(Some(NO_ROOM_PAUSE));
        let _stopping = noted.metrics(|metrics| metrics.snapshot >= applied, "a checkpoint").await;
    }

    /// Stops the group; the engine then has all that was applied, so that the next start is quick.
    ///
    /// # Errors
    /// The group panicked, or what the disk says.
    pub async fn shut_down(&self) -> io::Result<()> {
        self.raft.shutdown().await.map_err(io::Error::other)?;
        self.keeper.save().await.map(drop)
    }

    /// Stops the group and removes all that the disk has of it; it must be out of reach already.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub async fn erase(&self) -> io::Result<()> {
        self.raft.shutdown().await.map_err(io::Error::other)?;
        let (sender, removed) = oneshot::channel();
        self.log.group(self.group).remove(Box::new(move |result| {
            // The receiver waits below.
            let _gone = sender.send(result);
        }));
        removed.await.map_err(io::Error::other)??;
        // After the log: one that was purged up to what the engine has cannot do without it.
        self.keeper.erase().await
    }
}

/// The log may lack only what the engine has.
fn check_whole(group: GroupId, applied: u64, log: &Log) -> io::Result<()> {
    match log.group(group).state().purged {
        Some((purged, _)) if purged > applied => Err(malformed(&format!(
            "group {group} lacks the entries {} to {purged}: the log let go of them, and the engine has none after \
             {applied}; this node cannot go on with this data directory: remove the node from the region, and let it join \
             again with an empty one",
            applied + 1
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Writes behind what entries changed, when there is enough of it or it is old enough.
async fn run_keeper<M: Machine>(group: Weak<RunningGroup<M>>) {
    loop {
        let Some(running) = group.upgrade() else { return };
        let (wake, age_max) = (running.keeper.wake.clone(), running.keeper.age_max());
        drop(running);
        let _old_enough = tokio::time::timeout(age_max, wake.notified()).await;
        let Some(running) = group.upgrade() else { return };
        match running.save().await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!("no room on the disk for the engine; trying again until there is");
                tokio::time::sleep(NO_ROOM_PAUSE).await;
            }
            // The node is stopping.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return,
            Err(error) => return running.keeper.fail("keep the state of a group beside", &error),
        }
    }
}

/// A group as the inbox needs it, whatever its machine.
pub trait Group: Send + Sync + 'static {
    /// Whether the log has room for an append.
    fn has_room(&self, request: &AppendEntriesRequest<Types>) -> bool;
    /// Whether the log holds a vote for this leader, and so none for a later one.
    fn votes_for(&self, leader: &LeaderId) -> bool;
    /// Whom this replica has helped to lead, and when.
    fn support(&self) -> &Support;
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
        snapshot: SnapshotOf<Types, Snapshot>,
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

    fn votes_for(&self, leader: &LeaderId) -> bool {
        self.votes_for(leader)
    }

    fn support(&self) -> &Support {
        &self.support
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
        snapshot: SnapshotOf<Types, Snapshot>,
    ) -> BoxFuture<'_, Result<SnapshotResponse<Types>, Fatal<Types>>> {
        Box::pin(self.raft.install_full_snapshot(vote, snapshot))
    }

    fn incoming(&self) -> &Mutex<Incoming> {
        &self.incoming
    }
}
