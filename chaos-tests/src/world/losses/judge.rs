//! What may be missing, and what is: answers of regions beside what clients were told.

use super::{
    Kind,
    told::{Told, Write},
};
use crate::{resp::Reply, world::asker::Asker};
use anyhow::{Context, bail};
use futures::future::try_join_all;
use sojourn_core::{ShardId, SlotTable, Stamp};
use sojourn_node::gateway::http::api::{Conflict, Orphans, RegionStatus};
use std::{collections::BTreeMap, net::SocketAddr};

/// Sessions that are looked for at the same time.
const AT_ONCE: usize = 32;

/// What a node finds of each session, in their order: the number that was written last; 0 for none.
pub(super) async fn look(node: SocketAddr, told: &[Told]) -> anyhow::Result<Vec<u64>> {
    let lookers = (0..AT_ONCE).map(|looker| async move {
        let (mut asker, mut found) = (Asker::new(node), Vec::new());
        for told in told.iter().skip(looker).step_by(AT_ONCE) {
            found.push(match asker.until_answered(&[b"GET", told.id.as_bytes()]).await? {
                Reply::Bytes(None) => 0,
                Reply::Bytes(Some(value)) => std::str::from_utf8(&value)?.parse()?,
                other => bail!("{} cannot be read: {other:?}", told.id),
            });
        }
        Ok(found)
    });
    let found = try_join_all(lookers).await?;
    let of = |position: usize| found.get(position % AT_ONCE)?.get(position / AT_ONCE).copied();
    (0..told.len()).map(|position| of(position).context("a session was not looked for")).collect()
}

/// What the world reports as cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reported {
    /// From when on each shard's writes may be missing; all of those that are not named.
    since_ms: BTreeMap<ShardId, Stamp>,
    /// When it was killed: nothing is missing that was asked after that.
    killed_ms: Stamp,
    /// The longest time of which something may be missing.
    longest_ms: u64,
}

impl Reported {
    pub fn of(region: &RegionStatus, killed_ms: Stamp) -> Self {
        let own = || region.cut.iter().filter(|cut| cut.region == region.region);
        Self {
            since_ms: own().map(|cut| (ShardId(cut.shard), cut.since_ms)).collect(),
            killed_ms,
            longest_ms: own().map(|cut| cut.ms).max().unwrap_or_default(),
        }
    }

    fn since_ms(&self, shard: ShardId) -> Stamp {
        self.since_ms.get(&shard).copied().unwrap_or_default()
    }

    /// Whether a write to this shard of the lost region that is missing is among those that may be.
    fn covers(&self, shard: ShardId, write: &Write) -> bool {
        write.sent_ms <= self.killed_ms && write.acknowledged_ms.is_some_and(|at| at >= self.since_ms(shard))
    }

    /// Whether the lost region has certainly done this after all that others have heard of its shard.
    fn is_after(&self, shard: ShardId, write: &Write) -> bool {
        let done = write.acknowledged_ms.is_some_and(|at| at <= self.killed_ms);
        done && write.sent_ms > self.since_ms(shard)
    }

    /// Whether it may have.
    fn may_be_after(&self, shard: ShardId, write: &Write) -> bool {
        write.sent_ms <= self.killed_ms && write.acknowledged_ms.is_none_or(|at| at >= self.since_ms(shard))
    }
}

/// What is missing while others act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Acknowledged writes, destroys included.
    pub count: u64,
    /// Those that no report covers.
    pub uncovered: u64,
    /// Sessions whose end was acknowledged, and that live.
    pub revived: u64,
    /// The longest time that is reported as cut.
    pub reported_ms: u64,
    /// The last of the missing numbers of each session.
    pub numbers: BTreeMap<String, u64>,
    /// The first of those that no report covers, in words.
    pub example: Option<String>,
}

/// What is missing of `found`, with `lost` being the region that is lost.
pub(super) fn missing(
    (told, found): (&[Told], &[u64]),
    (lost, slots): (usize, &SlotTable),
    reported: &Reported,
) -> anyhow::Result<Missing> {
    let mut missing = Missing { reported_ms: reported.longest_ms, ..Missing::default() };
    for (told, found) in told.iter().zip(found) {
        let shard = told.shard(slots)?;
        let covers = |write: &Write| told.home == lost && reported.covers(shard, write);
        if let Some(end) = told.end.filter(|end| end.acknowledged_ms.is_some()) {
            match (*found > 0, covers(&end)) {
                (false, _) => {}
                (true, false) => missing.revived += 1,
                (true, true) => {
                    missing.count += 1;
                    missing.numbers.insert(told.id.clone(), end.number);
                }
            }
            continue;
        }
        // What may have been destroyed says nothing about what was written before.
        let lacks = told.writes.iter().filter(|write| told.end.is_none() && write.number > *found);
        for write in lacks.filter(|write| write.acknowledged_ms.is_some()) {
            missing.count += 1;
            if !covers(write) {
                missing.uncovered += 1;
                missing.example.get_or_insert_with(|| uncovered(told, write, *found, (shard, reported)));
            }
            missing.numbers.insert(told.id.clone(), write.number);
        }
    }
    Ok(missing)
}

/// A write that is missing although no report says so.
fn uncovered(told: &Told, write: &Write, found: u64, (shard, reported): (ShardId, &Reported)) -> String {
    let from_kill = |at: Stamp| at as i64 - reported.killed_ms as i64;
    format!(
        "{} of region {} and shard {} has {found}, not {}, which was sent {} ms after the kill and acknowledged at {:?}; \
         cut at {}",
        told.id,
        told.home,
        shard.0,
        write.number,
        from_kill(write.sent_ms),
        write.acknowledged_ms.map(from_kill),
        from_kill(reported.since_ms(shard))
    )
}

/// What is wrong once the region is back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct After {
    /// Acknowledged writes that are neither current nor in the journal.
    pub missing: u64,
    /// Sessions whose end was acknowledged, and that live.
    pub revived: u64,
}

impl std::ops::AddAssign for After {
    fn add_assign(&mut self, more: Self) {
        self.missing += more.missing;
        self.revived += more.revived;
    }
}

/// What is wrong with `found`. `before` was missing while the region was lost.
pub(super) fn after(
    (told, found): (&[Told], &[u64]),
    before: &BTreeMap<String, u64>,
    journal: &BTreeMap<String, u64>,
) -> After {
    let mut after = After::default();
    for (told, found) in told.iter().zip(found) {
        if told.is_destroyed() {
            after.revived += u64::from(*found > 0);
        } else if told.end.is_none() {
            let wanted = told.acknowledged().max(before.get(&told.id).copied().unwrap_or_default());
            let noted = journal.get(&told.id).copied().unwrap_or_default();
            after.missing += u64::from(wanted > *found && wanted > noted);
        }
    }
    after
}

/// The last number of each session that lies in the journal as what a region had that was away.
pub(super) fn journaled(conflicts: &[Conflict], kind: Kind) -> BTreeMap<String, u64> {
    let mut journal = BTreeMap::new();
    // Where writes waited for another region, none that was acknowledged may have gone apart.
    for conflict in conflicts.iter().filter(|_| kind == Kind::Cut) {
        let value = conflict.mine.fields.as_ref().and_then(|fields| fields.get(""));
        let number = value.and_then(|value| value.parse::<u64>().ok()).unwrap_or_default();
        let last: &mut u64 = journal.entry(conflict.session.clone()).or_default();
        *last = number.max(*last);
    }
    journal
}

/// Why the counts of a return cannot be right, if they cannot: `entries` lie in the journal.
pub(super) fn wrong_counts(
    (told, missing): (&[Told], &Missing),
    (lost, slots): (usize, &SlotTable),
    reported: &Reported,
    (orphans, entries): (&Orphans, &[Conflict]),
) -> anyhow::Result<Option<String>> {
    let (mut least, mut most) = (0_u64, 0_u64);
    for told in told.iter().filter(|told| told.home == lost) {
        let shard = told.shard(slots)?;
        least += u64::from(told.all().any(|write| reported.is_after(shard, write)));
        most += u64::from(told.all().any(|write| reported.may_be_after(shard, write)));
    }
    let Orphans { already_applied, merged, fast_forwarded, journaled } = *orphans;
    let settled = merged + fast_forwarded + journaled;
    let total = settled + already_applied;
    let unheard = missing.numbers.len() as u64;
    let wrong = if !(least..=most).contains(&total) {
        let certain = told.iter().filter(|told| told.home == lost).filter_map(|told| {
            let (shard, times) = (told.shard(slots).ok()?, |at: Stamp| at as i64 - reported.killed_ms as i64);
            let write = told.all().find(|write| reported.is_after(shard, write))?;
            Some(format!("{} at {} ms of {}", told.id, times(write.sent_ms), times(reported.since_ms(shard))))
        });
        let certain = certain.collect::<Vec<_>>().join(", ");
        format!("{total} sessions were counted of {least} to {most} that were written after the cut: {certain}")
    } else if settled < unheard {
        format!("{settled} sessions were settled, and {unheard} had not been heard of")
    } else if journaled != entries.len() as u64 {
        let example = entries.first().map(|entry| format!(", such as {entry:?}")).unwrap_or_default();
        format!("{journaled} were counted as noted, and {} entries lie in the journal{example}", entries.len())
    } else {
        return Ok(None);
    };
    Ok(Some(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_node::gateway::http::api::Side;

    const LOST: usize = 0;

    fn write(number: u64, sent_ms: Stamp, acknowledged_ms: Option<Stamp>) -> Write {
        Write { number, sent_ms, acknowledged_ms }
    }

    fn session(home: usize, writes: &[Write], end: Option<Write>) -> Told {
        Told { id: format!("sess:{home}"), home, writes: writes.to_vec(), end }
    }

    /// All shards were heard of until 100, and killed at 200.
    fn reported() -> Reported {
        Reported { since_ms: [(ShardId(0), 100)].into(), killed_ms: 200, longest_ms: 90 }
    }

    fn conflict() -> Conflict {
        let [life, kind, version] = ["live", "string", "1.0.1"].map(str::to_owned);
        let [namespace, session, home, kept] = ["default", "sess:0", "na", "theirs"].map(str::to_owned);
        let (user, labels, fields) = Default::default();
        let mine = Side { home: home.clone(), life, kind, created_at: 1, written_at: 2, version, user, labels, fields };
        Conflict { at: 3, namespace, session, home, epoch: 2, kept, differs: Vec::new(), mine, theirs: None }
    }

    fn judged(told: Told, found: u64) -> Missing {
        let slots = SlotTable::even(1);
        missing((&[told], &[found]), (LOST, &slots), &reported()).expect("an id")
    }

    #[test]
    fn what_is_missing_is_covered_by_the_report_or_not() {
        let two = |sent_ms| [write(1, 10, Some(20)), write(2, sent_ms, Some(sent_ms + 20))];
        let counts = |told, found| {
            let Missing { count, uncovered, .. } = judged(told, found);
            (count, uncovered)
        };
        assert_eq!(counts(session(LOST, &two(150), None), 2), (0, 0));
        assert_eq!(counts(session(LOST, &two(150), None), 1), (1, 0), "after the cut");
        assert_eq!(counts(session(LOST, &two(50), None), 1), (1, 1), "before the cut");
        assert_eq!(counts(session(LOST, &two(300), None), 1), (1, 1), "acknowledged by those who act");
        assert_eq!(counts(session(1, &two(150), None), 1), (1, 1), "of a region that is there");
        assert_eq!(counts(session(LOST, &[write(1, 150, None)], None), 0), (0, 0), "not acknowledged");
    }

    #[test]
    fn what_was_destroyed_lives_again_only_where_nobody_had_heard_of_it() {
        let ended = |sent_ms| session(LOST, &[write(1, 10, Some(20))], Some(write(3, sent_ms, Some(sent_ms + 20))));
        assert_eq!((judged(ended(50), 0).revived, judged(ended(50), 1).revived), (0, 1));
        let unheard = judged(ended(150), 1);
        assert_eq!((unheard.revived, unheard.count), (0, 1));
        assert_eq!(judged(ended(300), 1).revived, 1, "destroyed where it lives");
        let after = |found| after((&[ended(150)], &[found]), &BTreeMap::new(), &BTreeMap::new()).revived;
        assert_eq!((after(0), after(1)), (0, 1));
    }

    #[test]
    fn once_back_what_was_missing_is_current_or_noted() {
        let told = [session(LOST, &[write(4, 150, Some(170))], None)];
        let before = BTreeMap::from([("sess:0".to_owned(), 7)]);
        let journal = |number| BTreeMap::from([("sess:0".to_owned(), number)]);
        let missing = |found, noted| after((&told, &[found]), &before, &journal(noted)).missing;
        assert_eq!((missing(7, 0), missing(4, 7), missing(4, 0), missing(3, 6)), (0, 0, 1, 1));
    }

    #[test]
    fn counts_add_up_or_it_is_said_how_they_do_not() {
        let told = [
            session(LOST, &[write(1, 150, Some(170))], None),
            session(LOST, &[write(1, 150, None)], None),
            session(1, &[write(1, 150, Some(170))], None),
        ];
        let missing = judged(told[0].clone(), 0);
        let says = |fast_forwarded, journaled, entries| {
            let entries = vec![conflict(); entries];
            let orphans = Orphans { already_applied: 0, merged: 0, fast_forwarded, journaled };
            let slots = SlotTable::even(1);
            wrong_counts((&told, &missing), (LOST, &slots), &reported(), (&orphans, &entries)).expect("ids")
        };
        assert_eq!((says(1, 0, 0), says(2, 0, 0), says(1, 1, 1)), (None, None, None));
        let has = |said: Option<String>, text: &str| said.is_some_and(|said| said.contains(text));
        assert!(has(says(0, 0, 0), "0 sessions were counted of 1 to 2"));
        assert!(has(says(3, 0, 0), "3 sessions were counted"));
        assert!(has(says(1, 1, 0), "0 entries lie in the journal"));
    }
}
