//! Sessions that follow their users: the step in the old home's log. The new home takes the record in as it does any change,
//! and orders the session from that entry on, since the record says whose it is.

use super::{Effect, Event, turn::Turn};
use crate::{
    command::{Outcome, Refusal},
    ids::{Key, RegionId},
    travel::{TravelRefusal, release},
};

impl Turn<'_> {
    pub(super) fn release(&mut self, key: &Key, to: RegionId) -> Result<Outcome, Refusal> {
        let record = self.live(key).ok_or(Refusal::Gone)?;
        // A retry would find the session gone from here, and nobody there who remembers that it was answered.
        if self.state.answers.may_be_asked(key.slot()) {
            return Err(Refusal::Busy);
        }
        // What is promised of the new home counts, too: it must take the session in.
        let epoch = self.state.promised(to).max(self.state.acts_for(record.home).unwrap_or(0));
        let sequence = self.state.next_sequence(key.slot(), record.version.sequence);
        let released = match release(&record, to, epoch, sequence, self.stamp) {
            Ok(mut released) if self.state.plants.epoch_lowered_by_travel => {
                released.version.epoch = self.state.promised(to);
                released
            }
            Ok(released) => released,
            Err(TravelRefusal::AtHome) => return Ok(Outcome::Nothing),
            Err(TravelRefusal::Ended) => return Err(Refusal::Gone),
        };
        // From now on there is somebody else who orders something.
        self.state.rights.entry(to).or_default();
        let (incarnation, version, deadline) = (released.incarnation, released.version, released.deadline());
        self.place(key, released, Event::Touched);
        if let Some(Effect { told, .. }) = self.effects.last_mut() {
            *told = true;
        }
        Ok(Outcome::Written { incarnation, version, deadline })
    }
}
