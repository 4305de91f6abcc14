//! The schema of a table in Hive's types, as AWS Glue writes them.
//!
//! Owns the types, their text form and a table's shape. Does not know how values are read or
//! written: that is `convert`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The deepest nesting of arrays, maps and structs that a type may have.
pub const TYPE_DEPTH_MAX: usize = 16;

/// A Hive column type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HiveType {
    /// `boolean`
    Boolean,
    /// `tinyint`, 8 bits.
    TinyInt,
    /// `smallint`, 16 bits.
    SmallInt,
    /// `int` or `integer`, 32 bits.
    Int,
    /// `bigint`, 64 bits.
    BigInt,
    /// `float`
    Float,
    /// `double`
    Double,
    /// `decimal(precision,scale)`; `decimal` alone is `decimal(10,0)`.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits behind the point, 0 to `precision`.
        scale: u8,
    },
    /// `string`
    String,
    /// `char(n)`, 1 to 255 characters.
    Char(u32),
    /// `varchar(n)`, 1 to 65,535 characters.
    VarChar(u32),
    /// `binary`
    Binary,
    /// `date`
    Date,
    /// `timestamp`
    Timestamp,
    /// `array<T>`
    Array(Box<HiveType>),
    /// `map<K,V>`; the key is a primitive type.
    Map(Box<HiveType>, Box<HiveType>),
    /// `struct<name:T,...>`, names in lower case.
    Struct(Vec<(String, HiveType)>),
}

/// Why a text is not a column type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at character {at} of type '{text}'")]
pub struct TypeError {
    text: String,
    at: usize,
    reason: String,
}

/// A named column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, in lower case.
    pub name: String,
    /// Its type.
    pub hive_type: HiveType,
}

/// A table: what rows hold, and what partitions are named by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The database that holds it.
    pub database: String,
    /// Its name.
    pub name: String,
    /// The columns that files hold.
    pub columns: Vec<Column>,
    /// The columns that folders hold; never written into files.
    pub partition_keys: Vec<Column>,
    /// Changes when the columns change.
    pub version: String,
}

impl HiveType {
    /// Reads a type as Glue and Hive write it: any case, spaces allowed between tokens.
    ///
    /// # Errors
    /// When the text is no type, or one that has no place in a Parquet file; says where and what
    /// to write instead.
    pub fn parse(text: &str) -> Result<Self, TypeError> {
        let mut parser = Parser { text, at: 0 };
        let hive_type = parser.hive_type(0)?;
        parser.skip_spaces();
        if parser.at < text.len() {
            return Err(parser.error("unexpected text"));
        }
        Ok(hive_type)
    }

    /// Whether the type holds other types.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Map(..) | Self::Struct(_))
    }
}

impl fmt::Display for HiveType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::TinyInt => f.write_str("tinyint"),
            Self::SmallInt => f.write_str("smallint"),
            Self::Int => f.write_str("int"),
            Self::BigInt => f.write_str("bigint"),
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::String => f.write_str("string"),
            Self::Char(length) => write!(f, "char({length})"),
            Self::VarChar(length) => write!(f, "varchar({length})"),
            Self::Binary => f.write_str("binary"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Array(item) => write!(f, "array<{item}>"),
            Self::Map(key, value) => write!(f, "map<{key},{value}>"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (index, (name, hive_type)) in fields.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{name}:{hive_type}")?;
                }
                f.write_str(">")
            }
        }
    }
}

impl Serialize for HiveType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HiveType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn hive_type(&mut self, depth: usize) -> Result<HiveType, TypeError> {
        if depth > TYPE_DEPTH_MAX {
            return Err(self.error(&format!("more than {TYPE_DEPTH_MAX} levels of nesting")));
        }
        self.skip_spaces();
        let started = self.at;
        let word = self.word().to_ascii_lowercase();
        Ok(match word.as_str() {
            "boolean" => HiveType::Boolean,
            "tinyint" => HiveType::TinyInt,
            "smallint" => HiveType::SmallInt,
            "int" | "integer" => HiveType::Int,
            "bigint" => HiveType::BigInt,
            "float" => HiveType::Float,
            "double" => HiveType::Double,
            "string" => HiveType::String,
            "binary" => HiveType::Binary,
            "date" => HiveType::Date,
            "timestamp" => HiveType::Timestamp,
            "decimal" => self.decimal()?,
            "char" => HiveType::Char(self.length(255)?),
            "varchar" => HiveType::VarChar(self.length(65_535)?),
            "array" => {
                self.expect('<')?;
                let item = self.hive_type(depth + 1)?;
                self.expect('>')?;
                HiveType::Array(Box::new(item))
            }
            "map" => {
                self.expect('<')?;
                let key_at = self.at;
                let key = self.hive_type(depth + 1)?;
                if key.is_nested() {
                    self.at = key_at;
                    return Err(self.error("a map's key must be a primitive type"));
                }
                self.expect(',')?;
                let value = self.hive_type(depth + 1)?;
                self.expect('>')?;
                HiveType::Map(Box::new(key), Box::new(value))
            }
            "struct" => self.fields(depth)?,
            "set" => {
                self.at = started;
                return Err(self.error("'set' is not a Hive type, write array<...>"));
            }
            "uniontype" => {
                self.at = started;
                return Err(self.error("'uniontype' has no Parquet form, write a struct"));
            }
            _ => {
                self.at = started;
                return Err(self.error(
                    "expected boolean, tinyint, smallint, int, bigint, float, double, \
                     decimal(p,s), string, char(n), varchar(n), binary, date, timestamp, \
                     array<...>, map<...> or struct<...>",
                ));
            }
        })
    }

    fn decimal(&mut self) -> Result<HiveType, TypeError> {
        if !self.take('(') {
            return Ok(HiveType::Decimal { precision: 10, scale: 0 });
        }
        let precision = self.number()?;
        let scale = if self.take(',') { self.number()? } else { 0 };
        if !(1..=38).contains(&precision) || scale > precision {
            return Err(self.error("decimal(p,s) needs 1 <= p <= 38 and 0 <= s <= p"));
        }
        self.expect(')')?;
        Ok(HiveType::Decimal { precision: precision as u8, scale: scale as u8 })
    }

    fn length(&mut self, max: u32) -> Result<u32, TypeError> {
        self.expect('(')?;
        let length = self.number()?;
        if !(1..=max).contains(&length) {
            return Err(self.error(&format!("a length from 1 to {max} is needed")));
        }
        self.expect(')')?;
        Ok(length)
    }

    fn fields(&mut self, depth: usize) -> Result<HiveType, TypeError> {
        self.expect('<')?;
        let mut fields: Vec<(String, HiveType)> = Vec::new();
        loop {
            self.skip_spaces();
            let name = self.field_name()?;
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(self.error(&format!("field '{name}' stands twice")));
            }
            self.expect(':')?;
            fields.push((name, self.hive_type(depth + 1)?));
            if !self.take(',') {
                break;
            }
        }
        self.expect('>')?;
        Ok(HiveType::Struct(fields))
    }

    fn field_name(&mut self) -> Result<String, TypeError> {
        let rest = &self.text[self.at..];
        let length = rest.find([':', ',', '<', '>', '(', ')']).unwrap_or(rest.len());
        let name = rest[..length].trim_end();
        if name.is_empty() {
            return Err(self.error("a field name is missing"));
        }
        let name = name.to_lowercase();
        self.at += length;
        Ok(name)
    }

    fn number(&mut self) -> Result<u32, TypeError> {
        self.skip_spaces();
        let word = self.word();
        let number = word.parse().map_err(|_| self.error("a number is missing"))?;
        self.skip_spaces();
        Ok(number)
    }

    fn word(&mut self) -> &str {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn skip_spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_spaces();
        let found = self.text[self.at..].starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), TypeError> {
        if self.take(wanted) { Ok(()) } else { Err(self.error(&format!("expected '{wanted}'"))) }
    }

    fn error(&self, reason: &str) -> TypeError {
        TypeError {
            text: self.text.to_owned(),
            at: self.text[..self.at].chars().count() + 1,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_type() -> impl Strategy<Value = HiveType> {
        let leaf = prop_oneof![
            Just(HiveType::Boolean),
            Just(HiveType::BigInt),
            Just(HiveType::String),
            Just(HiveType::Timestamp),
            Just(HiveType::Binary),
            (1u8..=38).prop_map(|precision| HiveType::Decimal { precision, scale: precision / 2 }),
            (1u32..=255).prop_map(HiveType::Char),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|item| HiveType::Array(Box::new(item))),
                inner.clone().prop_map(|value| {
                    HiveType::Map(Box::new(HiveType::String), Box::new(value))
                }),
                proptest::collection::vec(inner, 1..4).prop_map(|types| {
                    let named = types.into_iter().enumerate();
                    HiveType::Struct(named.map(|(n, t)| (format!("f_{n}"), t)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_type_reads_back_from_its_text(hive_type in any_type()) {
            let text = hive_type.to_string();
            prop_assert_eq!(HiveType::parse(&text), Ok(hive_type.clone()));
        }

        #[test]
        fn foreign_text_never_panics(text in "\\PC{0,40}") {
            let _ = HiveType::parse(&text);
        }
    }

    #[test]
    fn spaces_case_and_defaults_are_accepted() {
        let text = " STRUCT< Id : BIGINT , tags:array< String >, price : Decimal( 10 , 2 ) > ";
        assert_eq!(
            HiveType::parse(text).map(|t| t.to_string()).as_deref(),
            Ok("struct<id:bigint,tags:array<string>,price:decimal(10,2)>")
        );
        assert_eq!(HiveType::parse("decimal"), Ok(HiveType::Decimal { precision: 10, scale: 0 }));
    }

    #[test]
    fn errors_say_where_and_what_instead() {
        for (text, part) in [
            ("set<string>", "write array<...>"),
            ("uniontype<int,string>", "write a struct"),
            ("strin", "expected boolean"),
            ("decimal(39,2)", "1 <= p <= 38"),
            ("array<int", "expected '>'"),
            ("map<array<int>,int>", "primitive"),
            ("struct<a:int,A:int>", "stands twice"),
            ("int int", "unexpected text"),
            ("char(256)", "1 to 255"),
        ] {
            let error = HiveType::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = "array<".repeat(40);
        let error = HiveType::parse(&deep).expect_err("deep").to_string();
        assert!(error.contains("levels of nesting"), "{error}");
    }
}
