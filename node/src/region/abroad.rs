//! Sessions that another region orders: where their requests go.
//!
//! The shard's leader decides, for all nodes of the region. A session's requests go to whichever region acts for its home, to
//! nobody while that changes hands. What the copies here cannot vouch for is asked there. A session that is not known here is
//! not missing before the other regions were asked: it may be so new that its copy is on its way.

use super::{
    arrivals::Arrivals,
    backend::Unavailable,
    machine::Agreed,
    node::{Inner, RegionNode},
    shards::Shard,
    sweep::{Sweep, Swept},
};
use crate::{
    env::{Heard, Plants},
    raft::RunningGroup,
    shard::{Bundle, NotProposed},
};
use futures::future::{BoxFuture, Either, join_all};
use sojourn_core::{
    Answer, Command, Condition, Key, Life, Op, Outcome, Projection, Query, Record, Refusal, RegionId, Slot, Stamp,
    Token,
    control::ControlState,
    draining::takes_in,
    mint::Provenance,
    policy::{Policy, Reads},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};

/// How often a write follows a session that changes its home meanwhile.
const HOPS_MAX: u32 = 3;

/// How long a request waits for a session that is on its way to another home.
const ARRIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an operation that makes a session of its own waits for regions that may have one under its id.
const FIND_TIMEOUT: Duration = Duration::from_secs(1);

/// How far a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To whichever region orders its session.
    World,
    /// No further than this region: another one has sent it.
    Region,
}

/// The other regions of the world, as this one reaches them.
pub trait Abroad: Send + Sync + 'static {
    /// Writes at a region, those of one session in order; one result each. Repeating a request is safe.
    fn write(&self, home: RegionId, commands: Vec<Command>) -> BoxFuture<'static, Vec<Result<Outcome, Unavailable>>>;

    /// Reads a session at a region, if that one orders it.
    fn read(&self, home: RegionId, key: Key, projection: Projection)
    -> BoxFuture<'static, Result<Answer, Unavailable>>;

    /// Has an operation done on every shard of a region: see [`RegionNode::sweep`](super::RegionNode::sweep).
    fn sweep(&self, region: RegionId, sweep: Sweep) -> BoxFuture<'static, Result<Swept, Unavailable>>;

    /// Asks a region for those of `origins` that are its nodes', as [`RegionNode::settled`](super::RegionNode::settled); nothing if it
    /// does not answer.
    fn settled(&self, region: RegionId, origins: Vec<u64>) -> BoxFuture<'static, Vec<(u64, u64)>>;

    /// All other regions.
    fn regions(&self) -> Vec<RegionId>;
}

/// Who orders a session, as far as a shard can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Here,
    Away(RegionId),
    /// Nobody, at present: it is of this home.
    Nobody(RegionId),
    /// This region does not know it; another one may.
    Unknown,
}

/// Where the answer to a read is.
pub enum Found {
    /// Here, in a copy that may be so old.
    Here {
        /// Zero of what this region orders.
        age: Duration,
    },
    /// Another region has answered.
    Elsewhere(Answer),
}

/// Whether a copy answers for its home.
enum Standing {
    /// It does; it may be so old.
    Answers(Duration),
    /// It will, once it shows what the caller has seen.
    Behind,
    /// It does not.
    Stale,
}

/// Tells which region is asked, for the shards that a node leads.
pub struct Ways {
    pub(super) here: RegionId,
    pub(super) agreed: Arc<RunningGroup<Agreed>>,
    pub(super) abroad: Arc<dyn Abroad>,
    /// What the world agrees on, as this node knows it.
    pub(super) world: Heard<Option<Arc<ControlState>>>,
    /// Sessions that have travelled and were seen where they went.
    pub(super) arrivals: Arrivals,
    /// Simulation only.
    pub(super) plants: Plants,
}

impl Ways {
    fn place(&self, held: &Shard, key: &Key) -> Place {
        if let Some(record) = held.group.machine().record(key) {
            return self.place_of(held, record.home, key);
        }
        match self.agreed.machine().now().mint_key.provenance(key.namespace(), key.id()) {
            Provenance::Minted(minted) => self.place_of(held, minted.region, key),
            Provenance::Foreign | Provenance::Forged => {
                held.copies().and_then(|copies| copies.found(key)).map_or(Place::Unknown, Place::Away)
            }
        }
    }

    /// Where a session of a home is ordered.
    fn place_of(&self, held: &Shard, home: RegionId, key: &Key) -> Place {
        match self.acting(home, key) {
            Some(region) if region != self.here => Place::Away(region),
            // It may not have logged yet that it acts, or have logged that it does not any more.
            Some(_) if held.group.machine().acts_for(home) => Place::Here,
            Some(_) | None => Place::Nobody(home),
        }
    }

    /// The region that acts for a session's home, as far as this node knows; by itself a home acts for itself. Nobody where a
    /// write that waited for other regions may be known only to one that was not heard yet.
    fn acting(&self, home: RegionId, key: &Key) -> Option<RegionId> {
        let world = self.world.borrow();
        let Some((world, known)) = world.as_ref().and_then(|world| Some((world, world.regions.get(&home)?))) else {
            return Some(home);
        };
        let policy = world.namespaces.get(&key.namespace()).map(|namespace| &namespace.policy);
        let is_open =
            self.plants.geo_opens_without_quorum || policy.is_none_or(|policy| policy.is_covered(&known.unheard));
        world.acting(home, key.slot()).filter(|_| is_open).map(|acting| acting.region)
    }

    /// A home of which this region may not order these sessions now: they are of namespaces whose writes wait for other regions,
    /// and this node does not know (yet) that all that was acknowledged in them is here.
    fn uncovered(&self, held: &Shard, keys: &[Key]) -> Option<RegionId> {
        let region = self.agreed.machine().now();
        let waits = |key: &&Key| {
            region.namespaces.get(&key.namespace()).is_some_and(|namespace| namespace.policy.ack_regions > 0)
        };
        keys.iter().filter(waits).find_map(|key| {
            let home = held.group.machine().record(key).map_or(self.here, |record| record.home);
            let acts = held.group.machine().acts_for(home);
            (acts && self.acting(home, key) != Some(self.here)).then_some(home)
        })
    }

    /// Where a session of a home is written.
    pub(super) fn target(&self, held: &Shard, home: RegionId, key: &Key) -> Result<RegionId, NotProposed> {
        match self.place_of(held, home, key) {
            Place::Here | Place::Unknown => Ok(self.here),
            Place::Away(region) => Ok(region),
            Place::Nobody(home) => Err(NotProposed::NotActing(home)),
        }
    }

    /// Whether a region takes sessions in that travel: it acts for itself and keeps its homes.
    pub(super) fn takes_in(&self, to: RegionId, key: &Key) -> bool {
        self.world.borrow().as_ref().is_some_and(|world| takes_in(world, to, key.namespace()))
    }

    /// What the world agrees on, if this region is being drained by that.
    pub(super) fn drained(&self) -> Option<Arc<ControlState>> {
        let world = self.world.borrow().clone()?;
        world.regions.get(&self.here).is_some_and(|region| region.draining).then_some(world)
    }

    /// The other regions that act for anybody: no session is ordered by those that do not.
    fn acting_regions(&self) -> Vec<RegionId> {
        let mut regions = self.abroad.regions();
        if let Some(world) = self.world.borrow().as_ref() {
            let acts = |region: &RegionId| world.regions.values().any(|home| home.holders().contains(region));
            regions.retain(|region| !world.regions.contains_key(region) || acts(region));
        }
        regions
    }

    /// A home for which nobody acts in this slot: a session that nobody knows may be one of its.
    fn orphaned(&self, slot: Slot) -> Option<RegionId> {
        let world = self.world.borrow();
        world.as_ref()?.regions.values().find(|home| home.acting(slot).is_none()).map(|home| home.id)
    }

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
    pub(super) async fn follow_up(
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
            copies.as_ref().is_some_and(|copies| copies.answers_for(region, key) || copies.has_lost(region, key.slot()))
        };
        if self.acting_regions().into_iter().all(is_heard) {
            return None;
        }
        let found = timeout(FIND_TIMEOUT, self.find(held, key, &Projection::Summary)).await;
        found.ok()?.ok()?.map(|(home, _)| home)
    }

    /// Looks in all other regions for who orders the latest session under an id. One that is over counts: what comes after it
    /// is ordered where it was.
    ///
    /// # Errors
    /// None does, but one that may does not answer, or the session may be of a home for which nobody acts.
    async fn find(
        &self,
        held: &Shard,
        key: &Key,
        projection: &Projection,
    ) -> Result<Option<(RegionId, Answer)>, NotProposed> {
        let regions = self.acting_regions();
        let asked = regions.iter().map(|region| self.abroad.read(*region, key.clone(), projection.clone()));
        let (mut latest, mut silent, mut sent_to, copies) = (None, None, None, held.copies());
        for (region, answer) in regions.iter().zip(join_all(asked).await) {
            match answer {
                Ok(Answer::Elsewhere(home)) => sent_to = Some(home),
                Ok(answer) => {
                    let found = token_of(&answer).map(|token| (token.incarnation, *region, answer));
                    latest = latest.into_iter().chain(found).max_by_key(|(incarnation, ..)| *incarnation);
                }
                Err(_) if copies.as_ref().is_some_and(|copies| copies.has_lost(*region, key.slot())) => {}
                Err(error) => silent = Some(not_proposed(*region, &error)),
            }
        }
        if let Some((_, region, answer)) = latest {
            copies.iter().for_each(|copies| copies.touch(key, region));
            return Ok(Some((region, answer)));
        }
        if let (None, Some(home)) = (silent, sent_to) {
            // Somebody knows the session, and not as its own: it is on its way to a region that has not heard of it.
            let region = self.arrived(held, home, key, Instant::now() + ARRIVE_TIMEOUT).await?;
            let answer = self.abroad.read(region, key.clone(), projection.clone()).await;
            let answer = answer.map_err(|error| not_proposed(region, &error))?;
            copies.iter().for_each(|copies| copies.touch(key, region));
            return Ok(Some((region, answer)));
        }
        match silent.or_else(|| self.orphaned(key.slot()).map(NotProposed::NotActing)) {
            Some(silent) => Err(silent),
            None => Ok(None),
        }
    }

    /// Where the answer to a read is: in another region only where no copy here vouches for itself.
    async fn read(&self, held: &Shard, now: Stamp, query: &Query) -> Result<Found, NotProposed> {
        const HERE: Found = Found::Here { age: Duration::ZERO };
        let (key, projection, token) = match query {
            Query::Get { key, projection } => (key, projection, None),
            Query::GetSince { key, projection, token } => (key, projection, *token),
            Query::GetAtHome { key, .. } => {
                return match self.place(held, key) {
                    Place::Here | Place::Unknown => Ok(HERE),
                    Place::Away(region) => Ok(Found::Elsewhere(Answer::Elsewhere(region))),
                    Place::Nobody(home) => Err(NotProposed::NotActing(home)),
                };
            }
            _of_many => return Ok(HERE),
        };
        let answer = match self.place(held, key) {
            Place::Here if is_replaced(held, key, token) => match self.find(held, key, projection).await? {
                Some((_, answer)) if is_replaced(held, key, token_of(&answer)) => answer,
                Some(_) | None => return Ok(HERE),
            },
            Place::Here => return Ok(HERE),
            Place::Nobody(home) => return Err(NotProposed::NotActing(home)),
            Place::Away(home) => {
                if let Some(age) = self.age_of_copy(held, now, home, (key, token)).await {
                    return Ok(Found::Here { age });
                }
                let answer = self.abroad.read(home, key.clone(), projection.clone()).await;
                // What was told may be later than the copy that is heard of next. Not so if the copy shows it: a session that is
                // read again and again must not wait for its copy again and again.
                let known = held.group.machine().record(key);
                let is_shown = answer.as_ref().is_ok_and(|answer| shows(known.as_deref(), answer));
                if let Some(copies) = held.copies().filter(|_| !is_shown) {
                    copies.touch(key, home);
                }
                let answer = answer.map_err(|error| not_proposed(home, &error))?;
                match self.still_to_come(held, key, &answer) {
                    Some(home) => return self.read_after(held, home, query).await,
                    None => answer,
                }
            }
            Place::Unknown if self.plants.miss_without_asking => return Ok(HERE),
            Place::Unknown => {
                let found = self.find(held, key, projection).await?;
                found.map_or(Answer::Record(None), |(_, answer)| answer)
            }
        };
        as_asked(query, answer).map(Found::Elsewhere)
    }

    /// Reads a session that is on its way to `home`.
    async fn read_after(&self, held: &Shard, home: RegionId, query: &Query) -> Result<Found, NotProposed> {
        let (Query::Get { key, projection } | Query::GetSince { key, projection, .. }) = query else {
            return Err(NotProposed::HomeAway(home));
        };
        let region = self.arrived(held, home, key, Instant::now() + ARRIVE_TIMEOUT).await?;
        if region == self.here {
            return Ok(Found::Here { age: Duration::ZERO });
        }
        let answer = self.abroad.read(region, key.clone(), projection.clone()).await;
        held.copies().iter().for_each(|copies| copies.touch(key, region));
        as_asked(query, answer.map_err(|error| not_proposed(region, &error))?).map(Found::Elsewhere)
    }

    /// Whoever leads next waits for copies from after its own start. What was done elsewhere for one that leads no more may be
    /// later than these: its caller asks the next leader, who hears the same again and remembers it.
    async fn still_leads(&self, held: &Shard) -> Result<(), NotProposed> {
        if self.plants.answers_when_deposed || held.reads.confirm().await {
            Ok(())
        } else {
            Err(NotProposed::NotLeader)
        }
    }

    /// The age of the copy here if it answers for a session of `home`: now, or in a moment.
    async fn age_of_copy(
        &self,
        held: &Shard,
        now: Stamp,
        home: RegionId,
        (key, token): (&Key, Option<Token>),
    ) -> Option<Duration> {
        let agreed = self.agreed.machine().now();
        let policy = agreed.namespaces.get(&key.namespace()).map(|namespace| &namespace.policy);
        let Policy { reads, wait_fresh_ms, .. } = policy?;
        if *reads == Reads::Home {
            return None;
        }
        let deadline = Instant::now() + Duration::from_millis(*wait_fresh_ms);
        let sessions = held.group.machine();
        loop {
            let fed = sessions.fed();
            tokio::pin!(fed);
            fed.as_mut().enable();
            match self.standing(held, now, home, (key, token)) {
                Standing::Answers(age) => return Some(age),
                Standing::Behind => timeout_at(deadline, fed).await.ok()?,
                Standing::Stale => return None,
            }
        }
    }

    fn standing(&self, held: &Shard, now: Stamp, home: RegionId, (key, token): (&Key, Option<Token>)) -> Standing {
        let Some(copies) = held.copies() else { return Standing::Stale };
        let Some(age) = copies.age(home, key.slot()) else { return Standing::Stale };
        match (held.group.machine().record(key), token) {
            (None, None) => Standing::Stale,
            (None, Some(_)) => Standing::Behind,
            // Its leader may know of a later deadline than it has logged.
            (Some(record), _) if record.life == Life::Live && record.deadline() <= now => Standing::Stale,
            (Some(record), Some(token)) if !token.is_reached_by(&record) => Standing::Behind,
            // Whatever the caller has seen, this region may have ended the session elsewhere since.
            (Some(_), _) if copies.answers_for(home, key) => Standing::Answers(age),
            (Some(_), _) => Standing::Stale,
        }
    }
}

/// Whether a copy shows what its home has answered.
fn shows(copy: Option<&Record>, answer: &Answer) -> bool {
    match (copy, answer) {
        (Some(copy), Answer::Seen { token: Some(token), .. }) => token.is_reached_by(copy),
        (Some(copy), Answer::Seen { token: None, .. }) => copy.life != Life::Live,
        (Some(_) | None, _) => false,
    }
}

/// What the region that orders a session has said of it; none if it does not, or knows of none.
fn token_of(answer: &Answer) -> Option<Token> {
    match answer {
        Answer::Seen { token, .. } => *token,
        _not_ordered => None,
    }
}

/// Whether somebody has seen a later session under the id than the one that is known here.
fn is_replaced(held: &Shard, key: &Key, seen: Option<Token>) -> bool {
    let known = held.group.machine().record(key);
    known.zip(seen).is_some_and(|(known, seen)| seen.incarnation > known.incarnation)
}

/// What another region has answered, in the form that was asked for.
///
/// # Errors
/// It does not order the session any more.
fn as_asked(query: &Query, answer: Answer) -> Result<Answer, NotProposed> {
    match (query, answer) {
        (_, Answer::Elsewhere(home)) => Err(NotProposed::HomeAway(home)),
        // Who orders it knows of none: what the caller has seen is over.
        (Query::GetSince { token, .. }, Answer::Seen { view: None, token: None, .. } | Answer::Record(None)) => {
            Ok(Answer::Seen { view: None, token: token.map(Token::ended), age_ms: 0 })
        }
        (Query::Get { .. }, Answer::Seen { view, .. }) => Ok(Answer::Record(view)),
        (_, answer) => Ok(answer),
    }
}

/// An answer of a copy that may be so old.
pub(super) fn aged(answer: Answer, age: Duration) -> Answer {
    match answer {
        Answer::Seen { view, token, .. } => {
            Answer::Seen { view, token, age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX) }
        }
        answer => answer,
    }
}

/// Whether a command makes a session of its own, whatever there was: new visitors must not wait for regions that are far
/// away, and hardly for one that is cut off.
fn begins_anew(command: &Command) -> bool {
    let always = matches!(command.op, Op::Set { condition: Condition::Always, get: false, .. });
    always && !command.rules.refuse_after_destroy
}

impl RegionNode {
    /// Writes at another region, as [`Abroad::write`] does.
    pub async fn write_at(&self, region: RegionId, commands: Vec<Command>) -> Vec<Result<Outcome, Unavailable>> {
        match self.inner.ways.get() {
            Some(ways) => ways.abroad.write(region, commands).await,
            None => vec![Err(Unavailable::Loading); commands.len()],
        }
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
            ways.still_leads(&held).await.map(|()| written)
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
        ways.still_leads(held).await.map(|()| outcomes)
    }

    /// Where the answer to a read is.
    pub(super) async fn read_away(&self, held: &Shard, now: Stamp, query: &Query) -> Result<Found, NotProposed> {
        match self.ways.get() {
            Some(ways) => {
                let found = ways.read(held, now, query).await?;
                if let Found::Elsewhere(_) = found {
                    ways.still_leads(held).await?;
                }
                Ok(found)
            }
            None => Ok(Found::Here { age: Duration::ZERO }),
        }
    }
}

fn not_proposed(home: RegionId, error: &Unavailable) -> NotProposed {
    match error {
        Unavailable::DiskFull => NotProposed::NoRoom,
        Unavailable::Overloaded { .. } => NotProposed::Overloaded,
        Unavailable::NotCopied { reached, .. } => NotProposed::NotCopied { reached: *reached },
        Unavailable::NotActing { region, .. } => NotProposed::NotActing(RegionId(*region)),
        Unavailable::NoLeader { .. }
        | Unavailable::HomeAway { .. }
        | Unavailable::Loading
        | Unavailable::Undecided(_)
        | Unavailable::Refused(_) => NotProposed::HomeAway(home),
    }
}
