//! What objects contain, as the file says it.
//!
//! Owns the words for each choice, and what a format demands of the rest of its stream. Does not own
//! the choices (`convert`).

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::faults::{Place, shown};
use super::json_schema;
use super::reader::{At, Field, List, Named, NamedEntry, Reader, Scalar, Setting};
use super::settings::Format;
use super::shape::{
    FormatSection, InputSection, OpenXSection, ParquetSection, RecordsSection, SchemaSection,
    StreamSection,
};
use super::values::Text;
use crate::convert::{
    BinaryText, Delimiter, Dictionary, JsonInput, OpenXOptions, ParquetCompression, ParquetOptions,
    RecordsCompression, RecordsOptions, TimestampForm, TimestampFormat, WriterVersion,
};
use crate::table::HiveType;

/// The format of a `stream` that stands at `place`, unless there is a fault.
pub(super) fn format(
    At { value: section, place: format_place }: &At<FormatSection>,
    stream: &StreamSection,
    place: &Place,
    reader: &mut Reader<'_>,
) -> Option<Format> {
    let FormatSection { parquet: rows, records, input } = section;
    if rows.is_faulty() || records.is_faulty() || input.is_faulty() {
        return None;
    }
    match (rows.value(), records.given()) {
        (Some(_), Some(_)) => {
            let message = "an object has one format: keep parquet or records, remove the other";
            reader.fault(format_place.clone(), message);
            None
        }
        (rows, None) => {
            if stream.schema.is_absent() {
                let expected = <SchemaSection as Setting>::EXPECTED;
                let message = format_args!(
                    "'schema' is missing: write {expected}, or format: {{records: {{}}}} to \
                     deliver records as they are"
                );
                reader.fault(place.below("schema"), message);
                return None;
            }
            let columns = stream.schema.value().and_then(|schema| schema.columns.value());
            let options = match rows {
                Some(section) => parquet(section, columns, reader),
                None => Some(ParquetOptions::default()),
            };
            let input = input
                .given()
                .map_or(Some(JsonInput::default()), |at| json_input(at, columns, reader));
            Some(Format::Parquet(ParquetOptions { input: input?, ..options? }))
        }
        (None, Some(At { value: section, .. })) => {
            let columns = stream.schema.value().and_then(|schema| schema.columns.given());
            if let Some(At { place, .. }) = columns {
                let message = "records are delivered as they are, so nothing is made of columns: \
                               name a table of the catalog that reads them, or remove the schema";
                reader.fault(place.clone(), message);
                return None;
            }
            if let Some(At { place, .. }) = input.given() {
                let message = "records are delivered as they are, so none is read: remove it";
                reader.fault(place.clone(), message);
                return None;
            }
            records_options(section).map(Format::Records)
        }
    }
}

/// How rows are written; `columns` are the stream's own, where it has some.
fn parquet(
    section: &ParquetSection,
    columns: Option<&Named<HiveType>>,
    reader: &mut Reader<'_>,
) -> Option<ParquetOptions> {
    let may_be_filtered =
        |hive_type: &HiveType| !hive_type.is_nested() && *hive_type != HiveType::Boolean;
    let bloom_filters = column_names(&section.bloom_filters, columns, may_be_filtered, reader);
    let may_be_sorted = |hive_type: &HiveType| !hive_type.is_nested();
    let sort_by = column_names(&section.sort_by, columns, may_be_sorted, reader);
    Some(ParquetOptions {
        bloom_filters: bloom_filters?,
        sort_by: sort_by?,
        compression: *section.compression.value()?,
        timestamps: *section.timestamps.value()?,
        binary: *section.binary.value()?,
        row_group_bytes: match &section.row_group_size {
            Field::Given(at) => Some(at.value.0),
            Field::Absent => None,
            Field::Faulty => return None,
        },
        page_bytes: section.page_size.value()?.0,
        dictionary: *section.dictionary.value()?,
        writer_version: *section.writer_version.value()?,
        input: JsonInput::default(),
    })
}

/// Names of columns in lower case. Those of a table are not known here; `columns` are the stream's own,
/// where it has some, and must be of types that fit.
fn column_names(
    names: &Field<List<Text>>,
    columns: Option<&Named<HiveType>>,
    fits: impl Fn(&HiveType) -> bool,
    reader: &mut Reader<'_>,
) -> Option<Vec<String>> {
    let List(names) = names.value()?;
    let mut found: Vec<String> = vec![];
    for field in names {
        let At { value: Text(name), place } = field.given()?;
        let name = name.to_lowercase();
        let column = columns
            .map(|Named(columns)| columns.iter().find(|column| column.name.to_lowercase() == name));
        let quoted = shown(&name);
        if let Some(None) = column {
            let message = format_args!("the stream has no column {quoted}: write one of its");
            reader.fault(place.clone(), message);
        } else if column.flatten().and_then(|column| column.field.value()).is_some_and(|t| !fits(t))
        {
            let message = format_args!(
                "column {quoted} has a type that this is not done for: write one of numbers, texts, \
                 times or binary values"
            );
            reader.fault(place.clone(), message);
        } else if found.contains(&name) {
            reader
                .fault(place.clone(), format_args!("column {quoted} stands twice: write it once"));
        }
        found.push(name);
    }
    Some(found)
}

/// How JSON is read; `columns` are the stream's own, where it has some.
fn json_input(
    At { value: section, place }: &At<InputSection>,
    columns: Option<&Named<HiveType>>,
    reader: &mut Reader<'_>,
) -> Option<JsonInput> {
    match (&section.openx, &section.hive) {
        (Field::Faulty, _) | (_, Field::Faulty) => None,
        (Field::Given(_), Field::Given(_)) => {
            let message = "JSON is read in one way: keep openx or hive, remove the other";
            reader.fault(place.clone(), message);
            None
        }
        (Field::Absent, Field::Given(At { value, .. })) => {
            let List(formats) = value.timestamp_formats.value()?;
            let read: Vec<_> = formats.iter().filter_map(Field::value).cloned().collect();
            (read.len() == formats.len()).then_some(JsonInput::Hive(read))
        }
        (Field::Given(At { value, .. }), Field::Absent) => openx(value, columns, reader),
        (Field::Absent, Field::Absent) => Some(JsonInput::default()),
    }
}

fn openx(
    section: &OpenXSection,
    columns: Option<&Named<HiveType>>,
    reader: &mut Reader<'_>,
) -> Option<JsonInput> {
    let Named(mappings) = section.column_to_json_key_mappings.value()?;
    let mut keys = BTreeMap::new();
    for NamedEntry { name, place, field } in mappings {
        let name = name.to_lowercase();
        let is_column =
            |columns: &Named<HiveType>| columns.names().any(|column| column.to_lowercase() == name);
        if !columns.is_none_or(is_column) {
            let message =
                format_args!("the stream has no column {}: write one of its", shown(&name));
            reader.fault(place.clone(), message);
        }
        if keys.insert(name.clone(), field.value()?.0.clone()).is_some() {
            let message = format_args!("column {} has a key already: write one", shown(&name));
            reader.fault(place.clone(), message);
        }
    }
    Some(JsonInput::OpenX(OpenXOptions {
        case_insensitive: *section.case_insensitive.value()?,
        dots_to_underscores: *section.convert_dots_in_json_keys_to_underscores.value()?,
        keys,
    }))
}

fn records_options(section: &RecordsSection) -> Option<RecordsOptions> {
    Some(RecordsOptions {
        compression: *section.compression.value()?,
        delimiter: *section.delimiter.value()?,
    })
}

impl Scalar for ParquetCompression {
    const EXPECTED: &'static str = "snappy, zstd, gzip or none";

    fn json_schema() -> Json {
        json_schema::words(&["snappy", "zstd", "gzip", "none"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "snappy" => Ok(Self::Snappy),
            "zstd" => Ok(Self::Zstd),
            "gzip" => Ok(Self::Gzip),
            "none" => Ok(Self::None),
            _ => unknown::<Self>("compression of Parquet", text),
        }
    }
}

impl Scalar for TimestampForm {
    const EXPECTED: &'static str = "micros, millis or int96";

    fn json_schema() -> Json {
        json_schema::words(&["micros", "millis", "int96"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "micros" => Ok(Self::Micros),
            "millis" => Ok(Self::Millis),
            "int96" => Ok(Self::Int96),
            _ => unknown::<Self>("form of timestamps", text),
        }
    }
}

impl Scalar for BinaryText {
    const EXPECTED: &'static str = "base64 or raw";

    fn json_schema() -> Json {
        json_schema::words(&["base64", "raw"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "base64" => Ok(Self::Base64),
            "raw" => Ok(Self::Raw),
            _ => unknown::<Self>("form of binary values", text),
        }
    }
}

impl Scalar for Dictionary {
    const EXPECTED: &'static str = "auto, always or never";

    fn json_schema() -> Json {
        json_schema::words(&["auto", "always", "never"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => unknown::<Self>("choice of dictionaries", text),
        }
    }
}

impl Scalar for WriterVersion {
    const EXPECTED: &'static str = "v1 or v2";

    fn json_schema() -> Json {
        json_schema::words(&["v1", "v2"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => unknown::<Self>("version of pages", text),
        }
    }
}

impl Scalar for TimestampFormat {
    const EXPECTED: &'static str = "a pattern, such as yyyy-MM-dd'T'HH:mm:ss.SSSZ, or millis";

    fn json_schema() -> Json {
        json_schema::text(<Self as Scalar>::EXPECTED)
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| format!("{}: {error}", shown(text)))
    }
}

impl Scalar for RecordsCompression {
    const EXPECTED: &'static str = "none, gzip, zip, snappy, hadoop_snappy or zstd";

    fn json_schema() -> Json {
        json_schema::words(&["none", "gzip", "zip", "snappy", "hadoop_snappy", "zstd"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zip" => Ok(Self::Zip),
            "snappy" => Ok(Self::Snappy),
            "hadoop_snappy" => Ok(Self::HadoopSnappy),
            "zstd" => Ok(Self::Zstd),
            _ => unknown::<Self>("compression of records", text),
        }
    }
}

impl Scalar for Delimiter {
    const EXPECTED: &'static str = "none, newline or newline_at_end";

    fn json_schema() -> Json {
        json_schema::words(&["none", "newline", "newline_at_end"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "newline" => Ok(Self::Newline),
            "newline_at_end" => Ok(Self::NewlineAtEnd),
            _ => unknown::<Self>("delimiter", text),
        }
    }
}

fn unknown<T: Scalar>(what: &str, text: &str) -> Result<T, String> {
    Err(format!("{} is no {what}: write {}", shown(text), T::EXPECTED))
}
