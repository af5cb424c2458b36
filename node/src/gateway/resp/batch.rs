//! Commands of one connection that go to the region together.
//!
//! A client that sends many commands before it reads (a pipeline, or an application whose requests share a connection)
//! should cost one call to the region, not one each. The reads and the writes of a batch run side by side, so those of one
//! session never share a batch: a read sees what the same client wrote before it, and nothing that it wrote after.

use super::{
    error::Error,
    plan::{OnRead, OnWrite, Plan, Results},
    reply::Reply,
    server::Server,
    session::Session,
    stats::{SLOW_AFTER, Slow},
    table::Spec,
};
use crate::region::backend::{Read, Unavailable};
use sojourn_core::{Answer, Command, Key, Op, Outcome, Refusal};
use std::{sync::atomic::Ordering::Relaxed, time::Instant};

/// Commands of one batch.
pub const COMMANDS_MAX: usize = 1_024;

/// Sessions read in one call: all of them are in memory at once.
pub const READS_MAX: usize = 128;

/// Sessions that a connection reads in its first call, when nobody knows how large they are.
const READS_AT_FIRST: usize = 16;

/// Bytes of replies to one call from which on fewer sessions are read in the next.
const REPLY_BYTES_LARGE: usize = 4 << 20;

/// Bytes that one batch may write.
pub const WRITE_BYTES_MAX: usize = 4 << 20;

/// What waits to go to the region.
pub struct Batch {
    entries: Vec<Entry>,
    writes: Vec<Command>,
    reads: Vec<Read>,
    /// Replies of commands that needed no region but must wait for those before them.
    staged: Reply,
    bytes: usize,
    /// How many sessions to read in one call, by how large the last ones were.
    reads_max: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            writes: Vec::new(),
            reads: Vec::new(),
            staged: Reply::default(),
            bytes: 0,
            reads_max: READS_AT_FIRST,
        }
    }
}

struct Entry {
    spec: &'static Spec,
    silent: bool,
    words: usize,
    key: Option<Key>,
    then: Then,
}

enum Then {
    /// The staged reply up to here.
    Staged(usize),
    Write(usize, OnWrite),
    Read(usize, OnRead),
    Failed(Error),
}

/// A command's place in a batch.
#[derive(Clone, Copy)]
pub struct About {
    /// The command.
    pub spec: &'static Spec,
    /// Whether its reply is suppressed.
    pub silent: bool,
    /// How many words it has.
    pub words: usize,
    /// How many bytes.
    pub bytes: usize,
}

impl Batch {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where a reply goes that must wait for what is in the batch.
    pub fn staged(&mut self) -> &mut Reply {
        &mut self.staged
    }

    /// Whether `plan` can only join after what waits was sent.
    pub fn must_flush_before(&self, plan: &Plan) -> bool {
        match plan {
            Plan::Done => false,
            Plan::Write(command, _) => self.reads_of(command),
            Plan::Writes(commands, _) => commands.iter().any(|command| self.reads_of(command)),
            Plan::Read(read, _) => self.writes_of(read),
            Plan::Reads(reads, _) => {
                let many = !self.reads.is_empty() && self.reads.len() + reads.len() > self.reads_max;
                many || reads.iter().any(|read| self.writes_of(read))
            }
            Plan::Task(_) | Plan::Exec => !self.is_empty(),
        }
    }

    /// Whether a read that waits may see what `command` writes.
    fn reads_of(&self, command: &Command) -> bool {
        self.reads.iter().any(|read| touches(command, read))
    }

    /// Whether a write that waits may change what `read` sees.
    fn writes_of(&self, read: &Read) -> bool {
        self.writes.iter().any(|command| touches(command, read))
    }

    /// Whether it is time to send what waits.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= COMMANDS_MAX || self.reads.len() >= self.reads_max || self.bytes >= WRITE_BYTES_MAX
    }

    /// Adds a command that needs writes or reads. [`Plan::Task`] and [`Plan::Exec`] do not belong here.
    pub fn add(&mut self, about: About, plan: Plan) {
        let About { spec, silent, words, bytes } = about;
        self.bytes += bytes;
        let (key, then) = match plan {
            Plan::Write(command, on) => {
                let key = command.key.clone();
                self.writes.push(command);
                (Some(key), Then::Write(1, on))
            }
            Plan::Writes(commands, on) => {
                let (key, count) = (commands.first().map(|command| command.key.clone()), commands.len());
                self.writes.extend(commands);
                (key, Then::Write(count, on))
            }
            Plan::Read(read, on) => {
                let key = read.query.key().cloned();
                self.reads.push(read);
                (key, Then::Read(1, on))
            }
            Plan::Reads(reads, on) => {
                let (key, count) = (reads.first().and_then(|read| read.query.key()).cloned(), reads.len());
                self.reads.extend(reads);
                (key, Then::Read(count, on))
            }
            Plan::Done | Plan::Task(_) | Plan::Exec => (None, Then::Staged(self.staged.len())),
        };
        self.entries.push(Entry { spec, silent, words, key, then });
    }

    /// Adds a command that failed before it needed anything.
    pub fn add_failed(&mut self, about: About, error: Error) {
        let About { spec, silent, words, .. } = about;
        self.entries.push(Entry { spec, silent, words, key: None, then: Then::Failed(error) });
    }

    /// Sends what waits and writes the replies in order.
    pub async fn flush(&mut self, server: &Server, session: &Session, reply: &mut Reply) {
        if self.entries.is_empty() {
            return;
        }
        let started = Instant::now();
        let writes = std::mem::take(&mut self.writes);
        let reads = std::mem::take(&mut self.reads);
        let (outcomes, answers) = match (writes.is_empty(), reads.is_empty()) {
            (true, _) => (Vec::new(), server.backend.read(reads).await),
            (_, true) => (write(server, writes).await, Vec::new()),
            (false, false) => tokio::join!(write(server, writes), server.backend.read(reads)),
        };
        let (mut outcomes, mut answers) = (outcomes.into_iter(), answers.into_iter());
        let took = started.elapsed();
        let mut slow = took >= SLOW_AFTER;
        self.bytes = 0;
        let (mut staged_from, reply_from) = (0, reply.len());
        for Entry { spec, silent, words, key, then } in self.entries.drain(..) {
            let begin = reply.len();
            let told = match then {
                Then::Staged(end) => {
                    reply.append(&self.staged.as_bytes()[staged_from..end]);
                    staged_from = end;
                    Ok(())
                }
                Then::Write(count, on) => tell_outcomes(reply, &mut outcomes, count, on),
                Then::Read(count, on) => tell_answers(server, reply, &mut answers, count, on),
                Then::Failed(error) => Err(error),
            };
            if let Err(error) = told {
                tell_error(server, reply, begin, &error);
            }
            if silent {
                reply.truncate(begin);
            }
            // One stands for the batch: all of it took that long.
            if std::mem::take(&mut slow) {
                note_slow(server, session, spec, words, key.as_ref(), took);
            }
        }
        self.reads_max = match reply.len() - reply_from {
            ..REPLY_BYTES_LARGE => (self.reads_max * 2).min(READS_MAX),
            _ => (self.reads_max / 4).max(1),
        };
        self.staged.clear(STAGED_BYTES_KEPT);
        self.entries.shrink_to(ENTRIES_KEPT);
    }
}

/// Memory that a connection keeps between batches.
const ENTRIES_KEPT: usize = 32;
const STAGED_BYTES_KEPT: usize = 1_024;

/// Whether a write may change what a read sees.
fn touches(command: &Command, read: &Read) -> bool {
    match (&command.op, read.query.key()) {
        // Of several sessions.
        (Op::Rename { .. } | Op::Copy { .. } | Op::Exec { .. } | Op::Clear { .. } | Op::Revoke { .. }, _) => true,
        (_, Some(key)) => *key == command.key,
        (_, None) => true,
    }
}

/// Replaces what a command wrote since `begin` by an error.
pub fn tell_error(server: &Server, reply: &mut Reply, begin: usize, error: &Error) {
    server.stats.count_error(error);
    reply.truncate(begin);
    reply.error(&error.0);
}

/// Tells the outcomes of one command's `count` writes.
///
/// # Errors
/// What the command's handler makes of them.
pub fn tell_outcomes(
    reply: &mut Reply,
    outcomes: &mut dyn Iterator<Item = Result<Outcome, Unavailable>>,
    count: usize,
    on: OnWrite,
) -> Result<(), Error> {
    let mut results = Results::new(outcomes, count);
    let told = on(reply, &mut results);
    results.finish();
    told
}

/// Tells the answers of one command's `count` reads.
///
/// # Errors
/// What the command's handler makes of them.
pub fn tell_answers(
    server: &Server,
    reply: &mut Reply,
    answers: &mut dyn Iterator<Item = Result<Answer, Unavailable>>,
    count: usize,
    on: OnRead,
) -> Result<(), Error> {
    let mut counted = answers.inspect(|answer| match answer {
        Ok(Answer::Record(Some(_))) => drop(server.stats.hits.fetch_add(1, Relaxed)),
        Ok(Answer::Record(None)) => drop(server.stats.misses.fetch_add(1, Relaxed)),
        _ => {}
    });
    let mut results = Results::new(&mut counted, count);
    let told = on(reply, &mut results);
    results.finish();
    told
}

/// Writes; what is refused because the user's sessions were revoked since this node last heard of the user is written
/// again under the epoch that the refusal told.
async fn write(server: &Server, commands: Vec<Command>) -> Vec<Result<Outcome, Unavailable>> {
    let owned: Vec<(usize, Command)> =
        commands.iter().enumerate().filter(|(_, command)| has_user(command)).map(copy).collect();
    let mut outcomes = server.backend.write(commands).await;
    let mut again = Vec::new();
    for (at, mut command) in owned {
        let Some(Ok(Outcome::Refused(Refusal::Revoked { epoch }))) = outcomes.get(at) else { continue };
        let Op::Set { owner: Some(owner), .. } = &mut command.op else { continue };
        owner.revocation_epoch = *epoch;
        server.epochs.set(command.key.namespace().0, &owner.user, *epoch);
        again.push((at, command));
    }
    if again.is_empty() {
        return outcomes;
    }
    let (places, commands): (Vec<usize>, Vec<Command>) = again.into_iter().unzip();
    for (at, outcome) in places.into_iter().zip(server.backend.write(commands).await) {
        outcomes[at] = outcome;
    }
    outcomes
}

fn has_user(command: &Command) -> bool {
    matches!(&command.op, Op::Set { owner: Some(owner), .. } if !owner.user.is_empty())
}

fn copy((at, command): (usize, &Command)) -> (usize, Command) {
    (at, command.clone())
}

/// Keeps a slow command for `SLOWLOG`, its id hashed: ids are credentials.
pub fn note_slow(
    server: &Server,
    session: &Session,
    spec: &Spec,
    words: usize,
    key: Option<&Key>,
    took: std::time::Duration,
) {
    let mut shown = vec![spec.name.to_owned()];
    shown.extend(key.map(|key| server.hidden(key.id())));
    let left = words.saturating_sub(shown.len());
    if left > 0 {
        shown.push(format!("... ({left} more arguments)"));
    }
    let name = session.client.details.lock().name.clone();
    let peer = session.client.peer.to_string();
    server.stats.add_slow(Slow { id: 0, at_ms: server.backend.now_ms(), took, words: shown, peer, name });
}
