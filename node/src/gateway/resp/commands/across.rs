//! `RENAME` and `COPY` between shards, which no single entry of a log can do.
//!
//! The region carries a renamed session over in steps, and goes on by itself with what a crash left: see
//! `region::moves`. A copy is what the session was when it was read.

use super::keys::expiry_of;
use crate::{
    gateway::resp::{
        error::{self, Error},
        plan::{self, Finish},
        server::Server,
    },
    region::moves,
};
use sojourn_core::{Answer, Command, Key, Op, Outcome, Projection, Refusal, Request, Rules, View};
use std::sync::Arc;

/// Renames between shards.
pub async fn rename(server: Arc<Server>, rules: Rules, from: Key, to: Key, replace: bool) -> Result<Finish, Error> {
    let renamed = match moves::rename(&server.backend, rules, from, to, replace).await? {
        Outcome::Count(count) => count > 0,
        Outcome::Refused(Refusal::Missing) => return Err(error::NO_KEY),
        Outcome::Refused(Refusal::Busy) => {
            return Err(Error::new("TRYAGAIN an earlier rename of this id is not finished; try again shortly"));
        }
        Outcome::Refused(refusal) => return Err(refusal.into()),
        _ => return plan::unexpected(),
    };
    Ok(Box::new(move |_, reply| {
        match replace {
            true => reply.ok(),
            false => reply.flag(renamed),
        }
        Ok(())
    }))
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
