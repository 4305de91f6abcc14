//! The statements by which engines read a stream's objects.
//!
//! Owns the text: Athena's `CREATE EXTERNAL TABLE`, with its partitions computed from the prefix
//! (partition projection) or registered, and DuckDB's view. Runs nothing.

use std::fmt::Write as _;

use super::Definition;
use super::files::duckdb_view;
use crate::partition::{Folder, Layout, Part, escape};

/// The years that a projected year runs through.
const YEARS: &str = "2020,2040";
/// Athena's bound for one table property is far above; a longer list is better injected.
const TENANTS_MAX: usize = 1_000;

/// What a projection knows of one partition key.
#[derive(Debug, PartialEq, Eq)]
enum Projection {
    /// One of these values.
    Enum(Vec<String>),
    /// A number; with so many digits, when it is padded.
    Integer { range: &'static str, digits: Option<usize> },
    /// A time of day or date by a pattern of Java's.
    Date { format: String, unit: &'static str },
    /// Whatever a query asks for with `=`.
    Injected,
}

/// The statements for a stream's table; `tenants` are those who may write to the stream.
#[must_use]
pub fn ddl(definition: &Definition, layout: &Layout, tenants: &[String]) -> String {
    let mut text = String::new();
    let keys: Vec<&Folder> = layout.folders.iter().filter(|f| f.key.is_some()).collect();
    if !keys.is_empty() {
        match template(definition, layout) {
            Some(template) => {
                text += "-- Athena, with partition projection: nothing has to be registered.\n";
                text += "-- A narrower range of years makes queries without a year faster.\n";
                text += &create(definition, &projection(&keys, tenants, &template));
            }
            None => {
                text += "-- No partition projection: a folder between the partitions of the prefix \
                         has no column.\n";
            }
        }
        text += "\n-- Athena, with registered partitions, in place of the statement above.\n";
    } else {
        text += "-- Athena.\n";
    }
    text += &create(definition, &[("classification".to_owned(), "parquet".to_owned())]);
    text += "\n-- DuckDB.\n";
    text += &duckdb_view(&definition.table.name, &definition.location);
    text
}

fn create(definition: &Definition, properties: &[(String, String)]) -> String {
    let table = &definition.table;
    let list = |columns: &[crate::table::Column]| {
        let lines =
            columns.iter().map(|column| format!("  {} {}", quoted(&column.name), column.hive_type));
        lines.collect::<Vec<_>>().join(",\n")
    };
    let mut text = format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS {}.{} (\n{}\n)\n",
        quoted(&table.database),
        quoted(&table.name),
        list(&table.columns)
    );
    if !table.partition_keys.is_empty() {
        let _ = writeln!(text, "PARTITIONED BY (\n{}\n)", list(&table.partition_keys));
    }
    let _ = writeln!(text, "STORED AS PARQUET\nLOCATION {}", literal(&definition.location));
    let properties = properties
        .iter()
        .map(|(name, value)| format!("  {} = {}", literal(name), literal(value)))
        .collect::<Vec<_>>()
        .join(",\n");
    let _ = writeln!(text, "TBLPROPERTIES (\n{properties}\n);");
    text
}

fn projection(keys: &[&Folder], tenants: &[String], template: &str) -> Vec<(String, String)> {
    let mut properties = vec![
        ("classification".to_owned(), "parquet".to_owned()),
        ("projection.enabled".to_owned(), "true".to_owned()),
    ];
    for folder in keys {
        let name = folder.key.as_deref().unwrap_or_default().to_lowercase();
        let mut set = |what: &str, value: String| {
            properties.push((format!("projection.{name}.{what}"), value));
        };
        match Projection::of(folder, tenants) {
            Projection::Enum(values) => {
                set("type", "enum".to_owned());
                set("values", values.join(","));
            }
            Projection::Integer { range, digits } => {
                set("type", "integer".to_owned());
                set("range", range.to_owned());
                if let Some(digits) = digits {
                    set("digits", digits.to_string());
                }
            }
            Projection::Date { format, unit } => {
                set("type", "date".to_owned());
                set("format", format);
                // A zone may be a day ahead of Athena's clock.
                set("range", "NOW-10YEARS,NOW+1DAYS".to_owned());
                set("interval", "1".to_owned());
                set("interval.unit", unit.to_owned());
            }
            Projection::Injected => set("type", "injected".to_owned()),
        }
    }
    properties.push(("storage.location.template".to_owned(), template.to_owned()));
    properties
}

/// The URL of a partition, with the keys in it; none when something else in it changes.
fn template(definition: &Definition, layout: &Layout) -> Option<String> {
    // The folders above the table's own are in its location.
    let first = layout.folders.iter().position(|folder| folder.key.is_some())?;
    let above: Option<Vec<String>> = layout.folders[..first].iter().map(Folder::fixed).collect();
    above?;
    let mut template = definition.location.clone();
    for folder in &layout.folders[first..] {
        match &folder.key {
            Some(key) => {
                let _ = write!(template, "{key}=${{{}}}/", key.to_lowercase());
            }
            None => {
                let _ = write!(template, "{}/", folder.fixed()?);
            }
        }
    }
    Some(template)
}

impl Projection {
    fn of(folder: &Folder, tenants: &[String]) -> Self {
        match folder.value.as_slice() {
            [Part::Literal(text)] if !text.contains(',') => Self::Enum(vec![text.clone()]),
            // Values stand in the template as they are, so they are those of the folders.
            [Part::Tenant] if !tenants.is_empty() && tenants.len() <= TENANTS_MAX => {
                let values: Vec<String> = tenants.iter().map(|tenant| escape(tenant)).collect();
                if values.iter().any(|value| value.contains(',')) {
                    return Self::Injected;
                }
                Self::Enum(values)
            }
            [Part::Time(letter, count)] => {
                let range = match (letter, count) {
                    ('y', 2) => "0,99",
                    ('y', _) => YEARS,
                    ('M', _) => "1,12",
                    ('d', _) => "1,31",
                    ('H', _) => "0,23",
                    _ => "0,59",
                };
                Self::Integer { range, digits: (*count > 1).then_some(*count) }
            }
            parts => Self::date(parts).unwrap_or(Self::Injected),
        }
    }

    /// A date, when the parts are one: every unit from the year down to the smallest.
    fn date(parts: &[Part]) -> Option<Self> {
        const UNITS: [(char, &str); 6] = [
            ('y', "YEARS"),
            ('M', "MONTHS"),
            ('d', "DAYS"),
            ('H', "HOURS"),
            ('m', "MINUTES"),
            ('s', "SECONDS"),
        ];
        let mut format = String::new();
        let mut letters = Vec::new();
        for part in parts {
            match part {
                Part::Time(letter, count) => {
                    letters.push(*letter);
                    format.extend(std::iter::repeat_n(*letter, *count));
                }
                Part::Literal(text) if text.chars().all(|c| "-_.".contains(c)) => format += text,
                Part::Literal(text) => {
                    let _ = write!(format, "'{}'", text.replace('\'', "''"));
                }
                Part::Tenant | Part::Any => return None,
            }
        }
        let depth = letters.len();
        let expected = UNITS.get(..depth)?;
        let has_all = expected.iter().all(|(unit, _)| letters.contains(unit));
        let (_, unit) = expected.last()?;
        has_all.then_some(Self::Date { format, unit })
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{Place, Template};

    fn of(folder: &str, tenants: &[&str]) -> Projection {
        let template = Template::parse(&format!("{folder}/"), Place::Prefix).expect(folder);
        let tenants: Vec<_> = tenants.iter().map(ToString::to_string).collect();
        Projection::of(&Layout::of(&template).folders[0], &tenants)
    }

    #[test]
    fn each_folder_is_projected_as_far_as_the_prefix_tells() {
        let integer = |range, digits| Projection::Integer { range, digits };
        let date = |format: &str, unit| Projection::Date { format: format.to_owned(), unit };
        let list =
            |values: &[&str]| Projection::Enum(values.iter().map(ToString::to_string).collect());
        for (folder, expected) in [
            ("year=!{timestamp:yyyy}", integer(YEARS, Some(4))),
            ("month=!{timestamp:MM}", integer("1,12", Some(2))),
            ("hour=!{timestamp:H}", integer("0,23", None)),
            ("dt=!{timestamp:yyyy-MM-dd}", date("yyyy-MM-dd", "DAYS")),
            ("at=!{timestamp:yyyyMMdd'T'HH}", date("yyyyMMdd'T'HH", "HOURS")),
            ("kind=fixed", list(&["fixed"])),
            ("tenant=!{lakehose:tenant}", list(&["acme", "a%2Fb"])),
            ("mix=!{lakehose:tenant}-!{timestamp:yyyy}", Projection::Injected),
            ("time=!{timestamp:HH-mm}", Projection::Injected),
            ("salt=!{firehose:random-string}", Projection::Injected),
        ] {
            assert_eq!(of(folder, &["acme", "a/b"]), expected, "{folder}");
        }
        assert_eq!(of("tenant=!{lakehose:tenant}", &[]), Projection::Injected);
        assert_eq!(of("tenant=!{lakehose:tenant}", &["a,b"]), Projection::Injected);
    }
}
