//! Sorted sets: members are field names, scores their values, ordered when read.

use super::turn::Turn;
use crate::{
    command::{Condition, Op, Outcome, Refusal, ScoreRules},
    ids::Key,
    session::{Fields, Kind},
};
use std::{cmp::Ordering, collections::BTreeMap};

/// The value of a member's field.
pub fn encode_score(score: f64) -> Box<[u8]> {
    score.to_bits().to_be_bytes().into()
}

/// The score in a member's field; 0 where it is malformed.
pub fn decode_score(value: &[u8]) -> f64 {
    value.try_into().map_or(0.0, |bytes| f64::from_bits(u64::from_be_bytes(bytes)))
}

/// Members with their scores, by score and then by name.
pub fn ordered(fields: &Fields) -> Vec<(&[u8], f64)> {
    let mut members: Vec<_> = scored(fields).collect();
    members.sort_unstable_by(by_score);
    members
}

fn scored(fields: &Fields) -> impl Iterator<Item = (&[u8], f64)> {
    fields.iter().map(|(name, value)| (name, decode_score(value)))
}

fn by_score(left: &(&[u8], f64), right: &(&[u8], f64)) -> Ordering {
    left.1.total_cmp(&right.1).then_with(|| left.0.cmp(right.0))
}

/// What one member's change came to.
enum Scored {
    Refused,
    Same(f64),
    Changed(f64),
    Added(f64),
}

impl Turn<'_> {
    pub(super) fn sorted_op(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        match op {
            Op::SortedAdd { members, rules } => {
                let held = self.held(key, Kind::SortedSet)?;
                let mut draft = Draft::of(held.fields()?);
                let (mut added, mut changed) = (0, 0);
                for (member, score) in members {
                    match draft.score(member, rules, |_| Ok(score))? {
                        Scored::Added(_) => added += 1,
                        Scored::Changed(_) => changed += 1,
                        Scored::Same(_) | Scored::Refused => {}
                    }
                }
                if added + changed > 0 {
                    let fields = draft.finish();
                    self.write_held(key, Kind::SortedSet, &held, fields, "zadd")?;
                }
                Ok(Outcome::Count(if rules.count_changed { added + changed } else { added }))
            }
            Op::SortedIncrement { member, by, rules } => {
                let held = self.held(key, Kind::SortedSet)?;
                let mut draft = Draft::of(held.fields()?);
                let sum = |old: f64| if (old + by).is_nan() { Err(Refusal::NotFinite) } else { Ok(old + by) };
                let score = match draft.score(member, rules, sum)? {
                    Scored::Refused => return Ok(Outcome::Nothing),
                    Scored::Same(score) => return Ok(Outcome::Score(score)),
                    Scored::Changed(score) | Scored::Added(score) => score,
                };
                let fields = draft.finish();
                self.write_held(key, Kind::SortedSet, &held, fields, "zincr")?;
                Ok(Outcome::Score(score))
            }
            Op::SortedRemove { members } => self.remove_members(key, Kind::SortedSet, &members, "zrem"),
            Op::SortedRemoveByScore { low, high } => {
                let above = |score: f64| if low.1 { score > low.0 } else { score >= low.0 };
                let below = |score: f64| if high.1 { score < high.0 } else { score <= high.0 };
                self.remove_ranked(key, "zremrangebyscore", |members| {
                    members
                        .iter()
                        .filter(|(_, score)| above(*score) && below(*score))
                        .map(|(name, _)| (*name).into())
                        .collect()
                })
            }
            Op::SortedRemoveByRank { start, stop } => self.remove_ranked(key, "zremrangebyrank", |members| {
                let range = rank_range(start, stop, members.len());
                members[range].iter().map(|(name, _)| (*name).into()).collect()
            }),
            Op::SortedPop { count, highest } => self.pop(key, count, highest),
            _other => Err(Refusal::WrongKind),
        }
    }

    fn remove_ranked(
        &mut self,
        key: &Key,
        event: &'static str,
        choose: impl FnOnce(&[(&[u8], f64)]) -> Vec<Box<[u8]>>,
    ) -> Result<Outcome, Refusal> {
        let held = self.held(key, Kind::SortedSet)?;
        let names = choose(&ordered(held.fields()?));
        self.remove_members(key, Kind::SortedSet, &names, event)
    }

    fn pop(&mut self, key: &Key, count: u64, highest: bool) -> Result<Outcome, Refusal> {
        let held = self.held(key, Kind::SortedSet)?;
        let mut members: Vec<_> = scored(held.fields()?).collect();
        let order = |left: &(&[u8], f64), right: &(&[u8], f64)| {
            if highest { by_score(right, left) } else { by_score(left, right) }
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count < members.len() {
            // A few of many are found without ordering all.
            members.select_nth_unstable_by(count, order);
            members.truncate(count);
        }
        members.sort_unstable_by(order);
        let popped: Vec<(Box<[u8]>, f64)> = members.into_iter().map(|(name, score)| (name.into(), score)).collect();
        let names: Vec<Box<[u8]>> = popped.iter().map(|(name, _)| name.clone()).collect();
        self.remove_members(key, Kind::SortedSet, &names, if highest { "zpopmax" } else { "zpopmin" })?;
        Ok(Outcome::Scored(popped))
    }
}

/// The positions between two ranks, negative ones from the end, of `length` members.
pub fn rank_range(start: i64, stop: i64, length: usize) -> std::ops::Range<usize> {
    let length = length as i64;
    let from_end = |rank: i64| if rank < 0 { rank.saturating_add(length) } else { rank };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(length - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

/// Changes to a sorted set, gathered so that many cost one copy of it.
struct Draft<'a> {
    held: &'a Fields,
    changed: BTreeMap<Box<[u8]>, f64>,
}

impl<'a> Draft<'a> {
    fn of(held: &'a Fields) -> Self {
        Self { held, changed: BTreeMap::new() }
    }

    /// Gives a member the score that `score` makes of the one it has, or of 0.
    fn score(
        &mut self,
        member: Box<[u8]>,
        rules: ScoreRules,
        score: impl FnOnce(f64) -> Result<f64, Refusal>,
    ) -> Result<Scored, Refusal> {
        let old = self.changed.get(&member).copied().or_else(|| self.held.get(&member).map(decode_score));
        let allowed = match rules.condition {
            Condition::Always => true,
            Condition::IfAbsent => old.is_none(),
            Condition::IfPresent => old.is_some(),
        };
        if !allowed {
            return Ok(Scored::Refused);
        }
        let new = score(old.unwrap_or(0.0))?;
        if new.is_nan() {
            return Err(Refusal::NotFloat);
        }
        if let Some(old) = old {
            if (rules.only_greater && new <= old) || (rules.only_less && new >= old) {
                return Ok(Scored::Refused);
            }
            if new == old {
                return Ok(Scored::Same(new));
            }
        }
        self.changed.insert(member, new);
        Ok(if old.is_some() { Scored::Changed(new) } else { Scored::Added(new) })
    }

    fn finish(self) -> Fields {
        let changed = self.changed.into_iter().map(|(member, score)| (member, encode_score(score)));
        self.held.with(&Fields::from_pairs(changed))
    }
}
