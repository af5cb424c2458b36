//! A random history of operations, with crashes, against what each group should then have.

use super::*;
use std::collections::BTreeMap;

/// What a group has after each of its operations; the first is what it had at the start.
#[derive(Default)]
struct History {
    states: Vec<Model>,
    /// How many operations were acknowledged; acknowledgements come in order.
    acknowledged: Arc<Mutex<usize>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    entries: BTreeMap<u64, Bytes>,
    purged: Option<(u64, Bytes)>,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
}

impl Model {
    fn of(group: &GroupLog) -> io::Result<Self> {
        let GroupState { first_index, purged, vote, committed, .. } = group.state();
        let read = first_index.map_or(Ok(Vec::new()), |first| group.read(first, u64::MAX, usize::MAX))?;
        let entries = read.into_iter().map(|entry| (entry.index, entry.bytes)).collect();
        Ok(Self { entries, purged, vote, committed })
    }

    fn next_index(&self) -> u64 {
        let last = self.entries.keys().next_back().copied();
        last.or(self.purged.as_ref().map(|(index, _)| *index)).map_or(1, |index| index + 1)
    }
}

impl History {
    fn from(start: Model) -> Self {
        Self { states: vec![start], acknowledged: Arc::default() }
    }

    fn now(&self) -> Model {
        self.states.last().cloned().unwrap_or_default()
    }

    /// Takes its call as the acknowledgement of an operation of so many steps.
    fn done(&self, steps: usize, accepted: &Arc<Mutex<bool>>) -> crate::log::Done {
        let position = self.states.len() - 1 + steps;
        let (acknowledged, accepted) = (self.acknowledged.clone(), accepted.clone());
        Box::new(move |result| match result {
            Ok(()) => *acknowledged.lock() = position,
            Err(_) => *accepted.lock() = false,
        })
    }
}

pub(super) struct Run {
    random: StdRng,
    machine: Machine,
    log: Option<Log>,
    histories: BTreeMap<u32, History>,
    pub refused: u64,
    pub recovered_unacknowledged: u64,
    pub lost_unacknowledged: u64,
}

impl Run {
    pub fn new(seed: u64, plants: Plants) -> Self {
        let mut machine = Machine::new(seed);
        machine.plants = plants;
        let histories = (1..=3).map(|group| (group, History::from(Model::default()))).collect();
        let random = StdRng::seed_from_u64(seed);
        Self { random, machine, log: None, histories, refused: 0, recovered_unacknowledged: 0, lost_unacknowledged: 0 }
    }

    pub fn disk(&self) -> &SimulatedDisk {
        &self.machine.disk
    }

    /// Lives of the machine, each with some operations and an end: a crash, a kill, or a close.
    pub async fn play(&mut self, lives: u32, operations: u32) -> Result<(), String> {
        for _ in 0..lives {
            self.machine.disk.clear_faults();
            let log = self.machine.try_open().await.map_err(|error| error.to_string())?;
            self.check_recovered(&log)?;
            let turns = self.random.random_range(0..5);
            self.machine.disk.set_sync_delay(slow_syncs(turns));
            if self.random.random_ratio(1, 4) {
                self.machine.disk.fail_sync(self.random.random_range(1..100));
            }
            self.log = Some(log.clone());
            for _ in 0..self.random.random_range(1..=operations) {
                self.operate(&log).await?;
            }
            match self.random.random_range(0..4) {
                0 => log.close().await,
                1 => self.machine.kill(),
                _ => self.machine.crash(),
            }
            self.machine.failures.lock().clear();
        }
        Ok(())
    }

    async fn operate(&mut self, log: &Log) -> Result<(), String> {
        let id = self.random.random_range(1..=3);
        let group = log.group(id);
        let random = &mut self.random;
        let Some(history) = self.histories.get_mut(&id) else { return Ok(()) };
        let accepted = Arc::new(Mutex::new(true));
        let (mut next, mut steps) = (history.now(), Vec::new());
        match random.random_range(0..100) {
            0..55 => {
                let from = next.next_index();
                let count = random.random_range(1..=4);
                let new: Vec<LogEntry> =
                    (from..from + count).map(|index| LogEntry { index, bytes: noise(random) }).collect();
                for entry in &new {
                    // A crash may cut an append between its entries.
                    steps.push(next.clone());
                    next.entries.insert(entry.index, entry.bytes.clone());
                }
                steps.remove(0);
                group.append(new, history.done(steps.len() + 1, &accepted));
            }
            55..65 => {
                let vote = noise_of(random, 30);
                next.vote = Some(vote.clone());
                group.save_vote(vote, history.done(1, &accepted));
            }
            65..75 => {
                let first = next.entries.keys().next().copied().unwrap_or(next.next_index());
                let keep = random.random_range(first..=next.next_index()).saturating_sub(1);
                let keep = (keep >= first || next.purged.is_some()).then_some(keep);
                next.entries.retain(|index, _| keep.is_some_and(|keep| *index <= keep));
                group.truncate_after(keep, history.done(1, &accepted));
            }
            75..82 => {
                let committed = noise_of(random, 20);
                if log.room_bytes() < 16 << 10 {
                    return Ok(());
                }
                next.committed = Some(committed.clone());
                group.save_committed(committed);
            }
            82..90 => {
                let ahead = if random.random_ratio(1, 10) { 10 } else { 0 };
                let first = next.entries.keys().next().copied().unwrap_or(next.next_index());
                let upto = random.random_range(first..=next.next_index() + ahead);
                let id = noise_of(random, 25);
                if log.statistics().space_refused || next.purged.as_ref().is_some_and(|(purged, _)| upto <= *purged) {
                    return Ok(());
                }
                next.entries.retain(|index, _| *index > upto);
                next.purged = Some((upto, id.clone()));
                group.purge(upto, id);
            }
            90..91 => {
                next = Model::default();
                group.remove(history.done(1, &accepted));
            }
            _ => {
                for _ in 0..random.random_range(0..12) {
                    tokio::task::yield_now().await;
                }
                return Ok(());
            }
        }
        if *accepted.lock() && self.machine.failures.lock().is_empty() {
            history.states.extend(steps);
            history.states.push(next);
        } else {
            self.refused += 1;
        }
        self.check_live(log, id)
    }

    /// What is accepted is visible at once.
    fn check_live(&self, log: &Log, id: u32) -> Result<(), String> {
        if !self.machine.failures.lock().is_empty() {
            return Ok(());
        }
        let found = Model::of(&log.group(id)).map_err(|error| error.to_string())?;
        let expected = self.histories[&id].now();
        if found == expected { Ok(()) } else { Err(format!("group {id} shows {found:?} instead of {expected:?}")) }
    }

    /// What was recovered is what the group had after some operation, none acknowledged missing.
    fn check_recovered(&mut self, log: &Log) -> Result<(), String> {
        for (id, history) in &mut self.histories {
            let found = Model::of(&log.group(*id)).map_err(|error| error.to_string())?;
            let acknowledged = *history.acknowledged.lock();
            let states = &history.states[acknowledged..];
            let Some(position) = states.iter().rposition(|state| *state == found) else {
                let earlier = history.states.iter().rposition(|state| *state == found);
                return Err(format!(
                    "group {id}: recovered state {earlier:?} of {}, {acknowledged} were acknowledged",
                    history.states.len()
                ));
            };
            self.recovered_unacknowledged += position as u64;
            self.lost_unacknowledged += (states.len() - 1 - position) as u64;
            *history = History::from(found);
        }
        Ok(())
    }
}

fn noise(random: &mut StdRng) -> Bytes {
    let size = match random.random_range(0..20) {
        0 => random.random_range(0..8_000),
        1 => 0,
        _ => random.random_range(0..600),
    };
    noise_of(random, size)
}

fn noise_of(random: &mut StdRng, size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    random.fill(&mut bytes[..]);
    bytes.into()
}
