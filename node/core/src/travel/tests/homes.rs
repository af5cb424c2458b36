//! A session travels from one region to another while the first is lost and a third acts for it: all that can happen, in any
//! order. At no time do two regions acknowledge its writes, and in the end one may. Rules are left out in turn.

use std::collections::BTreeSet;

/// Rules that can be left out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plant {
    None,
    /// Nobody waits for those who have not answered.
    SilentNotAwaited,
    /// Leases are granted to those who do not know who acts.
    UnknowingLeased,
    /// Leases are granted to those who should answer first.
    UnansweredLeased,
    /// What came after the cut is kept.
    NotGivenUp,
    /// The heir lets itself be told after it has promised.
    ToldTooLate,
    /// Who has promised goes on taking in what the lost region tells.
    PromiseForgotten,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Serving,
    Fenced,
    Gathering,
    Named,
    /// The heir acts.
    Open {
        /// Whether it knows of the release.
        release_known: bool,
    },
}

/// What there is to say of the old home, the heir and the new home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    phase: Phase,
    released: bool,
    old_leased: bool,
    heir_has: bool,
    heir_answered: Option<bool>,
    new_has: bool,
    new_leased: bool,
    new_promised: bool,
    new_answered: Option<bool>,
    new_gave_up: bool,
    /// What the new home knows of the phase.
    seen: Phase,
}

impl World {
    fn heir_promised(&self) -> bool {
        self.heir_answered.is_some()
    }

    /// How many would acknowledge a write now.
    fn owners(&self) -> usize {
        let old = !self.released && self.old_leased;
        let heir = matches!(self.phase, Phase::Open { .. }) && !self.heir_has;
        let new = self.new_has && self.new_leased && !self.new_gave_up;
        [old, heir, new].into_iter().filter(|owns| *owns).count()
    }

    /// How many would, or could with a lease and what is on its way, once the new home knows that the heir acts.
    fn owners_to_be(&self) -> Option<usize> {
        let known = self.seen == self.phase && matches!(self.phase, Phase::Open { .. });
        known.then(|| usize::from(!self.heir_has) + usize::from((self.new_has || self.heir_has) && !self.new_gave_up))
    }

    /// The new home learns of the phase.
    fn learn(&mut self, plant: Plant) {
        self.seen = self.phase;
        self.new_promised |= self.phase != Phase::Serving;
        if self.phase == (Phase::Open { release_known: false }) && self.new_has && plant != Plant::NotGivenUp {
            self.new_gave_up = true;
        }
    }

    fn may_renew_new(&self, plant: Plant) -> bool {
        match self.phase {
            Phase::Serving => true,
            Phase::Fenced => self.seen != Phase::Serving || plant == Plant::UnknowingLeased,
            Phase::Gathering | Phase::Named => self.new_answered.is_some() || plant == Plant::UnansweredLeased,
            Phase::Open { .. } => self.seen == self.phase || plant == Plant::UnknowingLeased,
        }
    }

    /// All that can happen next.
    fn next(self, plant: Plant) -> Vec<World> {
        let mut all = Vec::new();
        let mut step = |may: bool, change: &dyn Fn(&mut World)| {
            let mut next = self;
            if may {
                change(&mut next);
                all.push(next);
            }
        };
        let forgetful = plant == Plant::PromiseForgotten;
        // What was proposed under a lease may be logged after it.
        step(!self.released, &|world| world.released = true);
        step(self.phase == Phase::Serving, &|world| world.old_leased = true);
        step(true, &|world| world.old_leased = false);
        step(self.may_renew_new(plant), &|world| world.new_leased = true);
        step(true, &|world| world.new_leased = false);
        step(self.released && (!self.new_promised || forgetful), &|world| world.new_has = true);
        step(self.released && (!self.heir_promised() || forgetful), &|world| world.heir_has = true);
        let told = self.new_has && (!self.heir_promised() || plant == Plant::ToldTooLate);
        step(told, &|world| world.heir_has = true);
        step(true, &|world| world.learn(plant));
        step(self.phase == Phase::Serving, &|world| world.phase = Phase::Fenced);
        step(self.phase == Phase::Fenced && !self.old_leased, &|world| world.phase = Phase::Gathering);
        step(self.phase == Phase::Gathering, &|world| world.heir_answered = Some(world.heir_has));
        step(self.phase == Phase::Gathering, &|world| {
            world.learn(plant);
            world.new_answered = Some(world.new_has);
        });
        let silent = self.new_answered.is_none() && self.new_leased && plant != Plant::SilentNotAwaited;
        step(self.phase == Phase::Gathering && self.heir_promised() && !silent, &|world| world.phase = Phase::Named);
        step(self.phase == Phase::Named, &|world| {
            let release_known = world.heir_answered == Some(true) || world.new_answered == Some(true);
            world.heir_has |= release_known;
            world.phase = Phase::Open { release_known };
        });
        all
    }
}

/// Whether all that can happen is well; how many different things can.
fn explore(plant: Plant) -> Result<usize, World> {
    let (mut reached, mut frontier) = (BTreeSet::new(), vec![World::default()]);
    while let Some(world) = frontier.pop() {
        if world.owners() > 1 || world.owners_to_be().is_some_and(|owners| owners != 1) {
            return Err(world);
        }
        if reached.insert(world) {
            frontier.extend(world.next(plant));
        }
    }
    Ok(reached.len())
}

#[test]
fn a_session_has_one_home_whatever_happens_on_the_way() {
    let reached = explore(Plant::None).expect("one home");
    assert!(reached > 200, "only {reached} states were reached");
}

#[test]
fn each_rule_that_is_left_out_leaves_two_homes_or_none() {
    for plant in [
        Plant::SilentNotAwaited,
        Plant::UnknowingLeased,
        Plant::UnansweredLeased,
        Plant::NotGivenUp,
        Plant::ToldTooLate,
        Plant::PromiseForgotten,
    ] {
        assert!(explore(plant).is_err(), "{plant:?}");
    }
}
