//! The law of leases: whatever the clocks' rates and the messages' delays, the holder stops before the grantor assumes so.

use super::*;
use proptest::prelude::*;

const HOME: RegionId = RegionId(1);

/// A machine's clock: an offset, and a rate within the bound. True time is in microseconds.
#[derive(Clone, Copy, Debug)]
struct Clock {
    offset_us: u64,
    rate_ppm: u64,
}

impl Clock {
    fn read_ms(self, true_us: u64) -> u64 {
        (self.offset_us + (u128::from(true_us) * u128::from(self.rate_ppm) / 1_000_000) as u64) / 1_000
    }
}

fn any_clock() -> impl Strategy<Value = Clock> {
    let bounds = [1_000_000 - DRIFT_PPM_MAX, 1_000_000 + DRIFT_PPM_MAX];
    let rate = prop_oneof![Just(bounds[0]), Just(bounds[1]), bounds[0]..=bounds[1]];
    (0_u64..1 << 40, rate).prop_map(|(offset_us, rate_ppm)| Clock { offset_us, rate_ppm })
}

/// A request: how long after the one before it was sent, how long it and its answer took.
type Renewal = (u64, u64, u64);

fn any_renewals() -> impl Strategy<Value = Vec<Renewal>> {
    proptest::collection::vec((0_u64..4_000_000, 0_u64..20_000_000, 0_u64..20_000_000), 1..12)
}

/// When requests were sent, granted and answered, in true time.
fn times(renewals: &[Renewal]) -> Vec<(u64, u64, u64)> {
    let mut sent = 5_000_000;
    let mut times = Vec::new();
    for (pause, there, back) in renewals {
        sent += pause;
        times.push((sent, sent + there, sent + there + back));
    }
    times
}

/// The first instant, in true time, at which the grantor takes every lease to be over.
fn over_us(grants: &Grants, clock: Clock, lease_ms: u64, from_us: u64) -> u64 {
    let (mut low, mut high) = (from_us, from_us + 3_000_000_000);
    while low < high {
        let middle = low.midpoint(high);
        if grants.quiet_ms(HOME, HOME, clock.read_ms(middle)) >= assumed_ms(lease_ms) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Whether a holder that counts from `from` of (sent, answered) still acts when the grantor takes its leases to be over.
fn outlives(
    holder: Clock,
    grantor: Clock,
    lease_ms: u64,
    renewals: &[Renewal],
    from: impl Fn(u64, u64) -> u64,
) -> bool {
    let times = times(renewals);
    let mut grants = Grants::new(grantor.read_ms(0));
    times.iter().for_each(|(_, granted, _)| grants.note(HOME, HOME, grantor.read_ms(*granted)));
    let last = times.iter().map(|(_, granted, _)| *granted).max().unwrap_or_default();
    let over = over_us(&grants, grantor, lease_ms, last);
    let heard = times.iter().filter(|(_, _, answered)| *answered <= over);
    let lease = heard.fold(Lease::default(), |lease, (sent, _, answered)| {
        lease.renewed(7, holder.read_ms(from(*sent, *answered)), lease_ms)
    });
    // Answers that come later find a lease that has passed long ago, or would lengthen it past the end.
    let late = times
        .iter()
        .fold(lease, |lease, (sent, _, answered)| lease.renewed(7, holder.read_ms(from(*sent, *answered)), lease_ms));
    lease.is_valid(7, holder.read_ms(over)) || late.is_valid(7, holder.read_ms(over))
}

proptest! {
    #[test]
    fn no_lease_outlives_what_its_grantor_assumes(
        holder in any_clock(), grantor in any_clock(), lease_ms in LEASE_MS_MIN..60_000, renewals in any_renewals(),
    ) {
        prop_assert!(!outlives(holder, grantor, lease_ms, &renewals, |sent, _| sent));
    }

    #[test]
    fn a_new_leader_needs_no_memory_of_the_old_one(
        holder in any_clock(), leader in any_clock(), lease_ms in LEASE_MS_MIN..60_000,
        sent_us in 0_u64..10_000_000, led_after_us in 0_u64..10_000_000,
    ) {
        // Whatever another leader granted was sent before this one began to lead.
        let began_us = sent_us + led_after_us;
        let grants = Grants::new(leader.read_ms(began_us));
        let lease = Lease::default().renewed(7, holder.read_ms(sent_us), lease_ms);
        let over = over_us(&grants, leader, lease_ms, began_us);
        prop_assert!(!lease.is_valid(7, holder.read_ms(over)));
    }
}

#[test]
fn a_lease_timed_from_the_answer_outlives_it() {
    let clock = Clock { offset_us: 0, rate_ppm: 1_000_000 };
    let slow_answer = [(0, 1_000, 9_000_000)];
    assert!(outlives(clock, clock, 10_000, &slow_answer, |_, answered| answered));
    assert!(!outlives(clock, clock, 10_000, &slow_answer, |sent, _| sent));
}

#[test]
fn without_margins_clocks_that_run_apart_break_the_law() {
    let slow = Clock { offset_us: 0, rate_ppm: 1_000_000 - DRIFT_PPM_MAX };
    let fast = Clock { offset_us: 0, rate_ppm: 1_000_000 + DRIFT_PPM_MAX };
    let lease_ms = 10_000;
    // By a fast grantor's clock the bare lease is over at this instant; a slow holder that takes nothing off goes on.
    let over_us = 10_000_000 * 1_000_000 / fast.rate_ppm;
    assert!(slow.read_ms(over_us) < lease_ms);
    assert!(!outlives(slow, fast, lease_ms, &[(0, 0, 0)], |sent, _| sent));
}

#[test]
fn a_lease_is_for_one_epoch_and_is_never_shortened_by_an_answer() {
    let lease = Lease::default().renewed(3, 1_000, 10_000);
    assert!(lease.is_valid(3, 1_001) && !lease.is_valid(4, 1_001) && !lease.is_valid(2, 1_001));
    assert_eq!(lease.renewed(3, 500, 10_000), lease, "an answer that was overtaken");
    assert_eq!(lease.renewed(2, 9_000, 10_000), lease, "an answer for an epoch that has passed");
    let next = lease.renewed(4, 2_000, 1_000);
    assert!(next.is_valid(4, 2_500) && !next.is_valid(3, 2_500), "what was granted under an epoch ends with it");
    assert!(!Lease::default().is_valid(0, 0), "nobody begins with one");
}

#[test]
fn a_leader_counts_from_when_those_before_it_were_confirmed_last() {
    let mut grants = Grants::new(1_000);
    let (home, holder) = (RegionId(0), RegionId(0));
    assert_eq!(grants.quiet_ms(home, holder, 1_500), 500);
    grants.counting_from(200);
    assert_eq!((grants.quiet_ms(home, holder, 1_500), grants.since_ms()), (1_300, 1_000));
    grants.counting_from(900);
    assert_eq!(grants.quiet_ms(home, holder, 1_500), 1_300);
    grants.note(home, holder, 1_400);
    assert_eq!(grants.quiet_ms(home, holder, 1_500), 100);
}
