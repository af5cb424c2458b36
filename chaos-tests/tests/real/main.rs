//! Tests with real processes. They share the machine with what they start, so they run one after another.

mod app;
mod compare;
mod django;
mod express;
mod tools;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by each test while it runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed left nothing behind: what it started was ended.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
