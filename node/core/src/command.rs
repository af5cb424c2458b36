//! What a caller can ask of a session, and what it is told: the vocabulary of `State::apply`.
//!
//! A command carries everything that the decision needs (policy, defaults, randomness), so that every replica decides the
//! same.

use crate::{
    ids::{Key, NamespaceId, RegionId, Slot, Stamp},
    orphans::Orphaned,
    query::{Projection, View},
    session::{Fields, Kind, Owner, Version},
    slots::SlotStep,
    state::SlotPage,
    stream::Absorbed,
    tombstones::{Return, Swept},
};
use std::collections::BTreeSet;

pub use crate::outcome::{Outcome, Refusal};

/// Names one write for retries: the same request applied twice answers the same and changes nothing the second time.
///
/// `origin` is a number that one sender drew at random when it started; `sequence` counts its writes from 1. Everything
/// below `settled` was answered to whoever asked and will never be sent again, so that a shard forgets it at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// The sender; 0 for writes that need no memory (a leader's own).
    pub origin: u64,
    /// Which write of the sender.
    pub sequence: u64,
    /// The lowest sequence that the sender may still repeat.
    pub settled: u64,
}

/// The part of a namespace's policy that decides a write, resolved by the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The idle timeout of a session that is created without one; 0 for none.
    pub idle_timeout_ms: u64,
    /// The longest that a client may set as an idle timeout; 0 for no cap.
    pub idle_timeout_ms_max: u64,
    /// The absolute lifetime: from creation for minted ids, from the last write for foreign ones.
    pub absolute_ms: u64,
    /// Whether every write moves the absolute deadline on (foreign ids).
    pub absolute_moves: bool,
    /// Refuse above this size of all fields, as [`Fields::bytes`] counts.
    pub size_bytes_max: u64,
    /// Whether an id that was destroyed or expired may not be created again while its tombstone stands.
    pub refuse_after_destroy: bool,
    /// How long a tombstone is kept at least.
    pub tombstone_ms: u64,
}

/// One write to one session, or several in one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// For retries.
    pub request: Request,
    /// The session; for [`Op::Exec`] any key of the slot.
    pub key: Key,
    /// Policy, resolved.
    pub rules: Rules,
    /// The idle deadline that the leader holds in memory when it is later than the logged one: applied first.
    pub touched: Option<Stamp>,
    /// What to do.
    pub op: Op,
}

/// A deadline as a caller states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Leave what is there; a new session gets the namespace's default.
    Keep,
    /// Back to the namespace's default, as a plain `SET` does.
    Default,
    /// This long after the stamp of the write.
    After {
        /// Milliseconds, at least 1.
        ms: u64,
    },
    /// At this time; a time that has passed ends the session.
    At {
        /// Milliseconds since the Unix epoch.
        ms: Stamp,
    },
    /// Only the absolute deadline counts.
    Never,
}

/// When a conditional write happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    #[default]
    Always,
    /// Only where nothing lives (`NX`).
    IfAbsent,
    /// Only where something lives (`XX`).
    IfPresent,
}

/// When `EXPIRE` and its kin take effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpireCondition {
    /// Always.
    #[default]
    Always,
    /// Only without a deadline so far.
    IfNone,
    /// Only with one.
    IfSome,
    /// Only if later than the one so far; none counts as infinitely late.
    IfLater,
    /// Only if earlier.
    IfEarlier,
}

/// `ZADD`'s conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScoreRules {
    /// `NX` or `XX`, per member.
    pub condition: Condition,
    /// Update only to a greater score.
    pub only_greater: bool,
    /// Update only to a lesser score.
    pub only_less: bool,
    /// Count changed members too, not only new ones.
    pub count_changed: bool,
}

/// The steps of a rename between shards. All but the first may be repeated.
#[derive(Clone, Debug, PartialEq)]
pub enum MoveStep {
    /// Ends a session here and keeps it aside. Answers `Record`; [`Refusal::Missing`] without one, [`Refusal::Busy`] while the
    /// id has left before, or too many are on their way.
    Depart {
        /// The new id, in another shard.
        to: Key,
        /// Whether a living session under the new id is overwritten.
        replace: bool,
    },
    /// Creates a departed session under its new id. Answers `Count(1)`, or `Count(0)` if another lives there that may not be
    /// overwritten; a repeated one answers the same and changes nothing.
    Arrive {
        /// The old id.
        from: Key,
        /// See [`MoveStep::Depart`].
        replace: bool,
        /// The session as it left.
        view: Box<View>,
    },
    /// Lets go of a departed session, or gives it its old id back. Answers `Count`.
    Settle {
        /// The version that left.
        version: Version,
        /// Whether it arrived.
        arrived: bool,
    },
    /// The old id's shard has settled: the note of the arrival may go, by and by. Answers `Done`.
    Forget {
        /// The old id.
        from: Key,
        /// The version that left.
        version: Version,
    },
    /// The note of the arrival is forgotten: that of the departure may go. Answers `Done`.
    Close {
        /// The version that left.
        version: Version,
    },
}

/// What to do with a session.
///
/// "Answers" names the [`Outcome`] of success; every operation may answer [`Outcome::Refused`].
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Inserts a session; [`Refusal::Exists`] if one lives. Answers `Written`.
    Create {
        /// Its shape.
        kind: Kind,
        /// Its fields.
        fields: Fields,
        /// When it ends; [`Expiry::Default`] for the namespace's timeout.
        expiry: Expiry,
        /// Its absolute deadline, where the id states one.
        absolute_deadline: Option<Stamp>,
        /// Whose it is.
        owner: Option<Box<Owner>>,
    },
    /// Replaces all fields of a living session; never creates. Answers `Written`.
    Put {
        /// All its fields from now on.
        fields: Fields,
        /// Only over this version, else [`Refusal::Conflict`].
        if_version: Option<Version>,
        /// The new idle deadline; [`Expiry::Keep`] moves it on by the idle timeout.
        expiry: Expiry,
        /// Whose it is; `None` leaves that.
        owner: Option<Box<Owner>>,
    },
    /// Sets and removes fields of a living session; never creates. Answers `Written`.
    Patch {
        /// Fields to set.
        set: Fields,
        /// Fields to remove, after setting.
        remove: Vec<Box<[u8]>>,
        /// Only over this version, else [`Refusal::Conflict`].
        if_version: Option<Version>,
        /// The new idle deadline; [`Expiry::Keep`] moves it on by the idle timeout.
        expiry: Expiry,
        /// Whose it is; `None` leaves that.
        owner: Option<Box<Owner>>,
    },
    /// Moves the idle deadline of a living session on by its idle timeout; changes no version. Answers `Written`.
    Touch,
    /// Gives a living session a new id in the same shard in one step. Answers `Count(1)`, or `Count(0)` if
    /// `replace` is false and the new id lives; [`Refusal::Missing`] without a source.
    Rename {
        /// The new id.
        to: Key,
        /// Whether a living session under the new id is overwritten.
        replace: bool,
    },
    /// Copies a living session in the same shard. Answers `Count(1)` or `Count(0)`.
    Copy {
        /// The copy's id.
        to: Key,
        /// Whether a living session under that id is overwritten.
        replace: bool,
    },
    /// Ends a session for good. Answers `Count(1)`, `Count(0)` if none lived.
    Destroy,
    /// Ends a session whose deadline has passed; proposed by leaders only. Answers `Count`.
    Expire {
        /// The version that the leader saw.
        version: Version,
        /// When the leader found it overdue; nothing happens to a session with a later deadline, nor before the entry's
        /// stamp reaches this.
        deadline: Stamp,
    },
    /// `SET` and its kin: creates or replaces. Answers `Done`, `Nothing` if the condition failed; with `get`, `Bytes`
    /// or `Nothing` of the old value in either case.
    Set {
        /// The value.
        value: Box<[u8]>,
        /// When it ends.
        expiry: Expiry,
        /// `NX`, `XX`.
        condition: Condition,
        /// Whether to answer the old value.
        get: bool,
        /// Whose it is, where the namespace reads that from values.
        owner: Option<Box<Owner>>,
    },
    /// `APPEND`. Answers `Count` of the new length.
    Append {
        /// What to append.
        value: Box<[u8]>,
    },
    /// `SETRANGE`. Answers `Count` of the new length.
    SetRange {
        /// Where, in bytes.
        offset: u64,
        /// What.
        value: Box<[u8]>,
    },
    /// `INCRBY` and kin. Answers `Count` of the new value.
    Increment {
        /// The summand.
        by: i64,
    },
    /// `INCRBYFLOAT`. Answers `Bytes` of the new value.
    IncrementFloat {
        /// The summand.
        by: f64,
    },
    /// `GETDEL`. Answers `Bytes` or `Nothing`.
    GetDelete,
    /// `GETEX`. Answers `Bytes` or `Nothing`.
    GetExpire {
        /// The new deadline.
        expiry: Expiry,
    },
    /// Destroys a string that has exactly this value: a lock's release. Answers `Count`.
    CompareDelete {
        /// The expected value.
        value: Box<[u8]>,
    },
    /// Sets the deadline of a string that has exactly this value: a lock's extension. Answers `Count`.
    CompareExpire {
        /// The expected value.
        value: Box<[u8]>,
        /// The new deadline.
        expiry: Expiry,
    },
    /// `HSET` and kin: creates where nothing lives. Answers `Count` of new fields.
    HashSet {
        /// Fields to set.
        fields: Fields,
        /// `HSETNX`: only those that are new.
        only_new: bool,
    },
    /// `HDEL`; a hash without fields is destroyed. Answers `Count` of removed fields.
    HashRemove {
        /// Their names.
        names: Vec<Box<[u8]>>,
    },
    /// `HINCRBY`. Answers `Count`.
    HashIncrement {
        /// The field.
        name: Box<[u8]>,
        /// The summand.
        by: i64,
    },
    /// `HINCRBYFLOAT`. Answers `Bytes`.
    HashIncrementFloat {
        /// The field.
        name: Box<[u8]>,
        /// The summand.
        by: f64,
    },
    /// `SADD`. Answers `Count` of new members.
    SetAdd {
        /// The members.
        members: Vec<Box<[u8]>>,
    },
    /// `SREM`; an empty set is destroyed. Answers `Count` of removed members.
    SetRemove {
        /// The members.
        members: Vec<Box<[u8]>>,
    },
    /// `SPOP`. Answers `Members`.
    SetPop {
        /// How many at most.
        count: u64,
        /// Randomness to choose by.
        seed: u64,
    },
    /// `ZADD`. Answers `Count`.
    SortedAdd {
        /// Members and scores; no score is NaN.
        members: Vec<(Box<[u8]>, f64)>,
        /// Its conditions.
        rules: ScoreRules,
    },
    /// `ZINCRBY` and `ZADD INCR`. Answers `Score`, or `Nothing` if a condition failed.
    SortedIncrement {
        /// The member.
        member: Box<[u8]>,
        /// The summand.
        by: f64,
        /// `ZADD`'s conditions.
        rules: ScoreRules,
    },
    /// `ZREM`; an empty sorted set is destroyed. Answers `Count`.
    SortedRemove {
        /// The members.
        members: Vec<Box<[u8]>>,
    },
    /// `ZREMRANGEBYSCORE`. Answers `Count`.
    SortedRemoveByScore {
        /// The lowest score and whether it is excluded.
        low: (f64, bool),
        /// The highest score and whether it is excluded.
        high: (f64, bool),
    },
    /// `ZREMRANGEBYRANK`. Answers `Count`.
    SortedRemoveByRank {
        /// First rank, negative from the end.
        start: i64,
        /// Last rank, inclusive.
        stop: i64,
    },
    /// `ZPOPMIN`, `ZPOPMAX`. Answers `Scored`.
    SortedPop {
        /// How many at most.
        count: u64,
        /// From the top rather than from the bottom.
        highest: bool,
    },
    /// `EXPIRE` and kin, when logged. Answers `Count`.
    SetExpiry {
        /// The new deadline; one that has passed destroys.
        expiry: Expiry,
        /// Its condition.
        condition: ExpireCondition,
    },
    /// `RESTORE`. Answers `Done`; [`Refusal::Busy`] if something lives and `replace` is false.
    Restore {
        /// Its shape.
        kind: Kind,
        /// Its fields.
        fields: Fields,
        /// When it ends.
        expiry: Expiry,
        /// Whether to overwrite.
        replace: bool,
    },
    /// A read inside `MULTI`. Answers `Record`.
    Read {
        /// What of it.
        projection: Projection,
    },
    /// `EXEC`: all steps or, when a watched version changed, none. Answers `Many`, or `Nothing` if none.
    Exec {
        /// Watched keys and the versions that were seen; `None` for "nothing lived".
        watched: Vec<(Key, Option<Version>)>,
        /// The steps, all in this shard.
        steps: Vec<(Key, Op)>,
    },
    /// Moves the idle deadline of a session on to what its leader has answered already; proposed by leaders only. Changes no
    /// version, and nothing of a session that was written or ended since. Answers `Count`.
    Extend {
        /// The version that was touched.
        version: Version,
        /// The idle deadline; the absolute one bounds it.
        deadline: Stamp,
    },
    /// Raises a user's revocation epoch, from which on no session of a lower epoch lives in this shard, and destroys the
    /// first `count_max` of them. Answers `Count` of those: as many as `count_max` means that more may be left, which the
    /// shard's leader destroys by and by.
    Revoke {
        /// The user.
        user: Box<[u8]>,
        /// The new epoch; one that is not higher leaves the epoch and only goes on destroying.
        epoch: u64,
        /// How many at most in this entry; never more than [`crate::state::ENDED_PER_APPLY_MAX`].
        count_max: u64,
    },
    /// A step of a rename between shards: see [`crate::state::moves`].
    Move {
        /// Which.
        step: MoveStep,
    },
    /// Destroys sessions of a namespace in this shard, `count_max` of those created before `before`. Answers `Count`: fewer
    /// than `count_max` means that none is left.
    Clear {
        /// Whose.
        namespace: NamespaceId,
        /// Only incarnations older than this stamp.
        before: Stamp,
        /// How many at most in this entry; never more than [`crate::state::ENDED_PER_APPLY_MAX`].
        count_max: u64,
    },
    /// Takes in what another region's shard changed; proposed by leaders only. Answers `Count` of the sessions that are other
    /// than before, `Nothing` if the piece does not follow on what was taken in last, [`Refusal::Fenced`] if something in it
    /// must not be taken in, and then nothing of it is.
    Absorb {
        /// What.
        absorbed: Box<Absorbed>,
    },
    /// Acts for a home no more under an earlier epoch, and takes in nothing of it that was written under one, but from those
    /// who act next: see [`crate::state::Right`]. Logged by every shard of every region while the right to act changes
    /// hands. Answers `Done`: this or a later promise stands from now on.
    Promise {
        /// Whose sessions.
        home: RegionId,
        /// The epoch that was drawn.
        epoch: u32,
        /// Who acted until now, where that is known: what they told is held here up to a known stamp.
        holders: BTreeSet<RegionId>,
    },
    /// Acts for a home from now on. Answers `Done`; [`Refusal::Fenced`] if a later epoch was promised.
    Assume {
        /// Whose sessions.
        home: RegionId,
        /// Under which epoch.
        epoch: u32,
    },
    /// Notes that nothing is missing any more of what was written for a home under epochs before the one that was promised.
    /// Answers `Done`; a promise that was made meanwhile is left as it is.
    CaughtUp {
        /// Whose sessions.
        home: RegionId,
        /// The epoch that was promised.
        epoch: u32,
    },
    /// Settles what a region that has returned wrote while others acted for it, or for a home that it acted for when it was lost: see
    /// [`crate::orphans`]. Logged by the shard that acts for the home. Answers `Settled` for those that it has looked at, the first
    /// ones, one at least: to be asked again with the others. [`Refusal::Fenced`], which is not remembered, if it does not act for the
    /// home.
    Settle {
        /// Who wrote them.
        by: RegionId,
        /// The home of their sessions.
        home: RegionId,
        /// The first epoch that was drawn for the home after that one last acted.
        epoch: u32,
        /// How the region comes back.
        how: Return,
        /// The sessions that it changed after the cut.
        orphans: Vec<Orphaned>,
    },
    /// Gives a living session away to another home, which orders it from when it hears of it. Answers `Written`, `Nothing` if
    /// it is at home there; [`Refusal::Busy`] while answers for its slot may be asked for again, which stay behind.
    Release {
        /// The new home.
        to: RegionId,
    },
    /// Notes that every region has these tombstones, and that nobody can bring an older copy any more: see
    /// [`crate::tombstones::Sweep`]. Less than is known already changes nothing. Answers `Done`.
    Swept {
        /// Which.
        known: Swept,
    },
    /// Notes that the shard writes as this version of the failover mode wants it. Answers `Done`.
    Adopt {
        /// The version.
        mode_version: u64,
    },
    /// A step of a slot's move to another shard of the region. Answers `Done`, or [`Refusal::Slot`].
    Slot {
        /// Which slot.
        slot: Slot,
        /// Which step.
        step: SlotStep,
    },
    /// Takes in what another shard of the region has of slots that arrive here. Answers `Done`, or [`Refusal::Slot`] if one of
    /// them does not arrive by this move.
    TakeSlots {
        /// The move.
        number: u64,
        /// What.
        page: Box<SlotPage>,
    },
}

impl Command {
    /// Adds the sessions that it names, those that it may change among them.
    pub fn push_keys<'a>(&'a self, keys: &mut Vec<&'a Key>) {
        keys.push(&self.key);
        self.op.push_keys(keys);
    }
}

impl Op {
    /// Whether it is about the shard rather than about a session: nobody takes its outcome for what a session is.
    pub fn is_of_shard(&self) -> bool {
        matches!(
            self,
            Self::Absorb { .. }
                | Self::Promise { .. }
                | Self::Assume { .. }
                | Self::CaughtUp { .. }
                | Self::Adopt { .. }
                | Self::Slot { .. }
                | Self::TakeSlots { .. }
        )
    }

    /// Adds the sessions that it names beside the one that it is on.
    pub(crate) fn push_keys<'a>(&'a self, keys: &mut Vec<&'a Key>) {
        match self {
            // A move names ids of two shards, and what it does to the other one is a step of its own.
            Self::Rename { to, .. } | Self::Copy { to, .. } => keys.push(to),
            Self::Exec { watched, steps } => {
                keys.extend(watched.iter().map(|(key, _)| key));
                for (key, op) in steps {
                    keys.push(key);
                    op.push_keys(keys);
                }
            }
            _one => {}
        }
    }
}
