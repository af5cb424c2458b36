//! One command on its way to its handler: everything that can be refused before the handler looks at it.

use super::{
    args::Args,
    commands, edge,
    error::{self, Error},
    plan::{OnWrite, Plan, Planned, Results},
    reply::Reply,
    server::Server,
    session::{QUEUED_BYTES_MAX, QUEUED_COMMANDS_MAX, Room, Session},
    table::{Spec, flag},
};
use sojourn_core::{Command, Key, Op, Outcome, Request, Slot};
use std::sync::Arc;

/// What a handler gets.
pub struct Call<'a> {
    /// The request.
    pub args: Args<'a>,
    /// The command.
    pub spec: &'static Spec,
    /// The connection.
    pub session: &'a mut Session,
    /// What connections share.
    pub server: &'a Arc<Server>,
    /// Where an answer goes that needs no region.
    pub reply: &'a mut Reply,
}

impl Call<'_> {
    /// The namespace.
    ///
    /// # Errors
    /// `NOAUTH` before there is one.
    pub fn room(&self) -> Result<&Arc<Room>, Error> {
        self.session.room()
    }

    /// The session that argument `index` names.
    ///
    /// # Errors
    /// An id has 1 to 512 bytes.
    pub fn key(&self, index: usize) -> Result<Key, Error> {
        Ok(Key::new(self.room()?.id, self.args.at(index))?)
    }

    /// The sessions that the arguments from `index` on name.
    ///
    /// # Errors
    /// As [`Call::key`].
    pub fn keys_from(&self, index: usize) -> Result<Vec<Key>, Error> {
        let namespace = self.room()?.id;
        self.args.from(index).iter().map(|id| Ok(Key::new(namespace, id)?)).collect()
    }

    /// A write under the namespace's rules; the region gives it its request id.
    ///
    /// # Errors
    /// The namespace may refuse ids that Sojourn did not mint.
    pub fn command(&self, key: Key, op: Op) -> Result<Command, Error> {
        let room = self.room()?;
        let rules = edge::rules(room, &key, &op)?;
        Ok(Command { request: Request::default(), key, rules, touched: None, op })
    }

    /// A plan to write to the session that the first argument names.
    ///
    /// # Errors
    /// As [`Call::key`] and [`Call::command`].
    pub fn write(
        &self,
        op: Op,
        on: impl FnOnce(&mut Reply, &mut Results<'_, Outcome>) -> Result<(), Error> + Send + 'static,
    ) -> Planned {
        let on: OnWrite = Box::new(on);
        Ok(Plan::Write(self.command(self.key(1)?, op)?, on))
    }

    /// Argument `index` as an integer.
    ///
    /// # Errors
    /// It is none.
    pub fn integer(&self, index: usize) -> Result<i64, Error> {
        super::codec::integer(self.args.at(index)).ok_or(error::NOT_INTEGER)
    }

    /// A number that nobody can guess.
    pub fn random(&self) -> u64 {
        self.server.backend.random_u64()
    }
}

/// Finds the command, with its subcommand where it has such.
///
/// # Errors
/// There is none, or the number of arguments is wrong.
pub fn find(args: Args<'_>) -> Result<(usize, &'static Spec), Error> {
    let Some((index, spec)) = commands::find(args.at(0)) else { return Err(error::unknown_command(args)) };
    let (index, spec) = match args.get(1) {
        Some(word) if !spec.subcommands.is_empty() => {
            let Some((at, subcommand)) = commands::find_subcommand(spec, word) else {
                return Err(error::unknown_subcommand(spec.name, word));
            };
            (index + 1 + at, subcommand)
        }
        Some(_) | None => (index, spec),
    };
    if !spec.fits(args.len()) {
        return Err(error::wrong_arity(spec.name));
    }
    if args.len() > spec.arguments_max() {
        let (name, most) = (spec.name, spec.arguments_max());
        return Err(format!("ERR too many arguments for '{name}' command, at most {most}").into());
    }
    Ok((index, spec))
}

/// Plans a command: checks that it may be answered now, queues it after `MULTI`, or asks its handler.
///
/// # Errors
/// What the client is to be told.
pub fn plan(call: &mut Call<'_>) -> Planned {
    if let Err(error) = check(call) {
        break_transaction(call.session);
        return Err(error);
    }
    if call.session.transaction.is_some() && !commands::runs_in_multi(call.spec) {
        return queue(call);
    }
    if call.server.hub.is_monitored() {
        super::monitor::tell(call);
    }
    (call.spec.handler)(call)
}

/// `EXEC` must fail if a command could not be queued.
pub fn break_transaction(session: &mut Session) {
    if let Some(transaction) = &mut session.transaction {
        transaction.broken = true;
    }
}

fn check(call: &mut Call<'_>) -> Result<(), Error> {
    let spec = call.spec;
    if call.session.room.is_none() && !spec.has(flag::NO_AUTH) {
        return Err(error::NO_AUTH);
    }
    if call.session.is_subscriber_only() && !commands::runs_subscribed(spec) {
        return Err(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context",
            spec.name
        )
        .into());
    }
    if call.server.options.cluster {
        check_slot(call)?;
    }
    if call.session.transaction.is_some() && spec.has(flag::NO_MULTI) {
        return Err(Error::new("ERR Command not allowed inside a transaction"));
    }
    Ok(())
}

/// In cluster mode all keys must be in one slot, and this node must lead its shard.
fn check_slot(call: &Call<'_>) -> Result<(), Error> {
    let mut slots = call.spec.keys_of(call.args).into_iter().map(Slot::of);
    let Some(slot) = slots.next() else { return Ok(()) };
    if slots.any(|other| other != slot) {
        return Err(error::CROSS_SLOT);
    }
    let topology = call.server.topology();
    let Some(leader) = topology.leader(topology.slots().shard(slot)) else {
        return Err(Error::new("CLUSTERDOWN Hash slot not served"));
    };
    let reads_anywhere = call.session.reads_anywhere && call.spec.has(flag::READONLY);
    if leader.id != topology.this_node && !reads_anywhere {
        return Err(format!("MOVED {} {}", slot.number(), leader.addresses.resp).into());
    }
    Ok(())
}

fn queue(call: &mut Call<'_>) -> Planned {
    let Some(transaction) = &mut call.session.transaction else { return Ok(Plan::Done) };
    transaction.bytes += call.args.bytes();
    if transaction.queue.len() >= QUEUED_COMMANDS_MAX || transaction.bytes > QUEUED_BYTES_MAX {
        transaction.broken = true;
        transaction.queue.clear();
        return Err(Error::new("ERR too many or too large commands in one MULTI"));
    }
    transaction.queue.push(call.args.to_owned());
    call.session.client.details.lock().queued = Some(transaction.queue.len());
    call.reply.simple("QUEUED");
    Ok(Plan::Done)
}
