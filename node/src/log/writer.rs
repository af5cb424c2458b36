//! The one loop that writes: a frame, a sync, and only then the news.

use super::{
    Done, LogFailure, Shared, TaskGuard,
    format::{FrameBuilder, Kind, SEGMENT_HEADER_BYTES},
    state::{Batch, Plan},
};
use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

pub(super) async fn run(shared: Arc<Shared>) {
    let guard = TaskGuard { shared: &shared, name: "write" };
    let mut builder = FrameBuilder::default();
    loop {
        match next(&shared) {
            Next::Commit(batch) => commit(&shared, &mut builder, *batch).await,
            Next::Wait => shared.writer_wake.notified().await,
            Next::End => break,
        }
    }
    drop(guard);
}

enum Next {
    Commit(Box<Batch>),
    Wait,
    End,
}

fn next(shared: &Shared) -> Next {
    let mut state = shared.state.lock();
    if state.failure.is_some() {
        return Next::End;
    }
    match state.plan(shared.options.batch_bytes_max as u64) {
        Plan::Batch(batch) => {
            if batch.offset == SEGMENT_HEADER_BYTES {
                shared.steward_wake.notify_one();
            }
            Next::Commit(batch)
        }
        Plan::Nothing if state.closing => Next::End,
        Plan::Nothing => Next::Wait,
        Plan::Stuck => {
            drop(state);
            let error = io::Error::other("an accepted record has no room, which is a bug");
            shared.poison(LogFailure::new("write", &shared.options.directory, &error));
            Next::End
        }
    }
}

async fn commit(shared: &Shared, builder: &mut FrameBuilder, mut batch: Batch) {
    builder.start();
    batch.states.iter().for_each(|record| builder.push(record));
    batch.items.iter().for_each(|item| builder.push(&item.record));
    let frame = builder.finish(&batch.segment, batch.sequence);
    if let Err(error) = batch.file.write_at(batch.offset, frame) {
        return fail(shared, LogFailure::new("write", &batch.path, &error), batch);
    }
    let bytes = frame.len() as u64;
    if shared.env.plants.acknowledge_before_sync {
        tell(batch.items.iter_mut().filter_map(|item| item.done.take()));
    }
    let started = shared.env.clock.boot();
    let synced = batch.file.sync().await;
    if let Err(error) = synced
        && !shared.env.plants.go_on_after_failed_sync
    {
        return fail(shared, LogFailure::new("sync", &batch.path, &error), batch);
    }
    count(shared, &batch, bytes, shared.env.clock.boot().saturating_sub(started));
    // Not in the condition itself: its lock would be held while `fail` takes it again.
    let failed_meanwhile = shared.state.lock().failure.clone();
    if let Some(failure) = failed_meanwhile {
        return fail(shared, failure, batch);
    }
    let (waiting, retired) = shared.state.lock().finish(batch, shared.options.cache_bytes_max);
    tell(waiting);
    if retired {
        shared.steward_wake.notify_one();
    }
}

fn tell(waiting: impl IntoIterator<Item = Done>) {
    for done in waiting {
        done(Ok(()));
    }
}

fn fail(shared: &Shared, failure: LogFailure, batch: Batch) {
    shared.poison(failure.clone());
    for done in batch.items.into_iter().filter_map(|item| item.done) {
        done(Err(failure.as_io()));
    }
}

fn count(shared: &Shared, batch: &Batch, bytes: u64, took: Duration) {
    let counts = &shared.counts;
    let entries = batch.items.iter().filter(|item| item.record.kind == Kind::Entry).count();
    let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    counts.syncs.fetch_add(1, Relaxed);
    counts.records.fetch_add(batch.items.len() as u64, Relaxed);
    counts.entries.fetch_add(entries as u64, Relaxed);
    counts.bytes.fetch_add(bytes, Relaxed);
    counts.sync_microseconds.fetch_add(microseconds, Relaxed);
    counts.sync_microseconds_max.fetch_max(microseconds, Relaxed);
}
