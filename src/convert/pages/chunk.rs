//! One column of one row group: values to pages, pages to a chunk.
//!
//! Owns when a page ends, what it consists of, and what the footer and the page index say of it. Does
//! not own how values and levels are encoded, nor which encoding a column gets.

use arrow_schema::DataType;
use bytes::Bytes;
use parquet::basic::{Encoding, PageType, Type};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::bits;
use super::choice::Choice;
use super::codec::Codec;
use super::hybrid;
use super::levels::{Leaf, Levels};
use super::values::{EndedPage, Values, values};
use crate::convert::format::{ParquetOptions, WriterVersion};

/// Rows that end a page, so that readers who look for one row unpack few others.
pub(super) const PAGE_ROWS_MAX: usize = 20_000;
/// Compression pays when it leaves less than this part.
pub(super) const COMPRESSED_PART_MAX: f64 = 0.88;
/// A quarter is compressed to see what that saves, within these bounds.
const TRIAL_BYTES_MIN: usize = 4 << 10;
const TRIAL_BYTES_MAX: usize = 64 << 10;
/// Pages that share a dictionary, when one is judged by its first page.
const PAGES_EXPECTED: f64 = 8.0;

/// A filter has room for as many values as a row group may have; what it does not need is folded away.
/// So it is wrong about one value in a hundred.
const FILTER_BITS_PER_VALUE: usize = 10;
const FILTER_ERRORS_MAX: f64 = 0.01;
/// As much as other writers take at the most.
const FILTER_BYTES_MAX: usize = 1 << 20;

/// Whether more pages follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pages {
    More,
    Last,
}

/// What all chunks of a file have in common, and the room that they work in.
#[derive(Debug)]
pub(super) struct Workshop {
    codec: Codec,
    writer_version: WriterVersion,
    page_bytes: usize,
    /// A page before compression and behind it.
    body: Vec<u8>,
    packed: Vec<u8>,
}

impl Workshop {
    /// # Errors
    /// When a compressor cannot be made.
    pub(super) fn new(options: &ParquetOptions) -> Result<Self, ParquetError> {
        Ok(Self {
            codec: Codec::new(options.compression)?,
            writer_version: options.writer_version,
            page_bytes: options.page_bytes as usize,
            body: vec![],
            packed: vec![],
        })
    }

    /// The part that compression leaves of some bytes, if they are like the first ones.
    pub(super) fn compressed_part(&mut self, bytes: &[u8]) -> Result<f64, ParquetError> {
        let length = (bytes.len() / 4).clamp(TRIAL_BYTES_MIN, TRIAL_BYTES_MAX);
        let trial = &bytes[..bytes.len().min(length)];
        if trial.is_empty() {
            return Ok(1.0);
        }
        let length = self.codec.compress(trial, &mut self.packed, 0)?;
        Ok((length as f64 / trial.len() as f64).min(1.0))
    }

    /// Writes the page that `page` makes of the body, all but `plain_bytes` of it compressed if asked for.
    fn write(
        &mut self,
        sink: &mut TrackedWrite<Vec<u8>>,
        plain_bytes: usize,
        is_compressed: bool,
        page: impl FnOnce(Bytes) -> Page,
    ) -> Result<PageWriteSpec, ParquetError> {
        let body_bytes = self.body.len();
        let (room, end) = if is_compressed {
            let Self { codec, body, packed, .. } = self;
            if packed.len() < plain_bytes {
                packed.resize(plain_bytes, 0);
            }
            packed[..plain_bytes].copy_from_slice(&body[..plain_bytes]);
            let end = codec.compress(&body[plain_bytes..], packed, plain_bytes)?;
            (packed, end)
        } else {
            (&mut self.body, body_bytes)
        };
        // Lent to the page and taken back, so that it is not allocated anew.
        let lent = Bytes::from(std::mem::take(room));
        let page = CompressedPage::new(page(lent.slice(..end)), body_bytes);
        let written = SerializedPageWriter::new(sink).write_page(page);
        *room = lent.into();
        written
    }
}

/// A column chunk under way.
pub(super) struct Chunk {
    column: ColumnDescPtr,
    values: Box<dyn Values>,
    page: PageUnderWay,
    /// Decided with the first page.
    is_compressed: Option<bool>,
    /// The data pages; the dictionary's comes before them in the file.
    pages: TrackedWrite<Vec<u8>>,
    offsets: OffsetIndexBuilder,
    index: Option<ColumnIndexBuilder>,
    filter: Option<Sbbf>,
    slot_count: usize,
    null_count: usize,
    row_count: usize,
    uncompressed_bytes: usize,
    encodings: Vec<(PageType, Encoding, i32)>,
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk").field("column", &self.column.path()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct PageUnderWay {
    definition: Levels,
    repetition: Levels,
    rows: usize,
}

impl Default for PageUnderWay {
    fn default() -> Self {
        let none = || Levels::Same { level: 0, count: 0 };
        Self { definition: none(), repetition: none(), rows: 0 }
    }
}

/// A finished chunk: its bytes, and what the file says of it.
pub(in crate::convert) struct EndedChunk {
    pub(in crate::convert) bytes: Bytes,
    pub(in crate::convert) close: ColumnCloseResult,
    pub(in crate::convert) page_count: usize,
}

impl Chunk {
    /// An empty chunk, with a Bloom filter for about `filtered_values`, if asked for.
    ///
    /// # Errors
    /// When no column of a table has the type.
    pub(super) fn new(
        column: &ColumnDescPtr,
        data_type: &DataType,
        choice: Choice,
        filtered_values: Option<usize>,
    ) -> Result<Self, ParquetError> {
        let values = values(data_type, column, choice.form, choice.has_dictionary)?;
        let filter_bytes = filtered_values.filter(|_| values.can_be_filtered()).map(|values| {
            values.saturating_mul(FILTER_BITS_PER_VALUE).div_ceil(8).min(FILTER_BYTES_MAX)
        });
        let filter = filter_bytes.map(Sbbf::new_with_num_of_bytes);
        let index = values.order().map(|_| ColumnIndexBuilder::new(column.physical_type()));
        Ok(Self {
            column: column.clone(),
            values,
            page: PageUnderWay::default(),
            is_compressed: None,
            pages: TrackedWrite::new(vec![]),
            offsets: OffsetIndexBuilder::new(),
            index,
            filter,
            slot_count: 0,
            null_count: 0,
            row_count: 0,
            uncompressed_bytes: 0,
            encodings: vec![],
        })
    }

    /// Appends some rows.
    ///
    /// # Errors
    /// When a page cannot be written.
    pub(super) fn append(
        &mut self,
        leaf: &Leaf,
        row_count: usize,
        workshop: &mut Workshop,
    ) -> Result<(), ParquetError> {
        if self.page.rows > 0 && self.page.rows + row_count > PAGE_ROWS_MAX {
            self.end_page(workshop, Pages::More)?;
        }
        self.values.append(&leaf.array);
        self.page.definition.extend(&leaf.definition);
        if let Some(repetition) = &leaf.repetition {
            self.page.repetition.extend(repetition);
        }
        self.page.rows += row_count;
        let is_full = self.values.has_dictionary()
            && (self.values.dictionary_size().1 >= workshop.page_bytes || self.values.is_hostile());
        if is_full || self.values.page_bytes() >= workshop.page_bytes {
            self.end_page(workshop, Pages::More)?;
        }
        if is_full {
            self.values.end_dictionary();
        }
        Ok(())
    }

    /// About how many bytes the chunk would have if it ended here.
    pub(super) fn byte_count(&self) -> usize {
        let pages = self.pages.bytes_written();
        pages + self.values.page_bytes() + self.values.dictionary_size().1
    }

    /// Ends the chunk.
    ///
    /// # Errors
    /// When a page cannot be written.
    pub(super) fn end(mut self, workshop: &mut Workshop) -> Result<EndedChunk, ParquetError> {
        if self.page.rows > 0 {
            self.end_page(workshop, Pages::Last)?;
        }
        let is_compressed = self.is_compressed == Some(true);
        workshop.body.clear();
        let num_values = self.values.append_dictionary(&mut workshop.body) as u32;
        let mut bytes = vec![];
        if num_values > 0 {
            let mut sink = TrackedWrite::new(vec![]);
            let encoding = Encoding::PLAIN;
            let page = |buf| Page::DictionaryPage { buf, num_values, encoding, is_sorted: false };
            let written = workshop.write(&mut sink, 0, is_compressed, page)?;
            self.uncompressed_bytes += written.uncompressed_size;
            self.encodings.insert(0, (PageType::DICTIONARY_PAGE, encoding, 1));
            bytes = sink.into_inner()?;
        }
        if let Some(filter) = &mut self.filter {
            self.values.filter_dictionary(filter);
            filter.fold_to_target_fpp(FILTER_ERRORS_MAX);
        }
        let dictionary_bytes = bytes.len() as i64;
        let pages = self.pages.into_inner()?;
        if bytes.is_empty() {
            bytes = pages;
        } else {
            bytes.extend_from_slice(&pages);
        }
        let codec = if is_compressed { workshop.codec.name()? } else { Codec::None.name()? };
        let encodings = self.encodings.iter().map(|(_, encoding, _)| *encoding);
        let stats = self.encodings.iter().map(|&(page_type, encoding, count)| PageEncodingStats {
            page_type,
            encoding,
            count,
        });
        let mut metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression(codec)
            .set_encodings(encodings.chain([Encoding::RLE]).collect())
            .set_page_encoding_stats(stats.collect())
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed_bytes as i64)
            .set_num_values(self.slot_count as i64)
            .set_data_page_offset(dictionary_bytes)
            .set_dictionary_page_offset((dictionary_bytes > 0).then_some(0));
        if let Some(statistics) = self.values.statistics(self.null_count as u64) {
            metadata = metadata.set_statistics(statistics);
        }
        let mut column_index = None;
        if let (Some(mut index), Some(order)) = (self.index, self.values.order()) {
            index.set_boundary_order(order);
            column_index = Some(index.build()?);
        }
        let mut offset_index = self.offsets.build();
        let page_count = offset_index.page_locations.len();
        for page in &mut offset_index.page_locations {
            page.offset += dictionary_bytes;
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.row_count as u64,
            metadata: metadata.build()?,
            bloom_filter: self.filter,
            column_index,
            offset_index: Some(offset_index),
        };
        Ok(EndedChunk { bytes: bytes.into(), close, page_count })
    }

    fn end_page(&mut self, workshop: &mut Workshop, pages: Pages) -> Result<(), ParquetError> {
        let page = std::mem::take(&mut self.page);
        let slots = page.definition.len();
        let nulls = slots - page.definition.count(self.column.max_def_level() as u8);
        let is_v2 = workshop.writer_version == WriterVersion::V2;
        workshop.body.clear();
        let mut append = |levels: &Levels, top: i16| {
            let before = workshop.body.len();
            if top > 0 {
                append_levels(levels, top as u64, !is_v2, &mut workshop.body);
            }
            (workshop.body.len() - before) as u32
        };
        let rep_levels_byte_len = append(&page.repetition, self.column.max_rep_level());
        let def_levels_byte_len = append(&page.definition, self.column.max_def_level());
        let level_bytes = workshop.body.len();
        if let Some(filter) = &mut self.filter {
            self.values.filter_page(filter);
        }
        let EndedPage { encoding, bounds } = if nulls < slots {
            self.values.end_page(&mut workshop.body)
        } else {
            EndedPage { encoding: Encoding::PLAIN, bounds: None }
        };
        let is_compressed = self.decide_compression(level_bytes, workshop, pages)?;
        let (num_values, num_nulls) = (slots as u32, nulls as u32);
        let written = if is_v2 {
            let num_rows = page.rows as u32;
            workshop.write(&mut self.pages, level_bytes, is_compressed, |buf| Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                statistics: None,
            })?
        } else {
            workshop.write(&mut self.pages, 0, is_compressed, |buf| Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            })?
        };
        self.uncompressed_bytes += written.uncompressed_size;
        let size = i32::try_from(written.compressed_size);
        let size = size.map_err(|_| ParquetError::General("a page of more than 2 GiB".into()))?;
        self.offsets.append_offset_and_size(written.offset as i64, size);
        self.offsets.append_row_count(page.rows as i64);
        if let Some(index) = &mut self.index {
            let is_null_page = bounds.is_none();
            let (least, greatest) = bounds.unwrap_or_default();
            // The index has a count for each page of numbers with a point, of what is no number.
            let may_be_none = matches!(self.column.physical_type(), Type::FLOAT | Type::DOUBLE);
            index.append(is_null_page, least, greatest, nulls as i64, may_be_none.then_some(0));
        }
        let page_type = if is_v2 { PageType::DATA_PAGE_V2 } else { PageType::DATA_PAGE };
        match self.encodings.iter_mut().find(|(_, used, _)| *used == encoding) {
            Some((_, _, count)) => *count += 1,
            None => self.encodings.push((page_type, encoding, 1)),
        }
        self.row_count += page.rows;
        self.slot_count += slots;
        self.null_count += nulls;
        Ok(())
    }

    /// Whether the chunk's pages are compressed: what the first one and its dictionary gain tells.
    fn decide_compression(
        &mut self,
        level_bytes: usize,
        workshop: &mut Workshop,
        pages: Pages,
    ) -> Result<bool, ParquetError> {
        if let Some(is_compressed) = self.is_compressed {
            return Ok(is_compressed);
        }
        let body = std::mem::take(&mut workshop.body);
        let mut dictionary = vec![];
        self.values.append_dictionary(&mut dictionary);
        let values = &body[level_bytes..];
        let pages = if pages == Pages::Last { 1.0 } else { PAGES_EXPECTED };
        let data_bytes = values.len() as f64 * pages;
        let dictionary_bytes = dictionary.len() as f64;
        let kept = data_bytes * workshop.compressed_part(values)?
            + dictionary_bytes * workshop.compressed_part(&dictionary)?;
        workshop.body = body;
        let pays = kept < (data_bytes + dictionary_bytes) * COMPRESSED_PART_MAX;
        self.is_compressed = Some(pays);
        Ok(pays)
    }
}

/// Appends levels up to `top`, behind their length if asked for.
fn append_levels(levels: &Levels, top: u64, has_length: bool, out: &mut Vec<u8>) {
    const LENGTH: usize = 4;
    let start = out.len();
    if has_length {
        out.extend_from_slice(&[0; LENGTH]);
    }
    let width = bits::width_of(top);
    match levels {
        Levels::Same { level, count } => hybrid::append_run((*level).into(), *count, width, out),
        Levels::Each(levels) => hybrid::encode(levels, width, out),
    }
    if has_length {
        let length = (out.len() - start - LENGTH) as u32;
        out[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
    }
}
