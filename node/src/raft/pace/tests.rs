//! A group of three to five in virtual time, led by node 1.

use super::*;
use crate::env::RealEnv;
use openraft::{EmptyNode, Entry, EntryPayload, Membership, entry::RaftEntry, vote::RaftLeaderId};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

type Leader = openraft::alias::LeaderIdOf<Types>;

fn id(index: u64) -> LogId {
    LogId::new(Leader::new(1, 1).to_committed(), index)
}

fn members(voters: &[&[u64]], all: &[u64]) -> StoredMembership {
    let configs = voters.iter().map(|config| config.iter().copied().collect()).collect();
    let nodes: BTreeMap<u64, EmptyNode> = all.iter().map(|node| (*node, EmptyNode {})).collect();
    StoredMembership::new(Some(id(1)), Membership::new(configs, nodes).unwrap())
}

fn pace(voters: &[u64], all: &[u64]) -> Arc<Pace> {
    let pace = Pace::default();
    pace.learn(1, 0, &members(&[voters], all));
    Arc::new(pace)
}

fn hurried(pace: &Pace) -> Vec<u64> {
    (1..10).filter(|node| pace.hurries(*node)).collect()
}

/// An append of the entries after `after` up to `last`.
fn append(after: u64, last: u64) -> AppendEntriesRequest<Types> {
    let entries = (after + 1..=last).map(|index| Entry::new(id(index), EntryPayload::Blank)).collect();
    AppendEntriesRequest {
        vote: openraft::Vote::new_committed(1, 1),
        prev_log_id: Some(id(after)),
        entries,
        leader_commit: None,
    }
}

/// What leaves for a follower, and when, in ms.
fn stream(pace: &Arc<Pace>, follower: u64) -> (mpsc::UnboundedSender<AppendEntriesRequest<Types>>, Leaving) {
    stream_through(pace, follower, &Arc::new(Throttle::new(RealEnv::current())))
}

fn stream_through(
    pace: &Arc<Pace>,
    follower: u64,
    bulk: &Arc<Throttle>,
) -> (mpsc::UnboundedSender<AppendEntriesRequest<Types>>, Leaving) {
    let (requests, input) = mpsc::unbounded_channel();
    let input = futures::stream::unfold(input, |mut input| async move { Some((input.recv().await?, input)) });
    let paced =
        Paced::new(input.boxed(), pace.clone(), follower, bulk.clone(), Duration::from_millis(25)).into_stream();
    (requests, Leaving { begun: Instant::now(), paced })
}

struct Leaving {
    begun: Instant,
    paced: BoxStream<'static, AppendEntriesRequest<Types>>,
}

impl Leaving {
    async fn next(&mut self) -> (u128, Option<u64>) {
        let request = self.paced.next().await.unwrap();
        (self.begun.elapsed().as_millis(), request.entries.last().map(|entry| entry.log_id.index))
    }
}

#[test]
fn as_many_are_hurried_as_a_quorum_takes_beside_the_leader() {
    assert!(hurried(&pace(&[1], &[1])).is_empty());
    assert_eq!(hurried(&pace(&[1, 2], &[1, 2])), [2]);
    assert_eq!(hurried(&pace(&[1, 2, 3], &[1, 2, 3])), [2]);
    assert_eq!(hurried(&pace(&[1, 2, 3, 4], &[1, 2, 3, 4])), [2, 3]);
    assert_eq!(hurried(&pace(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5])), [2, 3]);
}

#[test]
fn whoever_only_learns_is_not_hurried_and_whoever_takes_part_in_a_change_is() {
    let pace = pace(&[1, 2, 3], &[1, 2, 3, 4]);
    pace.failed(2);
    assert_eq!(hurried(&pace), [3]);
    pace.failed(3);
    assert_eq!(hurried(&pace), [2]);
    pace.learn(1, 0, &members(&[&[1, 2, 3], &[1, 3, 4]], &[1, 2, 3, 4]));
    assert_eq!(hurried(&pace), [2, 3, 4]);
    pace.learn(1, 0, &members(&[&[1, 3, 4]], &[1, 3, 4]));
    assert_eq!(hurried(&pace).len(), 1);
    assert!(!pace.hurries(2));
}

#[test]
fn groups_of_a_node_do_not_all_hurry_the_same_one() {
    let first = |turn| {
        let pace = Pace::default();
        pace.learn(1, turn, &members(&[&[1, 2, 3]], &[1, 2, 3]));
        hurried(&pace)
    };
    assert_ne!(first(1), first(2));
}

#[tokio::test(start_paused = true)]
async fn the_hurried_get_every_entry_at_once_and_the_others_what_gathers() {
    let pace = pace(&[1, 2, 3], &[1, 2, 3]);
    let ((to_2, mut for_2), (to_3, mut for_3)) = (stream(&pace, 2), stream(&pace, 3));
    for to in [&to_2, &to_3] {
        to.send(append(1, 2)).unwrap();
        to.send(append(2, 3)).unwrap();
        to.send(append(3, 4)).unwrap();
    }
    for last in 2..=4 {
        assert_eq!(for_2.next().await, (0, Some(last)));
    }
    assert_eq!(for_3.next().await, (0, Some(2)));
    assert_eq!(for_3.next().await, (10, Some(3)));
    assert_eq!(for_3.next().await, (20, Some(4)));
}

#[tokio::test(start_paused = true)]
async fn one_that_catches_up_is_sent_one_append_after_the_other_without_rests() {
    for follower in [2, 3] {
        let pace = pace(&[1, 2, 3], &[1, 2, 3]);
        let (to, mut leaving) = stream(&pace, follower);
        for (after, last) in [(1, 60), (60, 120), (120, 180), (180, 181), (181, 182)] {
            to.send(append(after, last)).unwrap();
        }
        assert_eq!(leaving.next().await, (0, Some(60)));
        let answers = async {
            for (after_ms, index) in [(3, 59), (4, 60)] {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                pace.answered(follower, index);
            }
        };
        let (next, ()) = tokio::join!(leaving.next(), answers);
        assert_eq!(next, (7, Some(120)), "it has all of the first then");
        let failing = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            pace.failed(follower);
        };
        let (next, ()) = tokio::join!(leaving.next(), failing);
        assert_eq!(next, (12, Some(180)), "what is lost is waited for no longer");
        pace.rejected(follower);
        assert_eq!(leaving.next().await, (12, Some(181)), "nor is what was not taken");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_learner_missed_is_sent_no_faster_than_replicas_may_move_and_voters_do_not_wait() {
    let pace = pace(&[1, 2, 3], &[1, 2, 3, 4]);
    let bulk = Arc::new(Throttle::new(RealEnv::current()));
    // An entry without content counts as 64 bytes.
    bulk.limit(64 * 100 * 10);
    let ((to_3, mut for_3), (to_4, mut for_4)) = (stream_through(&pace, 3, &bulk), stream_through(&pace, 4, &bulk));
    for to in [&to_3, &to_4] {
        for (after, last) in [(0, 100), (100, 200), (200, 201)] {
            to.send(append(after, last)).unwrap();
        }
    }
    for (follower, leaving, waits_ms) in [(3, &mut for_3, 0_u128), (4, &mut for_4, 100)] {
        assert_eq!(leaving.next().await, (0, Some(100)));
        pace.answered(follower, 100);
        let (at_ms, last) = leaving.next().await;
        assert!((waits_ms.saturating_sub(10)..=waits_ms + 10).contains(&at_ms), "{follower}: {at_ms} ms");
        assert_eq!(last, Some(200));
        pace.answered(follower, 200);
        let (then_ms, _) = leaving.next().await;
        assert!(then_ms <= at_ms + 1, "one entry more waits for nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn news_of_a_commit_wait_for_entries_but_not_for_ever() {
    let pace = pace(&[1, 2, 3], &[1, 2, 3]);
    let (to_2, mut for_2) = stream(&pace, 2);
    to_2.send(append(1, 2)).unwrap();
    assert_eq!(for_2.next().await, (0, Some(2)));
    to_2.send(append(2, 2)).unwrap();
    assert_eq!(for_2.next().await, (25, None));
}

#[tokio::test(start_paused = true)]
async fn one_that_owes_an_answer_changes_places_with_one_that_gave_it() {
    let pace = pace(&[1, 2, 3], &[1, 2, 3]);
    pace.sent(2, 7);
    pace.sent(3, 7);
    tokio::time::advance(Duration::from_millis(4)).await;
    pace.answered(3, 7);
    assert_eq!(hurried(&pace), [2], "a moment is no reason");
    pace.answered(2, 7);
    pace.sent(2, 8);
    tokio::time::advance(Duration::from_millis(5)).await;
    pace.answered(3, 7);
    assert_eq!(hurried(&pace), [2], "it has what the other has, too");
    let (to_3, mut for_3) = stream(&pace, 3);
    to_3.send(append(7, 8)).unwrap();
    to_3.send(append(8, 9)).unwrap();
    assert_eq!(for_3.next().await, (0, Some(8)));
    pace.answered(3, 8);
    assert_eq!(hurried(&pace), [3]);
    assert_eq!(for_3.next().await, (0, Some(9)), "it is hurried from then on");
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_again_is_owed_from_then_on_and_another_stream_changes_nothing() {
    let pace = pace(&[1, 2, 3], &[1, 2, 3]);
    pace.sent(2, 7);
    pace.sent(2, 8);
    tokio::time::advance(Duration::from_millis(4)).await;
    pace.sent(2, 7);
    tokio::time::advance(Duration::from_millis(4)).await;
    pace.answered(3, 8);
    assert_eq!(hurried(&pace), [2]);
    // Heartbeats go in streams of their own.
    let (to_2, mut for_2) = stream(&pace, 2);
    to_2.send(append(1, 1)).unwrap();
    assert_eq!(for_2.next().await, (0, None));
    tokio::time::advance(Duration::from_millis(1)).await;
    pace.answered(3, 8);
    assert_eq!(hurried(&pace), [3]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_sent_what_there_is_when_another_one_cannot_be_reached() {
    let pace = pace(&[1, 2, 3], &[1, 2, 3]);
    let (to_3, mut for_3) = stream(&pace, 3);
    to_3.send(append(1, 2)).unwrap();
    to_3.send(append(2, 3)).unwrap();
    assert_eq!(for_3.next().await, (0, Some(2)));
    let failing = async {
        tokio::time::sleep(Duration::from_millis(3)).await;
        pace.failed(2);
    };
    let (next, ()) = tokio::join!(for_3.next(), failing);
    assert_eq!(next, (3, Some(3)));
}
