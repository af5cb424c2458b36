//! `EXEC`: several steps in one, if nothing that was watched has changed.

use super::turn::Turn;
use crate::{
    command::{Op, Outcome, Refusal},
    ids::Key,
    query::{Projection, View},
    session::Version,
};

impl Turn<'_> {
    pub(super) fn exec(&mut self, watched: &[(Key, Option<Version>)], steps: Vec<(Key, Op)>) -> Outcome {
        for (key, version) in watched {
            if self.live(key).map(|record| record.version) != *version {
                return Outcome::Nothing;
            }
        }
        let run = steps.into_iter().map(|(key, op)| match op {
            Op::Exec { .. } => Outcome::Refused(Refusal::WrongKind),
            op => self.run(&key, op).unwrap_or_else(Outcome::Refused),
        });
        Outcome::Many(run.collect())
    }

    pub(super) fn read(&mut self, key: &Key, projection: &Projection) -> Outcome {
        let view = self.live(key).map(|record| View::of(&record, projection, record.idle_deadline));
        match view.transpose() {
            Ok(view) => Outcome::Record(view.map(Box::new)),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }
}
