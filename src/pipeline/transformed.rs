//! The leg of what hooks make of records: how it is taken up with its log.

use std::path::Path;

use super::handle::LegHandle;
use super::leg::Leg;
use super::orders::{Logs, Orders, Role, Surroundings};
use super::troubles::Troubles;
use super::{Pipeline, PipelineError, intake};
use crate::journal::{Environment, Journal};
use crate::record::Position;

/// The leg of transformed records, its log, and how far the transform had come.
pub(super) struct Transformed {
    scratch: Journal,
    leg: Leg,
    handle: LegHandle,
    /// How far the transform had come.
    pub(super) source_end: Position,
}

impl Transformed {
    /// Opens its log, or begins it.
    ///
    /// # Errors
    /// When that cannot be opened or read.
    pub(super) fn open(
        environment: &Environment,
        directory: &Path,
        orders: Orders,
        surroundings: Surroundings,
    ) -> Result<Self, PipelineError> {
        // Until the leg has looked.
        surroundings.show_parts_wait(true);
        let opened = Journal::open(environment, &surroundings.stream, directory)?;
        let (scratch, logs) = (opened.journal.clone(), Logs { opened, held: None });
        let troubles = Troubles::default();
        let (leg, handle) =
            Leg::new(Role::Transformed, logs, directory, orders, troubles, surroundings)?;
        let source_end = intake::last_source_end(&scratch)?.max(leg.source_end());
        Ok(Self { scratch, leg, handle, source_end })
    }
}

impl Pipeline {
    /// Has the leg run.
    pub(super) fn take_transformed(&mut self, transformed: Transformed) {
        self.scratch = Some(transformed.scratch);
        self.legs.set_transformed(transformed.handle);
        self.ready.push(transformed.leg);
    }
}
