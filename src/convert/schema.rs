//! A table's columns, prepared once for decoding and writing.
//!
//! Owns the check of the columns and the tree of shapes that the decoder follows.
//! The forms of the columns in Arrow and Parquet are made in `parquet`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use parquet::schema::types::SchemaDescPtr;

use super::format::{BinaryText, ParquetOptions, TimestampForm};
use super::input::OpenXOptions;
use super::keys::Keys;
use super::parquet::{arrow_schema, parquet_schema};
use crate::table::{Column, HiveType, TYPE_DEPTH_MAX};

/// A table's columns, ready to convert records by.
#[derive(Debug)]
pub struct Schema {
    pub(super) root: Fields,
    pub(super) arrow: SchemaRef,
    /// The file's schema.
    pub(super) parquet: SchemaDescPtr,
    pub(super) options: ParquetOptions,
}

/// Why no file can have these columns.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A Parquet file without columns has no rows either.
    #[error("a table needs at least one column, got none")]
    NoColumns,
    /// Two columns, or two fields of a struct, with one name.
    #[error("name '{name}' stands twice in {place}, names are compared in lower case")]
    DuplicateName {
        /// The name in lower case.
        name: String,
        /// What holds both.
        place: String,
    },
    /// Two columns, or two fields of a struct, that one key would be read for.
    #[error("the JSON key '{key}' belongs to two names of {place}: give one of them another key")]
    SharedKey {
        /// The key as it is looked up.
        key: String,
        /// What holds both.
        place: String,
    },
    /// A name that Hive's JSON SerDe does not take.
    #[error("name '{name}' in {place} has a dot, which Hive's JSON SerDe does not take")]
    Dotted {
        /// The name.
        name: String,
        /// What holds it.
        place: String,
    },
    /// A type that `HiveType::parse` would not have made.
    #[error("type of column '{column}' is not possible: {reason}")]
    BadType {
        /// The column.
        column: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The Parquet library refused the schema.
    #[error("make the parquet schema of the table")]
    Parquet(#[from] parquet::errors::ParquetError),
}

impl Schema {
    /// Prepares `columns` with the default options.
    ///
    /// # Errors
    /// As [`with_options`](Self::with_options).
    pub fn new(columns: &[Column]) -> Result<Self, SchemaError> {
        Self::with_options(columns, ParquetOptions::default())
    }

    /// Prepares `columns`; their names are compared in lower case.
    ///
    /// # Errors
    /// When there are no columns, a name stands twice, two names have one key, a name is none that
    /// the way of reading takes, or a type is not one that [`HiveType::parse`] makes.
    pub fn with_options(columns: &[Column], options: ParquetOptions) -> Result<Self, SchemaError> {
        if columns.is_empty() {
            return Err(SchemaError::NoColumns);
        }
        let named = columns.iter().map(|column| (column.name.as_str(), &column.hive_type));
        for (name, hive_type) in named.clone() {
            check_type(hive_type, 0)
                .map_err(|reason| SchemaError::BadType { column: name.to_owned(), reason })?;
        }
        let root = Fields::new(named, "the table", &options, options.input.keys())?;
        let arrow = arrow_schema(&root);
        let parquet = parquet_schema(&root)?;
        Ok(Self { root, arrow, parquet: Arc::new(parquet), options })
    }
}

/// The fields of a struct, or the columns of the table.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) list: Vec<Field>,
    /// How many values they make in the columns when all are absent.
    pub(super) null_values: usize,
    /// Which of them a key names.
    pub(super) keys: Keys,
}

/// A named value.
#[derive(Debug)]
pub(super) struct Field {
    /// In lower case.
    pub(super) name: String,
    /// What JSON calls it, as it is looked up.
    pub(super) key: Box<str>,
    pub(super) node: Node,
}

/// A type and how to read it.
#[derive(Debug)]
pub(super) struct Node {
    /// What the user wrote, for messages and for the file's schema.
    pub(super) hive_type: HiveType,
    pub(super) shape: Shape,
    /// How many values a null makes in the columns: one, and for a struct its fields' as well.
    pub(super) null_values: usize,
}

/// What the decoder does for a type.
#[derive(Debug)]
pub(super) enum Shape {
    Boolean,
    Integer,
    Float,
    Double,
    Decimal { precision: u8, scale: u8 },
    Text { characters_max: Option<u32> },
    Binary(BinaryText),
    Date,
    Timestamp(TimestampForm),
    List(Box<Node>),
    Map(Box<MapNodes>),
    Struct(Fields),
}

impl Shape {
    /// Whether values are numbers.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Integer | Self::Float | Self::Double | Self::Decimal { .. })
    }
}

/// The two sides of a map.
#[derive(Debug)]
pub(super) struct MapNodes {
    pub(super) key: Node,
    pub(super) value: Node,
}

impl Node {
    fn new(hive_type: &HiveType, options: &ParquetOptions) -> Result<Self, SchemaError> {
        let shape = match hive_type {
            HiveType::Boolean => Shape::Boolean,
            HiveType::TinyInt | HiveType::SmallInt | HiveType::Int | HiveType::BigInt => {
                Shape::Integer
            }
            HiveType::Float => Shape::Float,
            HiveType::Double => Shape::Double,
            HiveType::Decimal { precision, scale } => {
                Shape::Decimal { precision: *precision, scale: *scale }
            }
            HiveType::String => Shape::Text { characters_max: None },
            HiveType::Char(length) | HiveType::VarChar(length) => {
                Shape::Text { characters_max: Some(*length) }
            }
            HiveType::Date => Shape::Date,
            HiveType::Binary => Shape::Binary(options.binary),
            HiveType::Timestamp => Shape::Timestamp(options.timestamps),
            HiveType::Array(item) => Shape::List(Box::new(Self::new(item, options)?)),
            HiveType::Map(key, value) => Shape::Map(Box::new(MapNodes {
                key: Self::new(key, options)?,
                value: Self::new(value, options)?,
            })),
            HiveType::Struct(fields) => {
                let named = fields.iter().map(|(name, field)| (name.as_str(), field));
                // Keys of their own have columns only.
                let keys = OpenXOptions { keys: BTreeMap::new(), ..options.input.keys() };
                Shape::Struct(Fields::new(named, &hive_type.to_string(), options, keys)?)
            }
        };
        let null_values = match &shape {
            Shape::Struct(fields) => 1 + fields.null_values,
            _ => 1,
        };
        Ok(Self { hive_type: hive_type.clone(), shape, null_values })
    }
}

impl Fields {
    fn new<'a>(
        named: impl Iterator<Item = (&'a str, &'a HiveType)>,
        place: &str,
        options: &ParquetOptions,
        keys: OpenXOptions,
    ) -> Result<Self, SchemaError> {
        let mut list: Vec<Field> = Vec::new();
        let mut keys_seen = HashSet::new();
        let mut names = HashSet::new();
        for (name, hive_type) in named {
            let (name, place) = (name.to_lowercase(), || place.to_owned());
            if !names.insert(name.clone()) {
                return Err(SchemaError::DuplicateName { name, place: place() });
            }
            if options.input.is_hive() && name.contains('.') {
                return Err(SchemaError::Dotted { name, place: place() });
            }
            let key = keys.normal(keys.keys.get(&name).unwrap_or(&name)).into_boxed_str();
            if !keys_seen.insert(key.clone()) {
                return Err(SchemaError::SharedKey { key: key.into(), place: place() });
            }
            let node = Node::new(hive_type, options)?;
            list.push(Field { name, key, node });
        }
        let null_values = list.iter().map(|field| field.node.null_values).sum();
        let keys = Keys::new(&list, keys);
        Ok(Self { list, null_values, keys })
    }
}

/// Checks what the parser of types guarantees, for types made in other ways.
fn check_type(hive_type: &HiveType, depth: usize) -> Result<(), &'static str> {
    if depth > TYPE_DEPTH_MAX {
        return Err("it is nested too deep");
    }
    match hive_type {
        HiveType::Decimal { precision, scale }
            if !(1..=38).contains(precision) || scale > precision =>
        {
            return Err("decimal(p,s) needs 1 <= p <= 38 and 0 <= s <= p");
        }
        HiveType::Array(item) => check_type(item, depth + 1)?,
        HiveType::Map(key, value) => {
            if key.is_nested() {
                return Err("a map's key must be a primitive type");
            }
            check_type(key, depth + 1)?;
            check_type(value, depth + 1)?;
        }
        HiveType::Struct(fields) => {
            if fields.is_empty() {
                return Err("a struct needs at least one field");
            }
            for (_, field) in fields {
                check_type(field, depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(())
}
