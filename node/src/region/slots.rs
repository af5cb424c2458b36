//! Carries out the moves of slots that the region wants, as the leader of its system group.
//!
//! What is next follows from what the region agrees on and from what both shards have logged (`sojourn_core::slots::plan`), so
//! any next leader goes on where this one stops, and two that do so at once do no harm. A few slots are moved at a time: they
//! are copied while they are served, then frozen, and served again as soon as what changed meanwhile is there, too. The slot
//! table follows, and only then does the old shard forget them, so that whoever asks it in between is told where they are.

use super::{abroad::Reach, backend::Unavailable, node::Inner};
use crate::shard::NotProposed;
use sojourn_core::{
    Answer, Command, Key, NamespaceId, Op, Outcome, Query, Refusal, Request, ShardId, Slot, Stamp,
    control::Region,
    policy::Policy,
    query::SlotsFrom,
    region::{RegionCommand, WantedMove},
    slots::{Hold, Next, SLOTS_TOGETHER_MIN, SlotMove, SlotRefusal, SlotStep, Wish, plan, together},
    state::SlotPage,
};
use sojourn_proto::wire::encode;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Weak},
    time::Duration,
};

/// How often the leader of the system group looks whether there is something to move.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Records that may be missing at the target when slots are frozen.
const LAG_MAX: u64 = 64;

/// After so many copies slots are frozen, however much has changed during the last one: they never come to rest.
const COPIES_MAX: u32 = 4;

/// Looks at the shards for a few slots: many more than a move takes.
const LOOKS_MAX: u32 = 64;

/// Why a move is left for the next look.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the region does not agree on it: {0}")]
    NotAgreed(#[from] NotProposed),
    #[error("a shard answers what makes no sense")]
    Strange,
    #[error("another node leads the system group")]
    Deposed,
    #[error("its shards take no step any more")]
    Restless,
    #[error("it is held up")]
    Paused,
    #[error("not every region acts for itself, or not all shards have logged so")]
    Unsettled,
}

/// Moves slots whenever this node leads the system group, until the node is gone.
pub(super) async fn run_slots(node: Weak<Inner>) {
    let mut at_once = SLOTS_TOGETHER_MIN;
    loop {
        let Some(inner) = node.upgrade() else { return };
        if inner.is_stopping() {
            return;
        }
        let carried = match inner.carry_slots(&mut at_once).await {
            Ok(carried) => carried,
            Err(left) => {
                tracing::debug!(reason = %left, "a move of slots is left for the next look");
                false
            }
        };
        let mut agreed = inner.system.machine().watch();
        drop(inner);
        if !carried {
            let _changed = tokio::time::timeout(LOOK_EVERY, agreed.changed()).await;
        }
    }
}

impl Inner {
    /// Carries the next few slots to where they are wanted, and says how many there may be the next time; whether there were any.
    async fn carry_slots(self: &Arc<Self>, at_once: &mut usize) -> Result<bool, Left> {
        if !self.system.raft().is_leader() {
            return Ok(false);
        }
        let region = self.system.machine().now();
        let Some((number, wanted)) = region.slot_moves.current() else { return Ok(false) };
        let slots: BTreeSet<Slot> =
            wanted.left.iter().copied().take(mem::replace(at_once, SLOTS_TOGETHER_MIN)).collect();
        let carrier = Carrier {
            inner: self,
            moved: wanted.of(number),
            slots,
            copied: BTreeSet::new(),
            whole: BTreeSet::new(),
            since: 0,
            copies: 0,
            changed: 0,
            records: None,
            began_frozen: None,
        };
        if let Some(next) = carrier.run().await? {
            *at_once = next;
        }
        Ok(true)
    }
}

impl Inner {
    /// Whether every region acts for itself, as far as this node knows, and has settled what was written meanwhile: what is looked for in
    /// all shards then stays where it is.
    pub(super) fn is_world_settled(&self) -> bool {
        let world = self.ways.get().and_then(|ways| ways.world.borrow().clone());
        world.is_none_or(|world| world.regions.values().all(Region::is_at_rest))
    }
}

/// A few slots, and what this node knows of their move beyond what is logged.
struct Carrier<'a> {
    inner: &'a Arc<Inner>,
    moved: SlotMove,
    slots: BTreeSet<Slot>,
    /// Slots that this node has copied.
    copied: BTreeSet<Slot>,
    /// Slots that it has copied since they were frozen.
    whole: BTreeSet<Slot>,
    /// All that was written before this is copied.
    since: Stamp,
    copies: u32,
    /// How many records the last copy brought.
    changed: u64,
    /// How many there are, once it has copied all of them.
    records: Option<u64>,
    /// Slots that somebody else had frozen before.
    began_frozen: Option<BTreeSet<Slot>>,
}

/// What is to be done now, by slot.
#[derive(Default)]
struct Todo {
    at_source: Vec<(Slot, SlotStep)>,
    at_target: Vec<(Slot, SlotStep)>,
    copy: BTreeSet<Slot>,
    over: BTreeSet<Slot>,
}

impl Carrier<'_> {
    /// Brings them there; how many slots may go together next, unless somebody else had copied some of these.
    async fn run(mut self) -> Result<Option<usize>, Left> {
        for _look in 0..LOOKS_MAX {
            if !self.inner.system.raft().is_leader() {
                return Err(Left::Deposed);
            }
            let region = self.inner.system.machine().now();
            let Some(wanted) = region.slot_moves.wanted.get(&self.moved.number) else { return Ok(None) };
            let (source, target) = futures::join!(self.holds(self.moved.from), self.holds(self.moved.to));
            let ((source, rights), (target, rights_there)) = (source?, target?);
            let todo = self.plan(wanted, &source, &target);
            let is_frozen = source.values().any(|hold| matches!(hold, Some(Hold::Frozen { .. })));
            // Nothing stays frozen because somebody wants a pause.
            if region.rebalancing.paused && !is_frozen {
                return Err(Left::Paused);
            }
            if (rights != rights_there || !self.inner.is_world_settled()) && !is_frozen {
                return Err(Left::Unsettled);
            }
            if todo.over.len() == self.slots.len() {
                self.agree(RegionCommand::CloseSlots { number: self.moved.number, slots: self.slots.clone() }).await?;
                let SlotMove { number, from, to } = self.moved;
                tracing::debug!(number, from = from.0, to = to.0, slots = self.slots.len(), "slots have moved");
                return Ok(self.records.map(|records| together(self.slots.len(), records)));
            }
            self.take(todo, region.rebalancing.bytes_per_s_max).await?;
        }
        Err(Left::Restless)
    }

    fn plan(&mut self, wanted: &WantedMove, source: &Holds, target: &Holds) -> Todo {
        let began_frozen = self.began_frozen.get_or_insert_with(|| {
            let frozen = source.iter().filter(|(_, hold)| matches!(hold, Some(Hold::Frozen { .. })));
            frozen.map(|(slot, _)| *slot).collect()
        });
        let mut todo = Todo::default();
        for &slot in &self.slots {
            let source = source.get(&slot).copied().flatten().unwrap_or(Hold::Serving { settled: 0 });
            let target = target.get(&slot).copied().flatten().unwrap_or(Hold::Away { settled: 0 });
            let lag = match source {
                Hold::Frozen { .. } => self.whole.contains(&slot).then_some(0),
                _served if self.copies >= COPIES_MAX => Some(0),
                _served => self.copied.contains(&slot).then_some(self.changed),
            };
            let wish = if wanted.given_up { Wish::GiveUp } else { Wish::Move { lag_max: LAG_MAX } };
            match plan(self.moved, source, target, lag, wish) {
                Next::AtSource(SlotStep::Drop { number })
                    if self.inner.env.plants.both_owners_after_adopt && began_frozen.contains(&slot) =>
                {
                    todo.at_source.push((slot, SlotStep::Thaw { number }));
                }
                Next::AtSource(step) => todo.at_source.push((slot, step)),
                Next::AtTarget(step) => todo.at_target.push((slot, step)),
                Next::Copy => drop(todo.copy.insert(slot)),
                Next::Over(_) => drop(todo.over.insert(slot)),
            }
        }
        todo
    }

    async fn take(&mut self, todo: Todo, bytes_per_s_max: u64) -> Result<(), Left> {
        let Todo { at_source, at_target, copy, over: _ } = todo;
        let came: BTreeSet<Slot> =
            at_source.iter().filter(|(_, step)| matches!(step, SlotStep::Drop { .. })).map(|(slot, _)| *slot).collect();
        if !came.is_empty() {
            // Before the old shard forgets them, so that it goes on telling where they are.
            self.agree(RegionCommand::ServeSlots { number: self.moved.number, slots: came }).await?;
        }
        // What is frozen waits for the target.
        self.log(self.moved.to, at_target).await?;
        self.log(self.moved.from, at_source).await?;
        if !copy.is_empty() {
            self.copy(copy, bytes_per_s_max).await?;
        }
        Ok(())
    }

    /// Brings to the target what it lacks of these slots, page by page.
    async fn copy(&mut self, slots: BTreeSet<Slot>, bytes_per_s_max: u64) -> Result<(), Left> {
        let since = if slots.is_subset(&self.copied) { self.since } else { 0 };
        let (mut after, mut began, mut changed) = (None, None, 0);
        let mut frozen: BTreeSet<Slot> = slots.clone();
        loop {
            let page = self.page(self.moved.from, &slots, Some(SlotsFrom { since, after: after.take() })).await?;
            began.get_or_insert(page.as_of);
            changed += page.records.len() as u64;
            let is_frozen = |slot: &Slot| {
                page.holds.iter().any(|(other, hold)| other == slot && matches!(hold, Some(Hold::Frozen { .. })))
            };
            frozen.retain(is_frozen);
            let waits = !frozen.is_empty();
            let until = page.until.clone();
            let op = Op::TakeSlots { number: self.moved.number, page: Box::new(page) };
            let bytes = encode(&op).len() as u64;
            self.write(self.moved.to, vec![command(op)?]).await?;
            if bytes_per_s_max > 0 && !waits {
                tokio::time::sleep(Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_s_max)).await;
            }
            match until {
                Some(until) => after = Some(until),
                None => break,
            }
        }
        if since == 0 && slots == self.slots {
            self.records = Some(changed);
        }
        self.since = began.unwrap_or_default();
        self.changed = changed;
        self.copies += 1;
        self.copied.extend(&slots);
        self.whole.extend(frozen);
        Ok(())
    }

    /// Has a shard log steps. Those that it refuses it has taken before, or somebody else has taken others: the next look shows it.
    async fn log(&mut self, shard: ShardId, steps: Vec<(Slot, SlotStep)>) -> Result<(), Left> {
        if steps.is_empty() {
            return Ok(());
        }
        let commands: Result<Vec<Command>, Left> =
            steps.iter().map(|(slot, step)| command(Op::Slot { slot: *slot, step: *step })).collect();
        let outcomes = self.write(shard, commands?).await?;
        let mut abandoned = Vec::new();
        for ((slot, step), outcome) in steps.into_iter().zip(outcomes) {
            match (step, outcome) {
                (SlotStep::Adopt { .. }, Outcome::Done) => {}
                (SlotStep::Adopt { number, .. }, Outcome::Refused(Refusal::Slot(SlotRefusal::RightsDiffer))) => {
                    // A home has changed hands meanwhile. The slot goes back, and sets out anew.
                    abandoned.push(command(Op::Slot { slot, step: SlotStep::Abandon { number } })?);
                }
                (SlotStep::Adopt { .. }, _refused) => {
                    // What arrived is not what was frozen: all of it comes again.
                    self.copied.remove(&slot);
                    self.whole.remove(&slot);
                }
                (_other, Outcome::Refused(Refusal::Slot(SlotRefusal::Unsettled))) => return Err(Left::Unsettled),
                (_other, _outcome) => {}
            }
        }
        if !abandoned.is_empty() {
            self.write(shard, abandoned).await?;
        }
        Ok(())
    }

    async fn write(&self, shard: ShardId, commands: Vec<Command>) -> Result<Vec<Outcome>, Left> {
        Ok(self.inner.write_named(shard, Reach::Region, &commands).await?)
    }

    /// What a shard has to do with the slots, and a digest of how it stands to all regions.
    async fn holds(&self, shard: ShardId) -> Result<(Holds, u64), Left> {
        let page = self.page(shard, &self.slots, None).await?;
        Ok((page.holds.into_iter().collect(), page.rights))
    }

    async fn page(&self, shard: ShardId, slots: &BTreeSet<Slot>, copy: Option<SlotsFrom>) -> Result<SlotPage, Left> {
        let query = Query::Slots { slots: slots.clone(), copy };
        match self.inner.read_shard(shard, vec![query]).await?.pop() {
            Some(Answer::Slots(page)) => Ok(*page),
            Some(_) | None => Err(Left::Strange),
        }
    }

    async fn agree(&self, command: RegionCommand) -> Result<(), Left> {
        Ok(self.inner.change_once(&command).await.map(drop)?)
    }
}

/// What a shard has to do with each slot.
type Holds = BTreeMap<Slot, Option<Hold>>;

/// A command of this node's own; the key says nothing.
fn command(op: Op) -> Result<Command, Left> {
    let key = Key::new(NamespaceId(0), b"slots").map_err(|_| Left::Strange)?;
    Ok(Command { request: Request::default(), key, rules: Policy::default().rules(false), touched: None, op })
}
