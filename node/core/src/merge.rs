//! Merging two copies of a session's record, as regions do that were apart.
//!
//! The law: the higher incarnation; within one incarnation dead over alive, then the higher version's body. The idle
//! deadline belongs to the body's version, so that a write can shorten it; touches under one version merge by maximum, and
//! so do the times of tombstones. The merge is commutative, associative and idempotent: within one incarnation it is the
//! product of two joins, that of lives and that of bodies, and a dead one's fields are dropped. A version names one body, so
//! what follows in the comparison only serves copies that no correct region writes.

use crate::session::{Body, Fields, Life, Record};
use std::cmp::Ordering;

/// What became of two copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The record that both copies should be from now on.
    pub record: Record,
    /// A living session of an earlier incarnation that gave way to another session under its id. Whoever merges knows where
    /// the copies come from: where one region ordered both, the later replaced the earlier; else it belongs in the journal.
    pub superseded: Option<Record>,
}

/// Merges two copies of the record under one id. Both are as `State::apply` leaves them.
pub fn merge(left: &Record, right: &Record) -> Merged {
    let (winner, loser) = match left.incarnation.cmp(&right.incarnation) {
        Ordering::Equal => return Merged { record: join(left, right), superseded: None },
        Ordering::Greater => (left, right),
        Ordering::Less => (right, left),
    };
    let superseded = (loser.life == Life::Live).then(|| loser.clone());
    Merged { record: winner.clone(), superseded }
}

/// Joins two copies of one incarnation.
fn join(left: &Record, right: &Record) -> Record {
    let mut record = if compare(left, right) == Ordering::Less { right.clone() } else { left.clone() };
    if left.version == right.version {
        record.idle_deadline = left.idle_deadline.max(right.idle_deadline);
        record.written = left.written.max(right.written);
    }
    record.life = join_lives(left.life, right.life);
    if record.life != Life::Live {
        record.owner = None;
        record.body = Body::Hot(Fields::new());
    }
    record
}

/// Dead over alive. Two tombstones stand as long as the longer one, and somebody's destroy says more than a deadline.
fn join_lives(left: Life, right: Life) -> Life {
    match (left, right) {
        (Life::Live, other) | (other, Life::Live) => other,
        (
            Life::Dead { at, collect_at, expired },
            Life::Dead { at: other_at, collect_at: other_collect_at, expired: other_expired },
        ) => Life::Dead {
            at: at.max(other_at),
            collect_at: collect_at.max(other_collect_at),
            expired: expired && other_expired,
        },
    }
}

/// Orders the bodies of one incarnation. What a death drops comes last, so that it decides nothing else.
fn compare(left: &Record, right: &Record) -> Ordering {
    let key = |record: &Record| {
        let Record { version, absolute_deadline, home, kind, idle_timeout_ms, .. } = *record;
        (version, absolute_deadline, home, kind, idle_timeout_ms)
    };
    let dropped = |left: &Record, right: &Record| {
        left.owner.cmp(&right.owner).then_with(|| compare_bodies(&left.body, &right.body))
    };
    key(left).cmp(&key(right)).then_with(|| dropped(left, right))
}

/// A body in memory over the note that it is on disk.
fn compare_bodies(left: &Body, right: &Body) -> Ordering {
    match (left, right) {
        (Body::Hot(left), Body::Hot(right)) => left.cmp(right),
        (Body::Hot(_), Body::Cold { .. }) => Ordering::Greater,
        (Body::Cold { .. }, Body::Hot(_)) => Ordering::Less,
        (Body::Cold { bytes, field_count }, Body::Cold { bytes: other_bytes, field_count: other_field_count }) => {
            (bytes, field_count).cmp(&(other_bytes, other_field_count))
        }
    }
}

#[cfg(test)]
mod tests;
