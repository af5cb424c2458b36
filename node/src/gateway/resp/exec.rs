//! `EXEC`: what `MULTI` queued, as one entry of the log where that can be.
//!
//! Commands on keys of one shard become one command of the log, its watched versions checked where it is applied. Without
//! `WATCH`, commands on keys of several shards run in order, as a pipeline does: applications use `MULTI` around independent
//! writes. With `WATCH` that would break a promise, so keys in several slots are refused.

use super::{
    args::OwnedArgs,
    batch::{self, About},
    call::{self, Call},
    commands,
    connection::Run,
    error::{self, Error},
    plan::{OnRead, OnWrite, Plan},
    reply::Reply,
    table::Spec,
};
use crate::region::backend::{Read, Unavailable};
use sojourn_core::{Answer, Command, Key, Op, Outcome, Query, Request, Version};

/// A queued command and what it needs.
struct Planned {
    spec: &'static Spec,
    words: usize,
    bytes: usize,
    /// What it answered at once.
    ready: Reply,
    plan: Result<Plan, Error>,
}

/// Runs the queue and writes its replies.
///
/// # Errors
/// Nothing was run, and why.
pub async fn run(run: &mut Run<'_>) -> Result<(), Error> {
    let Some(transaction) = run.session.transaction.take() else { return Err(Error::new("ERR EXEC without MULTI")) };
    let watched = std::mem::take(&mut run.session.watched);
    run.session.end_transaction();
    if transaction.broken {
        return Err(Error::new("EXECABORT Transaction discarded because of previous errors."));
    }
    let planned: Vec<Planned> = transaction.queue.iter().map(|request| plan(run, request)).collect();
    if !watched.is_empty() {
        check_one_slot(&watched, &planned)?;
        return atomically(run, watched, planned).await;
    }
    match is_one_shard(run, &planned) {
        true => atomically(run, watched, planned).await,
        false => {
            in_order(run, planned).await;
            Ok(())
        }
    }
}

fn plan(run: &mut Run<'_>, request: &OwnedArgs) -> Planned {
    let args = request.as_args();
    let mut ready = Reply::new(run.session.protocol);
    // It was found when it was queued.
    let (spec, plan) = match call::find(args) {
        Err(error) => (commands::unknown(), Err(error)),
        Ok((_, spec)) => {
            let mut call = Call { args, spec, session: run.session, server: run.server, reply: &mut ready };
            (spec, call::plan(&mut call))
        }
    };
    Planned { spec, words: args.len(), bytes: args.bytes(), ready, plan }
}

/// The keys that a plan touches; none if it does more than a single entry of the log can.
fn keys(plan: &Plan) -> Option<Vec<&Key>> {
    match plan {
        Plan::Done => Some(Vec::new()),
        // One that is many steps already.
        Plan::Write(Command { op: Op::Exec { .. }, .. }, _) => None,
        Plan::Write(command, _) => Some(vec![&command.key]),
        Plan::Writes(commands, _) => Some(commands.iter().map(|command| &command.key).collect()),
        Plan::Read(read, _) => read.query.key().map(|key| vec![key]),
        Plan::Reads(reads, _) => reads.iter().map(|read| read.query.key()).collect(),
        Plan::Task(_) | Plan::Exec => None,
    }
}

fn check_one_slot(watched: &[(Key, Option<Version>)], planned: &[Planned]) -> Result<(), Error> {
    let mut slots: Vec<_> = watched.iter().map(|(key, _)| key.slot()).collect();
    for plan in planned.iter().filter_map(|planned| planned.plan.as_ref().ok()) {
        let Some(keys) = keys(plan) else {
            return Err(Error::new("ERR a command over many sessions cannot be run under WATCH"));
        };
        slots.extend(keys.into_iter().map(Key::slot));
    }
    if slots.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(error::CROSS_SLOT);
    }
    Ok(())
}

/// Whether one entry of one shard's log can do all of it, and there is more than one thing to do.
fn is_one_shard(run: &Run<'_>, planned: &[Planned]) -> bool {
    let topology = run.server.topology();
    let mut shards = Vec::new();
    for plan in planned.iter().filter_map(|planned| planned.plan.as_ref().ok()) {
        let Some(keys) = keys(plan) else { return false };
        shards.extend(keys.into_iter().map(|key| topology.slots().shard(key.slot())));
    }
    shards.len() > 1 && shards.windows(2).all(|pair| pair[0] == pair[1])
}

async fn in_order(run: &mut Run<'_>, planned: Vec<Planned>) {
    run.reply.array(planned.len());
    for Planned { spec, words, bytes, ready, plan } in planned {
        let about = About { spec, silent: false, words, bytes };
        run.take_planned(about, &ready, plan).await;
    }
    run.flush().await;
}

/// What one queued command makes of the outcomes of its steps.
enum Told {
    Ready(Reply),
    Failed(Error),
    Write(usize, OnWrite),
    Read(usize, OnRead),
}

async fn atomically(
    run: &mut Run<'_>,
    watched: Vec<(Key, Option<Version>)>,
    planned: Vec<Planned>,
) -> Result<(), Error> {
    let mut steps = Vec::new();
    let told: Vec<Told> = planned.into_iter().map(|planned| into_steps(planned, &mut steps)).collect();
    let key = watched.iter().map(|(key, _)| key).chain(steps.iter().map(|(key, _)| key)).next().cloned();
    let Some(key) = key else {
        tell_all(run, told, Vec::new());
        return Ok(());
    };
    let rules = run.session.room()?.rules;
    let command = Command { request: Request::default(), key, rules, touched: None, op: Op::Exec { watched, steps } };
    let outcome = run.server.backend.write(vec![command]).await.pop();
    match outcome.unwrap_or(Err(Unavailable::Loading))? {
        Outcome::Nothing => run.reply.null_array(),
        Outcome::Many(outcomes) => tell_all(run, told, outcomes),
        Outcome::Refused(refusal) => return Err(refusal.into()),
        _ => return super::plan::unexpected(),
    }
    Ok(())
}

fn into_steps(planned: Planned, steps: &mut Vec<(Key, Op)>) -> Told {
    match planned.plan {
        Err(error) => Told::Failed(error),
        Ok(Plan::Done) => Told::Ready(planned.ready),
        Ok(Plan::Write(command, on)) => {
            steps.push((command.key, command.op));
            Told::Write(1, on)
        }
        Ok(Plan::Writes(commands, on)) => {
            let count = commands.len();
            steps.extend(commands.into_iter().map(|command| (command.key, command.op)));
            Told::Write(count, on)
        }
        Ok(Plan::Read(read, on)) => Told::Read(push_reads(vec![read], steps), on),
        Ok(Plan::Reads(reads, on)) => Told::Read(push_reads(reads, steps), on),
        // Refused before: it touches more than one shard can.
        Ok(Plan::Task(_) | Plan::Exec) => Told::Failed(error::CROSS_SLOT),
    }
}

fn push_reads(reads: Vec<Read>, steps: &mut Vec<(Key, Op)>) -> usize {
    let before = steps.len();
    steps.extend(reads.into_iter().filter_map(|read| match read.query {
        Query::Get { key, projection }
        | Query::GetAtHome { key, projection }
        | Query::GetSince { key, projection, .. } => Some((key, Op::Read { projection })),
        _ => None,
    }));
    steps.len() - before
}

fn tell_all(run: &mut Run<'_>, told: Vec<Told>, outcomes: Vec<Outcome>) {
    let mut outcomes = outcomes.into_iter();
    let reply = &mut *run.reply;
    reply.set_protocol(run.session.protocol);
    reply.array(told.len());
    for told in told {
        let begin = reply.len();
        let result = match told {
            Told::Ready(ready) => {
                reply.append(ready.as_bytes());
                Ok(())
            }
            Told::Failed(error) => Err(error),
            Told::Write(count, on) => batch::tell_outcomes(reply, &mut outcomes.by_ref().map(Ok), count, on),
            Told::Read(count, on) => {
                let mut answers = outcomes.by_ref().map(|outcome| match outcome {
                    Outcome::Record(view) => Ok(Answer::Record(view)),
                    _ => Err(Unavailable::Refused("a read was answered by something else".to_owned())),
                });
                batch::tell_answers(run.server, reply, &mut answers, count, on)
            }
        };
        if let Err(error) = result {
            batch::tell_error(run.server, reply, begin, &error);
        }
    }
}
