//! Sets: members are field names.

use super::turn::Turn;
use crate::{
    command::{Op, Outcome, Refusal},
    ids::Key,
    session::{Fields, Kind},
};
use std::collections::BTreeMap;

impl Turn<'_> {
    pub(super) fn set_op(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        match op {
            Op::SetAdd { members } => {
                let held = self.held(key, Kind::Set)?;
                let given = Fields::from_slices(members.iter().map(|member| (&**member, &b""[..])).collect());
                let fields = held.fields()?.with(&given);
                let added = fields.len() - held.fields()?.len();
                if added > 0 {
                    self.write_held(key, Kind::Set, &held, fields, "sadd")?;
                }
                Ok(Outcome::Count(added as i64))
            }
            Op::SetRemove { members } => self.remove_members(key, Kind::Set, &members, "srem"),
            Op::SetPop { count, seed } => {
                let held = self.held(key, Kind::Set)?;
                let fields = held.fields()?;
                let chosen = draw(fields.len(), count, seed);
                let popped: Vec<Box<[u8]>> =
                    chosen.into_iter().filter_map(|at| fields.at(at)).map(|(name, _)| name.into()).collect();
                if !popped.is_empty() {
                    let rest = fields.without(popped.iter().map(|name| &**name));
                    self.write_held(key, Kind::Set, &held, rest, "spop")?;
                }
                Ok(Outcome::Members(popped))
            }
            _other => Err(Refusal::WrongKind),
        }
    }
}

/// Draws `count` of `length` positions, none twice: a shuffle that stops early, of which only the moved ones are kept.
fn draw(length: usize, count: u64, seed: u64) -> Vec<usize> {
    let count = usize::try_from(count).map_or(length, |count| count.min(length));
    let (mut moved, mut random, mut drawn) = (BTreeMap::new(), seed, Vec::with_capacity(count));
    for last in (length - count..length).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 33) as usize % (last + 1);
        drawn.push(moved.get(&at).copied().unwrap_or(at));
        let replacement = moved.get(&last).copied().unwrap_or(last);
        moved.insert(at, replacement);
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::draw;
    use std::collections::BTreeSet;

    #[test]
    fn no_position_is_drawn_twice_and_all_can_be() {
        for (length, count) in [(0, 5), (1, 1), (10, 3), (10, 10), (10, u64::MAX), (1_000, 999)] {
            for seed in 0..50 {
                let drawn = draw(length, count, seed);
                assert_eq!(drawn.len() as u64, count.min(length as u64));
                assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len());
                assert!(drawn.iter().all(|at| *at < length));
            }
        }
        let ever: BTreeSet<usize> = (0..2_000).flat_map(|seed| draw(20, 1, seed * 7_919)).collect();
        assert_eq!(ever.len(), 20);
    }
}
