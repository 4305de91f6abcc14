//! The YAML file, checked: settings for every other part, or all faults at once.
//!
//! Owns every key of the file, its defaults, its relations and its secrets. Does not own what any
//! of the settings does, and asks neither stores nor catalogs: what needs them is checked by those
//! who have them, with the [`Place`]s kept here.
//!
//! The path: text -> `yaml` (a tree with lines) -> `shape` and `reader` (typed sections) ->
//! `check` (relations) -> [`Config`].
//!
//! Invariants: an unknown key is a fault; a fault of syntax stands alone, and otherwise all faults
//! of keys, types and meaning come together; no secret is ever printed.

mod buffering;
mod check;
mod destination;
#[cfg(test)]
mod destination_tests;
mod environment;
mod event_time;
mod faults;
mod formats;
mod file;
mod forecast;
mod identities;
mod json_schema;
mod kept;
mod overlap;
mod partitioning;
mod prefixes;
mod processors;
mod reader;
mod secret;
mod settings;
mod shape;
mod tables;
#[cfg(test)]
mod tests;
mod transform;
mod units;
mod values;
mod warnings;
mod yaml;

pub use environment::{Environment, SystemEnvironment, find_program};
pub use faults::{Fault, Faults, Place};
pub use file::{FileError, load_file};
pub use forecast::forecast;
pub use kept::{DefinitionError, KeptCatalog, KeptStore, LastDefinition, in_words};
pub use secret::Secret;
pub use settings::{
    Backup, Buffering, Catalog, Complete, Config, Credentials, DeliveryStream, Destination, Format,
    Glue, Identity, Schema, Server, Store, StoreUrl, Tls,
};
pub use transform::{Step, StepKind};

use reader::{Reader, Setting as _, Source};

/// The file that runs when none is given.
pub const DEFAULT_YAML: &str = include_str!("../../deploy/default.yaml");

/// The JSON Schema of the file, with which editors complete it; `schemas/lakehose.schema.json` has
/// the same text.
#[must_use]
pub fn json_schema() -> String {
    json_schema::document(shape::File::json_schema())
}

/// Reads and checks the text of a file.
///
/// # Errors
/// All faults of the file; the first alone when it is no YAML, or exceeds a bound of size.
pub fn load(text: &str, environment: &dyn Environment) -> Result<Config, Faults> {
    let tree = yaml::parse(text).map_err(|fault| Faults::new(vec![fault]))?;
    let mut reader = Reader::new(environment, tree.faults);
    let source = Source { node: &tree.root, path: String::new() };
    let file = shape::File::read(&source, &mut reader);
    let config = file.and_then(|file| check::check(&file, &mut reader));
    let mut warnings = reader.take_warnings();
    let faults = reader.into_faults();
    match config {
        Some(mut config) if faults.is_empty() => {
            warnings.extend(warnings::of(&config));
            config.warnings = Faults::new(warnings);
            config.definitions = kept::definitions(&tree.root, &config);
            Ok(config)
        }
        _ => Err(Faults::new(faults)),
    }
}
