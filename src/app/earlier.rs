//! Catalogs that only earlier definitions of streams know.
//!
//! Owns when such a catalog is opened: when it is first asked for something, and again at each later
//! attempt as long as its secret is not to be had, so that whoever waits for it tells what is missing
//! and goes on when it is there. Does not own those attempts.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::OnceCell;

use super::tables;
use crate::catalog::{Catalog, CatalogError, Definition, Found, Known, Registration};
use crate::config::{KeptCatalog, SystemEnvironment};
use crate::disk::Disk;
use crate::plan::CatalogPartition;

/// A catalog that could not be opened yet.
#[derive(Debug)]
pub(super) struct EarlierCatalog {
    kept: KeptCatalog,
    disk: Arc<dyn Disk>,
    opened: OnceCell<Arc<dyn Catalog>>,
}

impl EarlierCatalog {
    pub(super) fn new(kept: KeptCatalog, disk: Arc<dyn Disk>) -> Self {
        Self { kept, disk, opened: OnceCell::new() }
    }

    async fn opened(&self) -> Result<&dyn Catalog, CatalogError> {
        let open = || async {
            let settings = self.kept.read(&SystemEnvironment);
            let settings = settings.map_err(|reason| CatalogError::Unreachable {
                attempt: format!(
                    "use catalog '{}', which only an earlier definition of the stream has",
                    self.kept.name()
                ),
                reason,
            })?;
            Ok(tables::open(&settings, &self.disk).await)
        };
        Ok(self.opened.get_or_try_init(open).await?.as_ref())
    }
}

impl Catalog for EarlierCatalog {
    fn table<'a>(
        &'a self,
        database: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Found, CatalogError>> {
        Box::pin(async move { self.opened().await?.table(database, table).await })
    }

    fn define<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async move { self.opened().await?.define(definition).await })
    }

    fn check<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async move { self.opened().await?.check(definition).await })
    }

    fn register<'a>(
        &'a self,
        partitions: &'a [CatalogPartition],
    ) -> BoxFuture<'a, Result<Registration, CatalogError>> {
        Box::pin(async move { self.opened().await?.register(partitions).await })
    }

    fn partitions<'a>(
        &'a self,
        database: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Known>, CatalogError>> {
        Box::pin(async move { self.opened().await?.partitions(database, table).await })
    }

    fn widen<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<u64, CatalogError>> {
        Box::pin(async move { self.opened().await?.widen(definition).await })
    }
}
