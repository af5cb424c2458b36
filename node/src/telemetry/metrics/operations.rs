//! Operations by kind and result, and how long they took.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use sojourn_core::{Key, Op, Outcome, Query};

/// Kinds of operations: the numbers of labels must stay small, so commands that do alike share one.
const KINDS: [&str; 19] = [
    "get", "list", "count", "create", "put", "patch", "touch", "rename", "destroy", "set", "string", "hash", "members",
    "deadline", "exec", "revoke", "clear", "absorb", "rights",
];

/// What became of an operation.
const RESULTS: [&str; 3] = ["ok", "refused", "unavailable"];

/// An index into [`RESULTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    Ok,
    Refused,
    Unavailable,
}

/// An index into [`KINDS`].
pub type Kind = usize;

/// Upper bounds in seconds, from what memory answers to what a timeout takes.
const BOUNDS_S: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5, 2.0, 5.0];

pub struct Operations {
    counts: Vec<[IntCounter; RESULTS.len()]>,
    times: Vec<Histogram>,
}

impl Operations {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Operations on sessions that gateways asked for, by kind and result.";
        let counts = IntCounterVec::new(Opts::new("operations_total", help), &["operation", "result"])?;
        let help =
            "How long gateways waited for the region. Operations that a client sent together count once, as the first.";
        let options = HistogramOpts::new("operation_seconds", help).buckets(BOUNDS_S.to_vec());
        let times = HistogramVec::new(options, &["operation"])?;
        registry.register(Box::new(counts.clone()))?;
        registry.register(Box::new(times.clone()))?;
        Ok(Self {
            counts: KINDS.iter().map(|kind| RESULTS.map(|result| counts.with_label_values(&[kind, &result]))).collect(),
            times: KINDS.iter().map(|kind| times.with_label_values(&[kind])).collect(),
        })
    }

    pub fn count(&self, kind: Kind, became: Became) {
        self.counts[kind][became as usize].inc();
    }

    pub fn time(&self, kind: Kind, seconds: f64) {
        self.times[kind].observe(seconds);
    }
}

pub fn became<E>(outcome: &Result<Outcome, E>) -> Became {
    match outcome {
        Ok(Outcome::Refused(_)) => Became::Refused,
        Ok(_) => Became::Ok,
        Err(_) => Became::Unavailable,
    }
}

pub fn kind_of_query(query: &Query) -> Kind {
    kind(match query {
        Query::Get { .. } | Query::GetAtHome { .. } | Query::GetSince { .. } | Query::RevocationEpoch { .. } => "get",
        Query::Scan { .. } | Query::Random { .. } => "list",
        Query::Count { .. } | Query::CountSlot { .. } => "count",
        Query::Slots { .. } => "rights",
    })
}

pub fn kind_of_op(op: &Op) -> Kind {
    kind(match op {
        Op::Create { .. } | Op::Restore { .. } | Op::Copy { .. } => "create",
        Op::Put { .. } => "put",
        Op::Patch { .. } => "patch",
        Op::Touch | Op::Extend { .. } => "touch",
        Op::Rename { .. } | Op::Move { .. } => "rename",
        Op::Destroy | Op::GetDelete | Op::CompareDelete { .. } | Op::Expire { .. } => "destroy",
        Op::Set { .. } => "set",
        Op::Append { .. } | Op::SetRange { .. } | Op::Increment { .. } | Op::IncrementFloat { .. } => "string",
        Op::HashSet { .. } | Op::HashRemove { .. } | Op::HashIncrement { .. } | Op::HashIncrementFloat { .. } => "hash",
        Op::SetAdd { .. }
        | Op::SetRemove { .. }
        | Op::SetPop { .. }
        | Op::SortedAdd { .. }
        | Op::SortedIncrement { .. }
        | Op::SortedRemove { .. }
        | Op::SortedRemoveByScore { .. }
        | Op::SortedRemoveByRank { .. }
        | Op::SortedPop { .. } => "members",
        Op::GetExpire { .. } | Op::CompareExpire { .. } | Op::SetExpiry { .. } => "deadline",
        Op::Read { .. } => "get",
        Op::Exec { steps, .. } => return kind_of_steps(steps),
        Op::Revoke { .. } => "revoke",
        Op::Clear { .. } => "clear",
        Op::Absorb { .. } => "absorb",
        Op::Promise { .. }
        | Op::Assume { .. }
        | Op::CaughtUp { .. }
        | Op::Adopt { .. }
        | Op::Settle { .. }
        | Op::Release { .. }
        | Op::Swept { .. }
        | Op::Slot { .. }
        | Op::TakeSlots { .. } => "rights",
    })
}

/// Several operations in one, or one between reads.
fn kind_of_steps(steps: &[(Key, Op)]) -> Kind {
    let mut writes = steps.iter().filter(|(_, op)| !matches!(op, Op::Read { .. }));
    match (writes.next(), writes.next()) {
        (Some((_, op)), None) if !matches!(op, Op::Exec { .. }) => kind_of_op(op),
        _several => kind("exec"),
    }
}

fn kind(name: &'static str) -> Kind {
    // A short list of short words: cheaper than hashing.
    KINDS.iter().position(|kind| *kind == name).unwrap_or_default()
}
