//! The way of a request to the leader of its shard, here or on another node, again until somebody answers.

use super::{
    abroad::{Found, Reach, aged},
    backend::{REQUEST_TIMEOUT, Unavailable},
    calls,
    leaders::Lead,
    machine,
    node::Inner,
    pace::{COMMANDS_UNDER_WAY_MAX, Pace},
    shards::Shard,
};
use crate::{
    peers::{CallError, Lane},
    raft::Applied,
    shard::{Bundle, NotProposed},
};
use bytes::Bytes;
use futures::{
    future::{BoxFuture, FutureExt, join_all},
    stream::{FuturesUnordered, StreamExt},
};
use sojourn_core::{
    Answer, Command, NodeId, Outcome, Query, Refusal, ShardId, Stamp,
    placement::GroupName,
    region::{RegionCommand, RegionOutcome},
    state::JOURNAL,
};
use sojourn_proto::wire::{Wire, decode_all, encode};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long another node may answer nothing before a leader is looked for again.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);

/// The end of a try at a leader that goes on answering others: one of theirs is answered last.
const TRY_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How long a node may take to say who leads a shard.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// How long to wait before a leader is looked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What callers are advised when no leader answered.
const RETRY_AFTER_MS: u64 = 500;

impl Inner {
    /// Who leads a shard, as far as this node knows.
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.lead(shard).map(|lead| lead.node)
    }

    /// Who leads a shard as this node's own replica sees it, if it holds one.
    pub fn own_lead(&self, shard: ShardId) -> Option<Lead> {
        let (term, node) = self.shards.get(shard)?.group.known_lead()?;
        Some(Lead { term, node })
    }

    fn lead(&self, shard: ShardId) -> Option<Lead> {
        self.leaders.leader(shard, self.own_lead(shard))
    }

    /// Who leads a shard; where this node does not know, those that hold it are asked.
    pub async fn find_leader(&self, shard: ShardId) -> Option<Lead> {
        if let Some(lead) = self.lead(shard) {
            return Some(lead);
        }
        let region = self.system.machine().now();
        let question = encode(&shard);
        let holders = region.placement.get(&GroupName::Shard(shard))?.iter();
        let asked = holders.filter(|node| **node != self.options.node);
        let mut answers: FuturesUnordered<_> =
            asked.map(|holder| self.rpc.call(*holder, Lane::Fast, calls::LEADER, &[&question], ASK_TIMEOUT)).collect();
        // The first that knows of a leader whom nobody has denied yet is enough.
        while let Some(answer) = answers.next().await {
            let named = answer.ok().and_then(|bytes| decode_all::<Option<(u64, NodeId)>>(&bytes).ok()).flatten();
            if let Some((term, node)) = named {
                self.leaders.hear(shard, Lead { term, node });
                if let Some(lead) = self.lead(shard) {
                    return Some(lead);
                }
            }
        }
        self.own_lead(shard)
    }

    /// The answer of another node to a forwarded call. One that does not lead is not believed to any longer.
    pub fn forwarded<T: Wire>(
        &self,
        shard: ShardId,
        lead: Lead,
        answer: Result<Bytes, CallError>,
    ) -> Result<T, NotProposed> {
        let answer = answer.ok().and_then(|bytes| calls::decode_answer(&bytes).ok());
        self.tried(shard, lead, answer.unwrap_or(Err(NotProposed::NotLeader)))
    }

    fn tried<T>(&self, shard: ShardId, lead: Lead, answer: Result<T, NotProposed>) -> Result<T, NotProposed> {
        if matches!(answer, Err(NotProposed::NotLeader | NotProposed::Stopped)) {
            self.leaders.refute(shard, lead);
        }
        answer
    }

    /// Reads here, if this node leads the shard. Who forwarded the reads says whom it votes for: with one of three voters
    /// on our side, nobody else need be asked.
    pub async fn read_here(
        self: &Arc<Self>,
        shard: ShardId,
        queries: &[Query],
        forwarded: Option<(NodeId, Bytes)>,
    ) -> Result<Vec<Answer>, NotProposed> {
        let Some(shard) = self.shards.get(shard) else { return Err(NotProposed::NotLeader) };
        let vouched = forwarded.is_some_and(|(from, vote)| shard.group.is_confirmed_by(from, &vote));
        if !vouched && !shard.reads.confirm().await {
            return Err(NotProposed::NotLeader);
        }
        let now = shard.proposer.lead()?;
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            let sessions = shard.group.machine();
            if is_of_journal(query) {
                answers.push(self.read_settled(&shard, now, query).await?);
                continue;
            }
            // Counts and listings are of what this region holds, whoever orders it.
            let claim = query.key().map(|key| sessions.claim(&self.leases, std::slice::from_ref(key)));
            answers.push(match self.read_away(&shard, now, query).await? {
                Found::Here { age } => {
                    if let Query::Get { key, .. } | Query::GetSince { key, .. } = query {
                        self.note_use(&shard, self.options.region, key);
                    }
                    let answer = aged(self.read_settled(&shard, now, query).await?, age);
                    claim.map_or(Ok(()), |claim| sessions.uphold(&self.leases, &claim))?;
                    answer
                }
                Found::Elsewhere(answer) => answer,
            });
        }
        Ok(answers)
    }

    /// The answer to a read, once what it says is over is over in the log.
    async fn read_settled(&self, shard: &Shard, mut now: Stamp, query: &Query) -> Result<Answer, NotProposed> {
        loop {
            let read = shard.group.machine().query(now, query).await;
            let (answer, hidden) = read.map_err(|error| {
                tracing::error!(%error, "a session cannot be read from the engine");
                NotProposed::Stopped
            })?;
            match hidden {
                // Somebody has moved its deadline on or ended it meanwhile.
                Some(key) if !self.log_expiry(shard, now, &key).await? => now = shard.proposer.lead()?,
                Some(_) | None => return Ok(answer),
            }
        }
    }

    async fn write_once(
        self: &Arc<Self>,
        shard: ShardId,
        lead: Lead,
        (reach, bundle): (Reach, &Bundle),
    ) -> Result<Vec<Outcome>, NotProposed> {
        if lead.node == self.options.node {
            let written = match self.shards.get(shard) {
                Some(held) => self.write_here(&held, reach, bundle.clone()).await,
                None => Err(NotProposed::NotLeader),
            };
            return self.tried(shard, lead, written);
        }
        let service = match reach {
            Reach::World => calls::WRITE,
            Reach::Region => calls::WRITE_AT_HOME,
        };
        let parts: [&[u8]; 3] = [&calls::shard_head(shard), &bundle.count().to_le_bytes(), bundle.bytes()];
        let answer = self.rpc.call(lead.node, Lane::Fast, service, &parts, TRY_TIMEOUT_MAX).await;
        self.forwarded(shard, lead, answer)
    }

    async fn read_once(
        self: &Arc<Self>,
        shard: ShardId,
        lead: Lead,
        queries: &Vec<Query>,
    ) -> Result<Vec<Answer>, NotProposed> {
        if lead.node == self.options.node {
            let read = self.read_here(shard, queries, None).await;
            return self.tried(shard, lead, read);
        }
        // Of now: later than the reads came in, as their confirmation has to be.
        let vote = self.shards.get(shard).and_then(|held| held.group.vote()).unwrap_or_default();
        let parts: [&[u8]; 3] = [&calls::shard_head(shard), &calls::vote_head(&vote), &encode(queries)];
        let answer = self.rpc.call(lead.node, Lane::Fast, calls::READ, &parts, TRY_TIMEOUT_MAX).await;
        self.forwarded(shard, lead, answer)
    }

    /// Tries at one leader after the other, until one answers or for [`REQUEST_TIMEOUT`] none answered anything that was asked
    /// before this.
    async fn follow<T, F>(&self, shard: ShardId, pace: &Pace, once: impl Fn(Lead) -> F) -> Result<T, Unavailable>
    where
        F: Future<Output = Result<T, NotProposed>>,
    {
        let began = Instant::now();
        let mut doubt = false;
        loop {
            let number = pace.ask();
            let left = || (pace.heard(number, began) + REQUEST_TIMEOUT).saturating_duration_since(Instant::now());
            let tried = match self.find_leader(shard).await {
                None => Err(NotProposed::NotLeader),
                Some(lead) => {
                    let patience = if lead.node == self.options.node { left() } else { left().min(TRY_TIMEOUT) };
                    tokio::select! {
                        biased;
                        tried = once(lead) => tried,
                        () = pace.silence(number, Instant::now(), patience) => {
                            self.leaders.refute(shard, lead);
                            doubt = true;
                            Err(NotProposed::NotLeader)
                        }
                    }
                }
            };
            let no_leader = Unavailable::NoLeader { shard: shard.0, retry_after_ms: RETRY_AFTER_MS };
            match tried {
                Ok(value) => {
                    pace.answered(number);
                    return Ok(value);
                }
                // An earlier try may still be applied, so it must not be said that nothing was written.
                Err(NotProposed::NoRoom) => return Err(if doubt { no_leader } else { Unavailable::DiskFull }),
                Err(NotProposed::Overloaded) if left().is_zero() => {
                    let requests_max = self.options.proposer.commands_waiting_max;
                    return Err(if doubt { no_leader } else { Unavailable::Overloaded { requests_max } });
                }
                Err(NotProposed::NotLeader | NotProposed::Stopped) if left().is_zero() => return Err(no_leader),
                Err(NotProposed::HomeAway(region)) => {
                    return Err(Unavailable::HomeAway { region: region.0, retry_after_ms: RETRY_AFTER_MS });
                }
                Err(NotProposed::NotCopied { reached }) => {
                    return Err(Unavailable::NotCopied { reached, retry_after_ms: RETRY_AFTER_MS });
                }
                Err(NotProposed::NotActing(region)) => {
                    return Err(Unavailable::NotActing { region: region.0, retry_after_ms: RETRY_AFTER_MS });
                }
                Err(NotProposed::Overloaded) => {}
                Err(NotProposed::NotLeader | NotProposed::Stopped) => doubt = true,
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    pub async fn read_shard(self: &Arc<Self>, shard: ShardId, queries: Vec<Query>) -> Result<Vec<Answer>, Unavailable> {
        let pace = self.paces.of(shard);
        self.follow(shard, &pace, |lead| self.read_once(shard, lead, &queries)).await
    }

    /// As [`Self::read_shard`], and where the slots are that the shard does not serve.
    pub async fn read_served(
        self: &Arc<Self>,
        shard: ShardId,
        queries: Vec<Query>,
    ) -> Result<Vec<Answer>, Unavailable> {
        let mut answers = self.read_shard(shard, queries.clone()).await?;
        if answers.iter().any(|answer| matches!(answer, Answer::SlotMoved { .. })) {
            self.read_astray(shard, &queries, &mut answers).await?;
        }
        Ok(answers)
    }

    pub async fn write_shard(
        self: &Arc<Self>,
        shard: ShardId,
        reach: Reach,
        mut commands: Vec<Command>,
    ) -> Result<Vec<Outcome>, Unavailable> {
        // Open until this returns: nobody forgets the answers of what may be sent again.
        let _ticket = self.requests.name(shard, &mut commands);
        let mut outcomes = self.write_named(shard, reach, &commands).await?;
        if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Refused(Refusal::SlotMoved { .. }))) {
            self.write_astray((shard, reach), &commands, &mut outcomes).await?;
        }
        Ok(outcomes)
    }

    /// Has a shard do commands that keep the names that they have, whether it serves their slots or not.
    pub async fn write_named(
        self: &Arc<Self>,
        shard: ShardId,
        reach: Reach,
        commands: &[Command],
    ) -> Result<Vec<Outcome>, Unavailable> {
        let bundle = Bundle::new(commands);
        let pace = self.paces.of(shard);
        let Some(_room) = pace.room(bundle.count(), bundle.bytes().len()).await else {
            return Err(Unavailable::Overloaded { requests_max: COMMANDS_UNDER_WAY_MAX.into() });
        };
        self.follow(shard, &pace, |lead| self.write_once(shard, lead, (reach, &bundle))).await
    }

    pub async fn change(&self, command: RegionCommand) -> Result<RegionOutcome, Unavailable> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            match tokio::time::timeout_at(deadline, self.change_once(&command)).await {
                Ok(Ok(outcome)) => return Ok(outcome),
                Ok(Err(NotProposed::NoRoom)) => return Err(Unavailable::DiskFull),
                Ok(Err(_)) if Instant::now() < deadline => tokio::time::sleep(RETRY_PAUSE).await,
                Ok(Err(_)) | Err(_) => {
                    return Err(Unavailable::NoLeader { shard: 0, retry_after_ms: RETRY_AFTER_MS });
                }
            }
        }
    }

    pub async fn change_once(&self, command: &RegionCommand) -> Result<RegionOutcome, NotProposed> {
        let leader = self.system.leader().ok_or(NotProposed::NotLeader)?;
        if leader == self.options.node {
            return match self.system.propose(machine::encode(command)).await {
                Ok(Some(Applied::Region(outcome))) => Ok(*outcome),
                Ok(_) => Err(NotProposed::NotLeader),
                Err(_) => Err(NotProposed::Stopped),
            };
        }
        let answer = self.rpc.call(leader, Lane::Fast, calls::CHANGE, &[&encode(command)], TRY_TIMEOUT).await;
        answer.ok().and_then(|bytes| calls::decode_answer(&bytes).ok()).unwrap_or(Err(NotProposed::NotLeader))
    }
}

/// Whether a read is of an entry of the journal: those never change, so any copy tells them, whoever acts for their homes.
fn is_of_journal(query: &Query) -> bool {
    matches!(query, Query::Get { key, .. } if key.namespace() == JOURNAL)
}

/// Runs the parts of a request that go to different shards side by side and puts the results back in order.
pub(super) async fn scatter<I, O>(
    items: Vec<(ShardId, I)>,
    run: impl Fn(ShardId, Vec<I>) -> BoxFuture<'static, Result<Vec<O>, Unavailable>>,
) -> Vec<Result<O, Unavailable>> {
    let count = items.len();
    if let Some(&(shard, _)) = items.first()
        && items.iter().all(|(other, _)| *other == shard)
    {
        return match run(shard, items.into_iter().map(|(_, item)| item).collect()).await {
            Ok(values) => values
                .into_iter()
                .map(Ok)
                .chain(std::iter::repeat_with(|| Err(Unavailable::Loading)))
                .take(count)
                .collect(),
            Err(error) => std::iter::repeat_n(error, count).map(Err).collect(),
        };
    }
    let mut parts: BTreeMap<ShardId, (Vec<usize>, Vec<I>)> = BTreeMap::new();
    for (position, (shard, item)) in items.into_iter().enumerate() {
        let (positions, part) = parts.entry(shard).or_default();
        positions.push(position);
        part.push(item);
    }
    let running =
        parts.into_iter().map(|(shard, (positions, part))| run(shard, part).map(move |done| (positions, done)));
    let mut results: Vec<Option<Result<O, Unavailable>>> = (0..count).map(|_| None).collect();
    for (positions, done) in join_all(running).await {
        match done {
            Ok(values) => {
                for (position, value) in positions.into_iter().zip(values) {
                    results[position] = Some(Ok(value));
                }
            }
            Err(error) => positions.into_iter().for_each(|position| results[position] = Some(Err(error.clone()))),
        }
    }
    results.into_iter().map(|result| result.unwrap_or(Err(Unavailable::Loading))).collect()
}
