//! One number for everything that happened in a run, in order: two runs of one seed must agree on it.

use std::{
    fmt::{self, Write},
    time::Duration,
};

/// The events of a run, hashed as they come.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    print: bool,
    /// Of which region it is, where there are several.
    label: String,
}

impl Trace {
    /// A trace that also prints each event to standard error, if `print`.
    pub fn new(print: bool, label: String) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, print, label }
    }

    /// Takes in an event that happened `at`.
    #[allow(clippy::print_stderr)]
    pub fn note(&mut self, at: Duration, event: fmt::Arguments<'_>) {
        self.events += 1;
        if self.print {
            eprintln!("{:>12.6} {} {event}", at.as_secs_f64(), self.label);
        }
        // Hashing never fails.
        let _ = writeln!(self, "{} {event}", at.as_nanos());
    }

    /// The hash and the number of events.
    pub fn sum(&self) -> (u64, u64) {
        (self.hash, self.events)
    }
}

/// FNV-1a, which no release of anything will change.
impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
