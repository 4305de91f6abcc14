//! The file: batches to row groups, and row groups to a file in memory.
//!
//! Owns the size of row groups and what the footer says of the whole. Does not own the pages in them
//! (`pages`) nor where the bytes go.
//!
//! Invariants: equal rows in equal batches make equal bytes, on every machine; the file carries no
//! Arrow schema, so that all readers see the same types.

use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{self, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::format::WriterVersion;
use super::orders;
use super::pages::{EndedGroup, Group};
use super::schema::Schema;

/// A row group ends with the batch that brings it to so many bytes of JSON.
const ROW_GROUP_BYTES_MAX: usize = 128 << 20;
/// And at so many rows.
const ROW_GROUP_ROWS_MAX: usize = 1 << 20;
/// How many times less encoded bytes take than JSON, for a first guess of a group's rows.
const JSON_TO_ENCODED: usize = 4;

/// A Parquet file in memory that grows by batches.
#[derive(Debug)]
pub(super) struct Writer {
    schema: Arc<Schema>,
    /// Made with the first batch.
    group: Option<Group>,
    /// Made with the first row group, or at the end.
    file: Option<SerializedFileWriter<Vec<u8>>>,
    group_json_bytes: usize,
}

/// Whether a file has a page index. Where each column has but one page it would only repeat what the
/// footer says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PageIndex {
    Present,
    Absent,
}

impl Writer {
    /// A file without rows.
    pub(super) fn new(schema: &Arc<Schema>) -> Self {
        Self { schema: Arc::clone(schema), group: None, file: None, group_json_bytes: 0 }
    }

    /// Appends a batch that was made of `json_bytes` bytes of JSON.
    ///
    /// # Errors
    /// When a page cannot be written.
    pub(super) fn write(
        &mut self,
        batch: &RecordBatch,
        json_bytes: usize,
    ) -> Result<(), ParquetError> {
        let limit = self.schema.options.row_group_bytes.map(|bytes| bytes as usize);
        let mut rest = batch.clone();
        let mut rest_json_bytes = json_bytes;
        while rest.num_rows() > 0 {
            let group = match &mut self.group {
                Some(group) => group,
                none => none.insert(Group::new(&self.schema)?),
            };
            // Without a limit of its own a group ends at a round number of rows.
            let room = limit.map_or(ROW_GROUP_ROWS_MAX - group.row_count(), |_| usize::MAX);
            let now = rest.slice(0, room.min(rest.num_rows()));
            rest = rest.slice(now.num_rows(), rest.num_rows() - now.num_rows());
            let row_bytes = (self.group_json_bytes + rest_json_bytes)
                .div_ceil(group.row_count() + now.num_rows())
                .max(1);
            let json_bytes_expected =
                limit.map_or(ROW_GROUP_BYTES_MAX, |bytes| bytes.saturating_mul(JSON_TO_ENCODED));
            let rows_expected = json_bytes_expected / row_bytes;
            group.append(&now, rest_json_bytes, rows_expected.min(ROW_GROUP_ROWS_MAX))?;
            self.group_json_bytes += rest_json_bytes;
            // If the group is full, what is left of the batch is little.
            rest_json_bytes = 0;
            let is_full = match limit {
                Some(limit) => group.byte_count() >= limit,
                None => {
                    group.row_count() >= ROW_GROUP_ROWS_MAX
                        || self.group_json_bytes >= ROW_GROUP_BYTES_MAX
                }
            };
            if is_full {
                let ended = group.end()?;
                self.append(ended, PageIndex::Present)?;
            }
        }
        Ok(())
    }

    /// Ends the file and returns its bytes; `metadata` goes into the footer.
    ///
    /// # Errors
    /// When a page or the footer cannot be written.
    pub(super) fn finish(mut self, metadata: &[(String, String)]) -> Result<Vec<u8>, ParquetError> {
        if let Some(mut group) = self.group.take().filter(|group| group.row_count() > 0) {
            let ended = group.end()?;
            let has_pages = ended.chunks.iter().any(|chunk| chunk.page_count > 1);
            let is_present = self.file.is_some() || has_pages;
            let index = if is_present { PageIndex::Present } else { PageIndex::Absent };
            self.append(ended, index)?;
        }
        let mut file = match self.file {
            Some(file) => file,
            None => start(&self.schema, PageIndex::Absent)?,
        };
        for (key, value) in metadata {
            file.append_key_value_metadata(KeyValue::new(key.clone(), value.clone()));
        }
        let mut bytes = file.into_inner()?;
        orders::by_type(&mut bytes, self.schema.parquet.num_columns());
        Ok(bytes)
    }

    fn append(&mut self, group: EndedGroup, index: PageIndex) -> Result<(), ParquetError> {
        self.group_json_bytes = 0;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(start(&self.schema, index)?),
        };
        let mut row_group = file.next_row_group()?;
        for mut chunk in group.chunks {
            if index == PageIndex::Absent {
                chunk.close.column_index = None;
                chunk.close.offset_index = None;
            }
            row_group.append_column(&chunk.bytes, chunk.close)?;
        }
        row_group.close()?;
        Ok(())
    }
}

fn start(schema: &Schema, index: PageIndex) -> Result<SerializedFileWriter<Vec<u8>>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_writer_version(match schema.options.writer_version {
            WriterVersion::V1 => properties::WriterVersion::PARQUET_1_0,
            WriterVersion::V2 => properties::WriterVersion::PARQUET_2_0,
        })
        .set_offset_index_disabled(index == PageIndex::Absent)
        // The form that readers parse: without the word "version" some distrust all statistics.
        .set_created_by(format!("lakehose version {}", env!("CARGO_PKG_VERSION")))
        .build();
    let root = schema.parquet.root_schema_ptr();
    SerializedFileWriter::new(vec![], root, Arc::new(properties))
}
