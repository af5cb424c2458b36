//! Collects the writes of a shard into few log entries.
//!
//! While earlier entries are on their way to a quorum, what arrives waits; the next entry takes all of it. So the busier the
//! shard, the more sessions share one sync. Writers that are answered together come back together a moment later: where
//! there are many, the next entry waits that moment for them. Without it they part into two crowds that take turns, and
//! every entry carries half as much for the same price. What nobody waits for, such as changes of other regions, waits itself for
//! what somebody does: an entry costs three nodes far more than what one more command in it does.

use super::{
    Claim, Leases, Reads, Sessions,
    batch::{self, Bundle},
};
use crate::{
    env::{Env, SlewedClock},
    log::Log,
    raft::{Applied, RunningGroup, spawn},
};
use futures::{
    TryFutureExt,
    stream::{FuturesUnordered, StreamExt},
};
use openraft::{errors::ClientWriteError, impls::ProgressResponder};
use sojourn_core::{Command, Outcome, RegionId, Stamp};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

/// Bounds of one proposer.
#[derive(Clone, Debug)]
pub struct ProposerOptions {
    /// Entries proposed and not yet applied.
    pub entries_in_flight_max: usize,
    /// Commands that are worth an entry of their own while another is under way; fewer wait for it. An entry costs every
    /// replica a sync and a dozen messages, so small ones are dearer than the wait.
    pub commands_pipelined_min: usize,
    /// Bytes that are, likewise.
    pub bytes_pipelined_min: usize,
    /// How long those who wait are kept for those who were just answered, if so many write at once that it pays. The timer's
    /// ticks of a millisecond round it up.
    pub gather: Duration,
    /// Commands at once from which on it does.
    pub commands_gathered_min: usize,
    /// How long patient bundles wait for others, if no entry is logged meanwhile.
    pub patience: Duration,
    /// Commands in one entry, unless one bundle has more.
    pub commands_per_entry_max: usize,
    /// Bytes in one entry, unless one bundle has more.
    pub entry_bytes_max: usize,
    /// Commands that wait or are under way.
    pub commands_waiting_max: u64,
    /// Room that the log must have beyond an entry before it is proposed.
    pub log_room_bytes_min: u64,
}

impl Default for ProposerOptions {
    fn default() -> Self {
        Self {
            entries_in_flight_max: 4,
            commands_pipelined_min: 256,
            bytes_pipelined_min: 128 << 10,
            gather: Duration::from_micros(100),
            commands_gathered_min: 8,
            patience: Duration::from_millis(16),
            commands_per_entry_max: 1024,
            entry_bytes_max: 1 << 20,
            commands_waiting_max: 65_536,
            log_room_bytes_min: 8 << 20,
        }
    }
}

/// Why a bundle has no outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProposed {
    /// This node does not lead the shard, or lost the lead before it knew the outcome: ask the new leader with the same
    /// requests.
    #[error("this node does not lead the shard")]
    NotLeader,
    /// The log has no room; nothing was written.
    #[error("no room in the log")]
    NoRoom,
    /// Too much waits; nothing was written.
    #[error("too many writes wait")]
    Overloaded,
    /// The node is stopping.
    #[error("the shard is stopping")]
    Stopped,
    /// Another region orders the session and does not answer.
    #[error("the region that keeps the session does not answer")]
    HomeAway(RegionId),
    /// It was written here, and other regions have not logged it in time.
    #[error("only {reached} other regions have logged the write")]
    NotCopied {
        /// How many have.
        reached: u16,
    },
    /// It is not certain that this region still orders the sessions of that one, or nobody does now. If it was proposed, it may
    /// have been written.
    #[error("nobody may write the sessions of region {} now", .0.0)]
    NotActing(RegionId),
}

/// A bundle and who waits for its outcomes.
struct Waiting {
    bundle: Bundle,
    claim: Option<Claim>,
    answer: oneshot::Sender<Result<Logged, NotProposed>>,
}

/// Outcomes, and the index of the entry that they are of; none where nothing was logged.
type Logged = (Option<u64>, Vec<Outcome>);

/// The way into one shard's log. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    queue: mpsc::UnboundedSender<Waiting>,
    waiting: Arc<AtomicU64>,
    commands_waiting_max: u64,
    reads: Reads,
    clock: ProposerClock,
    group: Arc<RunningGroup<Sessions>>,
    leases: Arc<Leases>,
}

/// Reads the time as it would be stamped.
#[derive(Clone)]
struct ProposerClock {
    env: Env,
    clock: Arc<SlewedClock>,
}

impl ProposerClock {
    fn now_ms(&self, group: &RunningGroup<Sessions>) -> Stamp {
        self.clock.read_ms(&*self.env.clock).max(group.machine().last_stamp())
    }
}

impl Proposer {
    /// Starts proposing to `group`.
    pub fn start(
        env: Env,
        clock: Arc<SlewedClock>,
        log: Log,
        group: Arc<RunningGroup<Sessions>>,
        reads: Reads,
        leases: Arc<Leases>,
        options: ProposerOptions,
    ) -> Self {
        // Bounded by `commands_waiting_max`.
        let (queue, arrivals) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicU64::new(0));
        let commands_waiting_max = options.commands_waiting_max;
        let clock = ProposerClock { env, clock };
        let own = (clock.clone(), group.clone());
        let run = Run { clock, log, group, leases: leases.clone(), options, waiting: waiting.clone(), last_stamp: 0 };
        drop(spawn(run.run(arrivals)));
        let (clock, group) = own;
        Self { queue, waiting, commands_waiting_max, reads, clock, group, leases }
    }

    /// Proposes a bundle and waits for the outcomes of its commands.
    ///
    /// # Errors
    /// See [`NotProposed`].
    pub async fn write(&self, bundle: Bundle) -> Result<Vec<Outcome>, NotProposed> {
        self.enqueue(bundle).await
    }

    /// As [`Proposer::write`], but queued before this returns: bundles keep the order of the calls, but for those that are
    /// nothing but touches, which are answered without being logged where that may be.
    pub fn enqueue(&self, bundle: Bundle) -> impl Future<Output = Result<Vec<Outcome>, NotProposed>> + Send + use<> {
        self.enqueue_at(bundle).map_ok(|(_, outcomes)| outcomes)
    }

    /// As [`Proposer::enqueue`], and says which entry it was; none where nothing was logged.
    pub fn enqueue_at(&self, bundle: Bundle) -> impl Future<Output = Result<Logged, NotProposed>> + Send + use<> {
        let queued = match bundle.touches().cloned() {
            Some(touches) => Queued::Later(Box::new(self.clone()), bundle, touches),
            None => Queued::Now(self.push(bundle)),
        };
        async move {
            let answered = match queued {
                Queued::Now(answered) => answered,
                Queued::Later(proposer, bundle, touches) => match proposer.touch(&bundle, &touches).await? {
                    Some(outcomes) => return Ok((None, outcomes)),
                    None => proposer.push(bundle),
                },
            };
            answered?.await.unwrap_or(Err(NotProposed::Stopped))
        }
    }

    /// Answers touches from memory, if that may be and this node leads.
    async fn touch(&self, bundle: &Bundle, touches: &[Command]) -> Result<Option<Vec<Outcome>>, NotProposed> {
        if !self.reads.confirm().await {
            return Err(NotProposed::NotLeader);
        }
        let machine = self.group.machine();
        let now = self.lead()?;
        let claim = machine.claim(&self.leases, bundle.keys());
        let answered = machine.touches.answer(now, &machine.state, touches);
        if answered.is_some() {
            machine.uphold(&self.leases, &claim)?;
        }
        Ok(answered)
    }

    /// The time of a leader's answers, once its machine knows in which term this node leads.
    ///
    /// # Errors
    /// It does not lead.
    pub fn lead(&self) -> Result<Stamp, NotProposed> {
        let term = self.group.leading_term().ok_or(NotProposed::NotLeader)?;
        let now = self.clock.now_ms(&self.group);
        self.group.machine().touches.lead(term, now);
        Ok(now)
    }

    /// Does what falls due at a leader by itself: see `super::chores`. Says whether there is more to do.
    ///
    /// # Errors
    /// See [`NotProposed`]; what was not done is due the next time.
    pub async fn tend(&self) -> Result<bool, NotProposed> {
        let Some((bundle, more)) = self.group.machine().chores(self.lead()?) else { return Ok(false) };
        self.write(bundle).await.map(|_| more)
    }

    /// Logs all deadlines that are in memory only: before another node leads.
    ///
    /// # Errors
    /// See [`NotProposed`].
    pub async fn log_touches(&self) -> Result<(), NotProposed> {
        loop {
            let keys = self.group.machine().touches.first();
            if keys.is_empty() {
                return Ok(());
            }
            self.write(Bundle::new(&[]).absorbing(&keys)).await?;
        }
    }

    fn push(&self, bundle: Bundle) -> Result<Answered, NotProposed> {
        let machine = self.group.machine();
        let claim = bundle.needs_lease().then(|| machine.claim_of(&self.leases, &bundle));
        if let Some(claim) = &claim {
            machine.uphold(&self.leases, claim)?;
        }
        let count = u64::from(bundle.count());
        if self.waiting.fetch_add(count, Ordering::Relaxed) + count > self.commands_waiting_max {
            self.waiting.fetch_sub(count, Ordering::Relaxed);
            return Err(NotProposed::Overloaded);
        }
        let (answer, answered) = oneshot::channel();
        self.queue.send(Waiting { bundle, claim, answer }).map_err(|_| NotProposed::Stopped)?;
        Ok(answered)
    }
}

/// A bundle on its way into the queue.
enum Queued {
    Now(Result<Answered, NotProposed>),
    Later(Box<Proposer>, Bundle, Arc<[Command]>),
}

type Answered = oneshot::Receiver<Result<Logged, NotProposed>>;

struct Run {
    clock: ProposerClock,
    log: Log,
    group: Arc<RunningGroup<Sessions>>,
    leases: Arc<Leases>,
    options: ProposerOptions,
    waiting: Arc<AtomicU64>,
    last_stamp: Stamp,
}

/// What waits for its entry.
#[derive(Default)]
struct Held {
    bundles: VecDeque<Waiting>,
    commands: usize,
    bytes: usize,
    /// Bundles that somebody waits for.
    urgent: usize,
    /// When the others are due, if there are any.
    due: Option<Instant>,
}

impl Held {
    fn push(&mut self, waiting: Waiting, patience: Duration) {
        if waiting.bundle.is_patient() {
            self.due.get_or_insert_with(|| Instant::now() + patience);
        } else {
            self.urgent += 1;
        }
        self.commands += waiting.bundle.count() as usize;
        self.bytes += waiting.bundle.bytes().len();
        self.bundles.push_back(waiting);
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.bundles.pop_front()?;
        self.commands -= waiting.bundle.count() as usize;
        self.bytes -= waiting.bundle.bytes().len();
        if !waiting.bundle.is_patient() {
            self.urgent -= 1;
        }
        if self.bundles.is_empty() {
            self.due = None;
        }
        Some(waiting)
    }

    /// When something has to be logged at the latest; none if somebody waits for it.
    fn may_wait_until(&self) -> Option<Instant> {
        self.due.filter(|_| self.urgent == 0)
    }
}

/// Somebody who waits for an entry.
struct Waiter {
    /// How many of its commands are theirs.
    count: usize,
    /// What their answer rests on, if it is about sessions.
    claim: Option<Claim>,
    answer: oneshot::Sender<Result<Logged, NotProposed>>,
}

/// Those who are waited for before the next entry is proposed.
struct Gathering {
    commands: usize,
    until: Instant,
}

impl Run {
    async fn run(mut self, mut arrivals: mpsc::UnboundedReceiver<Waiting>) {
        let mut held = Held::default();
        let mut in_flight = FuturesUnordered::new();
        let mut gathering = None;
        loop {
            while let Ok(bundle) = arrivals.try_recv() {
                held.push(bundle, self.options.patience);
            }
            while self.may_propose(&held, in_flight.len(), gathering.as_ref()) {
                gathering = None;
                let (bundles, waiters) = self.take_entry(&mut held);
                in_flight.extend(self.propose(&bundles, waiters).await);
            }
            let gathered = gathering.as_ref().map(|gathering: &Gathering| gathering.until);
            // While an entry is under way, its end wakes.
            let due = held.may_wait_until().filter(|_| in_flight.is_empty());
            let patience = gathered.into_iter().chain(due).max();
            tokio::select! {
                biased;
                Some(answered) = in_flight.next(), if !in_flight.is_empty() => {
                    gathering = self.gather(answered, &held);
                }
                arrival = arrivals.recv() => match arrival {
                    Some(bundle) => held.push(bundle, self.options.patience),
                    None => return,
                },
                () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => gathering = None,
            }
        }
    }

    fn may_propose(&self, held: &Held, in_flight: usize, gathering: Option<&Gathering>) -> bool {
        let ProposerOptions { entries_in_flight_max, commands_pipelined_min, bytes_pipelined_min, .. } = self.options;
        let is_large = held.commands >= commands_pipelined_min || held.bytes >= bytes_pipelined_min;
        let is_complete = gathering.is_none_or(|gathering| held.commands >= gathering.commands);
        let is_awaited = held.may_wait_until().is_none_or(|due| due <= Instant::now());
        let is_due = is_large || in_flight == 0 && is_complete && is_awaited;
        !held.bundles.is_empty() && is_due && in_flight < entries_in_flight_max
    }

    /// Whom to wait for when an entry with so many commands was answered: those who were in it and those who came meanwhile.
    fn gather(&self, answered: usize, held: &Held) -> Option<Gathering> {
        let writing = answered + held.commands;
        (writing >= self.options.commands_gathered_min)
            .then(|| Gathering { commands: writing, until: Instant::now() + self.options.gather })
    }

    /// Takes as many whole bundles as one entry holds.
    fn take_entry(&self, held: &mut Held) -> (Vec<Bundle>, Vec<Waiter>) {
        let (mut bundles, mut waiters, mut commands, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
        while let Some(next) = held.bundles.front() {
            let (more, more_bytes) = (next.bundle.count() as usize, next.bundle.bytes().len());
            let full = commands + more > self.options.commands_per_entry_max
                || bytes + more_bytes > self.options.entry_bytes_max;
            if full && !bundles.is_empty() {
                break;
            }
            let Some(Waiting { bundle, claim, answer }) = held.pop() else { break };
            commands += more;
            bytes += more_bytes;
            waiters.push(Waiter { count: more, claim, answer });
            bundles.push(bundle);
        }
        (bundles, waiters)
    }

    /// Proposes an entry. What is returned completes when its waiters were answered, with the number of their commands.
    async fn propose(
        &mut self,
        bundles: &[Bundle],
        waiters: Vec<Waiter>,
    ) -> Option<impl Future<Output = usize> + Send + use<>> {
        let count: u64 = bundles.iter().map(|bundle| u64::from(bundle.count())).sum();
        let bytes: u64 = bundles.iter().map(|bundle| bundle.bytes().len() as u64).sum();
        if self.log.room_bytes() < bytes + self.options.log_room_bytes_min {
            self.waiting.fetch_sub(count, Ordering::Relaxed);
            refuse_all(waiters, NotProposed::NoRoom);
            return None;
        }
        let machine = self.group.machine().clone();
        self.last_stamp = sojourn_core::clock::stamp(self.last_stamp, self.clock.now_ms(&self.group));
        if let Some(term) = self.group.leading_term() {
            machine.touches.lead(term, self.last_stamp);
        }
        let keys = bundles.iter().flat_map(Bundle::keys).cloned().collect();
        let (ahead, ticket) = machine.touches.go_ahead(self.last_stamp, &machine.state, keys);
        let ahead_count = ahead.len();
        let ahead = Bundle::new(&ahead);
        let proposal = batch::encode(self.last_stamp, std::iter::once(&ahead).chain(bundles));
        let (responder, response) = ProgressResponder::complete_only();
        if self.group.raft().client_write_ff(proposal, Some(responder)).await.is_err() {
            self.waiting.fetch_sub(count, Ordering::Relaxed);
            machine.touches.arrived(ticket, false);
            refuse_all(waiters, NotProposed::Stopped);
            return None;
        }
        let (waiting, leases) = (self.waiting.clone(), self.leases.clone());
        Some(async move {
            let result = match response.await {
                Ok(Ok(response)) => match response.data {
                    Applied::Sessions(mut outcomes) => {
                        Ok((Some(response.log_id.index), outcomes.split_off(ahead_count.min(outcomes.len()))))
                    }
                    Applied::Nothing | Applied::Region(_) | Applied::Control(_) => Err(NotProposed::Stopped),
                },
                Ok(Err(ClientWriteError::ForwardToLeader(_) | ClientWriteError::LogEntryDiscarded(_))) => {
                    Err(NotProposed::NotLeader)
                }
                Ok(Err(_)) | Err(_) => Err(NotProposed::NotLeader),
            };
            waiting.fetch_sub(count, Ordering::Relaxed);
            machine.touches.arrived(ticket, result.is_ok());
            match result {
                Ok(outcomes) => answer_all(&machine, &leases, waiters, outcomes),
                Err(error) => refuse_all(waiters, error),
            }
            usize::try_from(count).unwrap_or(usize::MAX)
        })
    }
}

/// Tells everybody the outcomes of their commands, as far as they may be told now.
fn answer_all(machine: &Sessions, leases: &Leases, waiters: Vec<Waiter>, (index, outcomes): Logged) {
    let mut outcomes = outcomes.into_iter();
    for Waiter { count, claim, answer } in waiters {
        let own: Vec<Outcome> = outcomes.by_ref().take(count).collect();
        let told = match claim {
            Some(claim) => machine.acknowledge(leases, &claim, own),
            None => Ok(own),
        };
        let told = told.map(|own| (index, own));
        // A caller that gave up is answered by nobody.
        let _gone = answer.send(told);
    }
}

fn refuse_all(waiters: Vec<Waiter>, error: NotProposed) {
    for Waiter { answer, .. } in waiters {
        // As above.
        let _gone = answer.send(Err(error));
    }
}

#[cfg(test)]
mod tests;
