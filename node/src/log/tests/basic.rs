//! What a caller sees while nothing goes wrong.

use super::*;

#[tokio::test]
async fn operations_that_wait_for_a_sync_share_the_next_one() {
    let machine = Machine::new(1);
    machine.disk.set_sync_delay(slow_syncs(3));
    let log = machine.open().await;
    let mut answers = vec![log.group(0).appending(entries(1..=1, 10))];
    tokio::task::yield_now().await;
    for group in 1..=8 {
        answers.push(log.group(group).voting(b"vote"));
        answers.push(log.group(group).appending(entries(1..=4, 100)));
    }
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    let statistics = log.statistics();
    assert_eq!((statistics.syncs_total, statistics.entries_total, statistics.records_total), (2, 33, 41));
}

#[tokio::test]
async fn answers_come_in_order_and_only_after_the_sync() {
    let machine = Machine::new(1);
    machine.disk.set_sync_delay(slow_syncs(2));
    let log = machine.open().await;
    let order = Arc::new(Mutex::new(Vec::new()));
    for index in 1..=100 {
        let (order, disk, before) = (order.clone(), machine.disk.clone(), machine.disk.counts().syncs);
        let done = move |result: io::Result<()>| {
            result.unwrap();
            assert!(disk.counts().syncs > before);
            order.lock().push(index);
        };
        log.group(index as u32 % 3).append(vec![entry(index / 3, 50)], Box::new(done));
        if index % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    log.close().await;
    assert_eq!(*order.lock(), (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn entries_are_readable_before_they_are_durable() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    let group = log.group(7);
    let mut answer = group.appending(entries(5..=9, 20));
    assert!(answer.try_recv().is_err());
    assert_eq!(group.all(), entries(5..=9, 20));
    assert_eq!(group.read(6, 8, usize::MAX).unwrap(), entries(6..=7, 20));
    assert_eq!(group.read(6, 9, 40).unwrap(), entries(6..=7, 20));
    assert_eq!(group.read(6, 9, 1).unwrap(), entries(6..=6, 20));
    assert_eq!(group.read(10, 12, 1).unwrap(), vec![]);
    assert_eq!(group.read(4, 6, 1).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_reopened_log_is_the_same() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    assert!(log.was_created());
    for group in [log.group(1), log.group(9)] {
        drop(group.voting(b"first"));
        drop(group.appending(entries(1..=60, 700)));
        drop(group.truncating(Some(50)));
        drop(group.appending(entries(51..=55, 10)));
        group.save_committed(Bytes::from_static(b"committed"));
        group.purge(20, Bytes::from_static(b"purged"));
        drop(group.voting(b"second"));
        settle().await;
    }
    let before: Vec<_> = [1, 9].map(|id| (log.group(id).state(), log.group(id).all())).into();
    assert_eq!(before[0].0.first_index, Some(21));
    log.close().await;
    let log = machine.open().await;
    assert!(!log.was_created());
    assert_eq!(log.groups(), [1, 9]);
    let after: Vec<_> = [1, 9].map(|id| (log.group(id).state(), log.group(id).all())).into();
    assert_eq!(before, after);
    assert_eq!(log.group(1).state().vote.as_deref(), Some(&b"second"[..]));
}

#[tokio::test]
async fn a_truncation_replaces_the_end_for_good() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    let group = log.group(1);
    group.appending(entries(1..=10, 10)).await.unwrap().unwrap();
    group.truncating(Some(4)).await.unwrap().unwrap();
    group.appending(entries(5..=6, 99)).await.unwrap().unwrap();
    let expected = [entries(1..=4, 10), entries(5..=6, 99)].concat();
    assert_eq!(group.all(), expected);
    log.close().await;
    let log = machine.open().await;
    assert_eq!(log.group(1).all(), expected);
    log.group(1).truncating(None).await.unwrap().unwrap();
    assert_eq!(log.group(1).state().last_index, None);
}

#[tokio::test]
async fn what_does_not_follow_is_refused_and_changes_nothing() {
    let log = Machine::new(1).open().await;
    let group = log.group(1);
    group.appending(entries(1..=3, 10)).await.unwrap().unwrap();
    for wrong in [entries(3..=3, 10), entries(5..=5, 10), vec![entry(4, 1), entry(6, 1)]] {
        let error = group.appending(wrong).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let error = group.appending(vec![entry(4, 70 << 10)]).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    group.purge(100, Bytes::from_static(b"snapshot"));
    assert_eq!(group.appending(entries(4..=4, 1)).await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(group.truncating(Some(99)).await.unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
    group.appending(entries(101..=101, 1)).await.unwrap().unwrap();
    assert_eq!(group.all(), entries(101..=101, 1));
}

#[tokio::test]
async fn a_removed_group_starts_anew() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    let group = log.group(1);
    drop(group.voting(b"vote"));
    drop(group.appending(entries(1..=3, 10)));
    group.removing().await.unwrap().unwrap();
    assert_eq!(group.state(), GroupState::default());
    group.appending(entries(7..=8, 5)).await.unwrap().unwrap();
    log.close().await;
    assert_eq!(group.appending(entries(9..=9, 5)).await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let log = machine.open().await;
    assert_eq!(log.group(1).all(), entries(7..=8, 5));
    assert_eq!(log.group(1).state().vote, None);
}

#[tokio::test]
async fn a_directory_has_one_log() {
    let machine = Machine::new(1);
    let log = machine.open().await;
    assert!(matches!(machine.try_open().await, Err(OpenError::Locked { .. })));
    log.close().await;
    machine.open().await;
}

/// The same on the operating system's disk, with threads.
#[tokio::test]
async fn a_real_disk_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let env = crate::env::RealEnv::current();
    let options = LogOptions { segment_bytes: 128 << 10, ..LogOptions::new(directory.path()) };
    let open = || Log::open(&env, options.clone(), Arc::new(|failure| panic!("{failure}")));
    let log = open().await.unwrap();
    assert!(matches!(open().await, Err(OpenError::Locked { .. })));
    let group = log.group(3);
    for index in 1..=200 {
        while log.room_bytes() < 16 << 10 {
            tokio::task::yield_now().await;
        }
        group.appending(vec![entry(index, 1000)]).await.unwrap().unwrap();
    }
    log.close().await;
    let log = open().await.unwrap();
    assert_eq!(log.group(3).all(), entries(1..=200, 1000));
    log.close().await;
}
