//! The last definition of a stream: enough of the configuration to deliver what the stream has when
//! the file has changed, or names it no more.
//!
//! Owns which settings that takes, and their text form: a configuration of one stream in the file's
//! own language, written as JSON, which is YAML too.
//!
//! ```text
//! {"format": "1",
//!  "stores": {..}, "catalogs": {..}, "delivery_streams": {"clicks": {..}},
//!  "earlier_stores": [{"lake": {..}}, ..],      open plans may go there
//!  "earlier_catalogs": {"glue": {..}},          partitions may wait for them
//!  "ending_backup": {"stores": {..}, "delivery_streams": {"clicks": {..}}}}
//! ```
//!
//! Sections stand as they were written, and what the rest of the file decided for them is written
//! out: which store and which table are meant, and the prefixes, which depend on the identities.
//!
//! Invariant: what the file refers to does not get to the disk: a reference stays a reference. What
//! stands in the file itself, say in a header or in the query of a hook's URL, is copied.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::check;
use super::environment::Environment;
use super::faults::{Faults, Place};
use super::reader::{Reader, Setting as _, Source};
use super::settings::{Config, DeliveryStream, Store};
use super::shape::{File, StoreSection};
use super::yaml::{self, Entry, Mark, Node, Value};
use crate::plan::Target;
use crate::record::StreamName;

/// The form that this program writes, and the only one that it reads.
const FORMAT: &str = "1";
/// Everything stands at the beginning: faults are told by their keys.
const MARK: Mark = Mark { line: 1, column: 1 };

/// The last definition of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastDefinition {
    stores: Vec<Entry>,
    catalogs: Vec<Entry>,
    stream: Entry,
    /// Stores of definitions before this one; one name may stand for several places.
    earlier_stores: Vec<Entry>,
    earlier_catalogs: Vec<Entry>,
    /// The backup that a definition before this one had, where this one has none.
    ending_backup: Option<Node>,
}

/// A store as a definition has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptStore(Entry);

/// A catalog as a definition has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCatalog(Entry);

/// Why a text is no definition that this program can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// A newer program wrote it.
    #[error("it has format {0}, this program reads {FORMAT}")]
    Newer(String),
    /// It is not what any program wrote.
    #[error("{0}")]
    Damaged(String),
}

/// The definitions of the streams of a file.
pub(super) fn definitions(root: &Node, config: &Config) -> BTreeMap<StreamName, LastDefinition> {
    let streams = config.delivery_streams.iter();
    streams.map(|(name, stream)| (name.clone(), definition(root, config, name, stream))).collect()
}

fn definition(
    root: &Node,
    config: &Config,
    name: &StreamName,
    stream: &DeliveryStream,
) -> LastDefinition {
    let section = |sections: &str, name: &str| {
        let found = child(root, sections).and_then(|sections| child(sections, name));
        found.map_or_else(|| mapping([]), plain)
    };
    let mut written = section("delivery_streams", name.as_str());
    within(&mut written, "destination", |destination| {
        set(destination, "store", text(&stream.destination.store));
        // One that is written means the same whoever may write.
        set_default(destination, "prefix", &stream.destination.prefix_text);
        set_default(destination, "error_prefix", &stream.destination.error_prefix_text);
    });
    let mut stores = vec![stream.destination.store.as_str()];
    if let Some(backup) = &stream.backup {
        within(&mut written, "backup", |section| {
            set(section, "store", text(&backup.store));
            set_default(section, "prefix", &backup.prefix_text);
        });
        stores.push(&backup.store);
    }
    let mut catalogs = Vec::new();
    if let Some(schema) = &stream.schema {
        within(&mut written, "schema", |section| {
            set(section, "catalog", text(&schema.catalog));
            set(section, "database", text(&schema.database));
            set(section, "table", text(&schema.table));
        });
        let mut catalog = section("catalogs", &schema.catalog);
        if child(&catalog, "type").is_none() {
            // The one that is there when the file names none.
            set(&mut catalog, "type", text("files"));
        }
        catalogs.push(entry(&schema.catalog, catalog));
    }
    within(&mut written, "partitions", |partitions| {
        set(partitions, "register", text(&stream.register_partitions.to_string()));
    });
    stores.sort_unstable();
    stores.dedup();
    let stores = stores.into_iter().map(|name| {
        let mut store = section("stores", name);
        // A path may have been relative to the working directory of that process.
        set(&mut store, "url", text(&config.stores[name].url.to_string()));
        entry(name, store)
    });
    LastDefinition {
        stores: stores.collect(),
        catalogs,
        stream: entry(name.as_str(), written),
        earlier_stores: Vec::new(),
        earlier_catalogs: Vec::new(),
        ending_backup: None,
    }
}

impl LastDefinition {
    /// The text of the file that keeps it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut root = vec![
            entry("format", text(FORMAT)),
            entry("stores", mapping(self.stores.clone())),
            entry("catalogs", mapping(self.catalogs.clone())),
            entry("delivery_streams", mapping([self.stream.clone()])),
        ];
        if !self.earlier_stores.is_empty() {
            let stores = self.earlier_stores.iter().map(|store| mapping([store.clone()]));
            let stores = Value::List(stores.collect());
            root.push(entry("earlier_stores", Node { mark: MARK, value: stores }));
        }
        if !self.earlier_catalogs.is_empty() {
            root.push(entry("earlier_catalogs", mapping(self.earlier_catalogs.clone())));
        }
        root.extend(self.ending_backup.clone().map(|backup| entry("ending_backup", backup)));
        let mut written = String::new();
        write_json(&mapping(root), &mut written);
        written.push('\n');
        written
    }

    /// Reads what [`to_text`](Self::to_text) wrote; what its settings say is not looked at.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn parse(written: &str) -> Result<Self, DefinitionError> {
        let damaged = |reason: &str| DefinitionError::Damaged(reason.to_owned());
        let tree = yaml::parse(written).map_err(|fault| damaged(&fault.to_string()))?;
        if let Some(fault) = tree.faults.first() {
            return Err(damaged(&fault.to_string()));
        }
        let root = plain(&tree.root);
        match child(&root, "format").map(|node| &node.value) {
            Some(Value::Scalar(format)) if format == FORMAT => {}
            Some(Value::Scalar(format)) if is_newer(format) => {
                return Err(DefinitionError::Newer(format.clone()));
            }
            Some(Value::Scalar(format)) => {
                return Err(damaged(&format!("no program has written format {format}")));
            }
            _ => return Err(damaged("it does not say its format")),
        }
        let mut streams = entries(child(&root, "delivery_streams"));
        let (Some(stream), true) = (streams.pop(), streams.is_empty()) else {
            return Err(damaged("it is not of one stream"));
        };
        let earlier = match child(&root, "earlier_stores").map(|node| &node.value) {
            Some(Value::List(items)) => items.iter().flat_map(|item| entries(Some(item))).collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            stores: entries(child(&root, "stores")),
            catalogs: entries(child(&root, "catalogs")),
            stream,
            earlier_stores: earlier,
            earlier_catalogs: entries(child(&root, "earlier_catalogs")),
            ending_backup: child(&root, "ending_backup").cloned(),
        })
    }

    /// The stream that it is of, as the file named it.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream.key
    }

    /// The configuration of the stream alone. Its stores have no credentials: those are asked for
    /// when a store is used, of [`stores`](Self::stores).
    ///
    /// # Errors
    /// What can be used no more, such as a secret that is gone.
    pub fn load(&self, environment: &dyn Environment) -> Result<Config, Faults> {
        let mut root = vec![
            entry("stores", mapping(self.stores.iter().map(without_credentials))),
            entry("delivery_streams", mapping([self.stream.clone()])),
        ];
        if !self.catalogs.is_empty() {
            root.push(entry("catalogs", mapping(self.catalogs.clone())));
        }
        let mut config = load(&mapping(root), environment)?;
        // A stream without a table has none, also where a file without any would have the default.
        config.catalogs.retain(|name, _| self.catalogs.iter().any(|catalog| catalog.key == *name));
        let names: Vec<StreamName> = config.delivery_streams.keys().cloned().collect();
        config.definitions = names.into_iter().map(|name| (name, self.clone())).collect();
        Ok(config)
    }

    /// The configuration of a stream that has nothing but the backup that this one had until it was
    /// switched off; none when there was none. Its stores have no credentials either.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn ending_backup(&self, environment: &dyn Environment) -> Option<Result<Config, Faults>> {
        self.ending_backup.as_ref().map(|root| load(root, environment))
    }

    /// The stores that its own plans and those of definitions before it go to.
    pub fn stores(&self) -> impl Iterator<Item = KeptStore> + '_ {
        self.stores.iter().chain(&self.earlier_stores).cloned().map(KeptStore)
    }

    /// The catalogs of definitions before this one.
    pub fn earlier_catalogs(&self) -> impl Iterator<Item = KeptCatalog> + '_ {
        self.earlier_catalogs.iter().cloned().map(KeptCatalog)
    }

    /// This definition in the place of `before`: what that one still has to do, it takes over.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        let known: Vec<Option<(String, Target)>> =
            self.stores.iter().map(|store| KeptStore(store.clone()).key()).collect();
        let mut earlier = Vec::new();
        let mut seen = known;
        for store in before.stores() {
            let key = store.key();
            if !seen.contains(&key) {
                seen.push(key);
                earlier.push(store.0);
            }
        }
        self.earlier_stores = earlier;
        let mut catalogs: BTreeMap<&str, &Entry> = BTreeMap::new();
        for catalog in before.catalogs.iter().chain(&before.earlier_catalogs) {
            if !self.catalogs.iter().any(|own| own.key == catalog.key) {
                catalogs.entry(&catalog.key).or_insert(catalog);
            }
        }
        self.earlier_catalogs = catalogs.into_values().cloned().collect();
        self.ending_backup = match (&self.backup(), before.backup()) {
            (Some(_), _) => None,
            (None, Some(backup)) => Some(before.only_backup(backup)),
            (None, None) => before.ending_backup.clone(),
        };
        self
    }

    fn backup(&self) -> Option<&Node> {
        child(&self.stream.node, "backup")
    }

    /// A configuration of a stream that does nothing but back up.
    fn only_backup(&self, backup: &Node) -> Node {
        let store = match child(backup, "store").map(|node| &node.value) {
            Some(Value::Scalar(name)) => name.clone(),
            _ => String::new(),
        };
        let stores = self.stores.iter().filter(|entry| entry.key == store);
        let stores = mapping(stores.map(without_credentials));
        let destination = mapping([
            entry("store", text(&store)),
            entry("prefix", text("none/")),
            entry("error_prefix", text("none/!{firehose:error-output-type}/")),
        ]);
        let stream = mapping([
            entry("format", mapping([entry("records", mapping([]))])),
            entry("destination", destination),
            entry("backup", backup.clone()),
        ]);
        let streams = mapping([entry(&self.stream.key, stream)]);
        mapping([entry("stores", stores), entry("delivery_streams", streams)])
    }
}

impl KeptStore {
    /// The store's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.key
    }

    /// The store without its credentials; none where that cannot be read any more.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        // It asks nothing of the machine: the URL is absolute, and there is no reference.
        let entry = without_credentials(&self.0);
        let store = read_store(&entry, &super::SystemEnvironment).ok()?;
        Some(store.target(&self.0.key))
    }

    /// The store, with its credentials as they are now.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn read(&self, environment: &dyn Environment) -> Result<Store, String> {
        read_store(&self.0, environment)
    }

    /// What tells it from others.
    fn key(&self) -> Option<(String, Target)> {
        let target = self.target()?;
        // Who signs for another region means the same place.
        Some((self.0.key.clone(), Target { region: None, ..target }))
    }
}

impl KeptCatalog {
    /// The catalog's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.key
    }

    /// The catalog, with its credentials as they are now.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn read(&self, environment: &dyn Environment) -> Result<super::Catalog, String> {
        let mut reader = Reader::new(environment, Vec::new());
        let source = source(&self.0.node, "catalogs", &self.0.key);
        let section = super::shape::CatalogSection::read(&source, &mut reader);
        let read = section.and_then(|section| check::catalog(&section, &place(), &mut reader));
        let faults = reader.into_faults();
        match read {
            Some(read) if faults.is_empty() => Ok(read),
            _ => Err(in_words(&Faults::new(faults))),
        }
    }
}

/// Faults in one line, without the places that no file has.
#[must_use]
pub fn in_words(faults: &Faults) -> String {
    let word = |fault: &super::Fault| match fault.place().path.as_str() {
        "" => fault.message().to_owned(),
        path => format!("{path}: {}", fault.message()),
    };
    faults.as_slice().iter().map(word).collect::<Vec<_>>().join("; ")
}

fn read_store(entry: &Entry, environment: &dyn Environment) -> Result<Store, String> {
    let mut reader = Reader::new(environment, Vec::new());
    let source = source(&entry.node, "stores", &entry.key);
    let section = StoreSection::read(&source, &mut reader);
    let place = Place { path: source.path.clone(), ..place() };
    let store = section.and_then(|section| check::store(&section, &place, &mut reader));
    let faults = reader.into_faults();
    match store {
        Some(store) if faults.is_empty() => Ok(store),
        _ => Err(in_words(&Faults::new(faults))),
    }
}

fn load(root: &Node, environment: &dyn Environment) -> Result<Config, Faults> {
    let mut reader = Reader::new(environment, Vec::new());
    let source = Source { node: root, path: String::new() };
    let file = File::read(&source, &mut reader);
    let config = file.and_then(|file| check::check_kept(&file, &mut reader));
    let faults = reader.into_faults();
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(Faults::new(faults)),
    }
}

fn is_newer(format: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok();
    number(format) > number(FORMAT)
}

fn place() -> Place {
    Place { line: MARK.line, column: MARK.column, path: String::new() }
}

fn source<'a>(node: &'a Node, section: &str, name: &str) -> Source<'a> {
    Source { node, path: format!("{section}.{name}") }
}

fn without_credentials(store: &Entry) -> Entry {
    let mut store = store.clone();
    if let Value::Map(entries) = &mut store.node.value {
        entries.retain(|entry| !matches!(entry.key.as_str(), "access_key" | "secret"));
    }
    store
}

// Trees.

fn text(text: &str) -> Node {
    Node { mark: MARK, value: Value::Scalar(text.to_owned()) }
}

fn mapping(entries: impl IntoIterator<Item = Entry>) -> Node {
    Node { mark: MARK, value: Value::Map(entries.into_iter().collect()) }
}

fn entry(key: &str, node: Node) -> Entry {
    Entry { key: key.to_owned(), mark: MARK, node }
}

fn entries(node: Option<&Node>) -> Vec<Entry> {
    match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.clone(),
        _ => Vec::new(),
    }
}

fn child<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|e| &e.node),
        _ => None,
    }
}

/// Puts a value behind a key of a mapping; what is none becomes one.
fn set(node: &mut Node, key: &str, value: Node) {
    if !matches!(node.value, Value::Map(_)) {
        node.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut node.value else {
        return;
    };
    match entries.iter_mut().find(|entry| entry.key == key) {
        Some(entry) => entry.node = value,
        None => entries.push(entry(key, value)),
    }
}

/// The same of a text, unless there is one.
fn set_default(node: &mut Node, key: &str, default: &str) {
    if child(node, key).is_none() {
        set(node, key, text(default));
    }
}

/// Changes what stands behind a key.
fn within(node: &mut Node, key: &str, change: impl FnOnce(&mut Node)) {
    let mut inner = child(node, key).cloned().unwrap_or_else(|| mapping([]));
    change(&mut inner);
    set(node, key, inner);
}

/// The same tree, wherever it stood. The tree of a file is shallow.
fn plain(node: &Node) -> Node {
    let value = match &node.value {
        Value::List(items) => Value::List(items.iter().map(plain).collect()),
        Value::Map(entries) => {
            Value::Map(entries.iter().map(|e| entry(&e.key, plain(&e.node))).collect())
        }
        other => other.clone(),
    };
    Node { mark: MARK, value }
}

/// Every text is a JSON string, whatever it means; the order of keys is kept, since columns have one.
fn write_json(node: &Node, out: &mut String) {
    match &node.value {
        Value::Null | Value::Faulty => out.push_str("null"),
        Value::Scalar(text) => write_text(text, out),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_json(item, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (index, entry) in entries.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_text(&entry.key, out);
                out.push_str(": ");
                write_json(&entry.node, out);
            }
            out.push('}');
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    let _ = write!(out, "{}", serde_json::Value::String(text.to_owned()));
}

#[cfg(test)]
mod tests;
