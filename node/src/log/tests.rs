//! The log on a disk that crashes, lies and fills up.

use super::{GroupLog, GroupState, Log, LogEntry, LogFailure, LogOptions, OpenError};
use crate::env::{Env, RealEnv, simulated::SimulatedDisk};
use bytes::Bytes;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::oneshot;

const DIRECTORY: &str = "/log";

struct World {
    disk: SimulatedDisk,
    env: Env,
    failures: Arc<AtomicU64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::new(seed);
        let env = Env { disk: Arc::new(disk.clone()), ..RealEnv::current() };
        Self { disk, env, failures: Arc::default() }
    }

    fn options() -> LogOptions {
        LogOptions {
            segment_bytes: 128 << 10,
            log_bytes_max: 1 << 20,
            cache_bytes_max: 4096,
            ..LogOptions::new(DIRECTORY)
        }
    }

    async fn open(&self) -> Result<Log, OpenError> {
        let failures = self.failures.clone();
        let on_fatal = Arc::new(move |_: LogFailure| {
            failures.fetch_add(1, Ordering::SeqCst);
        });
        Log::open(&self.env, Self::options(), on_fatal).await
    }

    fn segments(&self) -> Vec<PathBuf> {
        let names = self.env.disk.list(Path::new(DIRECTORY)).expect("a directory");
        let segments = names.into_iter().filter(|name| name.ends_with(".segment"));
        segments.map(|name| Path::new(DIRECTORY).join(name)).collect()
    }
}

fn entries(from: u64, to: u64, bytes: usize) -> Vec<LogEntry> {
    (from..=to).map(|index| LogEntry { index, bytes: Bytes::from(vec![index as u8; bytes]) }).collect()
}

async fn wait(start: impl FnOnce(super::Done)) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    start(Box::new(move |result| drop(sender.send(result))));
    receiver.await.expect("an answer")
}

async fn append(log: &GroupLog, from: u64, to: u64, bytes: usize) -> io::Result<()> {
    wait(|done| log.append(entries(from, to, bytes), done)).await
}

fn indexes(log: &GroupLog) -> Vec<u64> {
    let state = log.state();
    let (Some(first), Some(last)) = (state.first_index, state.last_index) else { return Vec::new() };
    let mut all = Vec::new();
    let mut from = first;
    while from <= last {
        let some = log.read(from, last + 1, 1000).expect("readable entries");
        for entry in some {
            assert_eq!(entry.bytes.first().copied().unwrap_or(entry.index as u8), entry.index as u8);
            all.push(entry.index);
        }
        from = all.last().map_or(u64::MAX, |index| index + 1);
    }
    all
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let world = World::new(1);
    let log = world.open().await.expect("a new log");
    assert!(log.was_created());
    let (one, two) = (log.group(1), log.group(2));
    append(&one, 1, 50, 100).await.expect("durable");
    append(&two, 7, 9, 0).await.expect("durable");
    wait(|done| one.save_vote(Bytes::from_static(b"vote"), done)).await.expect("durable");
    wait(|done| one.truncate_after(Some(40), done)).await.expect("durable");
    two.save_committed(Bytes::from_static(b"committed"));
    append(&one, 41, 42, 10).await.expect("durable");
    one.purge(5, Bytes::from_static(b"five"));
    wait(|done| log.group(3).save_vote(Bytes::new(), done)).await.expect("durable");
    let (before_one, before_two) = (one.state(), two.state());
    log.close().await;
    let log = world.open().await.expect("the same log");
    assert!(!log.was_created());
    assert_eq!(log.group(1).state(), before_one);
    assert_eq!(log.group(2).state(), before_two);
    assert_eq!(indexes(&log.group(1)), (6..=42).collect::<Vec<_>>());
    assert_eq!(indexes(&log.group(2)), [7, 8, 9]);
    assert_eq!(log.groups(), [1, 2, 3]);
    wait(|done| log.group(1).remove(done)).await.expect("durable");
    log.close().await;
    let log = world.open().await.expect("the same log");
    assert_eq!(log.group(1).state(), GroupState::default());
}

#[tokio::test]
async fn purged_segments_are_used_again_and_the_log_stays_within_its_cap() {
    let world = World::new(2);
    let log = world.open().await.expect("a new log");
    let group = log.group(1);
    for round in 0..200 {
        let from = round * 10 + 1;
        let mut tries = 0;
        while let Err(error) = append(&group, from, from + 9, 1000).await {
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
            tries += 1;
            assert!(tries < 10_000, "no room although everything was purged");
            log.retry_space();
            tokio::task::yield_now().await;
        }
        if let Some(purged) = from.checked_sub(20) {
            group.purge(purged, Bytes::new());
        }
    }
    assert!(log.statistics().segments_recycled_total > 5);
    assert!(world.segments().len() as u64 * World::options().segment_bytes <= World::options().log_bytes_max);
    log.close().await;
    let log = world.open().await.expect("the same log");
    assert_eq!(indexes(&log.group(1)).last(), Some(&2000));
}

/// The file with the last frame, where that frame starts, and where the log before it ends.
async fn two_batches(world: &World) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let log = world.open().await.expect("a new log");
    append(&log.group(1), 1, 3, 50).await.expect("durable");
    let path = world.segments().remove(0);
    let before = world.disk.bytes(&path).expect("a segment");
    append(&log.group(1), 4, 6, 50).await.expect("durable");
    let after = world.disk.bytes(&path).expect("a segment");
    log.close().await;
    (path, before, after)
}

#[tokio::test]
async fn a_last_batch_cut_at_any_byte_leaves_what_was_before_it() {
    let world = World::new(3);
    let (path, before, after) = two_batches(&world).await;
    let start = before.iter().zip(&after).position(|(old, new)| old != new).expect("a difference");
    let end = after.iter().rposition(|byte| *byte != 0).expect("a last byte");
    for cut in start..=end {
        let mut bytes = after.clone();
        bytes[cut..].fill(0);
        world.disk.set_bytes(&path, bytes);
        let log = world.open().await.expect("a torn tail is no damage");
        let expected = if cut > end { 6 } else { 3 };
        assert_eq!(indexes(&log.group(1)).last(), Some(&expected), "cut at {cut}");
        append(&log.group(1), 4, 4, 5).await.expect("the log goes on");
        log.close().await;
        let log = world.open().await.expect("what was written after the cut");
        assert_eq!(indexes(&log.group(1)), [1, 2, 3, 4]);
        log.close().await;
    }
}

#[tokio::test]
async fn a_flipped_bit_before_the_last_batch_refuses_to_start_and_in_it_is_cut() {
    let world = World::new(4);
    let (path, before, after) = two_batches(&world).await;
    let second = before.iter().zip(&after).position(|(old, new)| old != new).expect("a difference");
    let first_end = before.iter().rposition(|byte| *byte != 0).expect("a last byte");
    for at in super::format::SEGMENT_HEADER_BYTES as usize..=first_end {
        let mut bytes = after.clone();
        bytes[at] ^= 0x10;
        world.disk.set_bytes(&path, bytes);
        let Err(OpenError::Damaged { what, .. }) = world.open().await.map(drop) else {
            panic!("a flip at {at} was not noticed");
        };
        assert!(!what.is_empty());
    }
    let mut bytes = after.clone();
    bytes[second + 40] ^= 1;
    world.disk.set_bytes(&path, bytes);
    let log = world.open().await.expect("a torn tail is no damage");
    assert_eq!(indexes(&log.group(1)), [1, 2, 3]);
}

#[tokio::test]
async fn crashes_keep_everything_acknowledged_and_nothing_out_of_order() {
    let mut lost = 0;
    for seed in 0..60 {
        let world = World::new(seed);
        let mut acknowledged = 0;
        for _ in 0..4 {
            let log = world.open().await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let group = log.group(1);
            let found = indexes(&group);
            let last = found.last().copied().unwrap_or(0);
            assert!(last >= acknowledged, "seed {seed}: {acknowledged} was acknowledged, {last} is left");
            assert_eq!(found, (1..=last).collect::<Vec<_>>(), "seed {seed}");
            let mut next = last + 1;
            let stop = 1 + seed % 7;
            for _ in 0..stop {
                append(&group, next, next + 2, 700).await.expect("durable");
                acknowledged = next + 2;
                next += 3;
            }
            world.disk.crash_at_sync(0);
            assert!(append(&group, next, next + 4, 900).await.is_err(), "seed {seed}: power went before the sync");
            log.close().await;
        }
        lost += world.disk.counts().sectors_lost;
    }
    assert!(lost > 0, "no crash ever lost anything: the test shows nothing");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged() {
    let world = World::new(5);
    let log = world.open().await.expect("a new log");
    append(&log.group(1), 1, 1, 10).await.expect("durable");
    while log.statistics().segments_ahead < World::options().segments_ahead {
        tokio::task::yield_now().await;
    }
    world.disk.fail_sync_after(0);
    assert!(append(&log.group(1), 2, 2, 10).await.is_err());
    assert!(append(&log.group(2), 1, 1, 10).await.is_err(), "a later sync proves nothing");
    assert!(wait(|done| log.group(3).save_vote(Bytes::new(), done)).await.is_err());
    assert_eq!(world.failures.load(Ordering::SeqCst), 1);
    assert_eq!(log.room_bytes(), 0);
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_takes_them_again_when_there_is_room() {
    let world = World::new(6);
    let log = world.open().await.expect("a new log");
    while log.statistics().segments_ahead < World::options().segments_ahead {
        tokio::task::yield_now().await;
    }
    world.disk.set_capacity(0);
    let group = log.group(1);
    let mut last = 0;
    let refused = loop {
        match append(&group, last + 1, last + 1, 5000).await {
            Ok(()) => last += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert_eq!(group.state().last_index, Some(last), "a refused entry is not there");
    assert_eq!(indexes(&group).last(), Some(&last), "reads go on");
    assert_eq!(world.failures.load(Ordering::SeqCst), 0, "a full disk is no failure");
    world.disk.set_capacity(u64::MAX);
    log.retry_space();
    let mut tries = 0;
    while append(&group, last + 1, last + 1, 5000).await.is_err() {
        tries += 1;
        assert!(tries < 100_000, "there is room again and nothing is taken");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_second_log_in_the_directory_is_refused() {
    let world = World::new(7);
    let log = world.open().await.expect("a new log");
    assert!(matches!(world.open().await.map(drop), Err(OpenError::Locked { .. })));
    log.close().await;
    assert!(world.open().await.is_ok());
}
