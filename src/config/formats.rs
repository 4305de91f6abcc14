//! What objects contain, as the file says it.
//!
//! Owns the words for each choice, and what a format demands of the rest of its stream. Does not own
//! the choices (`convert`).

use serde_json::Value as Json;

use super::faults::{Place, shown};
use super::json_schema;
use super::reader::{At, Reader, Scalar, Setting};
use super::settings::Format;
use super::shape::{FormatSection, ParquetSection, RecordsSection, SchemaSection, StreamSection};
use crate::convert::{
    BinaryText, Delimiter, ParquetCompression, ParquetOptions, RecordsCompression, RecordsOptions,
    TimestampForm,
};

/// The format of a `stream` that stands at `place`, unless there is a fault.
pub(super) fn format(
    At { value: section, place: format_place }: &At<FormatSection>,
    stream: &StreamSection,
    place: &Place,
    reader: &mut Reader<'_>,
) -> Option<Format> {
    let FormatSection { parquet: rows, records } = section;
    if rows.is_faulty() || records.is_faulty() {
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
            rows.map_or(Some(ParquetOptions::default()), parquet).map(Format::Parquet)
        }
        (None, Some(At { value: section, .. })) => {
            let columns = stream.schema.value().and_then(|schema| schema.columns.given());
            if let Some(At { place, .. }) = columns {
                let message = "records are delivered as they are, so nothing is made of columns: \
                               name a table of the catalog that reads them, or remove the schema";
                reader.fault(place.clone(), message);
                return None;
            }
            records_options(section).map(Format::Records)
        }
    }
}

fn parquet(section: &ParquetSection) -> Option<ParquetOptions> {
    Some(ParquetOptions {
        compression: *section.compression.value()?,
        timestamps: *section.timestamps.value()?,
        binary: *section.binary.value()?,
    })
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
