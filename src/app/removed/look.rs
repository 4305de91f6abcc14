//! Looks at streams that wait to be opened once more.
//!
//! Owns what is found out of such a stream: what waits in its folder, and what opening it takes.
//! Changes nothing, so that a look can run beside everything else and be given up at any moment.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::super::audit::left_at_rest;
use super::super::copies::Copies;
use super::super::prepare::{KnownCatalogs, Prepared};
use super::super::streams::Shared;
use crate::config::{SystemEnvironment, in_words};
use crate::pipeline::Left;
use crate::record::StreamName;

/// What a look at a stream that waits has found.
#[derive(Debug)]
pub(in super::super) struct Looked {
    pub(super) stream: StreamName,
    pub(super) left: Option<Left>,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing is in its folder.
    Nothing,
    /// What has to be known to open it.
    Usable(Box<Prepared>),
    /// Why it cannot be opened.
    Unusable(String),
}

/// What a look at a stream that waits needs.
pub(super) struct Look {
    pub(super) shared: Arc<Shared>,
    pub(super) known_catalogs: KnownCatalogs,
    pub(super) copies: Copies,
    pub(super) permits: Arc<Semaphore>,
    pub(super) stream: StreamName,
    /// What is in its folder, when an earlier look has found that out.
    pub(super) left: Option<Left>,
}

impl Look {
    /// Finds out what is in the stream's folder, and what opening it takes. Changes nothing.
    pub(super) async fn run(self) -> Looked {
        let mut left = self.left;
        let mut unknown = None;
        if left.is_none() {
            match self.left_at_rest().await {
                Ok(found) => left = Some(found),
                Err(error) => unknown = Some(error),
            }
        }
        let outcome = match (left, self.prepare_unless_empty(left).await) {
            (_, Ok(None)) => Outcome::Nothing,
            (_, Ok(Some(prepared))) => Outcome::Usable(Box::new(prepared)),
            (Some(left), Err(reason)) => {
                Outcome::Unusable(format!("{reason}; in its folder wait: {}", in_figures(&left)))
            }
            (None, Err(reason)) => Outcome::Unusable(format!(
                "{reason}; what waits in its folder cannot be told: {}",
                unknown.unwrap_or_default()
            )),
        };
        Looked { stream: self.stream, left, outcome }
    }

    /// # Errors
    /// Why that cannot be told, in words.
    async fn left_at_rest(&self) -> Result<Left, String> {
        // Never closed.
        let _permit = self.permits.acquire().await;
        let (shared, stream) = (self.shared.clone(), self.stream.clone());
        let read = spawn_blocking(move || {
            left_at_rest(&shared.environment.disk, shared.directory.path(), &stream)
        });
        match read.await {
            Ok(left) => left.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// # Errors
    /// Why the stream cannot be opened, in words.
    async fn prepare_unless_empty(&self, left: Option<Left>) -> Result<Option<Prepared>, String> {
        if left.is_some_and(|left| left.is_final()) {
            return Ok(None);
        }
        let (definitions, of) = (self.shared.definitions.clone(), self.stream.clone());
        let read = spawn_blocking(move || definitions.read(&of)).await;
        let read = read.map_err(|error| error.to_string())?;
        let definition = read.map_err(|error| format!("definition.json: {error}"))?;
        let definition = definition.ok_or("its folder has no definition.json")?;
        let config = definition.load(&SystemEnvironment).map_err(|faults| in_words(&faults))?;
        let disk = &self.shared.environment.disk;
        let prepared = Prepared::new(config, disk, &self.known_catalogs, Some(&self.copies)).await;
        prepared.map(Some).map_err(|faults| in_words(&faults))
    }
}

/// What is left, in a few words.
fn in_figures(left: &Left) -> String {
    let Left { records, backup_records, plans, partitions, incomplete, bytes: _ } = left;
    format!(
        "records {records}, records for the backup {backup_records}, plans {plans}, partitions \
         {partitions}, partitions to tell complete {incomplete}"
    )
}
