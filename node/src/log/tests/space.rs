//! Segments coming and going, and disks without room.

use super::*;

#[tokio::test]
async fn purged_segments_are_recycled() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    let (busy, idle) = (log.group(1), log.group(2));
    drop(idle.voting(b"vote of the idle"));
    for index in 1..=2_000 {
        busy.appending(vec![entry(index, 1000)]).await.unwrap().unwrap();
        if index % 10 == 0 {
            busy.purge(index - 5, Bytes::from_static(b"id"));
            settle().await;
        }
    }
    let statistics = log.statistics();
    assert!(statistics.segments_recycled_total > 30, "{statistics:?}");
    assert!(statistics.segments <= 2, "{statistics:?}");
    assert!(machine.disk.used_bytes() <= 5 * machine.options.segment_bytes);
    log.close().await;
    let log = machine.open().await;
    assert_eq!(log.group(2).state().vote.as_deref(), Some(&b"vote of the idle"[..]));
    assert_eq!(log.group(1).all(), entries(1996..=2000, 1000));
}

#[tokio::test]
async fn a_group_that_does_not_purge_keeps_its_segments_and_its_removal_frees_them() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    log.group(2).appending(entries(1..=1, 10)).await.unwrap().unwrap();
    for index in 1..=300 {
        log.group(1).appending(vec![entry(index, 1000)]).await.unwrap().unwrap();
        settle().await;
    }
    log.group(1).purge(300, Bytes::new());
    settle().await;
    assert!(log.statistics().segments > 4);
    log.close().await;
    let log = machine.open().await;
    log.group(2).removing().await.unwrap().unwrap();
    settle().await;
    assert_eq!(log.statistics().segments, 1);
}

async fn fill(log: &Log, group: u32, size: usize) -> (u64, io::Error) {
    let mut index = log.group(group).state().last_index.unwrap_or(0);
    loop {
        let room = log.room_bytes();
        index += 1;
        if let Err(error) = log.group(group).appending(vec![entry(index, size)]).await.unwrap() {
            return (index - 1, error);
        }
        assert!(room > 0);
        settle().await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_whole_appends_and_recovers() {
    let machine = Machine::new(1);
    machine.disk.set_capacity_bytes(4 * machine.options.segment_bytes);
    let log = machine.open().await;
    let (last, error) = fill(&log, 1, 3000).await;
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(last > 50, "{last}");
    assert!(log.statistics().space_refused && machine.disk.counts().full > 0);
    assert_eq!(log.group(1).state().last_index, Some(last));
    // Votes and purges still go.
    log.group(1).voting(b"vote").await.unwrap().unwrap();
    // A file system that grew.
    machine.disk.set_capacity_bytes(u64::MAX);
    log.retry_space();
    settle().await;
    log.group(1).appending(vec![entry(last + 1, 3000)]).await.unwrap().unwrap();
    assert!(machine.failures.lock().is_empty());
    log.close().await;
    assert_eq!(machine.open().await.group(1).all(), entries(1..=last + 1, 3000));
}

#[tokio::test]
async fn a_purge_makes_room_on_a_full_log() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    let (mut last, error) = fill(&log, 1, 9000).await;
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(machine.disk.used_bytes() <= machine.options.log_bytes_max);
    for _ in 0..20 {
        log.group(1).purge(last - 3, Bytes::from_static(b"id"));
        settle().await;
        let (now, _) = fill(&log, 1, 9000).await;
        assert!(now > last + 20, "from {last} to {now}");
        last = now;
    }
    assert!(machine.disk.used_bytes() <= machine.options.log_bytes_max);
}

#[tokio::test]
async fn votes_and_purges_survive_long_after_appends_are_refused() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    let (last, _) = fill(&log, 1, 20_000).await;
    let mut votes = 0;
    while log.group(1).voting(b"vote").await.unwrap().is_ok() {
        votes += 1;
    }
    assert!(votes >= 1, "{votes}");
    log.group(1).purge(last, Bytes::from_static(b"id"));
    settle().await;
    log.group(1).voting(b"vote").await.unwrap().unwrap();
    log.group(1).appending(vec![entry(last + 1, 20_000)]).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_and_recovers() {
    let machine = Machine::new(1);
    machine.disk.set_sync_delay(slow_syncs(5));
    let log = machine.open().await;
    settle().await;
    let refused: Vec<_> = (1..=20).map(|index| log.group(1).appending(vec![entry(index, 9000)])).collect();
    let mut kinds = Vec::new();
    for answer in refused {
        kinds.push(answer.await.unwrap().map_err(|error| error.kind()));
    }
    assert_eq!(kinds[0], Ok(()));
    assert!(kinds.iter().any(|kind| kind.is_err()));
    let last = log.group(1).state().last_index.unwrap();
    log.group(1).appending(vec![entry(last + 1, 9000)]).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_disk_at_first_start_is_a_clear_error() {
    let machine = Machine::new(1);
    machine.disk.set_capacity_bytes(1000);
    let error = machine.try_open().await.err().unwrap();
    assert!(error.to_string().contains("cannot allocate"), "{error}");
}
