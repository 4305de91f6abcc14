//! The registration of partitions: which are next, what a catalog answers, and when one that failed
//! is asked again.
//!
//! Owns the turns, the pauses and the memory of what was confirmed. The to-do list itself is the
//! state's, since it is durable; nothing here needs to be. Data never waits for any of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::state::State;
use super::troubles::Troubles;
use crate::catalog::{Catalog, CatalogError, Registration};
use crate::deliver::backoff;
use crate::journal::{AppendError, Control, Journal};
use crate::metrics::{Metrics, stream_labels};
use crate::plan::CatalogPartition;
use crate::record::StreamName;

/// Confirmed partitions that are remembered, so that they are not asked for again.
const CONFIRMED_MAX: usize = 100_000;

/// The step of `troubles`.
const STEP: &str = "register partitions";

/// Why a call of a catalog had no effect.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegisterError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("could not record a registration: {0}")]
    Journal(#[from] AppendError),
    #[error("catalog '{0}' is not in the configuration any more: put it back to register there")]
    Unknown(String),
}

/// Registers partitions of one table, and makes durable that they are. `catalog` is none when the
/// configuration has no catalog of this `name`.
///
/// # Errors
/// When the catalog or the log cannot; what it had registered is then registered again.
pub(super) async fn register(
    catalog: Option<Arc<dyn Catalog>>,
    name: &str,
    partitions: &[CatalogPartition],
    log: &Journal,
) -> Result<Registration, RegisterError> {
    let catalog = catalog.ok_or_else(|| RegisterError::Unknown(name.to_owned()))?;
    let registration = catalog.register(partitions).await?;
    let recorded = registration.registered.iter().map(|partition| {
        let control = Control::Registered(partition.clone());
        async move { log.append_control(&control).await }
    });
    futures::future::try_join_all(recorded).await?;
    Ok(registration)
}

/// The order in which partitions are registered.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    confirmed: HashSet<CatalogPartition>,
    /// The last of the partitions that were asked for last.
    tried_last: Option<CatalogPartition>,
    /// Calls that failed in a row, by catalog.
    failures: BTreeMap<String, u32>,
    /// Catalogs that are left alone for a while.
    resting: BTreeSet<String>,
}

impl Registrations {
    /// The partitions of one table that are asked for now, as many as `per_call` says for its catalog.
    /// Those that were tried last wait until all others had their turn.
    pub(super) fn next(
        &mut self,
        waiting: &BTreeSet<CatalogPartition>,
        per_call: &dyn Fn(&str) -> usize,
    ) -> Option<Vec<CatalogPartition>> {
        let after_last = self
            .tried_last
            .iter()
            .flat_map(|last| waiting.range((Bound::Excluded(last.clone()), Bound::Unbounded)));
        let awake = |partition: &&CatalogPartition| !self.resting.contains(&partition.catalog);
        let mut in_turn = after_last.chain(waiting).filter(awake).peekable();
        let first = *in_turn.peek()?;
        let table = |p: &CatalogPartition| (p.catalog.clone(), p.database.clone(), p.table.clone());
        let of_table = table(first);
        let partitions: Vec<_> = in_turn
            .take_while(|partition| table(partition) == of_table)
            .take(per_call(&of_table.0).min(waiting.len()))
            .cloned()
            .collect();
        self.tried_last = partitions.last().cloned();
        Some(partitions)
    }

    /// Takes in what a call came to, and shows what went wrong; after a failure, tells how long the
    /// catalog is left alone.
    pub(super) fn registered(
        &mut self,
        catalog: &str,
        result: Result<Registration, RegisterError>,
        state: &mut State,
        report: &Report<'_>,
    ) -> Option<Duration> {
        let (registration, mut trouble) = match result {
            Ok(registration) => (registration, None),
            Err(error) => (Registration::default(), Some(error.to_string())),
        };
        let labels = stream_labels(report.stream.as_str());
        if !registration.registered.is_empty() {
            self.failures.remove(catalog);
        }
        let count = registration.registered.len() as u64;
        report.metrics.registered_partitions.get_or_create(&labels).inc_by(count);
        for partition in registration.registered {
            state.registered(&partition);
            self.confirm(partition);
        }
        for elsewhere in registration.elsewhere {
            report.metrics.misplaced_partitions.get_or_create(&labels).inc();
            tracing::warn!(
                stream = %report.stream,
                values = elsewhere.partition.values.join("/"),
                location = elsewhere.location,
                objects = elsewhere.partition.location,
                "the catalog has another location for a partition, and keeps it"
            );
        }
        if let [first, others @ ..] = registration.refused.as_slice() {
            let values = first.partition.values.join("/");
            let others = others.len();
            trouble = Some(format!("partition {values}: {} (and {others} more)", first.reason));
        }
        let Some(trouble) = trouble else {
            report.troubles.clear(STEP);
            return None;
        };
        report.metrics.failed_registrations.get_or_create(&labels).inc();
        let (pause, attempt) = self.failed(catalog);
        report.troubles.set(STEP, format!("could not {STEP}: {trouble} (attempt {attempt})"));
        // The same thing again is news ever more rarely.
        if attempt.is_power_of_two() {
            let stream = report.stream;
            tracing::error!(%stream, error = trouble, attempt, "could not {STEP}; trying again");
        }
        Some(pause)
    }

    /// A call failed: tells how long the catalog is left alone, and how often it has failed now.
    fn failed(&mut self, catalog: &str) -> (Duration, u32) {
        let count = self.failures.entry(catalog.to_owned()).or_default();
        *count = count.saturating_add(1);
        self.resting.insert(catalog.to_owned());
        (backoff::pause(*count), *count)
    }

    /// The pause of a catalog is over.
    pub(super) fn rested(&mut self, catalog: &str) {
        self.resting.remove(catalog);
    }

    fn confirm(&mut self, partition: CatalogPartition) {
        if self.confirmed.len() > CONFIRMED_MAX {
            // Registering one of them again does no harm.
            self.confirmed.clear();
        }
        self.confirmed.insert(partition);
    }

    pub(super) fn is_confirmed(&self, partition: &CatalogPartition) -> bool {
        self.confirmed.contains(partition)
    }

    /// The table is another one, which may know none of them.
    pub(super) fn forget(&mut self) {
        self.confirmed.clear();
    }
}

/// Where it shows what registrations came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    pub(super) stream: &'a StreamName,
    pub(super) metrics: &'a Metrics,
    pub(super) troubles: &'a Troubles,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(catalog: &str, table: &str, value: usize) -> CatalogPartition {
        CatalogPartition {
            catalog: catalog.into(),
            database: "d".into(),
            table: table.into(),
            values: vec![format!("{value:04}")],
            location: String::new(),
        }
    }

    #[test]
    fn a_call_has_one_table_and_each_partition_gets_its_turn() {
        let mut waiting: BTreeSet<_> = (0..250).map(|n| partition("glue", "one", n)).collect();
        waiting.extend((0..3).map(|n| partition("glue", "two", n)));
        let mut registrations = Registrations::default();
        let mut seen = BTreeSet::new();
        for expected in [100, 100, 50, 3, 100] {
            let some = registrations.next(&waiting, &|_| 100).expect("there are some");
            assert_eq!(some.len(), expected);
            assert!(some.iter().all(|p| p.table == some[0].table));
            seen.extend(some);
        }
        assert_eq!(seen, waiting);
    }

    #[test]
    fn a_failing_catalog_rests_while_others_go_on() {
        let waiting = BTreeSet::from([partition("down", "t", 1), partition("up", "t", 1)]);
        let mut registrations = Registrations::default();
        assert_eq!(registrations.next(&waiting, &|_| 100).expect("some")[0].catalog, "down");
        registrations.failed("down");
        for _ in 0..3 {
            assert_eq!(registrations.next(&waiting, &|_| 100).expect("some")[0].catalog, "up");
        }
        registrations.failed("up");
        assert!(registrations.next(&waiting, &|_| 100).is_none());
        registrations.rested("down");
        assert_eq!(registrations.next(&waiting, &|_| 100).expect("some")[0].catalog, "down");
        assert_eq!(registrations.failed("down").1, 2);
        registrations.failures.remove("down");
        assert_eq!(registrations.failed("down").1, 1);
    }
}
