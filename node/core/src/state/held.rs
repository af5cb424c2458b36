//! What a shard holds of a home, whoever wrote it, for those who need it when the right to act for the home changes hands.
//!
//! Streams tell only what their source orders. So whoever is named to act next asks those that are further than itself for
//! what they hold ([`State::held_page`]), and so does everybody else with whoever acts then; each from the stamp on from
//! which something may be missing. A region that returns finds the sessions that it changed after the cut in the same way; and
//! so does one that was not asked and holds more of a lost region's changes than anybody who answered: what it has beyond the
//! cut are orphans of that region, sessions among them that came to be at home here, and before they are settled it
//! acknowledges nothing.

use super::{Believed, State, rights::Teller, streams::covers, turn::Turn};
use crate::{
    command::{Outcome, Refusal},
    feed::FeedBounds,
    ids::{Key, RegionId, Stamp},
    session::Record,
    stream::{HeldPage, Span},
};

/// How many records are looked at for one page, so that a page with few records does not take long.
const LOOKS_MAX: usize = 65_536;

impl State {
    /// A page of the records that are at home in `home`, or may say that one ended which was: have travelled, or were created at `since`
    /// or later, maybe under an id that was used before. Those that were written at `since` or later, tombstones included, in
    /// the order of keys and within `bounds`. Fields that are on disk only come as such.
    pub fn held_page(&self, home: RegionId, since: Stamp, span: &Span, bounds: FeedBounds) -> HeldPage {
        let FeedBounds { entries_max, bytes_max } = bounds;
        let Span { after, until, slots } = span;
        let mut page = HeldPage { records: Vec::new(), until: until.clone() };
        let (mut last, mut bytes) = (None, 0);
        let here = self.records(after.as_ref()).take_while(|(key, _)| until.as_ref().is_none_or(|until| *key <= until));
        for (looks, (key, record)) in here.enumerate() {
            if looks == LOOKS_MAX || page.records.len() == entries_max || bytes >= bytes_max {
                page.until = last;
                break;
            }
            last = Some(key.clone());
            let is_new = record.incarnation.stamp >= since;
            let theirs = record.home == home || record.version.home_epoch > 0 || is_new;
            if theirs && record.written >= since && covers(slots, key) {
                bytes += record.body_bytes();
                page.records.push((key.clone(), record.clone()));
            }
        }
        page
    }
}

impl Turn<'_> {
    /// Takes in what somebody holds of a home, if nothing later was promised. What is kept out of other homes than those that are
    /// `believed` is left out: it comes with those.
    pub(super) fn take_in_held(
        &mut self,
        region: RegionId,
        (home, epoch): (RegionId, u32),
        mut believed: Believed,
        records: Vec<(Key, Record)>,
    ) -> Result<Outcome, Refusal> {
        let promised = self.state.promised(home);
        if epoch != promised {
            return Err(Refusal::Fenced { home, epoch: promised });
        }
        believed.insert(home, epoch);
        let mut changed = 0;
        for (key, record) in records {
            let known = self.state.records.get(&key);
            if self.state.bar(Teller { region, believed: &believed }, known.map(|known| &**known), &record).is_none() {
                changed += i64::from(self.take_in_one(&key, record));
            }
        }
        Ok(Outcome::Count(changed))
    }
}
