//! How the JSON of records is read: Firehose's two deserializers and their options.
//!
//! Owns the choices and their defaults. Does not own what they change: keys are looked up in
//! `keys`, values read in `scalars`, patterns in `joda`.

use std::collections::BTreeMap;

use super::joda::TimestampFormat;

/// How the JSON of records is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonInput {
    /// By the rules of the module's front page.
    OpenX(OpenXOptions),
    /// By the stricter ones of Hive's own SerDe: numbers do not stand in quotes, no text is made of
    /// objects and arrays, no column has a dot in its name, and timestamps have one of these forms, or
    /// with none that of `java.sql.Timestamp.valueOf`.
    Hive(Vec<TimestampFormat>),
}

impl Default for JsonInput {
    fn default() -> Self {
        Self::OpenX(OpenXOptions::default())
    }
}

/// Which key is a column's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenXOptions {
    /// Whether keys are put into lower case before they are looked up, as columns are. Firehose's
    /// `CaseInsensitive`.
    pub case_insensitive: bool,
    /// Whether dots in keys are taken for underscores. Firehose's
    /// `ConvertDotsInJsonKeysToUnderscores`.
    pub dots_to_underscores: bool,
    /// The key of a column that has another name; its own is then no key of it. Names of columns
    /// are in lower case. Firehose's `ColumnToJsonKeyMappings`.
    pub keys: BTreeMap<String, String>,
}

impl Default for OpenXOptions {
    fn default() -> Self {
        Self { case_insensitive: true, dots_to_underscores: false, keys: BTreeMap::new() }
    }
}

impl JsonInput {
    /// Which key is a column's.
    pub(super) fn keys(&self) -> OpenXOptions {
        match self {
            Self::OpenX(options) => options.clone(),
            Self::Hive(_) => OpenXOptions::default(),
        }
    }

    /// Whether Hive's stricter rules hold.
    pub(super) fn is_hive(&self) -> bool {
        matches!(self, Self::Hive(_))
    }
}

impl OpenXOptions {
    /// A key as it is looked up.
    pub(super) fn normal(&self, key: &str) -> String {
        let key = if self.case_insensitive { key.to_lowercase() } else { key.to_owned() };
        if self.dots_to_underscores { key.replace('.', "_") } else { key }
    }
}
