//! What was answered to whom, for as long as it may be asked again.

use super::SlotAnswer;
use crate::{
    command::{Outcome, Refusal, Request},
    ids::{Slot, Stamp},
};
use std::collections::BTreeMap;

/// The longest that an answer is remembered for a sender that settles nothing, in ms.
pub const ANSWER_MS_MAX: u64 = 5 * 60_000;

/// How much older one entry can make an answer, in ms. A leader whose clock is an hour ahead stamps its first entry an hour
/// after the last one: what was asked a second ago may still be asked again then, and must not happen twice.
pub const ANSWER_LEAP_MS_MAX: u64 = 10_000;

/// The most bytes of answers that a shard remembers: past them the oldest go first, sender by sender. Only senders that
/// settle nothing come near it.
pub const ANSWERS_BYTES_MAX: u64 = 64 << 20;

/// How many origins one command looks at for answers that are too old.
const ORIGINS_SWEPT_PER_APPLY: usize = 2;

/// How many answers of one origin it forgets at most.
const ANSWERS_SWEPT_PER_ORIGIN: usize = 16;

/// What an answer takes beside what it says.
const ANSWER_OVERHEAD_BYTES: u64 = 96;

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// The slot of the session, with which the answer moves.
    pub slot: Slot,
    /// When it was given, on [`Answers::clock_ms`].
    pub given_ms: u64,
    /// What was told.
    pub outcome: Outcome,
}

/// One sender's answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// Below this nothing is asked again.
    pub settled: u64,
    /// When it was last heard of, on [`Answers::clock_ms`].
    pub heard_ms: u64,
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
    /// The time that has passed by the stamps of entries, leaps cut to [`ANSWER_LEAP_MS_MAX`].
    pub clock_ms: u64,
}

/// Answers and their size.
#[derive(Debug, Default)]
pub(super) struct Memory {
    known: Answers,
    bytes: u64,
    /// How many there are of each slot.
    slots: BTreeMap<Slot, u64>,
}

pub(super) enum Recall {
    New,
    Known(Outcome),
    Settled,
}

impl Memory {
    pub(super) fn of(known: Answers) -> Self {
        let (mut bytes, mut slots) = (0, BTreeMap::new());
        for answer in known.origins.values().flat_map(|origin| origin.answers.values()) {
            bytes += bytes_of(answer);
            *slots.entry(answer.slot).or_default() += 1;
        }
        Self { known, bytes, slots }
    }

    /// Whether an answer for a session of the slot is remembered: it may be asked for again.
    pub(super) fn may_be_asked(&self, slot: Slot) -> bool {
        self.slots.contains_key(&slot)
    }

    /// Those who may ask again for an answer for a session of the slot.
    pub(super) fn askers(&self, slot: Slot) -> impl Iterator<Item = u64> {
        let has = move |origin: &Origin| origin.answers.values().any(|answer| answer.slot == slot);
        self.known.origins.iter().filter(move |(_, origin)| has(origin)).map(|(number, _)| *number)
    }

    pub(super) fn known(&self) -> &Answers {
        &self.known
    }

    pub(super) fn recall(&mut self, request: Request) -> Recall {
        if request.origin == 0 {
            return Recall::New;
        }
        let Some(origin) = self.known.origins.get_mut(&request.origin) else { return Recall::New };
        if request.settled > origin.settled {
            origin.settled = request.settled;
            while let Some(first) = origin.answers.first_entry().filter(|first| *first.key() < request.settled) {
                leave(&mut self.bytes, &mut self.slots, &first.remove());
            }
        }
        match origin.answers.get(&request.sequence) {
            Some(known) => Recall::Known(known.outcome.clone()),
            None if request.sequence < origin.settled => Recall::Settled,
            None => Recall::New,
        }
    }

    /// Remembers an answer, refusals too: whoever was told of one must not find it done later by a copy of the request that
    /// was on its way. Only what could not be decided for lack of the body is asked anew.
    pub(super) fn remember(&mut self, request: Request, slot: Slot, outcome: &Outcome) {
        if request.origin == 0 || matches!(outcome, Outcome::Refused(Refusal::NotHere)) {
            return;
        }
        let given_ms = self.known.clock_ms;
        let origin = self.known.origins.entry(request.origin).or_default();
        origin.settled = origin.settled.max(request.settled);
        origin.heard_ms = given_ms;
        let answer = Remembered { slot, given_ms, outcome: outcome.clone() };
        self.bytes += bytes_of(&answer);
        *self.slots.entry(slot).or_default() += 1;
        if let Some(replaced) = origin.answers.insert(request.sequence, answer) {
            leave(&mut self.bytes, &mut self.slots, &replaced);
        }
    }

    /// Takes the answers for sessions of a slot out, because it goes to another shard.
    pub(super) fn take_slot(&mut self, slot: Slot) -> Vec<SlotAnswer> {
        let mut taken = Vec::new();
        if !self.slots.contains_key(&slot) {
            return taken;
        }
        for (&number, origin) in &mut self.known.origins {
            let theirs = origin.answers.iter().filter(|(_, answer)| answer.slot == slot);
            for sequence in theirs.map(|(sequence, _)| *sequence).collect::<Vec<_>>() {
                let Some(answer) = origin.answers.remove(&sequence) else { continue };
                leave(&mut self.bytes, &mut self.slots, &answer);
                taken.push(SlotAnswer { origin: number, settled: origin.settled, sequence, outcome: answer.outcome });
            }
        }
        taken
    }

    /// Remembers what was answered for sessions of a slot in another shard, as if it had been now.
    pub(super) fn put_slot(&mut self, slot: Slot, answers: Vec<SlotAnswer>) {
        for SlotAnswer { origin, settled, sequence, outcome } in answers {
            let request = Request { origin, sequence, settled };
            // What is settled here or there is not asked for again.
            if let Recall::New = self.recall(request) {
                self.remember(request, slot, &outcome);
            }
        }
    }

    /// Lets time pass, from one stamp to the next.
    pub(super) fn pass(&mut self, from: Stamp, to: Stamp) {
        let passed_ms = to.saturating_sub(from).min(ANSWER_LEAP_MS_MAX);
        self.known.clock_ms = self.known.clock_ms.saturating_add(passed_ms);
    }

    /// Forgets what is too old or too much, a few origins at a time, the same ones on every replica.
    pub(super) fn sweep(&mut self) {
        let Self { known: Answers { origins, swept, clock_ms }, bytes, slots } = self;
        for _ in 0..ORIGINS_SWEPT_PER_APPLY {
            let Some((&number, origin)) = origins.range_mut(*swept..).next() else {
                *swept = 0;
                return;
            };
            let old = |since_ms: u64| since_ms.saturating_add(ANSWER_MS_MAX) <= *clock_ms;
            for _ in 0..ANSWERS_SWEPT_PER_ORIGIN {
                // Sequences are answered in order but for what overtakes in flight.
                let Some(first) = origin.answers.first_entry() else { break };
                if !old(first.get().given_ms) && *bytes <= ANSWERS_BYTES_MAX {
                    break;
                }
                leave(bytes, slots, &first.remove());
            }
            if origin.answers.is_empty() && old(origin.heard_ms) {
                origins.remove(&number);
            }
            *swept = number.saturating_add(1);
        }
    }
}

/// Counts one answer less.
fn leave(bytes: &mut u64, slots: &mut BTreeMap<Slot, u64>, answer: &Remembered) {
    *bytes = bytes.saturating_sub(bytes_of(answer));
    if let Some(left) = slots.get_mut(&answer.slot) {
        *left -= 1;
        if *left == 0 {
            slots.remove(&answer.slot);
        }
    }
}

fn bytes_of(answer: &Remembered) -> u64 {
    ANSWER_OVERHEAD_BYTES + weight(&answer.outcome)
}

/// About how much memory an outcome holds beside itself.
fn weight(outcome: &Outcome) -> u64 {
    const EACH: u64 = 32;
    match outcome {
        Outcome::Done | Outcome::Nothing | Outcome::Count(_) | Outcome::Score(_) => 0,
        Outcome::Written { .. } | Outcome::Settled(_) => 0,
        Outcome::Bytes(bytes) => bytes.len() as u64,
        Outcome::Members(members) => members.iter().map(|member| EACH + member.len() as u64).sum(),
        Outcome::Scored(members) => members.iter().map(|(member, _)| EACH + member.len() as u64).sum(),
        Outcome::Record(view) => view.as_ref().map_or(0, |view| EACH + view.fields.bytes()),
        Outcome::Many(outcomes) => outcomes.iter().map(|outcome| EACH + weight(outcome)).sum(),
        Outcome::Refused(Refusal::Conflict { current }) => EACH + current.fields.bytes(),
        Outcome::Refused(_) => EACH,
    }
}
