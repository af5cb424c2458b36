//! Comparing copies with what their region has, a part of a stream's slots at a time, so that one round over all of them takes a
//! quiet while and never much at once.

use sojourn_core::{Slot, ids::SLOTS};
use std::time::Duration;

/// Parts in which the slots of a stream are compared.
const PARTS: u16 = 12;

/// Slots that are summed up without a pause.
pub(super) const SLOTS_AT_ONCE: u16 = 64;

/// When the next part is due, if every slot is compared once in `round`.
pub(super) fn pause(round: Duration) -> Duration {
    (round / u32::from(PARTS)).max(Duration::from_millis(10))
}

/// What of these slots belongs to part number `turn`, counted on and on.
pub(super) fn part(slots: &[(Slot, Slot)], turn: u64) -> Vec<(Slot, Slot)> {
    let width = SLOTS.div_ceil(PARTS);
    let begin = u16::try_from(turn % u64::from(PARTS)).unwrap_or_default() * width;
    let (begin, end) = (begin, (begin + width).min(SLOTS) - 1);
    let within = slots.iter().filter_map(|(first, last)| {
        let (first, last) = (first.number().max(begin), last.number().min(end));
        if first <= last { Slot::new(first).zip(Slot::new(last)) } else { None }
    });
    within.collect()
}

/// The same slots in runs of at most `length`.
pub(super) fn runs(slots: &[(Slot, Slot)], length: u16) -> impl Iterator<Item = (Slot, Slot)> {
    slots.iter().flat_map(move |(first, last)| {
        let (first, last) = (first.number(), last.number());
        let begins = (first..=last).step_by(usize::from(length));
        begins.filter_map(move |begin| Slot::new(begin).zip(Slot::new(begin.saturating_add(length - 1).min(last))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> (Slot, Slot) {
        (Slot::new(first).expect("a slot"), Slot::new(last).expect("a slot"))
    }

    fn numbers(slots: impl IntoIterator<Item = (Slot, Slot)>) -> Vec<u16> {
        slots.into_iter().flat_map(|(first, last)| first.number()..=last.number()).collect()
    }

    #[test]
    fn one_round_is_every_slot_once() {
        let slots = [range(5, 4_000), range(4_002, 4_002), range(16_000, SLOTS - 1)];
        let round: Vec<u16> = (7..7 + u64::from(PARTS)).flat_map(|turn| numbers(part(&slots, turn))).collect();
        let mut sorted = round.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, numbers(slots));
        assert!((0..20).all(|turn| numbers(part(&slots, turn)).len() <= 1_366));
    }

    #[test]
    fn runs_are_short_and_leave_nothing_out() {
        let slots = [range(5, 400), range(402, 402), range(16_000, SLOTS - 1)];
        assert!(runs(&slots, 64).all(|(first, last)| last.number() - first.number() < 64));
        assert_eq!(numbers(runs(&slots, 64)), numbers(slots));
    }
}
