//! Writes of sessions that another region may order.

use super::{ARRIVE_TIMEOUT, Place, Reach, Ways, not_proposed};
use crate::{
    region::{node::Inner, shards::Shard},
    shard::{Bundle, NotProposed},
};
use futures::future::Either;
use sojourn_core::{Command, Condition, Key, Op, Outcome, Projection, Refusal, RegionId};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// How often a write follows a session that changes its home meanwhile.
const HOPS_MAX: u32 = 3;

/// How long an operation that makes a session of its own waits for regions that may have one under its id.
const FIND_TIMEOUT: Duration = Duration::from_secs(1);

impl Ways {
    /// Writes commands, in order, where the writes of their sessions are ordered.
    async fn write(&self, held: &Shard, commands: Vec<Command>) -> Result<Vec<Outcome>, NotProposed> {
        let mut homes = Vec::with_capacity(commands.len());
        for command in &commands {
            homes.push(self.target_of(held, command).await?);
        }
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut left = commands.into_iter();
        for run in homes.chunk_by(|one, next| one == next) {
            let run_commands: Vec<Command> = left.by_ref().take(run.len()).collect();
            for (written, command) in self.write_at(held, run[0], &run_commands).await?.into_iter().zip(run_commands) {
                outcomes.push(match written {
                    Outcome::Refused(refusal) => self.follow_up(held, refusal, command).await?,
                    outcome => outcome,
                });
            }
        }
        Ok(outcomes)
    }

    /// What becomes of a command that was refused because another region orders its session: it follows the session there.
    pub(in crate::region) async fn follow_up(
        &self,
        held: &Shard,
        mut refusal: Refusal,
        command: Command,
    ) -> Result<Outcome, NotProposed> {
        let mut last = self.here;
        for _hop in 0..HOPS_MAX {
            let (home, region) = match refusal {
                Refusal::Elsewhere { home } => {
                    // It may be on its way there, and be known to nobody there until it comes.
                    (home, self.arrived(held, home, &command.key, Instant::now() + ARRIVE_TIMEOUT).await?)
                }
                Refusal::Fenced { home, .. } => (home, self.target(held, home, &command.key)?),
                refusal => return Ok(Outcome::Refused(refusal)),
            };
            match self.write_at(held, region, std::slice::from_ref(&command)).await?.pop() {
                Some(Outcome::Refused(other)) => (refusal, last) = (other, home),
                Some(outcome) => return Ok(outcome),
                None => return Err(NotProposed::Stopped),
            }
        }
        match refusal {
            Refusal::Elsewhere { .. } | Refusal::Fenced { .. } => Err(NotProposed::HomeAway(last)),
            refusal => Ok(Outcome::Refused(refusal)),
        }
    }

    /// The region that orders the sessions of a command.
    async fn target_of(&self, held: &Shard, command: &Command) -> Result<RegionId, NotProposed> {
        if matches!(command.op, Op::Revoke { .. } | Op::Clear { .. }) {
            return Ok(self.here);
        }
        let mut keys = Vec::new();
        command.push_keys(&mut keys);
        for key in keys {
            match self.place(held, key) {
                Place::Here => {}
                Place::Away(region) => match self.on_its_way(held, key) {
                    None => return Ok(region),
                    // What another one orders that it names shows then.
                    Some(home) => match self.arrived(held, home, key, Instant::now() + ARRIVE_TIMEOUT).await? {
                        region if region == self.here => {}
                        region => return Ok(region),
                    },
                },
                Place::Nobody(home) => return Err(NotProposed::NotActing(home)),
                Place::Unknown if begins_anew(command) => {
                    if let Some(home) = self.find_soon(held, key).await {
                        return Ok(home);
                    }
                }
                Place::Unknown => {
                    if let Some((home, _)) = self.find(held, key, &Projection::Summary).await? {
                        return Ok(home);
                    }
                }
            }
        }
        self.target(held, self.here, &command.key)
    }

    async fn write_at(&self, held: &Shard, home: RegionId, commands: &[Command]) -> Result<Vec<Outcome>, NotProposed> {
        if home == self.here {
            return held.write(&self.agreed.machine().now(), Bundle::new(commands)).await;
        }
        let written = self.abroad.write(home, commands.to_vec()).await;
        if let Some(copies) = held.copies().filter(|_| !self.plants.forwarded_writes_forgotten) {
            // Whatever the answers: they may have been written.
            let mut keys = Vec::new();
            commands.iter().for_each(|command| command.push_keys(&mut keys));
            keys.into_iter().for_each(|key| copies.touch(key, home));
        }
        written.into_iter().map(|outcome| outcome.map_err(|error| not_proposed(home, &error))).collect()
    }

    /// Where a session is that an operation would replace, if regions are silent that may know better than the copies here.
    async fn find_soon(&self, held: &Shard, key: &Key) -> Option<RegionId> {
        let copies = held.copies();
        let is_heard = |region| {
            let slot = key.slot();
            copies.as_ref().is_some_and(|copies| copies.answers_for(region, key) || self.is_lost(copies, region, slot))
        };
        if self.acting_regions().into_iter().all(is_heard) {
            return None;
        }
        let found = timeout(FIND_TIMEOUT, self.find(held, key, &Projection::Summary)).await;
        found.ok()?.ok()?.map(|(home, _)| home)
    }
}

impl Inner {
    /// Writes here what this region orders, and elsewhere what it does not, as far as `reach` goes. What is written here
    /// for certain is queued before this returns.
    pub fn write_here(
        self: &Arc<Self>,
        held: &Arc<Shard>,
        reach: Reach,
        bundle: Bundle,
    ) -> impl Future<Output = Result<Vec<Outcome>, NotProposed>> + Send + use<> {
        let is_here = |ways: &Ways, key: &Key| ways.place(held, key) == Place::Here;
        let ways = self.ways.get().filter(|_| bundle.needs_lease());
        let uncovered = ways.and_then(|ways| ways.uncovered(held, bundle.keys()));
        if let Some(home) = uncovered {
            return Either::Left(Either::Left(std::future::ready(Err(NotProposed::NotActing(home)))));
        }
        let ways = self.ways.get().filter(|_| reach == Reach::World);
        let Some(ways) = ways.filter(|ways| !bundle.keys().iter().all(|key| is_here(ways, key))) else {
            let written = held.write(&self.system.machine().now(), bundle.clone());
            if reach == Reach::World {
                bundle.keys().iter().for_each(|key| self.note_use(held, self.options.region, key));
            }
            let (inner, held) = (self.clone(), held.clone());
            return Either::Left(Either::Right(
                async move { inner.as_ordered(&held, reach, bundle, written.await?).await },
            ));
        };
        let (ways, held) = (ways.clone(), held.clone());
        Either::Right(async move {
            let written = ways.write(&held, bundle.commands()).await?;
            ways.still_answers(&held, bundle.keys()).await.map(|()| written)
        })
    }

    /// What becomes of writes that were proposed here and found their session elsewhere by then, or could not let it go.
    async fn as_ordered(
        &self,
        held: &Shard,
        reach: Reach,
        bundle: Bundle,
        mut outcomes: Vec<Outcome>,
    ) -> Result<Vec<Outcome>, NotProposed> {
        if let [Outcome::Refused(Refusal::Busy)] = outcomes[..]
            && let [Command { key, op: Op::Release { .. }, .. }] = &bundle.commands()[..]
        {
            self.settle(held, key).await?;
            outcomes = held.write(&self.system.machine().now(), bundle.clone()).await?;
        }
        let Some(ways) = self.ways.get().filter(|_| reach == Reach::World) else { return Ok(outcomes) };
        let is_elsewhere = |outcome: &Outcome| matches!(outcome, Outcome::Refused(Refusal::Elsewhere { .. }));
        if !outcomes.iter().any(is_elsewhere) {
            return Ok(outcomes);
        }
        for (outcome, command) in outcomes.iter_mut().zip(bundle.commands()) {
            if let Outcome::Refused(refusal @ Refusal::Elsewhere { .. }) = outcome {
                *outcome = ways.follow_up(held, refusal.clone(), command).await?;
            }
        }
        ways.still_answers(held, bundle.keys()).await.map(|()| outcomes)
    }
}

/// Whether a command makes a session of its own, whatever there was: new visitors must not wait for regions that are far
/// away, and hardly for one that is cut off.
fn begins_anew(command: &Command) -> bool {
    let always = matches!(command.op, Op::Set { condition: Condition::Always, get: false, .. });
    always && !command.rules.refuse_after_destroy
}
