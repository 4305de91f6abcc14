//! What a leg is given: its role, its logs, what it is to do, and what it finds around it.
//!
//! Plain data. The loop that acts on it is `leg`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::freeze::Recipe;
use super::placing::Placer;
use super::pool::Pool;
use super::transformer::Transformer;
use super::troubles::Troubles;
use super::{Backup, Settings};
use crate::buffer::Hints;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::deliver::Stores;
use crate::disk::{Disk, DiskBudget};
use crate::journal::{Hold, Journal, Opened};
use crate::memory::MemoryBudget;
use crate::metrics::Metrics;
use crate::positions::Positions;
use crate::record::{StreamName, UnixMillis};

/// What all legs of a stream share.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) stream: StreamName,
    pub(super) stores: Arc<Stores>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) budget: Arc<DiskBudget>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) memory: Arc<MemoryBudget>,
    pub(super) pool: Pool,
    pub(super) metrics: Metrics,
    /// Legs whose counts do not add up.
    pub(super) imbalances: Troubles,
    /// Whether parts wait in the scratch log: none where there is no such log.
    pub(super) parts_waiting: Arc<AtomicBool>,
    /// Up to where partitions of event time are complete.
    pub(super) told: Arc<Told>,
}

/// Up to where legs have told partitions of event time complete. When hooks are given to a stream or
/// taken from it, another leg tells the ends, and the records that are its own must not come into a
/// partition whose end was told before. Each leg's part is durable with its own plans.
#[derive(Debug)]
pub(super) struct Told {
    by_source: AtomicI64,
    by_transformed: AtomicI64,
}

impl Default for Told {
    fn default() -> Self {
        let nothing = || AtomicI64::new(i64::MIN);
        Self { by_source: nothing(), by_transformed: nothing() }
    }
}

impl Told {
    /// A leg tells partitions complete whose spans end until then.
    pub(super) fn tell(&self, role: Role, until: UnixMillis) {
        match role {
            Role::Source => _ = self.by_source.fetch_max(until.0, Ordering::AcqRel),
            Role::Transformed => _ = self.by_transformed.fetch_max(until.0, Ordering::AcqRel),
            Role::Backup => {}
        }
    }

    /// Until when that is so by another leg than this one.
    pub(super) fn before(&self, role: Role) -> Option<UnixMillis> {
        let by_other = match role {
            Role::Source => self.by_transformed.load(Ordering::Acquire),
            Role::Transformed => self.by_source.load(Ordering::Acquire),
            Role::Backup => i64::MIN,
        };
        (by_other > i64::MIN).then_some(UnixMillis(by_other))
    }
}

impl Surroundings {
    /// Whether parts of records wait to be delivered.
    pub(super) fn parts_wait(&self) -> bool {
        self.parts_waiting.load(Ordering::Acquire)
    }

    /// Shows whether parts of records wait.
    pub(super) fn show_parts_wait(&self, wait: bool) {
        self.parts_waiting.store(wait, Ordering::Release);
    }
}

/// Whether a leg tells the ends of partitions, and what has to be over before.
#[derive(Clone, Debug)]
pub(super) enum Ends {
    /// Another leg tells them.
    Elsewhere,
    /// Its own records, and parts that hooks left in the scratch log before they were removed.
    Own,
    /// All records of this journal are to be transformed first.
    After(Journal),
}

impl Ends {
    pub(super) fn are_told(&self) -> bool {
        !matches!(self, Self::Elsewhere)
    }
}

/// Which leg it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// From what producers sent.
    Source,
    /// From what a transform made of it.
    Transformed,
    /// What producers sent, once more.
    Backup,
}

impl Role {
    /// The word for logs and metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Transformed => "transformed",
            Self::Backup => "backup",
        }
    }

    /// Names what the disk has lost of the records, or parts, of this leg.
    pub(super) fn report_lost(self, stream: &StreamName, lost: &Positions) {
        let what = if self == Self::Transformed { "parts of records" } else { "records" };
        for run in lost.runs() {
            tracing::error!(
                %stream,
                leg = self.as_str(),
                first = run.first.0,
                last = run.end().0 - 1,
                "the disk lost accepted {what}; they are counted as damaged"
            );
        }
    }
}

/// The logs of a leg.
#[derive(Debug)]
pub(super) struct Logs {
    /// Where its decisions stand, and what they were.
    pub(super) opened: Opened,
    /// Where its records stand, when that is another leg's log, kept for this leg.
    pub(super) held: Option<(Journal, Arc<Hold>)>,
}

/// What a leg makes of records; a change of the settings replaces it as a whole.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    /// What becomes of records that are not transformed.
    pub(super) recipe: Arc<Recipe>,
    /// When batches close.
    pub(super) hints: Hints,
    /// Takes the records instead.
    pub(super) transformer: Option<Transformer>,
    /// Where partitions are registered, by name.
    pub(super) catalogs: BTreeMap<String, Arc<dyn Catalog>>,
    /// Whether it tells the ends of partitions.
    pub(super) ends: Ends,
}

impl Orders {
    /// What gives records their groups; none before the hooks.
    pub(super) fn placer(&self, stream: &StreamName) -> Option<Placer> {
        let is_placed = self.transformer.is_none();
        is_placed.then(|| Placer::new(stream.clone(), self.recipe.clone()))
    }

    /// Of the leg of what hooks make of the records of `source`.
    pub(super) fn of_parts(settings: &Settings, source: &Journal) -> Self {
        let has_hooks = settings.chain.is_some();
        Self {
            ends: if has_hooks { Ends::After(source.clone()) } else { Ends::Elsewhere },
            recipe: settings.recipe.clone(),
            hints: settings.hints,
            transformer: None,
            catalogs: settings.catalogs.clone(),
        }
    }

    pub(super) fn of_backup(backup: &Backup) -> Self {
        Self {
            recipe: backup.recipe.clone(),
            hints: backup.hints,
            transformer: None,
            catalogs: BTreeMap::new(),
            ends: Ends::Elsewhere,
        }
    }
}
