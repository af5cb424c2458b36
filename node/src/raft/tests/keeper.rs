//! What the engine has is the state at one index, whatever the disk does; a snapshot goes on where it was cut.

use super::{GROUP, Lines, Virtual, line};
use crate::{
    engine::{Engine, FileEngine, FjallEngine},
    env::{Env, Plants, RealEnv, simulated::SimulatedDisk},
    log::{Log, LogOptions},
    raft::{
        Incoming, LogEntry, LogId, PIECE_BYTES, PieceHead, Snapshot, Types, Vote,
        keeper::{Keeper, KeeperOptions, KeeperParts},
        simulate, simulated_u64,
        snapshot::SnapshotFile,
    },
};
use bytes::Bytes;
use openraft::{
    EntryPayload,
    alias::LeaderIdOf,
    vote::{RaftLeaderId, RaftVote},
};
use sojourn_core::NodeId;
use std::{io, path::Path, sync::Arc, time::Duration};

fn options() -> KeeperOptions {
    KeeperOptions { unsaved_bytes_max: 1 << 20, unsaved_entries_max: 100, unsaved_age_max: Duration::from_secs(1) }
}

async fn open(env: Env, engine: Arc<dyn Engine>, directory: &Path) -> io::Result<(Keeper<Lines>, Log)> {
    let log_options =
        LogOptions { segment_bytes: 256 << 10, log_bytes_max: 8 << 20, ..LogOptions::new(directory.join("log")) };
    let log = Log::open(&env, log_options, Arc::new(|_| {})).await.map_err(io::Error::other)?;
    let snapshots = directory.join("snapshots");
    let parts =
        KeeperParts { node: NodeId(1), env, engine, group: GROUP, log: log.clone(), snapshots, options: options() };
    Ok((Keeper::open(parts, Arc::new(Lines::default())).await?, log))
}

async fn open_simulated(disk: &SimulatedDisk) -> io::Result<(Keeper<Lines>, Log)> {
    let seams = Arc::new(Virtual::start());
    let env = Env {
        clock: seams.clone(),
        disk: Arc::new(disk.clone()),
        spawn: seams.clone(),
        random: seams,
        plants: Plants::default(),
    };
    let engine = Arc::new(FileEngine::open(env.disk.clone(), "/engine".as_ref())?);
    open(env, engine, "/".as_ref()).await
}

fn leader() -> LeaderIdOf<Types> {
    RaftLeaderId::new(1, 1)
}

fn entry(index: u64) -> LogEntry {
    let payload = EntryPayload::Normal(line(index));
    LogEntry { log_id: LogId::new(leader().to_committed(), index), payload }
}

#[tokio::test(start_paused = true)]
async fn a_crash_never_parts_an_index_from_its_data() {
    let (mut saves, mut lost) = (0, 0);
    for seed in 0..60 {
        simulate(seed);
        let mut disk = SimulatedDisk::new(seed);
        let (mut index, mut durable) = (0, 0);
        for _life in 0..4 {
            let (keeper, log) = open_simulated(&disk).await.expect("a keeper");
            let applied = keeper.applied().applied.map_or(0, |id| id.index);
            let lines = keeper.machine().0.lock().clone();
            assert_eq!(lines, (1..=applied).map(|index| line(index).0).collect::<Vec<_>>(), "seed {seed}");
            assert!(durable <= applied, "seed {seed}: {durable} was said to be durable, {applied} is there");
            lost += index - applied;
            index = applied;
            disk.fail_sync(1 + simulated_u64().expect("a simulation") % 12);
            for _step in 0..30 {
                index += 1;
                keeper.apply(entry(index)).await.expect("applied");
                if simulated_u64().expect("a simulation").is_multiple_of(4) {
                    if keeper.save().await.is_err() {
                        break;
                    }
                    (durable, saves) = (index, saves + 1);
                    let named = keeper.checkpoint().meta.last_log_id.map(|id| id.index);
                    assert_eq!(named, Some(durable), "the log may go up to what is durable");
                }
            }
            drop((keeper, log));
            disk = disk.crash();
            disk.clear_faults();
        }
    }
    assert!(saves > 200 && lost > 200, "too little happened: {saves} saves, {lost} entries to apply again");
}

/// A snapshot's transfer as `send` makes it, up to `until` bytes. Returns how many bytes went over.
async fn transfer(
    file: &SnapshotFile,
    meta: &Meta,
    incoming: &mut Incoming,
    until: u64,
) -> (u64, Option<SnapshotFile>) {
    let (mut offset, mut sent) = (None, 0);
    loop {
        let piece = match offset {
            None => Vec::new(),
            Some(offset) => file.read(offset, PIECE_BYTES).expect("a piece"),
        };
        let vote = Vote::from_leader_id(leader(), true);
        let head = PieceHead {
            vote,
            meta: meta.clone(),
            name: file.name(),
            length: file.length(),
            offset: offset.unwrap_or(0),
        };
        sent += piece.len() as u64;
        match incoming.take(&head, Bytes::from(piece)).await.expect("taken") {
            Ok(whole) => return (sent, Some(whole)),
            Err(next) if next >= until => return (sent, None),
            Err(next) => offset = Some(next),
        }
    }
}

type Meta = openraft::alias::SnapshotMetaOf<Types>;

/// Bytes that no compression makes small.
fn noise(number: u64) -> Vec<u8> {
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..1024).map(|_| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    });
    words.flatten().collect()
}

/// An engine's rows beyond those that a restart loads.
fn row_key(number: u64) -> Vec<u8> {
    [&[3], &number.to_be_bytes()[..]].concat()
}

async fn check_transfer(megabytes: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let (here, there) = (directory.path().join("here"), directory.path().join("there"));
    let engine = Arc::new(FjallEngine::open(&here.join("engine")).expect("an engine"));
    let (keeper, _log) = open(RealEnv::current(), engine.clone(), &here).await.expect("a keeper");
    let count = megabytes * 128;
    for batch in 0..count / 128 {
        let rows = (batch * 128..(batch + 1) * 128).map(|number| (row_key(number), Some(noise(number))));
        engine.write(GROUP, rows.collect()).await.expect("written");
    }
    keeper.apply(entry(1)).await.expect("applied");
    assert!(keeper.save().await.expect("saved"));
    let promise = keeper.snapshot().expect("a snapshot");
    let Snapshot::Promised(outgoing) = &promise.snapshot else { panic!("not promised") };
    let at_least = promise.meta.last_log_id;
    let resident = crate::env::memory_bytes();

    let env = RealEnv::current();
    let other: Arc<dyn Engine> = Arc::new(FjallEngine::open(&there.join("engine")).expect("an engine"));
    let (follower, _other_log) = open(env.clone(), other.clone(), &there).await.expect("a keeper");
    let mut incoming = Incoming::new(env, there.join("snapshots"));
    let sending = outgoing.begin();
    let (meta, file) = outgoing.file(at_least).await.expect("a file");
    let until = file.length() * 6 / 10;
    let (first, none) = transfer(&file, &meta, &mut incoming, until).await;
    assert!(none.is_none() && keeper.holds_log(), "the log is kept for the follower");
    drop((sending, file));
    assert!(!keeper.holds_log());

    // More is applied meanwhile; the same file goes on.
    keeper.apply(entry(2)).await.expect("applied");
    assert!(keeper.save().await.expect("saved"));
    assert_eq!(keeper.snapshot().expect("a snapshot").meta, meta);
    assert_eq!(keeper.checkpoint().meta.last_log_id.map(|id| id.index), Some(2));
    let sending = outgoing.begin();
    let (again, file) = outgoing.file(at_least).await.expect("a file");
    assert_eq!(again, meta);
    let (second, whole) = transfer(&file, &meta, &mut incoming, u64::MAX).await;
    assert_eq!(first + second, file.length(), "nothing was sent twice");
    follower.install(&meta, Snapshot::Arrived(whole.expect("a whole snapshot"))).await.expect("installed");
    outgoing.finish(sending).await.expect("finished");
    let grown = crate::env::memory_bytes().saturating_sub(resident);

    assert_eq!(follower.applied().applied.map(|id| id.index), Some(1));
    assert_eq!(*follower.machine().0.lock(), [line(1).0]);
    let mut number = 0;
    let mut check = |key: &[u8], value: &[u8]| {
        assert_eq!((key, value), (&row_key(number)[..], &noise(number)[..]));
        number += 1;
        Ok(())
    };
    other.view(GROUP).expect("a view").scan(&[3], &[4], &mut check).expect("a scan");
    assert_eq!(number, count);
    for place in [&here, &there] {
        let left = std::fs::read_dir(place.join("snapshots")).expect("a directory").count();
        assert_eq!(left, 0, "no more is kept than needed");
    }
    // The engines' own block caches come on top of what is buffered.
    let allowed = (16 + 2 * 16) << 20;
    assert!(megabytes < 256 || grown < allowed, "{grown} bytes more are resident");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_was_cut_goes_on_at_its_offset() {
    check_transfer(24).await;
}

/// `cargo test --release -p sojourn-node --lib a_gibibyte -- --ignored`: alone in its process, so that memory can be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and 4 GiB of disk"]
async fn a_gibibyte_goes_over_in_bounded_memory() {
    check_transfer(1024).await;
}
