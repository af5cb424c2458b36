//! What clients of all regions asked and were told, in one order.

use crate::sim::ledger::{Ledger, Tick, Told};
use parking_lot::Mutex;
use sojourn_core::{Command, Key, Token, View};
use std::{sync::Arc, time::Duration};

/// A moment in the one order of all that clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Its place in the order.
    pub tick: Tick,
    /// Virtual time.
    pub at: Duration,
}

/// What a client asked and was told.
#[derive(Clone, Debug)]
pub struct Call {
    /// The region that it asked.
    pub region: usize,
    /// When.
    pub invoked: Moment,
    /// When it was told; `None` if it was never told.
    pub ended: Option<Moment>,
    /// What.
    pub asked: Asked,
}

/// A question and its answer.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A write.
    Write {
        /// What was asked.
        command: Box<Command>,
        /// What was told.
        told: Told,
    },
    /// A read of a session; the answer is `None` if there was none.
    Read {
        /// Which session.
        key: Key,
        /// What the client had seen of it and passes along, if it does so.
        token: Option<Token>,
        /// What was told: a session, or that there is none.
        answer: Option<Option<Box<View>>>,
    },
    /// A revocation; told once every region has acknowledged it.
    Revoke {
        /// Whose sessions.
        user: Box<[u8]>,
        /// The epoch that they have to have at least from then on.
        epoch: u64,
    },
}

/// All of it. Cheap to clone.
#[derive(Clone)]
pub struct History {
    /// Events beside, coverage and violations.
    pub ledger: Ledger,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl History {
    /// A history that begins now.
    pub fn new(print: bool) -> Self {
        Self { ledger: Ledger::new(print, "world".to_owned()), calls: Arc::default() }
    }

    fn moment(&self, event: std::fmt::Arguments<'_>) -> Moment {
        Moment { at: self.ledger.now(), tick: self.ledger.note(event) }
    }

    /// A client asks a region. Returns the number of the call.
    pub fn asked(&self, client: u64, region: usize, asked: Asked) -> usize {
        let number = self.calls.lock().len();
        let invoked = self.moment(format_args!("client {client} in region {region}, call {number}: {asked:?}"));
        self.calls.lock().push(Call { region, invoked, ended: None, asked });
        number
    }

    /// A client was told the outcome of its write, or gives up.
    pub fn told(&self, number: usize, outcome: Told) {
        let moment = self.moment(format_args!("call {number} told {outcome:?}"));
        let call = &mut self.calls.lock()[number];
        call.ended = matches!(outcome, Told::Outcomes(_)).then_some(moment);
        if let Asked::Write { told, .. } = &mut call.asked {
            *told = outcome;
        }
    }

    /// A client was answered a read.
    pub fn answered(&self, number: usize, view: Option<Box<View>>) {
        let moment = self.moment(format_args!("call {number} answered {view:?}"));
        let call = &mut self.calls.lock()[number];
        call.ended = Some(moment);
        if let Asked::Read { answer, .. } = &mut call.asked {
            *answer = Some(view);
        }
    }

    /// Every region has acknowledged a revocation.
    pub fn revoked(&self, number: usize) {
        let moment = self.moment(format_args!("call {number} revoked"));
        self.calls.lock()[number].ended = Some(moment);
    }

    /// All calls, in the order in which they were made.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }
}
