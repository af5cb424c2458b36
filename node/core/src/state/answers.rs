//! What was answered to whom, for as long as it may be asked again.

use crate::{
    command::{Outcome, Request},
    ids::{Slot, Stamp},
};
use std::collections::BTreeMap;

/// The longest that an answer is remembered for a sender that settles nothing, in ms.
pub const ANSWER_MS_MAX: u64 = 5 * 60_000;

/// How many origins one entry looks at for answers that are too old.
const ORIGINS_SWEPT_PER_APPLY: usize = 2;

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// The slot of the session, with which the answer moves.
    pub slot: Slot,
    /// When it was given.
    pub stamp: Stamp,
    /// What was told.
    pub outcome: Outcome,
}

/// One sender's answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// Below this nothing is asked again.
    pub settled: u64,
    /// By sequence.
    pub answers: BTreeMap<u64, Remembered>,
}

/// The answers of a shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// By origin.
    pub origins: BTreeMap<u64, Origin>,
    /// Where the sweep goes on.
    pub swept: u64,
}

pub(super) enum Recall {
    New,
    Known(Outcome),
    Settled,
}

impl Answers {
    pub(super) fn recall(&mut self, request: Request) -> Recall {
        if request.origin == 0 {
            return Recall::New;
        }
        let Some(origin) = self.origins.get_mut(&request.origin) else { return Recall::New };
        if request.settled > origin.settled {
            origin.settled = request.settled;
            origin.answers = origin.answers.split_off(&request.settled);
        }
        match origin.answers.get(&request.sequence) {
            Some(known) => Recall::Known(known.outcome.clone()),
            None if request.sequence < origin.settled => Recall::Settled,
            None => Recall::New,
        }
    }

    /// Remembers an answer; not one that says that nothing changed, for asking again then changes nothing either way.
    pub(super) fn remember(&mut self, request: Request, slot: Slot, stamp: Stamp, outcome: &Outcome) {
        if request.origin == 0 || matches!(outcome, Outcome::Refused(_)) {
            return;
        }
        let origin = self.origins.entry(request.origin).or_default();
        origin.settled = origin.settled.max(request.settled);
        origin.answers.insert(request.sequence, Remembered { slot, stamp, outcome: outcome.clone() });
    }

    /// Forgets what is too old, a few origins at a time, the same ones on every replica.
    pub(super) fn sweep(&mut self, stamp: Stamp) {
        for _ in 0..ORIGINS_SWEPT_PER_APPLY {
            let next = self.origins.range_mut(self.swept..).next();
            let Some((&number, origin)) = next else {
                self.swept = 0;
                return;
            };
            origin.answers.retain(|_, answer| answer.stamp.saturating_add(ANSWER_MS_MAX) > stamp);
            if origin.answers.is_empty() && origin.settled == 0 {
                self.origins.remove(&number);
            }
            self.swept = number.saturating_add(1);
        }
    }
}
