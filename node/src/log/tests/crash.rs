//! Many seeds of crashes, and proof that the check would see the bugs it is for.

use super::{model::Run, *};

async fn play(seeds: std::ops::Range<u64>, plants: Plants) -> Result<Run, String> {
    let mut last = None;
    for seed in seeds {
        let mut run = Run::new(seed, plants);
        run.play(12, 120).await.map_err(|what| format!("seed {seed}: {what}"))?;
        last = Some(run);
    }
    last.ok_or_else(|| "no seeds".into())
}

#[tokio::test]
async fn what_was_acknowledged_is_recovered_in_order() {
    let (mut lost, mut kept, mut refused, mut failed) = (0, 0, 0, 0);
    for seed in 0..150 {
        let run = play(seed..seed + 1, Plants::default()).await.unwrap();
        lost += run.lost_unacknowledged;
        kept += run.recovered_unacknowledged;
        refused += run.refused;
        failed += run.disk().counts().syncs_failed;
    }
    // Proof that the seeds reached what they are for.
    assert!(lost > 100 && kept > 100 && refused > 100 && failed > 20, "{lost} {kept} {refused} {failed}");
}

#[tokio::test]
async fn an_early_acknowledgement_is_noticed() {
    play(0..50, Plants { acknowledge_before_sync: true, ..Plants::default() }).await.err().unwrap();
}

#[tokio::test]
async fn going_on_after_a_failed_sync_is_noticed() {
    play(0..50, Plants { go_on_after_failed_sync: true, ..Plants::default() }).await.err().unwrap();
}

#[tokio::test]
async fn a_kept_torn_tail_is_noticed() {
    play(0..50, Plants { keep_torn_tail: true, ..Plants::default() }).await.err().unwrap();
}
