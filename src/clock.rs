//! The only door to the time.
//!
//! Two clocks: the wall clock, which may jump and is stored with records and printed in keys, and
//! the steady clock, which never goes back and measures ages and pauses.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::record::UnixMillis;

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock.
    fn now(&self) -> UnixMillis;
    /// Time since some instant before the first call; never goes back.
    fn steady(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose steady time starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the door to the time")]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the door to the time")]
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // A wall clock before 1970 is a machine that was not set: 0 is as good as any answer.
        let millis = since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        UnixMillis(millis)
    }

    fn steady(&self) -> Duration {
        self.started.elapsed()
    }
}
