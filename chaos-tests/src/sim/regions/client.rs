//! Clients: most stay in one region, as those of Redis do, and ask any node of it; one is nowhere at home, and passes along what it has
//! seen. They ask again under the same name when they are not told.

use super::{
    Regions,
    history::Asked,
    workload::{Taste, rules},
};
use crate::sim::{ledger::Told, regions::workload::Nature, world::Running};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sojourn_core::{Answer, Command, Key, Op, Outcome, Projection, Query, Refusal, Request, Token, Version};
use sojourn_node::region::{
    backend::{Backend, Read, Unavailable},
    sweep::{Sweep, Swept},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How often a client asks in all before it gives up.
const TRIES: u32 = 3;

/// A client of the world.
pub struct Client {
    regions: Arc<Regions>,
    number: u64,
    /// The region that it stays in.
    home: Option<usize>,
    rng: StdRng,
    taste: Taste,
    sequence: u64,
    seen: BTreeMap<Key, Version>,
    /// What it passes along, if it is nowhere at home.
    tokens: BTreeMap<Key, Token>,
    /// The longest pause between two questions.
    pause_ms_max: u64,
}

impl Client {
    /// Client `number`, from 1, of region `home`.
    pub fn new(regions: Arc<Regions>, number: u64, home: Option<usize>, rng: &mut StdRng) -> Self {
        let pause_ms_max = rng.random_range(40..250);
        let own = StdRng::seed_from_u64(rng.random());
        let taste = Taste::new(number);
        let (seen, tokens) = (BTreeMap::new(), BTreeMap::new());
        Self { regions, number, home, rng: own, taste, sequence: 0, seen, tokens, pause_ms_max }
    }

    /// Asks until told to end.
    pub async fn run(mut self, end: watch::Receiver<bool>) {
        while !*end.borrow() {
            let pause_ms = self.rng.random_range(0..=self.pause_ms_max);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            match self.rng.random_range(0..40) {
                0..=18 => self.read().await,
                19 => self.revoke().await,
                _ => self.write().await,
            }
        }
    }

    fn region(&mut self) -> usize {
        let regions = self.regions.all.len();
        self.home.unwrap_or_else(|| self.rng.random_range(0..regions))
    }

    /// A node of a region, if the one that is chosen is up.
    fn node(&mut self, region: usize) -> Option<Running> {
        let world = &self.regions.all[region];
        world.running(self.rng.random_range(0..world.machines.len()))
    }

    async fn read(&mut self) {
        let Some(session) = self.regions.catalog.to_read(&mut self.rng) else { return };
        let region = self.region();
        let Some(running) = self.node(region) else { return };
        let key = session.key;
        let token = self.tokens.get(&key).copied();
        let asked = Asked::Read { key: key.clone(), token, answer: None };
        let call = self.regions.history.asked(self.number, region, asked);
        let (asked, projection) = (key.clone(), Projection::Whole);
        let query = match self.home {
            Some(_) => Query::Get { key: asked, projection },
            None => Query::GetSince { key: asked, projection, token },
        };
        let node = running.node.clone();
        let read = running.life.spawn(async move { node.read(vec![Read { shard: None, query }]).await });
        drop(running);
        match read.await.map(|mut answers| answers.pop()) {
            Ok(Some(Ok(Answer::Record(view) | Answer::Seen { view, .. }))) => {
                if let Some(view) = &view {
                    self.seen.insert(key.clone(), view.version);
                    self.pass_along(key, Token::of(view));
                }
                self.regions.history.answered(call, view);
            }
            Ok(Some(Err(error))) => {
                self.regions.history.ledger.count(format!("reads without answer: {}", name(&error)))
            }
            Ok(_) | Err(_) => self.regions.history.ledger.count("reads without answer"),
        }
    }

    async fn write(&mut self) {
        let region = self.region();
        let now_ms = sojourn_node::env::Clock::wall_ms(&*self.regions.all[region].machines[0].clock);
        let written = self.taste.write(&self.regions.catalog, &mut self.rng, &self.seen, now_ms);
        let Some(mut command) = written else { return };
        self.sequence += 1;
        command.request = Request { origin: self.number, sequence: self.sequence, settled: self.sequence };
        let asked = Asked::Write { command: Box::new(command.clone()), told: Told::Unknown };
        let call = self.regions.history.asked(self.number, region, asked);
        let mut told = Told::Unknown;
        for turn in 0..TRIES {
            if turn > 0 {
                tokio::time::sleep(Duration::from_millis(self.rng.random_range(1..600))).await;
                self.regions.history.ledger.count("writes asked again");
            }
            if let Some(outcome) = self.try_write(region, &command).await {
                self.learn(&command, &outcome);
                told = Told::Outcomes(vec![outcome]);
                break;
            }
        }
        self.regions.history.told(call, told);
    }

    /// Asks once; none if nobody knows what became of it.
    async fn try_write(&mut self, region: usize, command: &Command) -> Option<Outcome> {
        let running = self.node(region)?;
        let (node, commands) = (running.node.clone(), vec![command.clone()]);
        let write = running.life.spawn(async move { node.write(commands).await });
        drop(running);
        match write.await.ok()?.pop()? {
            Ok(outcome) => Some(outcome),
            Err(error) => {
                self.regions.history.ledger.count(format!("refused: {}", name(&error)));
                None
            }
        }
    }

    fn pass_along(&mut self, key: Key, token: Token) {
        if self.home.is_none() {
            let known = self.tokens.entry(key).or_insert(token);
            *known = known.joined(token);
        }
    }

    fn learn(&mut self, command: &Command, outcome: &Outcome) {
        let version = match outcome {
            Outcome::Written { incarnation, version, .. } => {
                let token = Token { incarnation: *incarnation, version: *version, ended: false };
                self.pass_along(command.key.clone(), token);
                *version
            }
            Outcome::Refused(Refusal::Conflict { current }) => current.version,
            _ => return,
        };
        self.seen.insert(command.key.clone(), version);
    }

    /// Has all regions end a user's sessions, as the API does: told when each has acknowledged it.
    async fn revoke(&mut self) {
        let (user, epoch) = self.regions.catalog.to_revoke(&mut self.rng);
        let region = self.region();
        let Some(running) = self.node(region) else { return };
        let asked = Asked::Revoke { user: user.clone(), epoch };
        let call = self.regions.history.asked(self.number, region, asked);
        let op = Op::Revoke { user: user.clone(), epoch, count_max: 10 };
        let sweep = Sweep { namespace: sojourn_core::NamespaceId(0), rules: rules(Nature::Owned), op };
        let node = running.node.clone();
        let swept = running.life.spawn(async move {
            let mut all = vec![node.sweep(sweep.clone()).await];
            for region in node.regions_abroad() {
                all.push(node.sweep_abroad(region, sweep.clone()).await);
            }
            all
        });
        drop(running);
        let Ok(all) = swept.await else { return };
        if all.iter().all(|swept| matches!(swept, Ok(Swept::Ended(_)))) {
            self.regions.history.revoked(call);
            self.regions.catalog.revoked(&user, epoch);
            self.regions.history.ledger.count("revocations acknowledged everywhere");
        } else {
            // Somebody may have given out this epoch: the next one asks for a higher.
            let highest = all.iter().filter_map(|swept| match swept {
                Ok(Swept::EpochTooLow { highest }) => Some(*highest),
                Ok(Swept::Ended(_)) | Err(_) => None,
            });
            self.regions.catalog.revoked(&user, highest.max().unwrap_or(0).max(epoch));
            self.regions.history.ledger.count("revocations that not all acknowledged");
        }
    }
}

/// What keeps a region from answering, in words.
pub(super) fn name(error: &Unavailable) -> &'static str {
    match error {
        Unavailable::NoLeader { .. } => "no leader",
        Unavailable::HomeAway { .. } => "home away",
        Unavailable::DiskFull => "disk full",
        Unavailable::Overloaded { .. } => "overloaded",
        Unavailable::Loading => "loading",
        Unavailable::NotCopied { .. } => "not copied",
        Unavailable::NotActing { .. } => "nobody acts",
        Unavailable::Undecided(_) => "undecided",
        Unavailable::Refused(_) => "refused",
    }
}
