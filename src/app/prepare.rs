//! A configuration, and what its catalogs say to it: what each stream is to do.
//!
//! Owns the way from checked settings to those of pipelines, and what a start and a reload ask of
//! catalogs before anything changes. Opens no stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::copies::Copies;
use super::hooks;
use super::tables::{self, Catalogs};
use crate::buffer::Hints;
use crate::catalog::{Catalog, CatalogError, Definition, Found};
use crate::config::{self, Buffering, Config, DeliveryStream, Fault, Faults};
use crate::disk::Disk;
use crate::fault::Action;
use crate::pipeline::{Backup, Settings};
use crate::record::StreamName;

/// Catalogs that are open, with the settings that they were opened by.
pub(super) type KnownCatalogs = Vec<(config::Catalog, Arc<dyn Catalog>)>;

/// A configuration, and what its catalogs say to it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) config: Config,
    /// What each stream is to do; the catalogs are given to it with all others that are known.
    pub(super) settings: BTreeMap<StreamName, Settings>,
    pub(super) catalogs: Catalogs,
    /// The tables that were read in their catalogs.
    pub(super) found: BTreeMap<StreamName, Found>,
}

impl Prepared {
    /// Asks the catalogs what the configuration needs of them. A catalog of `known` is used again,
    /// so that no two of the process write to the same files. Where a table is not to be had, its
    /// copy in `copies` serves.
    ///
    /// # Errors
    /// All faults that only the catalogs can tell.
    pub(super) async fn new(
        config: Config,
        disk: &Arc<dyn Disk>,
        known: &KnownCatalogs,
        copies: Option<&Copies>,
    ) -> Result<Self, Faults> {
        let mut catalogs = tables::catalogs(&config, disk).await;
        for (name, settings) in &config.catalogs {
            if let Some((_, catalog)) = known.iter().find(|(with, _)| with == settings) {
                catalogs.insert(name.clone(), catalog.clone());
            }
        }
        let mut faults = Vec::new();
        let (mut settings, mut tables) = (BTreeMap::new(), BTreeMap::new());
        for (name, stream) in &config.delivery_streams {
            match settings_of(&config, &catalogs, (name, stream), copies).await {
                Ok((made, found)) => {
                    settings.insert(name.clone(), made);
                    tables.extend(found.map(|found| (name.clone(), found)));
                }
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() {
            Ok(Self { config, settings, catalogs, found: tables })
        } else {
            Err(Faults::new(faults))
        }
    }

    /// Finds out whether the catalogs would refuse what the streams' tables need there; changes
    /// nothing.
    ///
    /// # Errors
    /// All faults.
    pub(super) async fn check_tables(&self) -> Result<(), Faults> {
        let mut faults = Vec::new();
        for (name, stream) in &self.config.delivery_streams {
            if let Some((schema, definition)) = self.definition(name, stream)
                && let Err(error) = self.catalogs[&schema.catalog].check(&definition).await
                && !self.can_wait(stream, &error)
            {
                faults.push(tables::fault(schema, &error));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Faults::new(faults)) }
    }

    /// What the tables let doubt that is no fault.
    pub(super) fn warnings(&self) -> Vec<Fault> {
        let streams = self.config.delivery_streams.iter();
        let warnings = streams.filter_map(|(name, stream)| {
            let table = self.settings[name].recipe.table.as_ref()?;
            tables::unregistered_keys(stream, table)
        });
        warnings.collect()
    }

    /// Makes in the catalogs what the streams' tables need there. Where that can be done later, and
    /// is, because the table is followed, it is no fault.
    ///
    /// # Errors
    /// The first fault.
    pub(super) async fn define_tables(&self) -> Result<(), Faults> {
        for (name, stream) in &self.config.delivery_streams {
            let Some((schema, definition)) = self.definition(name, stream) else {
                continue;
            };
            if let Err(error) = self.catalogs[&schema.catalog].define(&definition).await {
                if self.can_wait(stream, &error) {
                    tracing::error!(stream = %name, %error, "could not make the table; trying again");
                    continue;
                }
                return Err(Faults::new(vec![tables::fault(schema, &error)]));
            }
        }
        Ok(())
    }

    /// The catalogs that a stream means by their names.
    pub(super) fn own_catalogs(&self, name: &StreamName) -> Catalogs {
        let schema = self.config.delivery_streams[name].schema.as_ref();
        let named = schema.into_iter().map(|schema| &schema.catalog);
        named.map(|name| (name.clone(), self.catalogs[name].clone())).collect()
    }

    fn definition<'a>(
        &self,
        name: &StreamName,
        stream: &'a DeliveryStream,
    ) -> Option<(&'a config::Schema, Definition)> {
        tables::definition(stream, &self.settings[name].recipe)
    }

    /// Whether the table is followed, and what the catalog did not do now may be done then: a stream
    /// that brings its columns delivers by them whatever the catalog permits.
    fn can_wait(&self, stream: &DeliveryStream, error: &CatalogError) -> bool {
        let is_refused = matches!(error, CatalogError::Refused { .. });
        let is_passing = error.action() == Action::Retry;
        (is_passing || is_refused) && tables::refresh(&self.config, stream).is_some()
    }
}

/// What a stream is to do.
///
/// # Errors
/// Every fault that was found.
async fn settings_of(
    config: &Config,
    catalogs: &Catalogs,
    (name, stream): (&StreamName, &DeliveryStream),
    copies: Option<&Copies>,
) -> Result<(Settings, Option<Found>), Vec<Fault>> {
    let recipe = tables::recipe_and_table(config, catalogs, (name, stream), copies).await;
    let chain = hooks::chain(name, stream).await;
    match (recipe, chain) {
        (Ok((recipe, found)), Ok(chain)) => {
            let settings = Settings {
                recipe: Arc::new(recipe),
                hints: hints(stream.buffering),
                chain,
                backup: backup_of(config, stream),
                ending_backup: None,
                catalogs: Catalogs::new(),
            };
            Ok((settings, found))
        }
        (recipe, chain) => Err(recipe.err().into_iter().chain(chain.err()).collect()),
    }
}

/// The backup of a stream.
pub(super) fn backup_of(config: &Config, stream: &DeliveryStream) -> Option<Backup> {
    let backup = stream.backup.as_ref()?;
    Some(Backup {
        recipe: Arc::new(tables::backup_recipe(config, backup)),
        hints: hints(backup.buffering),
    })
}

pub(super) fn hints(buffering: Buffering) -> Hints {
    Hints { size_bytes: buffering.size_bytes, interval: buffering.interval }
}
