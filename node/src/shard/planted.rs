//! Bugs that the simulation plants in a shard; nothing elsewhere.

use super::Sessions;
use crate::env::{Env, Plants, SlewedClock};
use sojourn_core::{Stamp, state};
use std::{collections::BTreeMap, sync::Arc};

/// What planted bugs need.
pub(super) struct Planted {
    env: Env,
    clock: Arc<SlewedClock>,
}

impl Planted {
    fn in_state(&self) -> state::Plants {
        state::Plants {
            update_creates: self.env.plants.update_creates,
            touch_past_absolute: self.env.plants.touch_past_absolute,
            rename_keeps_both: self.env.plants.rename_keeps_both,
            pieces_in_any_order: self.env.plants.pieces_in_any_order,
            page_drops_beyond_its_span: self.env.plants.page_drops_beyond_its_span,
            turned_slots_stand: self.env.plants.turned_slots_stand,
            tombstones_by_window: self.env.plants.tombstones_by_window,
            fences_by_term_alone: self.env.plants.fences_by_term_alone,
            epoch_lowered_by_travel: self.env.plants.epoch_lowered_by_travel,
            revoked_at: self.env.plants.revokes_by_wall_clock.then(BTreeMap::new),
            sequence: None,
        }
    }
}

impl Sessions {
    /// The same with the simulation's bugs, if `env` has any.
    #[must_use]
    pub fn plant(mut self, env: &Env, clock: Arc<SlewedClock>) -> Self {
        if env.plants != Plants::default() {
            let planted = Planted { env: env.clone(), clock };
            self.state.get_mut().plants = planted.in_state();
            self.planted = Some(planted);
        }
        self
    }

    /// The planted bug: what was answered does not get to the engine, and from there into snapshots.
    pub(super) fn forgets_requests(&self) -> bool {
        self.planted.as_ref().is_some_and(|planted| planted.env.plants.forget_requests_at_snapshot)
    }

    /// The planted bug: a feed that does not reach back to a cursor says that nothing changed.
    pub(super) fn denies_gaps(&self) -> bool {
        self.planted.as_ref().is_some_and(|planted| planted.env.plants.feed_denies_gaps)
    }

    /// The planted bug: versions of an entry are its index.
    pub(super) fn version_of(&self, index: u64) -> Option<u64> {
        self.planted.as_ref().filter(|planted| planted.env.plants.raft_index_as_version).map(|_| index)
    }

    /// The planted bug: this replica's time instead of the leader's.
    pub(super) fn local_stamp(&self) -> Option<Stamp> {
        let planted = self.planted.as_ref().filter(|planted| planted.env.plants.expiry_by_local_clock)?;
        Some(planted.clock.read_ms(&*planted.env.clock))
    }
}
