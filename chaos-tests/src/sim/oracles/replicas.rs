//! After the heal all replicas are equal, and equal to what their log says they should be.

use super::{Evidence, Findings};
use sojourn_core::{
    Answer, Body, Key, NamespaceId, Projection, Query, Record, ShardId, Stamp, State, query::Filter, state::Meta,
};

/// Everything of a state that can be compared.
#[derive(PartialEq)]
pub struct Picture {
    meta: Meta,
    records: Vec<(Key, Record)>,
    due: Vec<(Key, Stamp)>,
    users: Vec<Answer>,
}

impl Picture {
    /// That of a state.
    pub fn of(state: &State) -> Self {
        let records = state.records(None).map(|(key, record)| (key.clone(), head(record))).collect();
        let due = state.due(Stamp::MAX, usize::MAX).into_iter();
        let users = ["user 0", "user 1", "user 2", "traveller"].into_iter().map(|user| {
            let user = Some(user.as_bytes().into());
            let filter = Filter { user, ..Filter::default() };
            state.query(0, &|_, _| None, &Query::Count { namespace: NamespaceId(0), filter }).0
        });
        Self {
            meta: state.meta(),
            records,
            due: due.map(|(key, record)| (key, record.deadline())).collect(),
            users: users.collect(),
        }
    }

    /// What differs from `right`, in words.
    pub fn difference(&self, right: &Self) -> Option<String> {
        let record = self.records.iter().zip(&right.records).find(|(ours, theirs)| ours != theirs);
        if self.records.len() != right.records.len() || record.is_some() {
            let (ours, theirs) = (self.records.len(), right.records.len());
            return Some(format!("records differ: {ours} where {theirs} are right; {record:?}"));
        }
        if self.meta.sequences != right.meta.sequences {
            return Some("sequences differ".to_owned());
        }
        if self.meta.answers != right.meta.answers {
            return Some("remembered answers differ".to_owned());
        }
        if self.meta != right.meta {
            let (ours, theirs) = (self.meta.last_stamp, right.meta.last_stamp);
            return Some(format!("stamps or revocations differ: {ours} where {theirs} is right"));
        }
        (self != right).then(|| "the index differs".to_owned())
    }
}

/// A record without its fields, which are in memory here and only on the disk there.
fn head(record: &Record) -> Record {
    record.with_body(Body::Cold { bytes: record.body_bytes(), field_count: record.field_count() })
}

/// Compares all replicas of all shards.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (shard, reference) in &evidence.shards {
        let right = Picture::of(&reference.state);
        for &number in evidence.holders(*shard) {
            match picture(evidence, number, *shard) {
                Some(picture) => {
                    if let Some(what) = picture.difference(&right) {
                        findings.report(format!("node {number}, {shard:?}: {what}"));
                    }
                    findings.coverage.count("replicas compared");
                }
                None => findings.report(format!("node {number} does not serve {shard:?} after the heal")),
            }
        }
        let sound = State::restore(reference.state.meta(), whole(&reference.state));
        if let Some(what) = Picture::of(&sound).difference(&right) {
            findings.report(format!("{shard:?}: the index is not what its records say: {what}"));
        }
    }
    for ((number, key), answer) in evidence.views {
        let query = Query::Get { key: key.clone(), projection: Projection::Whole };
        let state = evidence.shards.get(&evidence.shard_of(key)).map(|shard| &shard.state);
        let right = state.map(|state| state.query(0, &|_, _| None, &query).0);
        if right.as_ref() != Some(answer) {
            findings.report(format!("node {number} answers {answer:?} for {key:?} where {right:?} is right"));
        }
    }
}

fn whole(state: &State) -> impl Iterator<Item = (Key, Record)> {
    state.records(None).map(|(key, record)| (key.clone(), Record::clone(record)))
}

fn picture(evidence: &Evidence<'_>, number: usize, shard: ShardId) -> Option<Picture> {
    let running = evidence.world.running(number)?;
    Some(running.node.sessions(shard)?.audit(Picture::of))
}
