//! One client's connection: reads what has come, plans and runs it, writes the replies, waits for more.
//!
//! One task each. While the region works on a batch nothing is read, so a client that sends faster than it is served is
//! held back by its socket; while it does not read its replies nothing is run. Between requests the connection keeps a few
//! kilobytes.

use super::{
    args::{Args, OwnedArgs},
    batch::{self, About, Batch},
    call::{self, Call},
    clients::{Client, Push},
    codec::{Parsed, Parser, ProtocolError},
    commands,
    error::Error,
    exec,
    plan::Plan,
    pushes,
    reply::Reply,
    server::Server,
    session::{ReplyMode, Session},
    stats::SLOW_AFTER,
    table::{Spec, flag},
};
use bytes::{Buf, BytesMut};
use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

/// Bytes of replies that are collected before they are written.
const WRITE_BYTES: usize = 64 << 10;

/// The largest reply to one request in bytes; a client that asks for more is cut.
pub const REPLY_BYTES_MAX: usize = 64 << 20;

/// The read buffer of a connection that is idle or sends small requests.
const READ_BYTES_MIN: usize = 4 << 10;

/// The read buffer of a connection that sends more than fits in the smallest.
const READ_BYTES: usize = 64 << 10;

/// Messages written together to a subscriber.
const PUSHES_AT_ONCE: usize = 256;

/// A client's connection over any stream of bytes.
pub struct Connection<S> {
    stream: S,
    input: BytesMut,
    parser: Parser,
    batch: Batch,
    reply: Reply,
    session: Session,
    server: Arc<Server>,
    inbox: mpsc::UnboundedReceiver<Arc<Push>>,
}

/// Why a connection ends.
enum End {
    /// The client left, or was told to.
    Quietly,
    /// It sent something that is no request.
    Protocol(ProtocolError),
    /// The stream broke.
    Broken(io::Error),
    /// A reply was too large.
    TooMuch,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection<S> {
    /// A connection that has sent nothing yet.
    pub fn new(stream: S, client: Arc<Client>, inbox: mpsc::UnboundedReceiver<Arc<Push>>, server: Arc<Server>) -> Self {
        let session = Session::new(client, server.backend.region());
        Self {
            stream,
            input: BytesMut::new(),
            parser: Parser::default(),
            batch: Batch::default(),
            reply: Reply::default(),
            session,
            server,
            inbox,
        }
    }

    /// Serves the client until it leaves.
    pub async fn run(mut self) {
        let end = self.serve().await;
        match end {
            Ok(()) | Err(End::Quietly) => {}
            Err(End::Protocol(error)) => {
                tracing::debug!(client = self.session.client.id, %error, "a client sent no request");
                self.reply.error(&format!("ERR {error}"));
            }
            Err(End::Broken(error)) => {
                tracing::debug!(client = self.session.client.id, %error, "a connection broke");
                return;
            }
            Err(End::TooMuch) => {
                self.server.stats.cut_unread.fetch_add(1, Relaxed);
                tracing::warn!(client = self.session.client.id, peer = %self.session.client.peer,
                    reply_bytes_max = REPLY_BYTES_MAX, "cutting a client whose reply would be too large");
                return;
            }
        }
        // The client may be gone already.
        if self.write_out().await.is_ok() {
            drop(self.stream.shutdown().await);
        }
    }

    async fn serve(&mut self) -> Result<(), End> {
        loop {
            let ran = self.run_requests().await;
            self.batch.flush(&self.server, &self.session, &mut self.reply).await;
            ran?;
            self.write_out().await?;
            if self.session.closing {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    /// Runs every request that has come whole.
    async fn run_requests(&mut self) -> Result<(), End> {
        if self.input.is_empty() {
            return Ok(());
        }
        self.session.refresh(&self.server.backend.region());
        let now = Instant::now();
        while !self.session.closing {
            let known = self.session.room.is_some();
            let bytes = match self.parser.parse(&self.input, known).map_err(End::Protocol)? {
                Parsed::Partial => break,
                Parsed::Request(bytes) => bytes,
            };
            let args = self.parser.args(&self.input);
            if !args.is_empty() {
                let mut run = Run {
                    server: &self.server,
                    session: &mut self.session,
                    batch: &mut self.batch,
                    reply: &mut self.reply,
                };
                run.request(args, Some(now)).await;
            }
            self.input.advance(bytes);
            if self.reply.len() >= WRITE_BYTES {
                self.write_out().await?;
            }
        }
        Ok(())
    }

    async fn write_out(&mut self) -> Result<(), End> {
        if self.reply.is_empty() {
            return Ok(());
        }
        if self.reply.len() > REPLY_BYTES_MAX {
            return Err(End::TooMuch);
        }
        self.stream.write_all(self.reply.as_bytes()).await?;
        self.server.stats.bytes_out.fetch_add(self.reply.len() as u64, Relaxed);
        self.reply.clear(READ_BYTES_MIN);
        Ok(())
    }

    /// Waits for bytes, messages, or the node's end.
    async fn wait(&mut self) -> Result<(), End> {
        self.make_room();
        tokio::select! {
            biased;
            read = self.stream.read_buf(&mut self.input) => match read? {
                0 => Err(End::Quietly),
                bytes => {
                    self.server.stats.bytes_in.fetch_add(bytes as u64, Relaxed);
                    Ok(())
                }
            },
            push = self.inbox.recv() => self.handle_pushes(push).await,
        }
    }

    fn make_room(&mut self) {
        if self.input.is_empty() {
            self.parser.shrink();
            if self.input.capacity() > READ_BYTES {
                self.input = BytesMut::new();
            }
        }
        let wanted = self.parser.bytes_wanted().saturating_sub(self.input.len());
        let busy = self.input.len() >= READ_BYTES_MIN / 2;
        let least = if busy { READ_BYTES } else { READ_BYTES_MIN };
        if self.input.capacity() - self.input.len() < wanted.max(READ_BYTES_MIN / 2) {
            self.input.reserve(wanted.max(least));
        }
    }

    async fn handle_pushes(&mut self, first: Option<Arc<Push>>) -> Result<(), End> {
        let mut next = first;
        let mut taken = 0;
        while let Some(push) = next {
            self.session.client.taken(&push);
            if !pushes::tell(&mut self.reply, &self.session, &push) {
                self.session.closing = true;
                break;
            }
            taken += 1;
            next = if taken < PUSHES_AT_ONCE { self.inbox.try_recv().ok() } else { None };
        }
        self.write_out().await
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.session.leave(&self.server.hub);
    }
}

/// What running a request needs of a connection.
pub struct Run<'a> {
    /// What connections share.
    pub server: &'a Arc<Server>,
    /// The connection's state.
    pub session: &'a mut Session,
    /// What waits to go to the region.
    pub batch: &'a mut Batch,
    /// Where replies go.
    pub reply: &'a mut Reply,
}

impl Run<'_> {
    /// Runs one request, or adds it to the batch. `now` is given for what came from the client.
    pub async fn request(&mut self, args: Args<'_>, now: Option<Instant>) {
        let silent = self.is_silent();
        let (index, spec) = match call::find(args) {
            Ok(found) => found,
            Err(error) => {
                call::break_transaction(self.session);
                return self.fail(About { spec: commands::unknown(), silent, words: 0, bytes: 0 }, error);
            }
        };
        self.server.stats.count_call(index);
        if let Some(now) = now {
            self.session.client.note_use(now, index);
        }
        let about = About { spec, silent, words: args.len(), bytes: args.bytes() };
        if spec.has(flag::BARRIER) {
            self.flush().await;
        }
        if let Err(error) = self.check_quota(spec, args).await {
            return self.fail(about, error);
        }
        match self.plan(spec, args, silent) {
            Ok(plan) => self.take(about, plan).await,
            Err(error) => self.fail(about, error),
        }
    }

    /// Plans a command; a reply that is ready goes where it does not overtake others.
    fn plan(&mut self, spec: &'static Spec, args: Args<'_>, silent: bool) -> Result<Plan, Error> {
        let waits = !self.batch.is_empty();
        let reply = if waits { self.batch.staged() } else { &mut *self.reply };
        reply.set_protocol(self.session.protocol);
        let begin = reply.len();
        let mut call = Call { args, spec, session: self.session, server: self.server, reply };
        let planned = call::plan(&mut call);
        // `CLIENT REPLY ON` answers, though nothing before it does.
        let silent = silent && !(spec.name == "client|reply" && call.session.reply_mode == ReplyMode::On);
        if planned.is_err() || silent && !waits {
            call.reply.truncate(begin);
        }
        planned
    }

    async fn take(&mut self, about: About, plan: Plan) {
        if self.batch.must_flush_before(&plan) {
            self.flush().await;
        }
        self.reply.set_protocol(self.session.protocol);
        match plan {
            Plan::Done if self.batch.is_empty() => {}
            Plan::Task(task) => {
                let (begin, started) = (self.reply.len(), Instant::now());
                let finished = task.await.and_then(|finish| finish(self.session, self.reply));
                self.end(about, begin, finished);
                if started.elapsed() >= SLOW_AFTER {
                    batch::note_slow(self.server, self.session, about.spec, about.words, None, started.elapsed());
                }
            }
            Plan::Exec => {
                let begin = self.reply.len();
                let finished = Box::pin(exec::run(self)).await;
                self.end(about, begin, finished);
            }
            plan => {
                self.batch.add(about, plan);
                if self.batch.is_full() {
                    self.flush().await;
                }
            }
        }
    }

    /// Goes on with a command that was planned before, whose answer, if it had one, is `ready`.
    pub async fn take_planned(&mut self, about: About, ready: &Reply, plan: Result<Plan, Error>) {
        match plan {
            Err(error) => self.fail(about, error),
            Ok(Plan::Done) if self.batch.is_empty() => self.reply.append(ready.as_bytes()),
            Ok(Plan::Done) => {
                self.batch.staged().append(ready.as_bytes());
                self.batch.add(about, Plan::Done);
            }
            Ok(plan) => Box::pin(self.take(about, plan)).await,
        }
    }

    /// Sends what waits.
    pub async fn flush(&mut self) {
        self.reply.set_protocol(self.session.protocol);
        self.batch.flush(self.server, self.session, self.reply).await;
    }

    fn fail(&mut self, about: About, error: Error) {
        if !self.batch.is_empty() {
            return self.batch.add_failed(about, error);
        }
        let begin = self.reply.len();
        self.end(about, begin, Err(error));
    }

    fn end(&mut self, about: About, begin: usize, finished: Result<(), Error>) {
        if let Err(error) = finished {
            batch::tell_error(self.server, self.reply, begin, &error);
        }
        if about.silent {
            self.reply.truncate(begin);
        }
    }

    /// Whether the next reply is suppressed.
    fn is_silent(&mut self) -> bool {
        match self.session.reply_mode {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => {
                self.session.reply_mode = ReplyMode::On;
                true
            }
        }
    }

    /// In a namespace that is full only what exists may be written.
    async fn check_quota(&mut self, spec: &'static Spec, args: Args<'_>) -> Result<(), Error> {
        if !spec.has(flag::DENYOOM) || self.session.transaction.is_some() {
            return Ok(());
        }
        let Some(room) = self.session.room.clone() else { return Ok(()) };
        if !self.server.quota.is_full(&self.server.backend, room.id, &room.policy) {
            return Ok(());
        }
        let keys = OwnedArgs::from_words(&spec.keys_of(args));
        self.flush().await;
        super::edge::check_all_exist(self.server, &room, keys.as_args()).await
    }
}
