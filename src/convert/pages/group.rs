//! A row group under way: its first rows are held back until they have told how columns are encoded.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use parquet::errors::ParquetError;

use super::choice::{Sample, choose};
use super::chunk::{Chunk, EndedChunk, PAGE_ROWS_MAX, Workshop};
use super::levels::{self, Leaf};
use crate::convert::schema::Schema;

/// Held back are so many rows, bytes of JSON, or values with those that are absent.
const SAMPLE_ROWS: usize = 16 << 10;
const SAMPLE_BYTES: usize = 8 << 20;
const SAMPLE_VALUES: usize = 1 << 20;

/// The columns of a row group.
#[derive(Debug)]
pub(in crate::convert) struct Group {
    schema: Arc<Schema>,
    workshop: Workshop,
    held: Vec<Part>,
    held_json_bytes: usize,
    /// Once the sample is complete.
    chunks: Vec<Chunk>,
    row_count: usize,
}

/// Some rows, column by column.
#[derive(Debug)]
struct Part {
    leaves: Vec<Leaf>,
    row_count: usize,
}

impl Group {
    /// # Errors
    /// When a compressor cannot be made.
    pub(in crate::convert) fn new(schema: &Arc<Schema>) -> Result<Self, ParquetError> {
        Ok(Self {
            schema: Arc::clone(schema),
            workshop: Workshop::new(&schema.options)?,
            held: vec![],
            held_json_bytes: 0,
            chunks: vec![],
            row_count: 0,
        })
    }

    pub(in crate::convert) fn row_count(&self) -> usize {
        self.row_count
    }

    /// About how many bytes the group would have if it ended here. Rows that are held back count
    /// as nothing yet.
    pub(in crate::convert) fn byte_count(&self) -> usize {
        self.chunks.iter().map(Chunk::byte_count).sum()
    }

    /// Appends rows that were made of `json_bytes` bytes of JSON; the group will have about
    /// `rows_expected` in the end.
    ///
    /// # Errors
    /// When the arrays contradict each other or a page cannot be written.
    pub(in crate::convert) fn append(
        &mut self,
        batch: &RecordBatch,
        json_bytes: usize,
        rows_expected: usize,
    ) -> Result<(), ParquetError> {
        // Pages are looked at between parts, so that none is much longer than it should be.
        let part_count = json_bytes.div_ceil(self.schema.options.page_bytes as usize).max(1);
        let part_rows = batch.num_rows().div_ceil(part_count).clamp(1, PAGE_ROWS_MAX);
        for start in (0..batch.num_rows()).step_by(part_rows) {
            let row_count = part_rows.min(batch.num_rows() - start);
            let mut leaves = vec![];
            for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
                levels::collect(field, &column.slice(start, row_count), &mut leaves)?;
            }
            self.row_count += row_count;
            let part = Part { leaves, row_count };
            if self.chunks.is_empty() {
                self.held.push(part);
            } else {
                self.write(&part)?;
            }
        }
        if self.chunks.is_empty() {
            self.held_json_bytes += json_bytes;
            let value_count = self.row_count * self.schema.parquet.num_columns();
            if self.row_count >= SAMPLE_ROWS
                || self.held_json_bytes >= SAMPLE_BYTES
                || value_count >= SAMPLE_VALUES
            {
                self.start(rows_expected)?;
            }
        }
        Ok(())
    }

    /// Ends the group; another begins.
    ///
    /// # Errors
    /// When a page cannot be written.
    pub(in crate::convert) fn end(&mut self) -> Result<Vec<EndedChunk>, ParquetError> {
        if self.chunks.is_empty() {
            self.start(self.row_count)?;
        }
        self.row_count = 0;
        self.held_json_bytes = 0;
        let chunks = self.chunks.drain(..);
        chunks.map(|chunk| chunk.end(&mut self.workshop)).collect()
    }

    /// Chooses encodings by what is held back, and writes it.
    fn start(&mut self, rows_expected: usize) -> Result<(), ParquetError> {
        let held = std::mem::take(&mut self.held);
        let options = &self.schema.options;
        let growth = rows_expected as f64 / self.row_count.max(1) as f64;
        for (at, column) in self.schema.parquet.columns().iter().enumerate() {
            let arrays = held.iter().map(|part| &part.leaves[at].array);
            let Some(data_type) = arrays.clone().next().map(|array| array.data_type()) else {
                break;
            };
            let page_bytes = options.page_bytes as usize;
            let sample = Sample::new(column, arrays, growth.max(1.0), page_bytes);
            let choice = choose(&sample, options.dictionary, &mut self.workshop)?;
            // Of columns that are not nested: a row has one value.
            let is_filtered = match column.path().parts() {
                [name] => options.bloom_filters.contains(name),
                _ => false,
            };
            let filtered_values = is_filtered.then_some(rows_expected);
            self.chunks.push(Chunk::new(column, data_type, choice, filtered_values)?);
        }
        held.iter().try_for_each(|part| self.write(part))
    }

    fn write(&mut self, part: &Part) -> Result<(), ParquetError> {
        for (chunk, leaf) in self.chunks.iter_mut().zip(&part.leaves) {
            chunk.append(leaf, part.row_count, &mut self.workshop)?;
        }
        Ok(())
    }
}
