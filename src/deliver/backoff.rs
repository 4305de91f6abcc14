//! The pause between attempts: exponential, with full jitter, so that many objects that failed
//! together do not come back together.

use std::time::Duration;

use uuid::Uuid;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// The pause after the failed attempt with this number, counted from 1; at most half a minute.
#[must_use]
pub fn pause(attempt: u32) -> Duration {
    ceiling(attempt).mul_f64(coin())
}

/// A pause between half of `longest` and all of it.
#[must_use]
pub fn about(longest: Duration) -> Duration {
    longest.mul_f64(0.5 + coin() / 2.0)
}

/// A number from 0 to 1.
fn coin() -> f64 {
    f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

fn ceiling(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    (FIRST * (1 << doublings)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(ceiling(1), FIRST);
        assert_eq!(ceiling(4), FIRST * 8);
        assert_eq!(ceiling(u32::MAX), LONGEST);
        assert!((1..100).all(|attempt| pause(attempt) <= ceiling(attempt)));
        assert!((1..100).all(|_| (FIRST / 2..=FIRST).contains(&about(FIRST))));
    }
}
