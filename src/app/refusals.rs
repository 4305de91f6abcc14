//! Which streams take no records at present, since the disk budget is used up.
//!
//! Owns the looks at the streams' parts of the budget, and what the log says when refusing begins
//! and when it ends. Does not own the decision, which is the budget's at each call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Handles;
use crate::clock::Clock;
use crate::disk::DiskBudget;
use crate::record::StreamName;

const PAUSE: Duration = Duration::from_millis(250);
/// At the edge of the budget, calls are taken and refused in turns: that is one refusing, not many.
const QUIET: Duration = Duration::from_secs(5);

/// The streams that refuse records.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<BTreeSet<StreamName>>>);

/// What is known of a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    refused_calls: u64,
    /// When it was last seen refusing, by the steady clock; absent while it takes records.
    refusing: Option<Duration>,
}

impl Refusals {
    /// The streams that refuse records at present.
    #[must_use]
    pub fn streams(&self) -> BTreeSet<StreamName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks until `stop` says so.
    pub(super) async fn follow(
        self,
        handles: watch::Receiver<Arc<Handles>>,
        clock: Arc<dyn Clock>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut seen = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            let budgets: BTreeMap<_, _> = handles.borrow().iter().map(parts).collect();
            self.look(&budgets, &mut seen, clock.steady());
        }
    }

    fn look(
        &self,
        budgets: &BTreeMap<StreamName, Arc<DiskBudget>>,
        seen: &mut BTreeMap<StreamName, Seen>,
        now: Duration,
    ) {
        seen.retain(|stream, _| budgets.contains_key(stream));
        for (stream, budget) in budgets {
            let seen = seen.entry(stream.clone()).or_default();
            let refused_calls = budget.refused_calls();
            let is_refusing = budget.is_used_up() || refused_calls != seen.refused_calls;
            seen.refused_calls = refused_calls;
            match seen.refusing {
                None if is_refusing => {
                    tracing::warn!(
                        %stream,
                        used_bytes = budget.used_bytes_of_all(),
                        disk_budget_bytes = budget.limit_bytes(),
                        "the disk budget is used up: records are refused until some of those that \
                         wait have been delivered"
                    );
                    seen.refusing = Some(now);
                }
                Some(_) if is_refusing => seen.refusing = Some(now),
                Some(since) if now.saturating_sub(since) >= QUIET => {
                    tracing::info!(
                        %stream,
                        used_bytes = budget.used_bytes_of_all(),
                        "there is room in the disk budget: records are taken again"
                    );
                    seen.refusing = None;
                }
                Some(_) | None => {}
            }
        }
        let refusing = seen.iter().filter(|(_, seen)| seen.refusing.is_some());
        let refusing = refusing.map(|(stream, _)| stream.clone()).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = refusing;
    }
}

fn parts(
    (stream, handle): (&StreamName, &crate::pipeline::Handle),
) -> (StreamName, Arc<DiskBudget>) {
    (stream.clone(), handle.budget().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_refuses_from_its_first_refusal_until_it_has_taken_records_for_a_while() {
        let name = StreamName::new("clicks").expect("a name");
        let budget = Arc::new(DiskBudget::new(1_000 << 20));
        let budgets = BTreeMap::from([(name, budget.clone())]);
        let (refusals, mut seen) = (Refusals::default(), BTreeMap::new());
        let mut refuses_at = |seconds| {
            refusals.look(&budgets, &mut seen, Duration::from_secs(seconds));
            !refusals.streams().is_empty()
        };
        assert!(!refuses_at(0));
        // A call that is too large for what is left, while a smaller one would not be.
        assert!(budget.admit(2_000 << 20).is_none());
        assert!(!budget.is_used_up());
        assert!(refuses_at(1));
        assert!(refuses_at(5), "it is not sure yet that it takes records again");
        assert!(!refuses_at(6));
        budget.add(999 << 20);
        assert!(refuses_at(7), "nobody has to be refused first");
        budget.remove(999 << 20);
        assert!(refuses_at(11) && !refuses_at(12));
    }
}
