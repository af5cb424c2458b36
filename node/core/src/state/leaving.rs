//! Sessions of a home that is to be emptied: how many there are, and which come next.

use super::{State, deadlines::Entry, index::List};
use crate::{
    ids::{Key, NamespaceId, RegionId},
    session::Record,
};
use std::{collections::BTreeMap, sync::Arc};

/// A place in the sessions of a home, by namespace and then by deadline: where a page has ended. Sessions that are touched
/// meanwhile go on to later places, so none is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HomePlace(NamespaceId, Entry);

impl State {
    /// How many sessions live that are at home in each region, by namespace.
    pub fn homes(&self) -> BTreeMap<RegionId, BTreeMap<NamespaceId, u64>> {
        let mut homes: BTreeMap<RegionId, BTreeMap<NamespaceId, u64>> = BTreeMap::new();
        for (home, namespace, count) in self.index.homes() {
            homes.entry(home).or_default().insert(namespace, count);
        }
        homes
    }

    /// The next `max` living sessions of a home from a place on that are of namespaces which are `wanted`, and where to go on;
    /// none at the end. A namespace that is not wanted is passed over as a whole.
    pub fn of_home(
        &self,
        home: RegionId,
        mut from: Option<HomePlace>,
        max: usize,
        wanted: impl Fn(NamespaceId) -> bool,
    ) -> (Vec<(Key, Arc<Record>)>, Option<HomePlace>) {
        let mut page = Vec::new();
        loop {
            let begin = from.map(|HomePlace(namespace, entry)| (namespace, entry));
            let mut passed = None;
            for (namespace, entry) in self.index.of_home(home, begin) {
                if page.len() >= max {
                    return (page, Some(HomePlace(namespace, entry)));
                }
                if !wanted(namespace) {
                    passed = Some(namespace);
                    break;
                }
                page.extend(self.at(entry, List::Living(home)).map(|(key, record)| (key.clone(), record.clone())));
            }
            match passed.and_then(|NamespaceId(passed)| passed.checked_add(1)) {
                Some(next) => from = Some(HomePlace(NamespaceId(next), (0, 0))),
                None => return (page, None),
            }
        }
    }
}
