//! Reads of sessions that another region may order: a copy here answers where it vouches for itself, else whoever orders them.

use super::{ARRIVE_TIMEOUT, Place, Ways, not_proposed};
use crate::{
    region::{backend::Unavailable, node::Inner, shards::Shard},
    shard::NotProposed,
};
use futures::future::join_all;
use sojourn_core::{
    Answer, Key, Life, Projection, Query, Record, RegionId, Stamp, Token,
    policy::{Policy, Reads},
};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

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

impl Ways {
    /// Looks in all other regions for who orders the latest session under an id. One that is over counts: what comes after it
    /// is ordered where it was.
    ///
    /// # Errors
    /// None does, but one that may does not answer, or the session may be of a home for which nobody acts.
    pub(super) async fn find(
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
                Err(_) if copies.as_ref().is_some_and(|copies| self.is_lost(copies, *region, key.slot())) => {}
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
                let (asked, answer) = self.read_at(held, home, (key, projection)).await;
                // What was told may be later than the copy that is heard of next. Not so if the copy shows it: a session that is
                // read again and again must not wait for its copy again and again.
                let known = held.group.machine().record(key);
                let is_shown = answer.as_ref().is_ok_and(|answer| shows(known.as_deref(), answer));
                if let Some(copies) = held.copies().filter(|_| !is_shown) {
                    copies.touch(key, asked);
                }
                let answer = answer.map_err(|error| not_proposed(asked, &error))?;
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

    /// Reads at the region that orders a session as far as the record here says; first where this region has written or found a later
    /// one under the id, if it is still to be heard of. Which of them has answered, and what.
    async fn read_at(
        &self,
        held: &Shard,
        region: RegionId,
        (key, projection): (&Key, &Projection),
    ) -> (RegionId, Result<Answer, Unavailable>) {
        let read = |region| self.abroad.read(region, key.clone(), projection.clone());
        if let Some(found) = held.copies().and_then(|copies| copies.found(key)).filter(|found| *found != region) {
            let answer = read(found).await;
            // Else it has given the session away since, or does not answer.
            if let Ok(Answer::Seen { token: Some(_), .. }) = answer {
                return (found, answer);
            }
        }
        (region, read(region).await)
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
            // Whoever acts by now is heard, and what was written before that is not here.
            (Some(record), _) if held.group.machine().lacks(record.home) => Standing::Stale,
            (Some(record), Some(token)) if !token.is_reached_by(&record) => Standing::Behind,
            // Who is taken for the one who acts does not (yet, or any more).
            (Some(record), _) if !copies.acts_for(home, record.home, key.slot()) => Standing::Stale,
            // Whatever the caller has seen, this region may have ended the session elsewhere since.
            (Some(_), _) if copies.answers_for(home, key) => Standing::Answers(age),
            (Some(_), _) => Standing::Stale,
        }
    }
}

impl Inner {
    /// Where the answer to a read is.
    pub(in crate::region) async fn read_away(
        &self,
        held: &Shard,
        now: Stamp,
        query: &Query,
    ) -> Result<Found, NotProposed> {
        match self.ways.get() {
            Some(ways) => {
                let found = ways.read(held, now, query).await?;
                if let (Found::Elsewhere(_), Some(key)) = (&found, query.key()) {
                    ways.still_answers(held, std::slice::from_ref(key)).await?;
                }
                Ok(found)
            }
            None => Ok(Found::Here { age: Duration::ZERO }),
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
pub(in crate::region) fn aged(answer: Answer, age: Duration) -> Answer {
    match answer {
        Answer::Seen { view, token, .. } => {
            Answer::Seen { view, token, age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX) }
        }
        answer => answer,
    }
}
