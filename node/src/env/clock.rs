//! The two clocks of a node, and the rule that keeps a jump of the first from ending sessions early.

use parking_lot::Mutex;
use std::time::Duration;

/// Wall clock for stamps, boot clock for leases and deadlines of waits; never one for the other.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, as the machine believes; may jump.
    fn wall_ms(&self) -> u64;

    /// Time since boot, suspension included; never goes back.
    fn boot(&self) -> Duration;

    /// Processor time that this process has used so far; `None` where nobody measures it.
    fn processor_time(&self) -> Option<Duration> {
        None
    }

    /// How many processors it may use at once.
    fn processors(&self) -> usize {
        1
    }
}

/// A wall clock that follows jumps slowly.
///
/// Stamps decide expiry, so an operator who sets the clock an hour ahead would end every session that was idle for the
/// last hour. This reading starts at the machine's wall time and then advances with the boot clock, drawing nearer to
/// the machine's wall clock by at most one part in ten of the time that passed.
///
/// It starts when it is made and not when it is first read: a node that leads nothing may not ask for the time for long,
/// and would take a jump in between as it is.
pub struct SlewedClock {
    anchor: Mutex<Anchor>,
}

#[derive(Clone, Copy)]
struct Anchor {
    boot_ms: u64,
    slewed_ms: u64,
}

/// A jump of one minute is followed within ten.
const SLEW_DIVISOR: u64 = 10;

impl SlewedClock {
    /// Takes `clock` as it is now.
    pub fn start(clock: &dyn Clock) -> Self {
        Self { anchor: Mutex::new(Anchor { boot_ms: boot_ms(clock), slewed_ms: clock.wall_ms() }) }
    }

    /// The slewed wall time in milliseconds since the Unix epoch.
    pub fn read_ms(&self, clock: &dyn Clock) -> u64 {
        let (boot_ms, wall_ms) = (boot_ms(clock), clock.wall_ms());
        let mut anchor = self.anchor.lock();
        let elapsed_ms = boot_ms.saturating_sub(anchor.boot_ms);
        let expected_ms = anchor.slewed_ms + elapsed_ms;
        if elapsed_ms < SLEW_DIVISOR {
            return expected_ms;
        }
        let step_ms = elapsed_ms / SLEW_DIVISOR;
        let slewed_ms = wall_ms.clamp(expected_ms - step_ms, expected_ms + step_ms);
        *anchor = Anchor { boot_ms, slewed_ms };
        slewed_ms
    }
}

fn boot_ms(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.boot().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::simulated::Hands;

    #[test]
    fn an_hours_jump_moves_the_reading_by_a_tenth_of_the_time_passed() {
        let hands = Hands::default();
        hands.pass(100_000_000);
        let slewed = SlewedClock::start(&hands);
        let start = slewed.read_ms(&hands);
        hands.jump(3_600_000);
        hands.pass(1_000);
        assert_eq!(slewed.read_ms(&hands) - start, 1_100);
        hands.jump(-7_200_000);
        hands.pass(1_000);
        assert_eq!(slewed.read_ms(&hands) - start, 2_000);
    }

    #[test]
    fn a_jump_before_the_first_reading_is_one_too() {
        let hands = Hands::default();
        hands.pass(100_000_000);
        let slewed = SlewedClock::start(&hands);
        hands.jump(3_600_000);
        hands.pass(1_000);
        assert_eq!(slewed.read_ms(&hands), 100_001_100);
    }

    #[test]
    fn without_jumps_it_is_the_wall_clock() {
        let hands = Hands::default();
        let slewed = SlewedClock::start(&hands);
        for step in [1, 3, 7, 50, 4_000] {
            hands.pass(step);
            assert_eq!(slewed.read_ms(&hands), hands.wall_ms());
        }
    }
}
