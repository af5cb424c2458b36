//! `RENAME` and `COPY` between shards, which no single entry of a log can do.
//!
//! The new session is created first, then the old one is destroyed if it still is what was copied; if it was written
//! meanwhile, the newer state is copied. So nothing acknowledged is lost. What is missing yet is the saga of the old slot
//! that finishes what a crash of this node left: until then a client that got no answer may find both and should repeat.

use super::keys::expiry_of;
use crate::gateway::resp::{
    error::{self, Error},
    plan::{self, Finish},
    server::Server,
};
use sojourn_core::{Answer, Command, Key, Op, Outcome, Projection, Refusal, Request, Rules, View};
use std::sync::Arc;

/// How often a session that is written all the time is copied anew before giving up.
const ATTEMPTS_MAX: u32 = 16;

/// Renames between shards.
pub async fn rename(server: Arc<Server>, rules: Rules, from: Key, to: Key, replace: bool) -> Result<Finish, Error> {
    // Once this command has created the new session it may overwrite it.
    let mut overwrite = replace;
    for _ in 0..ATTEMPTS_MAX {
        let Some(view) = read(&server, &from).await? else { return Err(error::NO_KEY) };
        let version = view.version;
        if !create(&server, rules, *view, &to, overwrite).await? {
            return Ok(Box::new(|_, reply| {
                reply.flag(false);
                Ok(())
            }));
        }
        overwrite = true;
        let watched = vec![(from.clone(), Some(version))];
        let steps = vec![(from.clone(), Op::Destroy)];
        match write(&server, rules, from.clone(), Op::Exec { watched, steps }).await? {
            Outcome::Nothing => continue,
            Outcome::Refused(refusal) => return Err(refusal.into()),
            _ => {}
        }
        return Ok(Box::new(move |_, reply| {
            match replace {
                true => reply.ok(),
                false => reply.flag(true),
            }
            Ok(())
        }));
    }
    Err(Error::new("TRYAGAIN the session is written all the time; try again shortly"))
}

/// Copies between shards.
pub async fn copy(server: Arc<Server>, rules: Rules, from: Key, to: Key, replace: bool) -> Result<Finish, Error> {
    let copied = match read(&server, &from).await? {
        Some(view) => create(&server, rules, *view, &to, replace).await?,
        None => false,
    };
    Ok(Box::new(move |_, reply| {
        reply.flag(copied);
        Ok(())
    }))
}

async fn read(server: &Server, key: &Key) -> Result<Option<Box<View>>, Error> {
    match server.backend.read(vec![plan::get(key.clone(), Projection::Whole)]).await.pop() {
        Some(Ok(Answer::Record(view))) => Ok(view),
        Some(Err(unavailable)) => Err(unavailable.into()),
        Some(Ok(_)) | None => plan::unexpected(),
    }
}

/// Creates the same session under another id; false if one lives there and must not be overwritten.
async fn create(server: &Server, rules: Rules, view: View, to: &Key, overwrite: bool) -> Result<bool, Error> {
    let expiry = expiry_of(&view);
    let View { kind, fields, absolute_deadline, owner, .. } = view;
    let op = Op::Create { kind, fields, expiry, absolute_deadline: Some(absolute_deadline), owner };
    let op = match overwrite {
        true => Op::Exec { watched: Vec::new(), steps: vec![(to.clone(), Op::Destroy), (to.clone(), op)] },
        false => op,
    };
    let outcome = match write(server, rules, to.clone(), op).await? {
        Outcome::Many(mut outcomes) => outcomes.pop().unwrap_or(Outcome::Nothing),
        outcome => outcome,
    };
    match outcome {
        Outcome::Written { .. } => Ok(true),
        Outcome::Refused(Refusal::Exists) => Ok(false),
        Outcome::Refused(refusal) => Err(refusal.into()),
        _ => plan::unexpected(),
    }
}

async fn write(server: &Server, rules: Rules, key: Key, op: Op) -> Result<Outcome, Error> {
    let command = Command { request: Request::default(), key, rules, touched: None, op };
    match server.backend.write(vec![command]).await.pop() {
        Some(outcome) => Ok(outcome?),
        None => plan::unexpected(),
    }
}
