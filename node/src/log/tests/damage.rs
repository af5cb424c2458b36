//! Every byte of the log may be cut off or flipped.

use super::*;
use crate::log::format::{SEGMENT_HEADER_BYTES, align};

/// Three batches in one segment, and where each of their frames starts and ends.
async fn three_batches() -> (Machine, Vec<(u64, u64)>) {
    let machine = Machine::new(3);
    let log = machine.open().await;
    log.group(1).appending(entries(1..=2, 40)).await.unwrap().unwrap();
    let vote = log.group(1).voting(b"vote");
    log.group(2).appending(entries(5..=6, 20)).await.unwrap().unwrap();
    vote.await.unwrap().unwrap();
    log.group(1).appending(entries(3..=3, 60)).await.unwrap().unwrap();
    assert_eq!(log.statistics().syncs_total, 3);
    log.close().await;
    let frames = [2 * 64, 24 + 4 + 2 * 44, 84].map(|body| 32 + body);
    let mut start = SEGMENT_HEADER_BYTES;
    let mut places = Vec::new();
    for frame in frames {
        places.push((start, start + frame));
        start = align(start + frame);
    }
    (machine, places)
}

async fn reopened(machine: &Machine, change: impl Fn(&mut Vec<u8>)) -> Result<(Machine, Log), OpenError> {
    let copy = Machine::on(machine.disk.copy(1), 9);
    copy.disk.tamper(&copy.segment(1), change).unwrap();
    let log = copy.try_open().await?;
    Ok((copy, log))
}

fn assert_damaged<T>(result: Result<T, OpenError>, what: u64) {
    match result {
        Err(error @ OpenError::Damaged { .. }) => assert!(error.to_string().contains("new identity")),
        Err(other) => panic!("byte {what}: {other}"),
        Ok(_) => panic!("byte {what}: the log opened"),
    }
}

#[tokio::test]
async fn a_log_cut_at_any_byte_of_its_last_batch_has_exactly_the_earlier_ones() {
    let (machine, frames) = three_batches().await;
    let (start, end) = frames[2];
    for length in start..end {
        let (machine, log) = reopened(&machine, |bytes| bytes.truncate(length as usize)).await.unwrap();
        assert_eq!(log.group(1).all(), entries(1..=2, 40), "cut at {length}");
        assert_eq!(log.group(2).all(), entries(5..=6, 20));
        // The log goes on from there, and what was cut does not come back.
        log.group(1).appending(entries(3..=3, 5)).await.unwrap().unwrap();
        log.close().await;
        let log = machine.open().await;
        assert_eq!(log.group(1).all(), [entries(1..=2, 40), entries(3..=3, 5)].concat());
    }
    let (_machine, log) = reopened(&machine, |bytes| bytes.truncate(end as usize)).await.unwrap();
    assert_eq!(log.group(1).state().last_index, Some(3));
}

#[tokio::test]
async fn a_bit_flipped_anywhere_before_the_last_batch_is_refused() {
    let (machine, frames) = three_batches().await;
    for at in frames[..2].iter().flat_map(|(start, end)| *start..*end) {
        let bit = 1 << (at % 8);
        assert_damaged(reopened(&machine, |bytes| bytes[at as usize] ^= bit).await, at);
    }
}

#[tokio::test]
async fn a_bit_flipped_in_the_last_batch_cuts_it() {
    let (machine, frames) = three_batches().await;
    for at in frames[2].0..frames[2].1 {
        let (_machine, log) = reopened(&machine, |bytes| bytes[at as usize] ^= 4).await.unwrap();
        assert_eq!(log.group(1).state().last_index, Some(2), "byte {at}");
    }
}

#[tokio::test]
async fn a_bit_flipped_in_a_header_is_refused() {
    let (machine, _) = three_batches().await;
    for at in 0..64 {
        assert_damaged(reopened(&machine, |bytes| bytes[at] ^= 1).await, at as u64);
    }
}

#[tokio::test]
async fn a_log_of_the_future_is_told_apart_from_damage() {
    let (machine, _) = three_batches().await;
    let future = |bytes: &mut Vec<u8>| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    };
    let error = reopened(&machine, future).await.err().unwrap();
    assert!(matches!(error, OpenError::Version { found: 2, supported: 1, .. }), "{error}");
}

/// Several segments, none purged.
async fn long_log() -> (Machine, u64) {
    let machine = Machine::new(4);
    let log = machine.open().await;
    for index in 1..=200 {
        log.group(1).appending(vec![entry(index, 1000)]).await.unwrap().unwrap();
        settle().await;
    }
    let segments = log.statistics().segments as u64;
    assert!(segments > 4);
    log.close().await;
    (machine, segments)
}

#[tokio::test]
async fn a_missing_segment_is_refused() {
    let (machine, segments) = long_log().await;
    for missing in 1..segments {
        let copy = Machine::on(machine.disk.copy(1), 9);
        crate::env::Disk::remove(&copy.disk, &copy.segment(missing)).unwrap();
        assert_damaged(copy.try_open().await, missing);
    }
}

#[tokio::test]
async fn an_emptied_segment_or_one_cut_short_is_refused() {
    let (machine, segments) = long_log().await;
    for damaged in 1..segments {
        for keep in [64, 4096, 8192, 50_000] {
            let copy = Machine::on(machine.disk.copy(1), 9);
            copy.disk.tamper(&copy.segment(damaged), |bytes| bytes[keep..].fill(0)).unwrap();
            assert_damaged(copy.try_open().await, damaged);
        }
    }
}

#[tokio::test]
async fn damage_found_by_a_read_is_an_error() {
    let (machine, _) = long_log().await;
    let log = machine.open().await;
    machine.disk.tamper(&machine.segment(2), |bytes| bytes[8300] ^= 1).unwrap();
    let error = log.group(1).read(1, 201, usize::MAX).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
