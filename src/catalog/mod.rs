//! Tables and the partitions that they know.
//!
//! Owns the question and the answer; each kind of catalog is a module. Does not decide when a
//! partition is registered, and is never in the way of data.

pub mod files;

use std::fmt;

use futures::future::BoxFuture;

use crate::fault::Action;
use crate::plan::CatalogPartition;
use crate::table::Table;

pub use self::files::FilesCatalog;

/// Why a catalog did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The table is not there.
    #[error("table {database}.{table} is not in the catalog: {hint}")]
    Missing {
        /// Its database.
        database: String,
        /// Its name.
        table: String,
        /// Where it was looked for, and what to do.
        hint: String,
    },
    /// What the catalog holds cannot be understood.
    #[error("could not read {what} in the catalog: {reason}")]
    Invalid {
        /// The file or table.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The catalog could not be reached or written.
    #[error("could not {attempt}: {reason}")]
    Unreachable {
        /// What was attempted.
        attempt: String,
        /// What came back.
        reason: String,
    },
}

impl CatalogError {
    /// What to do about it.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Missing { .. } | Self::Invalid { .. } => Action::Alarm,
            Self::Unreachable { .. } => Action::Retry,
        }
    }
}

/// The table of a stream and where its files are.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its schema.
    pub table: Table,
    /// The URL of the folder above its partitions, with a trailing slash.
    pub location: String,
    /// Whether the stream brings the columns itself; a table that somebody else keeps is not
    /// written.
    pub is_ours: bool,
}

/// A catalog of tables.
pub trait Catalog: Send + Sync + fmt::Debug {
    /// Reads a table.
    fn table<'a>(
        &'a self,
        database: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Table, CatalogError>>;

    /// Makes the table as `definition` says when it is ours, and whatever the catalog offers to
    /// read it with.
    fn define<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<(), CatalogError>>;

    /// Adds partitions; those that are there already are success.
    fn register<'a>(
        &'a self,
        partitions: &'a [CatalogPartition],
    ) -> BoxFuture<'a, Result<(), CatalogError>>;
}
