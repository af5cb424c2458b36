//! Disks that fail.

use super::*;

#[tokio::test]
async fn a_failed_sync_fails_everything_from_then_on() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    settle().await;
    let group = log.group(1);
    group.appending(entries(1..=1, 10)).await.unwrap().unwrap();
    machine.disk.fail_sync(1);
    machine.disk.set_sync_delay(slow_syncs(3));
    let first = group.appending(entries(2..=2, 10));
    tokio::task::yield_now().await;
    let queued = log.group(2).voting(b"vote");
    for answer in [first, queued] {
        let error = answer.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("a later success would prove nothing"), "{error}");
    }
    // The disk works again, and that proves nothing.
    assert!(group.appending(entries(3..=3, 10)).await.unwrap().is_err());
    assert!(group.voting(b"vote").await.unwrap().is_err());
    assert!(group.truncating(None).await.unwrap().is_err());
    assert_eq!(log.room_bytes(), 0);
    settle().await;
    assert_eq!(machine.failures.lock().len(), 1);
    log.close().await;
}

#[tokio::test]
async fn a_frame_that_only_the_page_cache_has_is_written_again() {
    for seed in 0..50 {
        let mut machine = Machine::new(seed);
        let log = machine.open().await;
        settle().await;
        machine.disk.fail_sync(1);
        log.group(1).appending(entries(1..=3, 900)).await.unwrap().unwrap_err();
        machine.kill();
        let log = machine.open().await;
        let recovered = log.group(1).all();
        assert_eq!(recovered, entries(1..=3, 900));
        machine.crash();
        assert_eq!(machine.open().await.group(1).all(), recovered, "seed {seed}");
    }
}

#[tokio::test]
async fn a_steward_that_cannot_sync_fails_the_log() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    machine.disk.fail_sync(1);
    settle().await;
    assert_eq!(machine.failures.lock().len(), 1);
    assert!(log.group(1).voting(b"vote").await.unwrap().is_err());
}
