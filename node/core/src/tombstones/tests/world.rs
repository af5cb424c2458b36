//! Three regions that create, write, move and destroy sessions, with streams that lag and repeat themselves, and a region
//! that is replaced and returns. Nothing that anybody destroyed may live again anywhere. Rules can be left out.

use super::*;
use crate::{
    merge::merge,
    orphans::{Orphan, retire, settle},
};

/// How long sessions may live, and tombstones stand for retries.
pub(super) const LIFETIME_MS: u64 = 10 * CLOCK_SLACK_MS;
pub(super) const RETRY_MS: u64 = 1_000;
const REGIONS: [RegionId; 3] = [RegionId(0), RegionId(1), RegionId(2)];
pub(super) const KEYS: u8 = 4;

/// Rules that can be left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plant {
    None,
    /// Tombstones stand for a time and are then forgotten.
    WindowOnly,
    /// All have the tombstone, and that is taken to be enough.
    NoFlush,
    /// A region takes its own stamp for what all are past.
    OwnStamp,
    /// A region merges however long it was away.
    AlwaysMerge,
    /// A region that others act for goes on collecting.
    CollectedAlone,
    /// A cursor that is not logged with its data: what was taken in is taken in again.
    CursorApart,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Tick {
        ms: u64,
    },
    Create {
        key: u8,
    },
    Write {
        key: u8,
    },
    Destroy {
        key: u8,
    },
    /// The session's home goes to another region.
    Travel {
        key: u8,
        to: u16,
    },
    /// Takes in so many changes.
    Pull {
        by: u16,
        from: u16,
        count: usize,
    },
    /// Takes in some of the changes again that were taken in before.
    Repeat {
        by: u16,
        from: u16,
        back: usize,
        count: usize,
    },
    Sweep {
        by: u16,
    },
    Collect {
        by: u16,
    },
    /// Another region acts for this one, which goes on by itself.
    Part {
        region: u16,
    },
    /// What the one that was parted with does meanwhile.
    Alone {
        key: u8,
        destroy: bool,
    },
    Return,
    /// All pull everything, and sweeps go on.
    Settle,
}

/// What a region tells.
type Change = (u8, Record);

#[derive(Default)]
struct Node {
    records: BTreeMap<u8, Record>,
    feed: Vec<Change>,
    /// How much of each other's changes it has taken in.
    cursors: BTreeMap<RegionId, usize>,
    sweep: Option<(Swept, Sweep)>,
    /// Which tombstones are proven to be known everywhere.
    swept: Swept,
}

/// A region that others act for.
struct Parted {
    region: RegionId,
    /// How much of its changes the others have.
    cut: usize,
    /// The time up to which it has everything.
    complete_until: Stamp,
    /// The first epoch drawn since.
    epoch: u32,
}

pub(super) struct World {
    plant: Plant,
    now: Stamp,
    epoch: u32,
    nodes: BTreeMap<RegionId, Node>,
    parted: Option<Parted>,
    /// All that anybody destroyed.
    destroyed: BTreeSet<(u8, Incarnation)>,
    /// Who knew of it.
    knew: BTreeSet<(RegionId, u8, Incarnation)>,
    /// How many tombstones went because a sweep had ended, and because their deadline had passed.
    pub collected: (usize, usize),
}

/// Who acts for a region that the others parted with.
fn heir(region: RegionId) -> RegionId {
    RegionId((region.0 + 1) % 3)
}

impl World {
    pub fn new(plant: Plant) -> Self {
        let nodes = REGIONS.map(|region| (region, Node::default())).into();
        let (destroyed, knew) = (BTreeSet::new(), BTreeSet::new());
        Self { plant, now: 1_000_000, epoch: 1, nodes, parted: None, destroyed, knew, collected: (0, 0) }
    }

    /// Regions' clocks are apart, as far as they may be.
    fn clock(&self, region: RegionId) -> Stamp {
        self.now + u64::from(region.0) * (CLOCK_SLACK_MS / 2)
    }

    fn node(&mut self, region: RegionId) -> &mut Node {
        self.nodes.entry(region).or_default()
    }

    fn is_parted(&self, region: RegionId) -> bool {
        self.parted.as_ref().is_some_and(|parted| parted.region == region)
    }

    /// Those who act and can reach each other.
    fn together(&self) -> Vec<RegionId> {
        REGIONS.into_iter().filter(|region| !self.is_parted(*region)).collect()
    }

    /// The home of a session: where its newest copy says.
    fn home(&self, key: u8) -> RegionId {
        let copies = self.together().into_iter().filter_map(|region| self.nodes[&region].records.get(&key));
        let newest = copies.max_by_key(|record| (record.incarnation, record.version));
        newest.map_or(RegionId(u16::from(key) % 3), |record| record.home)
    }

    /// Who orders its writes.
    fn orders(&self, key: u8) -> RegionId {
        let home = self.home(key);
        if self.is_parted(home) { heir(home) } else { home }
    }

    /// Minted ids have even numbers: their deadline stays.
    fn deadline(key: u8, now: Stamp, old: Option<&Record>) -> Stamp {
        old.filter(|_| key.is_multiple_of(2)).map_or(now + LIFETIME_MS, |old| old.absolute_deadline)
    }

    /// The record after a write by `region`.
    fn written(&self, region: RegionId, key: u8, old: &Record, epoch: u32) -> Record {
        let now = self.clock(region);
        let sequence = old.version.sequence + 1;
        let version = Version { epoch: epoch.max(old.version.epoch), sequence, ..old.version };
        Record { version, written: now, absolute_deadline: Self::deadline(key, now, Some(old)), ..old.clone() }
    }

    fn ended(&self, region: RegionId, key: u8, old: &Record, epoch: u32) -> Record {
        let now = self.clock(region);
        let life = Life::Dead { at: now, collect_at: now + RETRY_MS, expired: false };
        Record { life, ..self.written(region, key, old, epoch) }
    }

    fn tell(&mut self, region: RegionId, key: u8, record: Record) {
        if record.life != Life::Live {
            self.destroyed.insert((key, record.incarnation));
        }
        let node = self.node(region);
        node.records.insert(key, record.clone());
        node.feed.push((key, record));
    }

    fn take_in(&mut self, by: RegionId, (key, record): Change) {
        let now = self.clock(by);
        let records = &mut self.node(by).records;
        if is_admissible(&record, records.get(&key), now) {
            let merged = records.get(&key).map_or_else(|| record.clone(), |known| merge(known, &record).record);
            records.insert(key, merged);
        }
    }

    fn pull(&mut self, by: RegionId, from: RegionId, count: usize) {
        let cursor = self.nodes[&by].cursors.get(&from).copied().unwrap_or(0);
        let changes: Vec<Change> = self.nodes[&from].feed.iter().skip(cursor).take(count).cloned().collect();
        let taken = changes.len();
        changes.into_iter().for_each(|change| self.take_in(by, change));
        self.node(by).cursors.insert(from, cursor + taken);
    }

    pub fn pull_all(&mut self) {
        for by in self.together() {
            let others = self.together().into_iter().filter(|from| *from != by);
            others.for_each(|from| self.pull(by, from, usize::MAX));
        }
    }

    /// What is alive to whoever asks `region`.
    fn live(&self, region: RegionId, key: u8) -> Option<Record> {
        self.nodes[&region].records.get(&key).filter(|record| record.is_live(self.clock(region))).cloned()
    }

    pub fn act(&mut self, act: Act) {
        match act {
            Act::Tick { ms } => self.now += ms,
            Act::Create { key } => self.create(key),
            Act::Write { key } => {
                let region = self.orders(key);
                if let Some(old) = self.live(region, key) {
                    self.tell(region, key, self.written(region, key, &old, self.epoch));
                }
            }
            Act::Destroy { key } => {
                let region = self.orders(key);
                if let Some(old) = self.live(region, key) {
                    self.tell(region, key, self.ended(region, key, &old, self.epoch));
                }
            }
            Act::Travel { key, to } if self.parted.is_none() => {
                let (from, home) = (self.orders(key), RegionId(to));
                if let Some(old) = self.live(from, key).filter(|_| from != home) {
                    let mut moved = Record { home, ..self.written(from, key, &old, self.epoch) };
                    moved.version.home_epoch += 1;
                    self.tell(from, key, moved);
                    self.pull(home, from, usize::MAX);
                }
            }
            Act::Pull { by, from, count } => {
                let (by, from) = (RegionId(by), RegionId(from));
                if by != from && !self.is_parted(by) && !self.is_parted(from) {
                    self.pull(by, from, count);
                }
            }
            Act::Repeat { by, from, back, count } => {
                let (by, from) = (RegionId(by), RegionId(from));
                let cursor = self.nodes[&by].cursors.get(&from).copied().unwrap_or(0);
                let again: Vec<Change> = match self.plant {
                    Plant::CursorApart => {
                        let taken = &self.nodes[&from].feed[..cursor];
                        taken.iter().skip(cursor.saturating_sub(back)).take(count).cloned().collect()
                    }
                    _rules => Vec::new(),
                };
                again.into_iter().for_each(|change| self.take_in(by, change));
            }
            Act::Sweep { by } => self.sweep(RegionId(by)),
            Act::Collect { by } => self.collect(RegionId(by)),
            Act::Part { region } => self.part(RegionId(region)),
            Act::Alone { key, destroy } => self.alone(key, destroy),
            Act::Return => self.come_back(),
            Act::Settle => {
                self.pull_all();
                REGIONS.into_iter().for_each(|by| self.sweep(by));
            }
            Act::Travel { .. } => {}
        }
    }

    fn create(&mut self, key: u8) {
        let (region, home) = (self.orders(key), self.home(key));
        if self.live(region, key).is_some() {
            return;
        }
        let now = self.clock(region);
        let old = self.nodes[&region].records.get(&key);
        let stamp = old.map_or(now, |old| now.max(old.incarnation.stamp + 1));
        let sequence = old.map_or(1, |old| old.version.sequence + 1);
        let version = Version { epoch: self.epoch, home_epoch: 0, sequence };
        let fresh = record(stamp, Life::Live, Self::deadline(key, now, None));
        self.tell(region, key, Record { incarnation: Incarnation { stamp, region }, version, home, ..fresh });
    }

    /// Nobody hears of what a region does alone, so nobody has to keep to it.
    fn alone(&mut self, key: u8, destroy: bool) {
        let Some(Parted { region, .. }) = self.parted else { return };
        let Some(old) = self.live(region, key).filter(|record| record.home == region) else { return };
        let written = if destroy { Self::ended } else { Self::written };
        let record = written(self, region, key, &old, old.version.epoch);
        let node = self.node(region);
        node.records.insert(key, record.clone());
        node.feed.push((key, record));
    }

    fn sweep(&mut self, by: RegionId) {
        let feed = |region: RegionId| (region, ShardId(0));
        let heads: BTreeMap<Feed, u64> =
            self.nodes.iter().map(|(region, node)| (feed(*region), node.feed.len() as u64)).collect();
        let cursors = self.nodes.iter().map(|(region, node)| {
            (*region, node.cursors.iter().map(|(from, cursor)| (feed(*from), *cursor as u64)).collect())
        });
        let progress = Progress { heads, cursors: cursors.collect() };
        let (calm, plant) = (self.parted.is_none(), self.plant);
        let begun = || {
            let past = REGIONS.map(|region| self.clock(region)).into_iter().min().unwrap_or(0) - 1;
            let through = if plant == Plant::OwnStamp { self.clock(by) - 1 } else { past };
            let carries = |feed: &Feed| self.nodes[&feed.0].feed.iter().any(|(_, record)| record.life != Life::Live);
            let known = |feed: &Feed| plant != Plant::NoFlush || carries(feed);
            let feeds = progress.heads.clone().into_iter().filter(|(feed, _)| known(feed));
            calm.then(|| (Swept { epoch: self.epoch, through }, Sweep::begin(feeds.collect())))
        };
        let Some((swept, sweep)) = self.nodes[&by].sweep.clone().or_else(begun) else { return };
        let node = self.node(by);
        node.sweep = None;
        match sweep.advance(&REGIONS.into(), &progress) {
            Sweep::Done => node.swept = swept.max(node.swept),
            Sweep::Flushing { .. } if plant == Plant::NoFlush => node.swept = swept,
            going_on => node.sweep = Some((swept, going_on)),
        }
    }

    fn collect(&mut self, by: RegionId) {
        let (now, plant) = (self.clock(by), self.plant);
        let in_touch = !self.is_parted(by) || plant == Plant::CollectedAlone;
        let node = self.node(by);
        let (mut swept_away, mut overdue) = (0, 0);
        let known = node.swept;
        node.records.retain(|_, record| {
            let swept = known.covers(record);
            let due = match plant {
                Plant::WindowOnly => matches!(record.life, Life::Dead { collect_at, .. } if now >= collect_at),
                _rules => may_collect(record, swept, in_touch, now),
            };
            swept_away += usize::from(due && swept);
            overdue += usize::from(due && !swept);
            !due
        });
        self.collected.0 += swept_away;
        self.collected.1 += overdue;
    }

    fn part(&mut self, region: RegionId) {
        if self.parted.is_some() {
            return;
        }
        let others = || REGIONS.into_iter().filter(move |other| *other != region);
        let cursor = |world: &Self, by: RegionId| world.nodes[&by].cursors.get(&region).copied().unwrap_or(0);
        let cut = others().map(|other| cursor(self, other)).max().unwrap_or(0);
        others().for_each(|from| self.pull(region, from, usize::MAX));
        for other in others() {
            self.pull(other, region, cut - cursor(self, other));
        }
        self.epoch += 1;
        self.parted = Some(Parted { region, cut, complete_until: self.now, epoch: self.epoch });
        self.pass_on(heir(region), region);
    }

    /// What somebody knows of sessions that it acts for from now on, it tells by itself.
    fn pass_on(&mut self, by: RegionId, home: RegionId) {
        let node = self.node(by);
        let theirs = node.records.iter().filter(|(_, record)| record.home == home);
        let theirs: Vec<Change> = theirs.map(|(key, record)| (*key, record.clone())).collect();
        node.feed.extend(theirs);
    }

    pub fn come_back(&mut self) {
        self.pull_all();
        let Some(Parted { region, cut, complete_until, epoch }) = self.parted.take() else { return };
        let (heir, now) = (heir(region), self.now);
        let how = match self.plant {
            Plant::AlwaysMerge => Return::Merge,
            _rules => plan_return(complete_until, now, LIFETIME_MS),
        };
        let orphans: BTreeSet<u8> = self.nodes[&region].feed[cut..].iter().map(|(key, _)| *key).collect();
        for key in orphans {
            let Some(mine) = self.nodes[&region].records.get(&key).cloned() else { continue };
            let current = self.nodes[&heir].records.get(&key).cloned();
            let orphan = Orphan { mine: &mine, base: None, current: current.as_ref() };
            let settled = match how {
                Return::Merge => settle(orphan, epoch, now),
                Return::Copy => retire(orphan, epoch, now),
            };
            if let Some(record) = settled.record().filter(|record| current.as_ref() != Some(*record)) {
                self.tell(heir, key, record.clone());
            }
        }
        // It goes on with what its heir has by now, and nobody reads the changes that it made alone.
        let (records, cursors) = (self.nodes[&heir].records.clone(), self.nodes[&heir].cursors.clone());
        let heads: BTreeMap<RegionId, usize> =
            self.nodes.iter().map(|(region, node)| (*region, node.feed.len())).collect();
        let node = self.node(region);
        node.records = records;
        node.cursors = cursors;
        node.cursors.insert(heir, heads[&heir]);
        node.cursors.remove(&region);
        for other in REGIONS.into_iter().filter(|other| *other != region) {
            self.node(other).cursors.insert(region, heads[&region]);
        }
        self.epoch += 1;
        self.pass_on(region, region);
    }

    /// Something that was destroyed and lives where that was known, or anywhere when everybody knows everything.
    pub fn revived(&mut self, everybody_knows: bool) -> Result<(), String> {
        for region in self.together() {
            for key in 0..KEYS {
                let Some(record) = self.nodes[&region].records.get(&key) else { continue };
                let name = (region, key, record.incarnation);
                if record.life != Life::Live {
                    self.knew.insert(name);
                } else if record.is_live(self.clock(region)) {
                    let known = everybody_knows && self.destroyed.contains(&(key, record.incarnation));
                    if known || self.knew.contains(&name) {
                        return Err(format!("{key} lives again in {region:?}: {record:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}
