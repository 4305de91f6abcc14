//! The equation of a leg: `accepted = delivered + failed + dropped + damaged + pending`, with what
//! went on into the next log and what was never the leg's on the right side too.
//!
//! Owns the difference and the alarm that it raises. Each term is counted where it lies and none is
//! made from the others: what was accepted by the log's end, what has ended by counters that plans and
//! commits move, what is pending by the positions that lie unread, in buffers, in batches under way
//! and in open plans. So a batch that goes missing, a record in two plans, and a count that a
//! checkpoint carries wrongly each make a difference. Whoever counts asks the leg's loop, between
//! two of its steps, so that nothing is seen half done.

use std::time::Duration;

use super::orders::Role;
use super::state::Counts;
use super::troubles::Troubles;
use crate::record::StreamName;

/// The loop looks at the difference this often, also when nobody asks.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The terms of the equation at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// Records in the log, ever.
    pub(super) accepted: u64,
    /// Records that have ended, by what became of them.
    pub(super) counts: Counts,
    /// Records that have not.
    pub(super) pending: u64,
}

impl Ledger {
    /// What was accepted and is not accounted for; below zero what is accounted for twice.
    pub(super) fn difference(&self) -> i64 {
        let right = self.counts.ended().saturating_add(self.pending);
        self.accepted.cast_signed().saturating_sub(right.cast_signed())
    }

    fn describe(&self, role: Role) -> String {
        let Counts { delivered, failed, dropped, damaged, transformed, left_out, .. } = self.counts;
        format!(
            "the counts of the {} leg do not add up, the difference is {}: accepted {} = delivered \
             {delivered} + failed {failed} + dropped {dropped} + damaged {damaged} + transformed \
             {transformed} + left out {left_out} + pending {}",
            role.as_str(),
            self.difference(),
            self.accepted,
            self.pending,
        )
    }
}

/// Raises the alarm when the equation does not hold, and ends it when it holds again.
#[derive(Debug)]
pub(super) struct Alarm {
    role: Role,
    stream: StreamName,
    /// The alarms of all legs of the stream.
    imbalances: Troubles,
    difference: i64,
    looked_at: Option<Duration>,
}

impl Alarm {
    pub(super) fn new(role: Role, stream: StreamName, imbalances: Troubles) -> Self {
        Self { role, stream, imbalances, difference: 0, looked_at: None }
    }

    /// Whether it is time to look again, by the steady clock.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.looked_at.is_none_or(|looked_at| now >= looked_at + LOOK_INTERVAL)
    }

    pub(super) fn look(&mut self, now: Duration, ledger: &Ledger) {
        self.looked_at = Some(now);
        let (before, difference) = (self.difference, ledger.difference());
        self.difference = difference;
        let stream = &self.stream;
        if difference != 0 {
            let text = ledger.describe(self.role);
            if difference != before {
                tracing::error!(
                    %stream,
                    difference,
                    "{text}; this is a defect or damage that no checksum shows: keep a copy of the \
                     data directory, and see what lakehose audit says"
                );
            }
            self.imbalances.set(self.role.as_str(), text);
        } else if before != 0 {
            tracing::info!(%stream, leg = self.role.as_str(), "the counts add up again");
            self.imbalances.clear(self.role.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_lasts_as_long_as_the_difference() {
        let stream = StreamName::new("clicks").expect("a name");
        let imbalances = Troubles::default();
        let mut alarm = Alarm::new(Role::Source, stream, imbalances.clone());
        let counts = Counts { delivered: 5, failed: 1, ..Counts::default() };
        let whole = Ledger { accepted: 10, counts, pending: 4 };
        alarm.look(Duration::ZERO, &whole);
        assert_eq!((whole.difference(), imbalances.text()), (0, None));
        for pending in [3, 5] {
            let wrong = Ledger { pending, ..whole };
            alarm.look(Duration::from_secs(1), &wrong);
            assert_eq!(wrong.difference(), 4 - pending.cast_signed());
            assert!(imbalances.text().expect("an alarm").contains("source leg"));
        }
        alarm.look(Duration::from_secs(2), &whole);
        assert_eq!(imbalances.text(), None);
        assert!(!alarm.is_due(Duration::from_secs(11)) && alarm.is_due(Duration::from_secs(12)));
    }
}
