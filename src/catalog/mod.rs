//! Tables and the partitions that they know.
//!
//! Owns the question and the answer; each kind of catalog is a module. Does not decide when a
//! partition is registered, and is never in the way of data.

pub mod files;
mod glue;
mod ddl;

use std::fmt;

use futures::future::BoxFuture;

use crate::fault::Action;
use crate::plan::CatalogPartition;
use crate::table::Table;

pub use self::ddl::ddl;
pub use self::files::FilesCatalog;
pub use self::glue::{GlueCatalog, Keys, Place};

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
    /// The catalog is there and does not do it.
    #[error("could not {attempt}: {reason}")]
    Refused {
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
            Self::Missing { .. } | Self::Invalid { .. } | Self::Refused { .. } => Action::Alarm,
            Self::Unreachable { .. } => Action::Retry,
        }
    }
}

/// A table as its catalog has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The table.
    pub table: Table,
    /// Tells it from another table that was made later under the same name, which knows none of the
    /// partitions; empty where a catalog cannot tell.
    pub made: String,
}

/// What came of a call to register partitions.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    /// Those that are in the catalog now.
    pub registered: Vec<CatalogPartition>,
    /// Those that the catalog did not take; they can be tried again.
    pub refused: Vec<Refusal>,
    /// Those that are in the catalog with another location, which was left as it is.
    pub elsewhere: Vec<Elsewhere>,
}

/// A partition that a catalog did not take.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The partition.
    pub partition: CatalogPartition,
    /// Why.
    pub reason: String,
}

/// A partition that lies somewhere else by its catalog.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// The partition as it was to be registered.
    pub partition: CatalogPartition,
    /// The location that the catalog has.
    pub location: String,
}

/// A partition that a catalog knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// One value a partition key, in the table's order.
    pub values: Vec<String>,
    /// Where its files are.
    pub location: String,
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

/// Whether two URLs name one folder: S3 is called in three ways, and the last slash is not needed.
#[must_use]
pub fn is_same_location(one: &str, other: &str) -> bool {
    plain_location(one) == plain_location(other)
}

/// Whether `location` is the folder `folder` or lies below it.
#[must_use]
pub fn is_below(location: &str, folder: &str) -> bool {
    let (location, folder) = (plain_location(location), plain_location(folder));
    let rest = location.strip_prefix(&folder);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn plain_location(url: &str) -> String {
    let url = url.trim_end_matches('/');
    match url.split_once("://") {
        Some(("s3a" | "s3n", rest)) => format!("s3://{rest}"),
        _ => url.to_owned(),
    }
}

/// A catalog of tables.
pub trait Catalog: Send + Sync + fmt::Debug {
    /// Reads a table.
    fn table<'a>(
        &'a self,
        database: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Found, CatalogError>>;

    /// Makes the table as `definition` says when it is ours, or gives it the columns that it lacks,
    /// and whatever the catalog offers to read it with.
    fn define<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<(), CatalogError>>;

    /// Finds out whether [`define`](Self::define) would be refused; changes nothing.
    fn check<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<(), CatalogError>>;

    /// How many partitions one call may add (Glue's bound for `BatchCreatePartition`).
    fn partitions_per_call(&self) -> usize {
        100
    }

    /// Adds partitions of one table; those that are there already are success.
    fn register<'a>(
        &'a self,
        partitions: &'a [CatalogPartition],
    ) -> BoxFuture<'a, Result<Registration, CatalogError>>;

    /// Lists the partitions of a table; a table without any has none, also when it is not there in
    /// a catalog that keeps them apart.
    fn partitions<'a>(
        &'a self,
        database: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Known>, CatalogError>>;

    /// Gives the partitions below the definition's location those columns of the table that they
    /// lack; tells how many were changed. Repeating it does no harm.
    fn widen<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<u64, CatalogError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_compared_as_folders() {
        assert!(is_same_location("s3a://lake/a/", "s3://lake/a"));
        assert!(!is_same_location("s3://lake/a", "s3://lake/ab"));
        assert!(is_below("s3://lake/a/b=1/", "s3n://lake/a/"));
        assert!(is_below("s3://lake/a", "s3://lake/a/"));
        assert!(!is_below("s3://lake/ab/", "s3://lake/a/"));
    }
}
