//! Bugs that a simulation plants on purpose, to prove that its oracles would notice them.

/// Which bugs are planted. All off by default, and nothing outside of a simulation may turn one on.
///
/// An oracle that has never been seen to fail proves nothing: each plant is one way in which a session store was, or
/// could have been, wrong, and some invariant of the simulation must catch it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// The log calls an operation durable when it is written, before the sync.
    pub acknowledge_before_sync: bool,
    /// The log takes a failed sync for a successful one and goes on.
    pub go_on_after_failed_sync: bool,
    /// Recovery keeps what it can read of a torn last frame, unchecked.
    pub keep_torn_tail: bool,
    /// A change stream's cursor is logged in another entry than the data it covers.
    pub cursor_apart_from_data: bool,
    /// A checkpoint's applied index is not that of the data beside it.
    pub applied_apart_from_data: bool,
    /// An update of a session that is gone creates it again.
    pub update_creates: bool,
    /// Replicas decide expiry by their own clocks instead of the leader's stamps.
    pub expiry_by_local_clock: bool,
    /// A leader answers reads without asking its quorum whether it still leads.
    pub read_without_read_index: bool,
    /// Snapshots leave out the remembered answers of retried requests.
    pub forget_requests_at_snapshot: bool,
    /// The log is purged beyond what the engine made durable.
    pub purge_ahead_of_engine: bool,
    /// A touch moves the idle deadline past the absolute one.
    pub touch_past_absolute: bool,
    /// A session that leaves for another shard lives on under its old id.
    pub rename_keeps_both: bool,
    /// Whoever finds a slot frozen has it thawed, although it may have been adopted already.
    pub both_owners_after_adopt: bool,
    /// Nobody goes on with a rename between shards that a crash left.
    pub rename_is_not_resumed: bool,
    /// A feed that does not reach back to a cursor says that nothing changed.
    pub feed_denies_gaps: bool,
    /// A piece of a stream is taken in wherever it was cut off, however often.
    pub pieces_in_any_order: bool,
    /// A page of a copy drops what it does not know outside of its span too.
    pub page_drops_beyond_its_span: bool,
    /// A cursor goes on to stand for slots that its source has let go, or taken in again.
    pub turned_slots_stand: bool,
    /// A tombstone goes after a while, though older copies may still come.
    pub tombstones_by_window: bool,
    /// Versions count by the index of the log instead of by slot.
    pub raft_index_as_version: bool,
    /// A session that is not known here is missing, whatever other regions know.
    pub miss_without_asking: bool,
    /// Copies answer however old they are.
    pub stale_copies_answer: bool,
    /// Copies answer although this region has written to the session elsewhere since.
    pub forwarded_writes_forgotten: bool,
    /// A leader passes on what it was told elsewhere although another one leads by now.
    pub answers_when_deposed: bool,
    /// A lease counts from when its answer came instead of from when it was asked for.
    pub lease_from_receipt: bool,
    /// A new control leader takes it that nobody was granted a lease before its time.
    pub skips_old_lease: bool,
    /// What a region wrote before others acted for it is compared with what they write by its number alone, whatever its epoch.
    pub fences_by_term_alone: bool,
    /// What a region wrote that others did not have when they began to act for it is dropped.
    pub drops_orphans: bool,
    /// Sessions whose writes wait for other regions are open although one was not heard that may know more.
    pub geo_opens_without_quorum: bool,
    /// A session that travels gets the epoch of the region that gives it away, however low it is.
    pub epoch_lowered_by_travel: bool,
    /// Whether a session is revoked is decided by the times of its login and of the revocation, by two clocks, instead of by epochs.
    pub revokes_by_wall_clock: bool,
}
