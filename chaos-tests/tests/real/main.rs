//! Tests with real processes. They share the machine with what they start, so they run one after another.
#![allow(clippy::print_stderr)]

mod app;
mod compare;
mod counts;
mod django;
mod drain;
mod express;
mod losses;
mod tools;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by each test while it runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed left nothing behind: what it started was ended.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what is not tested because a program is missing; under CI that is a failure, and this answers so.
fn skipped(what: &str) -> bool {
    eprintln!("skipped: {what}");
    std::env::var_os("CI").is_some()
}
