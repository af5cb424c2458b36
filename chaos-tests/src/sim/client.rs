//! Clients: they ask one node after the other, and ask again under the same names when they are not told.
//!
//! Most read and write. Readers do nothing but look, at every node and with little patience, so that a node that nobody else
//! can reach is looked at too. Repeaters ask again although they were told, as a network that brings a request twice does.
//! Travellers rename sessions from slot to slot, and now and then the node that carries one dies on the way.

use super::{
    faults,
    ledger::{Asked, Told},
    workload::{Cell, Nature, Rename, Step, Taste},
    world::{End, World},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sojourn_core::{Answer, Command, Key, Outcome, Projection, Query, Refusal, Request};
use sojourn_node::{
    raft,
    region::{
        backend::{Backend, Read, Unavailable},
        moves,
    },
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// How often a client asks in all before it gives up.
const TRIES: u32 = 4;

/// How long a reader waits for an answer.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long after its answer a repeater asks again, at most: long enough for the leader to have changed, or started anew from
/// what its disk has.
const REPEAT_AFTER_MS_MAX: u64 = 3_000;

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To read and to write.
    Both,
    /// To read.
    Reader,
    /// To write everything twice.
    Repeater,
    /// To rename sessions.
    Traveller,
}

/// How long a node that carries a session to another slot lives on, where it dies on the way.
const LIVES_ON_MS_MAX: u64 = 40;

/// A client of the region.
pub struct Client {
    world: Arc<World>,
    number: u64,
    part: Part,
    taste: Taste,
    sequence: u64,
    /// The node that it prefers.
    home: usize,
    /// The longest pause between two questions.
    pause_ms_max: u64,
}

/// What one try brought.
enum Tried {
    /// Outcomes.
    Told(Vec<Outcome>),
    /// The region says that nothing was written.
    Nothing(String),
    /// Nobody knows.
    Unknown,
}

impl Client {
    /// Client `number`, from 1.
    pub fn new(world: Arc<World>, number: u64, part: Part, cells: Vec<Cell>, rng: &mut StdRng) -> Self {
        let home = rng.random_range(0..world.machines.len());
        let pause_ms_max = rng.random_range(5..150);
        let wanted = |cell: &Cell| part != Part::Traveller || cell.nature == Nature::Moving;
        let cells = cells.into_iter().filter(wanted).collect();
        let taste = Taste::new(StdRng::seed_from_u64(rng.random()), number, cells);
        Self { world, number, part, taste, sequence: 0, home, pause_ms_max }
    }

    /// Asks until told to end.
    pub async fn run(mut self, end: watch::Receiver<bool>) {
        while !*end.borrow() {
            let pause_ms = self.taste.rng().random_range(0..=self.pause_ms_max);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            match self.part {
                Part::Both | Part::Traveller => match self.taste.next() {
                    Step::Read(key) => self.read(key).await,
                    Step::Write(commands) => drop(self.write(commands).await),
                    Step::Rename(rename) => self.rename(rename).await,
                },
                Part::Reader => {
                    let key = self.taste.key();
                    // The call stays without an answer.
                    let _impatient = tokio::time::timeout(PATIENCE, self.read(key)).await;
                }
                Part::Repeater => self.write_twice().await,
            }
        }
    }

    fn node(&mut self) -> usize {
        let nodes = self.world.machines.len();
        let rng = self.taste.rng();
        if self.part == Part::Both && rng.random_ratio(2, 3) { self.home } else { rng.random_range(0..nodes) }
    }

    /// Asks for a write, and again after a while although it was told.
    async fn write_twice(&mut self) {
        let commands = self.taste.logged();
        let (call, commands, told) = self.write(commands).await;
        if !matches!(told, Told::Outcomes(_)) {
            return;
        }
        let wait_ms = self.taste.rng().random_range(0..=REPEAT_AFTER_MS_MAX);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        if let Tried::Told(outcomes) = self.try_write(&commands).await {
            self.world.ledger.told_again(call, outcomes);
        }
    }

    async fn read(&mut self, key: Key) {
        let query = Query::Get { key: key.clone(), projection: Projection::Whole };
        let node = self.node();
        let Some(running) = self.world.running(node) else { return };
        let call = self.world.ledger.asked(self.number, Asked::Read { query: query.clone(), answer: None });
        let reading = running.node.clone();
        let read = running.life.spawn(async move { reading.read(vec![Read { shard: None, query }]).await });
        drop(running);
        let Ok(Some(Ok(answer))) = read.await.map(|mut answers| answers.pop()) else { return };
        if let Answer::Record(Some(view)) = &answer {
            self.taste.versions.insert(key, view.version);
        }
        self.world.ledger.answered(call, answer);
    }

    /// Asks for a rename once: by which steps it goes on if nobody answers is the region's business.
    async fn rename(&mut self, rename: Rename) {
        let node = self.node();
        let Some(running) = self.world.running(node) else { return };
        let call = self.world.ledger.asked(self.number, Asked::Rename { rename: rename.clone(), told: None });
        let backend: Arc<dyn Backend> = Arc::new(running.node.clone());
        let Rename { rules, from, to, replace } = rename;
        let renaming = running.life.spawn(async move { moves::rename(&backend, rules, from, to, replace).await });
        drop(running);
        if self.taste.rng().random_ratio(1, 8) {
            let lives_on = Duration::from_millis(self.taste.rng().random_range(0..LIVES_ON_MS_MAX));
            drop(raft::spawn(die_on_the_way(self.world.clone(), node, lives_on)));
        }
        match renaming.await {
            Ok(Ok(outcome)) => {
                if outcome == Outcome::Count(1) {
                    self.world.ledger.count("renames told");
                }
                self.world.ledger.renamed(call, outcome);
            }
            Ok(Err(_)) | Err(_) => self.world.ledger.count("renames unknown"),
        }
    }

    /// Asks until it is told; returns the number of the call, what was asked and what was told.
    async fn write(&mut self, mut commands: Vec<Command>) -> (usize, Vec<Command>, Told) {
        let settled = self.sequence + 1;
        for command in &mut commands {
            self.sequence += 1;
            command.request = Request { origin: self.number, sequence: self.sequence, settled };
        }
        let asked = Asked::Write { commands: commands.clone(), told: Told::Unknown };
        let call = self.world.ledger.asked(self.number, asked);
        let (mut told, mut doubt) = (Told::Unknown, false);
        for turn in 0..TRIES {
            if turn > 0 {
                let pause_ms = self.taste.rng().random_range(1..400);
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                self.world.ledger.count("writes asked again");
            }
            match self.try_write(&commands).await {
                Tried::Told(outcomes) => {
                    told = Told::Outcomes(outcomes);
                    break;
                }
                Tried::Nothing(why) if !doubt => told = Told::Nothing(why),
                Tried::Nothing(_) => {}
                Tried::Unknown => {
                    (told, doubt) = (Told::Unknown, true);
                }
            }
        }
        if let Told::Outcomes(outcomes) = &told {
            commands.iter().zip(outcomes).for_each(|(command, outcome)| self.learn(command, outcome));
        }
        self.world.ledger.told(call, told.clone());
        (call, commands, told)
    }

    async fn try_write(&mut self, commands: &[Command]) -> Tried {
        let node = self.node();
        let Some(running) = self.world.running(node) else { return Tried::Nothing("no node there".to_owned()) };
        let (writing, commands) = (running.node.clone(), commands.to_vec());
        let write = running.life.spawn(async move { writing.write(commands).await });
        drop(running);
        let Ok(results) = write.await else { return Tried::Unknown };
        let mut refused = None;
        let mut outcomes = Vec::new();
        let count = results.len();
        for result in results {
            match result {
                Ok(outcome) => outcomes.push(outcome),
                Err(error @ (Unavailable::DiskFull | Unavailable::Overloaded { .. })) => {
                    self.world.ledger.count(format!("refused: {}", name(&error)));
                    refused = Some((refused.map_or(1, |(times, _)| times + 1), error.to_string()));
                }
                Err(error) => {
                    self.world.ledger.count(format!("refused: {}", name(&error)));
                    return Tried::Unknown;
                }
            }
        }
        match refused {
            None => Tried::Told(outcomes),
            Some((times, why)) if times == count => Tried::Nothing(why),
            // Parts of the bundle went to different shards.
            Some(_) => Tried::Unknown,
        }
    }

    fn learn(&mut self, command: &Command, outcome: &Outcome) {
        match outcome {
            Outcome::Written { version, .. } => {
                self.taste.versions.insert(command.key.clone(), *version);
            }
            Outcome::Refused(Refusal::Conflict { current }) => {
                self.taste.versions.insert(command.key.clone(), current.version);
            }
            _ => {}
        }
    }
}

/// Ends a node's process while faults go on.
async fn die_on_the_way(world: Arc<World>, node: usize, after: Duration) {
    tokio::time::sleep(after).await;
    if world.ledger.now() < world.plan.faults && world.end(node, End::Process) {
        world.ledger.count("nodes that died amid a rename");
        faults::restart(&world, node, after * 10);
    }
}

fn name(error: &Unavailable) -> &'static str {
    match error {
        Unavailable::NoLeader { .. } => "no leader",
        Unavailable::HomeAway { .. } => "home away",
        Unavailable::NotCopied { .. } => "not copied",
        Unavailable::NotActing { .. } => "nobody acts",
        Unavailable::DiskFull => "disk full",
        Unavailable::Overloaded { .. } => "overloaded",
        Unavailable::Loading => "loading",
        Unavailable::Undecided(_) => "undecided",
        Unavailable::Refused(_) => "refused",
    }
}
