//! Moving a session to another home because somebody says so.
//!
//! The region that orders it gives it away (`Op::Release`), the new one takes it in with its stream. Either happens in a log, so
//! whoever asks again finds the session where it is: nothing here is remembered, and nothing has to be undone.

use super::{
    RegionNode,
    abroad::Reach,
    backend::{Backend, Read, Unavailable},
};
use sojourn_core::{Answer, Command, Key, Op, Outcome, Projection, Query, Refusal, RegionId, Request, policy::Policy};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a session may take to leave, and to arrive.
const MOVE_TIMEOUT: Duration = Duration::from_secs(8);

/// Between two tries.
const TRY_PAUSE: Duration = Duration::from_millis(50);

/// What became of a session that should move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The new region orders it.
    Arrived,
    /// It was at home there.
    AtHome,
}

/// Why a session did not move, as far as is known.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NotMoved {
    /// No such session lives.
    #[error("no session with this id lives: it was destroyed, has expired, or never existed")]
    Gone,
    /// Answers may be asked for again that only its present home remembers.
    #[error("the session stays where it is: somebody may still ask again what became of a write in its slot")]
    Busy,
    /// It has left, and the new region has not said that it orders it.
    #[error("the session has left, and region {} has not taken it in yet", .0.0)]
    OnItsWay(RegionId),
    /// The state machine refused.
    #[error(transparent)]
    Refused(Refusal),
    /// A region that is needed does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl RegionNode {
    /// Moves a session to another home, and waits until that orders it.
    ///
    /// # Errors
    /// See [`NotMoved`]; whatever it is, asking again is safe.
    pub async fn move_session(&self, key: Key, to: RegionId) -> Result<Moved, NotMoved> {
        let deadline = Instant::now() + MOVE_TIMEOUT;
        loop {
            let why_not = match self.release(&key, to).await {
                Ok(Outcome::Written { .. }) => break,
                Ok(Outcome::Nothing) => return Ok(Moved::AtHome),
                Ok(Outcome::Refused(Refusal::Gone | Refusal::Missing)) => return Err(NotMoved::Gone),
                Ok(Outcome::Refused(Refusal::Busy)) => NotMoved::Busy,
                Ok(Outcome::Refused(Refusal::Elsewhere { home } | Refusal::Fenced { home, .. })) => {
                    NotMoved::OnItsWay(home)
                }
                Ok(Outcome::Refused(refusal)) => return Err(NotMoved::Refused(refusal)),
                // A node of another version.
                Ok(_) => NotMoved::Unavailable(Unavailable::Loading),
                Err(error) => NotMoved::Unavailable(error),
            };
            if Instant::now() >= deadline {
                return Err(why_not);
            }
            sleep(TRY_PAUSE).await;
        }
        while !self.is_ordered_by(to, &key).await {
            if Instant::now() >= deadline {
                return Err(NotMoved::OnItsWay(to));
            }
            sleep(TRY_PAUSE).await;
        }
        Ok(Moved::Arrived)
    }

    async fn release(&self, key: &Key, to: RegionId) -> Result<Outcome, Unavailable> {
        let rules = Policy::default().rules(false);
        let (request, op) = (Request::default(), Op::Release { to });
        let command = Command { request, key: key.clone(), rules, touched: None, op };
        self.write_within(Reach::World, vec![command]).await.pop().unwrap_or(Err(Unavailable::Loading))
    }

    async fn is_ordered_by(&self, region: RegionId, key: &Key) -> bool {
        let (here, ..) = self.identity();
        let answer = match self.inner.ways.get() {
            Some(ways) if region != here => ways.abroad.read(region, key.clone(), Projection::Summary).await,
            Some(_) | None => {
                let query = Query::GetAtHome { key: key.clone(), projection: Projection::Summary };
                self.read(vec![Read { shard: None, query }]).await.pop().unwrap_or(Err(Unavailable::Loading))
            }
        };
        // One that has ended since is there, too.
        matches!(answer, Ok(Answer::Seen { token: Some(_), .. }))
    }
}
