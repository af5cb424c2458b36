use super::*;
use proptest::prelude::*;

fn of(nodes: u32, busy_permille: u16) -> Situation {
    Situation { nodes, replicas: 3, busy_permille: Some(busy_permille), settled: true }
}

#[test]
fn a_busy_region_wants_one_node_more_at_once_and_no_second_before_the_first_has_come() {
    let mut advisor = Advisor::default();
    for _judgement in 0..10 {
        assert_eq!(advisor.judge(of(3, 950)).wanted, 4);
    }
    assert_eq!(advisor.judge(of(4, 710)), Advice { wanted: 5, situation: of(4, 710), reason: Reason::Busy });
    assert_eq!(advisor.judge(of(4, 700)).reason, Reason::Steady);
}

#[test]
fn an_idle_region_wants_one_node_less_after_five_times_in_a_row() {
    let mut advisor = Advisor::default();
    let mut wanted = |busy| advisor.judge(of(5, busy)).wanted;
    assert_eq!([100, 100, 100, 100, 300].map(&mut wanted), [5; 5], "interrupted once");
    assert_eq!([100, 100, 100, 100].map(&mut wanted), [5; 4]);
    assert_eq!([100, 100].map(&mut wanted), [4; 2], "and again as long as nobody goes");
    assert_eq!(advisor.judge(of(4, 100)).reason, Reason::Steady, "another region by now");
}

#[test]
fn nothing_is_advised_while_replicas_move_or_a_node_is_silent() {
    let mut advisor = Advisor::default();
    for situation in [Situation { settled: false, ..of(4, 950) }, Situation { busy_permille: None, ..of(4, 0) }] {
        assert_eq!(advisor.judge(situation), Advice { wanted: 4, situation, reason: Reason::Settling });
    }
    for _judgement in 0..4 {
        advisor.judge(of(4, 10));
    }
    advisor.judge(Situation { settled: false, ..of(4, 10) });
    assert_eq!(advisor.judge(of(4, 10)).reason, Reason::Steady, "the count begins anew");
}

#[test]
fn there_are_never_fewer_nodes_than_replicas() {
    let mut advisor = Advisor::default();
    for _judgement in 0..9 {
        advisor.judge(of(3, 0));
    }
    assert_eq!(advisor.judge(of(3, 0)), Advice { wanted: 3, situation: of(3, 0), reason: Reason::Least });
    assert_eq!(advisor.judge(Situation { settled: false, ..of(2, 10) }).wanted, 3);
}

proptest! {
    /// An autoscaler that does what it is told, under a load that stays as it is, comes to rest.
    #[test]
    fn a_steady_load_ends_in_a_steady_number(nodes in 3_u32..40, load_permille in 0_u32..30_000) {
        let (mut advisor, mut nodes) = (Advisor::default(), nodes);
        let busy = |nodes: u32| u16::try_from((load_permille / nodes).min(1_000)).expect("a share");
        let mut last_change = 0;
        for time in 0..1_000 {
            let advice = advisor.judge(of(nodes, busy(nodes)));
            prop_assert!(advice.wanted.abs_diff(nodes) <= 1, "one at a time");
            if advice.wanted != nodes {
                last_change = time;
            }
            nodes = advice.wanted;
        }
        prop_assert!(last_change < 400, "still changing at {last_change}, {nodes} nodes");
        prop_assert!(busy(nodes) <= BUSY_PERMILLE);
    }
}
