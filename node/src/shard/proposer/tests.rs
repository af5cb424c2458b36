//! What waits for an entry, and until when.

use super::*;
use tokio::time::advance;

const PATIENCE: Duration = Duration::from_millis(10);

fn waiting(is_patient: bool) -> Waiting {
    let bundle = Bundle::new(&[]);
    let bundle = if is_patient { bundle.patient() } else { bundle };
    Waiting { bundle, claim: None, answer: oneshot::channel().0 }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_due_after_a_while_or_with_what_somebody_waits_for() {
    let mut held = Held::default();
    held.push(waiting(true), PATIENCE);
    let due = Instant::now() + PATIENCE;
    assert_eq!(held.may_wait_until(), Some(due));
    advance(PATIENCE / 2).await;
    held.push(waiting(true), PATIENCE);
    assert_eq!(held.may_wait_until(), Some(due), "the first one counts");
    held.push(waiting(false), PATIENCE);
    assert_eq!(held.may_wait_until(), None, "an entry is logged anyway");
    while held.pop().is_some() {}
    held.push(waiting(true), PATIENCE);
    assert_eq!(held.may_wait_until(), Some(Instant::now() + PATIENCE), "what was logged counts no more");
}
