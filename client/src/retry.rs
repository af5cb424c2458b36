//! When to try again: pure, so that it can be tested without nodes or time.

use std::time::Duration;

/// How a client tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The pause after the first trouble; doubled after each further one.
    pub pause_min: Duration,
    /// The longest pause that nobody advised.
    pub pause_max: Duration,
    /// How long one try may take while the call has more time than that.
    pub try_time: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            pause_min: Duration::from_millis(10),
            pause_max: Duration::from_millis(500),
            try_time: Duration::from_secs(2),
        }
    }
}

/// Why a try brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The node cannot be reached, vanished, or did not answer in time: another may.
    Unreachable,
    /// The node asks to try later.
    Later {
        /// How much later; zero if it did not say.
        advised: Duration,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try again after a pause, at another node if there is one.
    Again {
        /// The pause.
        after: Duration,
    },
    /// No time is left for another try.
    GiveUp,
}

impl RetryPolicy {
    /// What to do after try number `tries` (from 1) ended in `trouble` with `left` until the deadline. `nodes` is how many
    /// there are to ask, `random` any number: pauses are drawn from their upper half, so that clients do not move in step.
    pub fn step(&self, tries: u32, nodes: usize, trouble: Trouble, left: Duration, random: u64) -> Step {
        let after = match trouble {
            // The other nodes are asked at once: nothing says that they are in trouble too.
            Trouble::Unreachable if (tries as usize) < nodes => Duration::ZERO,
            Trouble::Unreachable => jittered(self.backoff(tries), random),
            Trouble::Later { advised } => {
                jittered(self.backoff(tries).max(advised.saturating_mul(2).min(self.pause_max * 2)), random)
            }
        };
        if after < left { Step::Again { after } } else { Step::GiveUp }
    }

    fn backoff(&self, tries: u32) -> Duration {
        let doubled = self.pause_min.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.pause_max)
    }
}

/// Between half of `pause` and all of it.
fn jittered(pause: Duration, random: u64) -> Duration {
    let half = pause / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn pause(tries: u32, trouble: Trouble, random: u64) -> Duration {
        match RetryPolicy::default().step(tries, 3, trouble, HOUR, random) {
            Step::Again { after } => after,
            Step::GiveUp => panic!("an hour is left"),
        }
    }

    #[test]
    fn other_nodes_are_asked_at_once_and_then_less_and_less_often() {
        let pauses: Vec<u128> = (1..12).map(|tries| pause(tries, Trouble::Unreachable, u64::MAX).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 40, 80, 160, 320, 500, 500, 500, 500, 500]);
        assert_eq!(pause(u32::MAX, Trouble::Unreachable, u64::MAX).as_millis(), 500);
    }

    #[test]
    fn pauses_are_spread_over_their_upper_half() {
        assert_eq!(pause(4, Trouble::Unreachable, 0).as_millis(), 40);
        let middle = pause(4, Trouble::Unreachable, u64::MAX / 2).as_millis();
        assert!((59..=61).contains(&middle), "{middle}");
    }

    #[test]
    fn advice_is_followed_at_least() {
        let advised = Trouble::Later { advised: Duration::from_millis(200) };
        assert!(pause(1, advised, 0) >= Duration::from_millis(200));
        assert!(pause(1, Trouble::Later { advised: Duration::ZERO }, 0) <= Duration::from_millis(10));
    }

    #[test]
    fn without_time_for_another_try_it_ends() {
        let policy = RetryPolicy::default();
        let left = Duration::from_millis(30);
        assert_eq!(policy.step(9, 3, Trouble::Unreachable, left, 0), Step::GiveUp);
        assert_eq!(policy.step(1, 3, Trouble::Unreachable, Duration::ZERO, 0), Step::GiveUp);
    }
}
