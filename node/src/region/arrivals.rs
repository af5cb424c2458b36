//! Sessions on their way to another home: given away by the region that ordered them, and not taken in yet where they go.
//!
//! Nobody orders them meanwhile. Who asked for them waits until the region where they go says that it orders them: before that it
//! may not even know them, and what it was asked to write would become another session.

use super::{abroad::Ways, shards::Shard};
use crate::shard::NotProposed;
use parking_lot::Mutex;
use sojourn_core::{Answer, Key, Life, Projection, RegionId};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep};

/// How many sessions are remembered to have arrived; then all are forgotten, and asked for once more.
const ARRIVALS_MAX: usize = 65_536;

/// Between two questions where a session is.
const ASK_PAUSE: Duration = Duration::from_millis(5);

/// Sessions that have been seen where they went, by how often they had travelled.
#[derive(Default)]
pub struct Arrivals {
    seen: Mutex<BTreeMap<Key, u32>>,
}

impl Arrivals {
    fn note(&self, key: &Key, home_epoch: u32) {
        let mut seen = self.seen.lock();
        if seen.len() >= ARRIVALS_MAX {
            seen.clear();
        }
        seen.insert(key.clone(), home_epoch);
    }

    fn has(&self, key: &Key, home_epoch: u32) -> bool {
        self.seen.lock().get(key).is_some_and(|seen| *seen >= home_epoch)
    }
}

/// What a region says of who orders a session.
enum Said {
    /// It does itself.
    Mine,
    /// Another one does.
    Of(RegionId),
    /// It does not answer, or knows no such session.
    Nothing,
}

impl Ways {
    /// The home that a session has travelled to, as far as is known here, unless it was seen there.
    pub(super) fn on_its_way(&self, held: &Shard, key: &Key) -> Option<RegionId> {
        let record = held.group.machine().record(key)?;
        let (travelled, lives) = (record.version.home_epoch, record.life == Life::Live);
        (travelled > 0 && lives && !self.arrivals.has(key, travelled)).then_some(record.home)
    }

    /// The home that a session is on its way to, if an answer of the region where it should be says so.
    pub(super) fn still_to_come(&self, held: &Shard, key: &Key, answer: &Answer) -> Option<RegionId> {
        match answer {
            Answer::Elsewhere(home) => Some(*home),
            Answer::Seen { token: None, .. } => self.on_its_way(held, key),
            _known => None,
        }
    }

    /// The region that says that it orders a session which is on its way to `home`, or from there to the next.
    ///
    /// # Errors
    /// None says so until `deadline`.
    pub(super) async fn arrived(
        &self,
        held: &Shard,
        mut home: RegionId,
        key: &Key,
        deadline: Instant,
    ) -> Result<RegionId, NotProposed> {
        loop {
            let travelled = held.group.machine().record(key).map_or(0, |record| record.version.home_epoch);
            let region = self.target(held, home, key)?;
            match self.said(held, region, key).await {
                Said::Mine => {
                    self.arrivals.note(key, travelled);
                    return Ok(region);
                }
                Said::Of(other) => home = other,
                Said::Nothing => {}
            }
            if Instant::now() >= deadline {
                return Err(NotProposed::HomeAway(home));
            }
            sleep(ASK_PAUSE).await;
        }
    }

    async fn said(&self, held: &Shard, region: RegionId, key: &Key) -> Said {
        if region == self.here {
            let sessions = held.group.machine();
            return match sessions.record(key) {
                Some(record) if sessions.acts_for(record.home) => Said::Mine,
                Some(record) => Said::Of(record.home),
                None => Said::Nothing,
            };
        }
        match self.abroad.read(region, key.clone(), Projection::Summary).await {
            Ok(Answer::Seen { token: Some(_), .. }) => Said::Mine,
            Ok(Answer::Elsewhere(other)) => Said::Of(other),
            Ok(_) | Err(_) => Said::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::NamespaceId;

    #[test]
    fn arrivals_are_known_until_the_next_journey_and_bounded() {
        let key = |number: usize| Key::new(NamespaceId(0), &number.to_be_bytes()).expect("a key");
        let arrivals = Arrivals::default();
        arrivals.note(&key(0), 1);
        assert!(arrivals.has(&key(0), 1) && !arrivals.has(&key(0), 2) && !arrivals.has(&key(1), 1));
        (1..=ARRIVALS_MAX).for_each(|number| arrivals.note(&key(number), 1));
        assert!(!arrivals.has(&key(0), 1) && arrivals.has(&key(ARRIVALS_MAX), 1));
        assert!(arrivals.seen.lock().len() <= ARRIVALS_MAX);
    }
}
