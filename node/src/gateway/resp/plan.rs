//! What a command's handler decides: the reads or writes it needs, and how their results are told to the client.
//!
//! Handlers do not wait. They turn arguments into a [`Plan`], so that the connection can send what many pipelined commands
//! need in one call to the region, and so that `EXEC` can make one entry of the log of them.

use super::{error::Error, reply::Reply, session::Session};
use crate::region::backend::{Read, Unavailable};
use futures::future::BoxFuture;
use sojourn_core::{Answer, Command, Key, Kind, Outcome, Projection, Query, View};

/// Tells the client the results of a command's writes.
pub type OnWrite = Box<dyn FnOnce(&mut Reply, &mut Results<'_, Outcome>) -> Result<(), Error> + Send>;

/// Tells the client the results of a command's reads.
pub type OnRead = Box<dyn FnOnce(&mut Reply, &mut Results<'_, Answer>) -> Result<(), Error> + Send>;

/// Ends a [`Plan::Task`]: changes the connection's session and answers.
pub type Finish = Box<dyn FnOnce(&mut Session, &mut Reply) -> Result<(), Error> + Send>;

/// What must be done for one command.
pub enum Plan {
    /// Nothing more: the reply is written.
    Done,
    /// One write.
    Write(Command, OnWrite),
    /// Several writes, each for itself.
    Writes(Vec<Command>, OnWrite),
    /// One read.
    Read(Read, OnRead),
    /// Several reads.
    Reads(Vec<Read>, OnRead),
    /// Steps that depend on each other. Runs when everything before it was answered.
    Task(BoxFuture<'static, Result<Finish, Error>>),
    /// Runs what `MULTI` queued.
    Exec,
}

/// What a handler answers.
pub type Planned = Result<Plan, Error>;

impl Plan {
    /// A write whose outcome `on` tells.
    pub fn write(
        command: Command,
        on: impl FnOnce(&mut Reply, &mut Results<'_, Outcome>) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        Self::Write(command, Box::new(on))
    }

    /// Several writes.
    pub fn writes(
        commands: Vec<Command>,
        on: impl FnOnce(&mut Reply, &mut Results<'_, Outcome>) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        Self::Writes(commands, Box::new(on))
    }

    /// A read of one session.
    pub fn view(
        key: Key,
        projection: Projection,
        on: impl FnOnce(&mut Reply, Option<Box<View>>) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        Self::Read(get(key, projection), Box::new(move |reply, results| on(reply, results.view()?)))
    }

    /// A read of one session that must be of `kind`.
    pub fn view_of(
        kind: Kind,
        key: Key,
        projection: Projection,
        on: impl FnOnce(&mut Reply, Option<Box<View>>) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        Self::view(key, projection, move |reply, view| on(reply, of_kind(kind, view)?))
    }

    /// Several reads.
    pub fn reads(
        reads: Vec<Read>,
        on: impl FnOnce(&mut Reply, &mut Results<'_, Answer>) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        Self::Reads(reads, Box::new(on))
    }

    /// Steps that depend on each other and end with `Ok(finish(..))`.
    pub fn task(future: impl Future<Output = Result<Finish, Error>> + Send + 'static) -> Self {
        Self::Task(Box::pin(future))
    }
}

/// The read of one session.
pub fn get(key: Key, projection: Projection) -> Read {
    Read { shard: None, query: Query::Get { key, projection } }
}

/// The session, if it is of `kind` or absent.
///
/// # Errors
/// `WRONGTYPE` for one of another kind.
pub fn of_kind(kind: Kind, view: Option<Box<View>>) -> Result<Option<Box<View>>, Error> {
    match view {
        Some(view) if view.kind != kind => Err(super::error::WRONG_TYPE),
        view => Ok(view),
    }
}

/// The results of one command's steps, in their order.
pub struct Results<'a, T> {
    results: &'a mut dyn Iterator<Item = Result<T, Unavailable>>,
    left: usize,
}

impl<'a, T> Results<'a, T> {
    /// The next `count` of `results`.
    pub fn new(results: &'a mut dyn Iterator<Item = Result<T, Unavailable>>, count: usize) -> Self {
        Self { results, left: count }
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next one, without looking at it.
    pub fn next_raw(&mut self) -> Option<Result<T, Unavailable>> {
        self.left = self.left.checked_sub(1)?;
        self.results.next()
    }

    /// Skips what a handler that failed left.
    pub fn finish(mut self) {
        while self.left > 0 {
            self.left -= 1;
            drop(self.results.next());
        }
    }

    fn required(&mut self) -> Result<T, Error> {
        match self.next_raw() {
            Some(result) => Ok(result?),
            None => Err(UNEXPECTED),
        }
    }
}

const UNEXPECTED: Error = Error::new("ERR the region answered something else than was asked; this is a bug of Sojourn");

impl Results<'_, Outcome> {
    /// The next outcome.
    ///
    /// # Errors
    /// The region was not available, or refused.
    pub fn outcome(&mut self) -> Result<Outcome, Error> {
        match self.required()? {
            Outcome::Refused(refusal) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }

    /// The next outcome, which is a number.
    ///
    /// # Errors
    /// As [`Results::outcome`].
    pub fn count(&mut self) -> Result<i64, Error> {
        match self.outcome()? {
            Outcome::Count(count) => Ok(count),
            Outcome::Nothing => Ok(0),
            Outcome::Done | Outcome::Written { .. } => Ok(1),
            _ => Err(UNEXPECTED),
        }
    }
}

impl Results<'_, Answer> {
    /// The next answer, which is a session.
    ///
    /// # Errors
    /// The region was not available.
    pub fn view(&mut self) -> Result<Option<Box<View>>, Error> {
        match self.answer()? {
            Answer::Record(view) => Ok(view),
            _ => Err(UNEXPECTED),
        }
    }

    /// The next answer.
    ///
    /// # Errors
    /// The region was not available.
    pub fn answer(&mut self) -> Result<Answer, Error> {
        self.required()
    }

    /// The sum of all answers, which are numbers: sessions and their bytes.
    ///
    /// # Errors
    /// The region was not available.
    pub fn total(&mut self) -> Result<(u64, u64), Error> {
        let (mut all, mut all_bytes) = (0_u64, 0_u64);
        while !self.is_empty() {
            let Answer::Total { sessions, bytes } = self.answer()? else { return Err(UNEXPECTED) };
            all = all.saturating_add(sessions);
            all_bytes = all_bytes.saturating_add(bytes);
        }
        Ok((all, all_bytes))
    }
}

/// Tells a number.
pub fn tell_count(reply: &mut Reply, results: &mut Results<'_, Outcome>) -> Result<(), Error> {
    reply.integer(results.count()?);
    Ok(())
}

/// Tells `OK`.
pub fn tell_ok(reply: &mut Reply, results: &mut Results<'_, Outcome>) -> Result<(), Error> {
    results.outcome()?;
    reply.ok();
    Ok(())
}

/// Tells a value, or that there is none.
pub fn tell_bytes(reply: &mut Reply, results: &mut Results<'_, Outcome>) -> Result<(), Error> {
    match results.outcome()? {
        Outcome::Bytes(value) => reply.bulk(&value),
        Outcome::Nothing => reply.null(),
        _ => return Err(UNEXPECTED),
    }
    Ok(())
}

/// Tells a value that must be there.
pub fn unexpected<T>() -> Result<T, Error> {
    Err(UNEXPECTED)
}
