//! Everything that can happen to a slot on its way, there and back: every step may be late, repeated or lost, and whoever
//! drives the move may stop anywhere and change his mind.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const MOVES: u64 = 2;
const WRITES: u64 = 2;

/// Rules that can be left out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plant {
    None,
    /// The target adopts whatever it has.
    AdoptUnseen,
    /// That a move was abandoned is forgotten.
    AbandonForgotten,
    /// The source thaws when it has waited for long enough.
    ThawByTime,
    /// The source drops when it has frozen.
    DropUnseen,
    /// The source goes on serving until it drops.
    FrozenServes,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    moved: SlotMove,
    holds: [Hold; 2],
    /// How many writes each shard has of the slot.
    data: [u64; 2],
    /// How many were acknowledged.
    acknowledged: u64,
    /// Steps on their way, to a shard, for ever.
    sent: BTreeSet<(u32, SlotStep)>,
}

fn shard(number: u32) -> usize {
    number as usize
}

fn contents(data: u64) -> Contents {
    Contents { digest: u128::from(data), sequence: data, stamp: data, rights: 0 }
}

impl World {
    fn new() -> Self {
        let moved = SlotMove { number: 1, from: ShardId(0), to: ShardId(1) };
        let holds = [Hold::Serving { settled: 0 }, Hold::Away { settled: 0 }];
        Self { moved, holds, data: [0, 0], acknowledged: 0, sent: BTreeSet::new() }
    }

    fn serves(&self, at: usize, plant: Plant) -> bool {
        let frozen = matches!(self.holds[at], Hold::Frozen { .. });
        self.holds[at].serves() || (frozen && plant == Plant::FrozenServes)
    }

    /// The next step, by somebody who knows how much is missing.
    fn next(&self, wish: Wish) -> Next {
        self.next_by(wish, false)
    }

    /// The next step, by somebody who may believe that nothing is missing.
    fn next_by(&self, wish: Wish, believing: bool) -> Next {
        let [source, target] = [self.moved.from, self.moved.to].map(|id| shard(id.0));
        let arriving = matches!(self.holds[target], Hold::Arriving { .. });
        let lag = arriving.then(|| if believing { 0 } else { self.data[source].saturating_sub(self.data[target]) });
        plan(self.moved, self.holds[source], self.holds[target], lag, wish)
    }

    /// The world after a shard has met a step.
    fn met(&self, at: u32, step: SlotStep, plant: Plant) -> Option<Self> {
        let (hold, own) = (self.holds[shard(at)], contents(self.data[shard(at)]));
        let after = match (plant, step) {
            (Plant::AdoptUnseen, SlotStep::Adopt { contents, .. }) => hold.after(step, contents),
            (Plant::AbandonForgotten, SlotStep::Arrive(_)) if matches!(hold, Hold::Away { .. }) => {
                Hold::Away { settled: 0 }.after(step, own)
            }
            (
                Plant::None
                | Plant::AdoptUnseen
                | Plant::AbandonForgotten
                | Plant::ThawByTime
                | Plant::DropUnseen
                | Plant::FrozenServes,
                step,
            ) => hold.after(step, own),
        };
        let mut world = self.clone();
        world.holds[shard(at)] = after.ok()?;
        let forgets = matches!(step, SlotStep::Arrive(_)) || matches!(world.holds[shard(at)], Hold::Away { .. });
        if forgets {
            world.data[shard(at)] = 0;
        }
        Some(world)
    }

    /// The world after whoever drives the move has done what is next.
    fn driven(&self, wish: Wish, believing: bool) -> Self {
        let mut world = self.clone();
        match self.next_by(wish, believing) {
            Next::AtSource(step) => {
                world.sent.insert((self.moved.from.0, step));
            }
            Next::AtTarget(step) => {
                world.sent.insert((self.moved.to.0, step));
            }
            Next::Copy => world.data[shard(self.moved.to.0)] = self.data[shard(self.moved.from.0)],
            Next::Over(from) if self.moved.number < MOVES => {
                let to = ShardId(1 - from.0);
                world.moved = SlotMove { number: self.moved.number + 1, from, to };
            }
            Next::Over(_) => {}
        }
        world
    }

    /// All that can happen next.
    fn all_next(&self, plant: Plant) -> Vec<Self> {
        let drivers = [(Wish::Move { lag_max: 1 }, false), (Wish::Move { lag_max: 1 }, true), (Wish::GiveUp, false)];
        let mut all: Vec<Self> = drivers.into_iter().map(|(wish, believing)| self.driven(wish, believing)).collect();
        for at in [0, 1] {
            if self.serves(at, plant) && self.acknowledged < WRITES {
                let mut world = self.clone();
                world.data[at] += 1;
                world.acknowledged += 1;
                all.push(world);
            }
        }
        all.extend(self.sent.iter().filter_map(|(at, step)| self.met(*at, *step, plant)));
        if let Hold::Frozen { to, .. } = self.holds[shard(self.moved.from.0)] {
            let rash = match plant {
                Plant::ThawByTime => Some(SlotStep::Thaw { number: to.number }),
                Plant::DropUnseen => Some(SlotStep::Drop { number: to.number }),
                Plant::None | Plant::AdoptUnseen | Plant::AbandonForgotten | Plant::FrozenServes => None,
            };
            all.extend(rash.and_then(|step| self.met(self.moved.from.0, step, plant)));
        }
        all
    }

    /// Two shards serve, or the one that does lacks what was acknowledged, or nobody has all of it any more.
    fn is_wrong(&self, plant: Plant) -> bool {
        let served: Vec<usize> = [0, 1].into_iter().filter(|at| self.serves(*at, plant)).collect();
        let lacks = |at: &usize| self.data[*at] != self.acknowledged;
        served.len() > 1 || served.iter().any(lacks) || [0, 1].iter().all(lacks)
    }

    /// Who serves once somebody goes on with the move, undisturbed.
    fn settles(&self, wish: Wish) -> Option<ShardId> {
        let mut world = self.clone();
        for _ in 0..12 {
            let (at, step) = match world.next(wish) {
                Next::Over(shard) => return Some(shard),
                Next::Copy => {
                    world = world.driven(wish, false);
                    continue;
                }
                Next::AtSource(step) => (world.moved.from.0, step),
                Next::AtTarget(step) => (world.moved.to.0, step),
            };
            world = world.met(at, step, Plant::None)?;
        }
        None
    }
}

/// All that can be reached, or something that must not be.
fn explore(plant: Plant) -> Result<BTreeSet<World>, Box<World>> {
    let (mut reached, mut frontier) = (BTreeSet::new(), vec![World::new()]);
    while let Some(world) = frontier.pop() {
        if world.is_wrong(plant) {
            return Err(Box::new(world));
        }
        if !reached.contains(&world) {
            frontier.extend(world.all_next(plant));
            reached.insert(world);
        }
    }
    Ok(reached)
}

#[test]
fn one_shard_serves_a_slot_or_can_be_made_to_wherever_its_move_stops() {
    let reached = explore(Plant::None).expect("one owner with everything");
    let mut ends: BTreeMap<ShardId, usize> = BTreeMap::new();
    for world in &reached {
        for wish in [Wish::Move { lag_max: 1 }, Wish::GiveUp] {
            let owner = world.settles(wish).unwrap_or_else(|| panic!("{wish:?} leads nowhere from {world:?}"));
            *ends.entry(owner).or_default() += 1;
        }
    }
    assert!(reached.len() > 1_000, "only {} states were reached", reached.len());
    assert!(ends.len() == 2, "both shards serve at times");
}

#[test]
fn each_rule_that_is_left_out_leaves_two_owners_or_loses_writes() {
    for plant in
        [Plant::AdoptUnseen, Plant::AbandonForgotten, Plant::ThawByTime, Plant::DropUnseen, Plant::FrozenServes]
    {
        assert!(explore(plant).is_err(), "{plant:?} was not noticed");
    }
}

#[test]
fn a_move_that_is_not_disturbed_takes_these_steps() {
    let (mut world, mut steps) = (World::new(), Vec::new());
    loop {
        let next = world.next(Wish::Move { lag_max: 1 });
        steps.push(match next {
            Next::AtSource(step) | Next::AtTarget(step) => match step {
                SlotStep::Leave(_) => "leave",
                SlotStep::Freeze { .. } => "freeze",
                SlotStep::Thaw { .. } => "thaw",
                SlotStep::Drop { .. } => "drop",
                SlotStep::Arrive(_) => "arrive",
                SlotStep::Adopt { .. } => "adopt",
                SlotStep::Abandon { .. } => "abandon",
            },
            Next::Copy => "copy",
            Next::Over(_) => break,
        });
        world = match next {
            Next::AtSource(step) => world.met(0, step, Plant::None).expect("taken"),
            Next::AtTarget(step) => world.met(1, step, Plant::None).expect("taken"),
            Next::Copy | Next::Over(_) => world.driven(Wish::Move { lag_max: 1 }, false),
        };
        if steps.len() == 2 {
            (world.data[0], world.acknowledged) = (2, 2);
        }
    }
    assert_eq!(steps, ["leave", "arrive", "copy", "freeze", "adopt", "drop"]);
    assert_eq!(world.holds, [Hold::Away { settled: 1 }, Hold::Serving { settled: 1 }]);
    assert_eq!(world.data, [0, 2]);
}

#[test]
fn as_many_slots_go_together_as_hold_few_records() {
    for (slots, records, next) in [
        (16, 0, 256),
        (16, 16, 256),
        (16, 96, 170),
        (170, 1_020, 170),
        (16, 1_000, 16),
        (256, 1_000_000, 16),
        (0, 0, 256),
        (16, u64::MAX, 16),
    ] {
        assert_eq!(together(slots, records), next, "{slots} slots of {records} records");
    }
}
