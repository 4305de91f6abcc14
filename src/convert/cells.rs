//! The typed values of one record, between reading it and appending it to columns.
//!
//! Owns the room for the cells and its bound. Does not own the record's bytes: texts without escapes
//! are ranges in them.
//!
//! Invariant: a row, the fields of a struct, the items of an array and the entries of a map each lie
//! next to each other in [`Cells::values`].

/// The most values that one record may make in the columns. An absent field makes one as a present
/// one does, and a null struct makes one for each of its fields, so that `[null,null]` or `[{},{}]`
/// under a wide struct would otherwise grow a small record a thousandfold.
pub(super) const VALUES_MAX: usize = 4 << 20;

/// A value that fits its column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Boolean(bool),
    /// Also days of a date and microseconds of a timestamp.
    Integer(i64),
    Float(f32),
    Double(f64),
    /// The unscaled value in two halves, so that a cell has 24 bytes rather than 32.
    Decimal {
        high: i64,
        low: u64,
    },
    /// A text that stands in the record as it is.
    Source(Span),
    /// A text that had escapes, in [`Cells::unescaped`].
    Unescaped(Span),
    /// Bytes that were written as base64, in [`Cells::decoded`].
    Decoded(Span),
    /// Fields, items, or keys and values in turn.
    Nested(Span),
}

/// `start .. end`, of bytes or of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The cells of one record; kept from record to record for its memory.
#[derive(Debug, Default)]
pub(super) struct Cells {
    /// All cells that belong together.
    pub(super) values: Vec<Cell>,
    /// Items and entries of the containers that are still being read, outermost first.
    pub(super) pending: Vec<Cell>,
    /// Texts that had escapes, one behind the other.
    pub(super) unescaped: String,
    /// Bytes that were written as base64, one behind the other.
    pub(super) decoded: Vec<u8>,
    /// Where in `values` each row begins.
    pub(super) rows: Vec<usize>,
    /// How many values the columns get from this record, or more.
    pub(super) value_count: usize,
}

impl Cell {
    pub(super) fn decimal(unscaled: i128) -> Self {
        let (high, low) = ((unscaled >> 64) as i64, unscaled as u64);
        Self::Decimal { high, low }
    }
}

impl Span {
    /// A span inside a record or its cells.
    ///
    /// # Panics
    /// When an end is beyond 32 bits: both records and cells have smaller bounds.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let narrow = |at| u32::try_from(at).expect("records and their cells are bounded");
        Self { start: narrow(start), end: narrow(end) }
    }

    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Cells {
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.pending.clear();
        self.unescaped.clear();
        self.decoded.clear();
        self.rows.clear();
        self.value_count = 0;
    }

    /// Counts `count` more values and says whether they keep the bound.
    pub(super) fn count_values(&mut self, count: usize) -> bool {
        self.value_count += count;
        self.value_count <= VALUES_MAX
    }

    /// Moves the pending cells from `start` on to where they stay.
    pub(super) fn settle(&mut self, start: usize) -> Span {
        let first = self.values.len();
        self.values.extend(self.pending.drain(start..));
        Span::new(first, self.values.len())
    }

    /// The bytes of a text or binary cell of a record that holds `data`.
    #[inline]
    pub(super) fn text<'a>(&'a self, cell: Cell, data: &'a [u8]) -> Option<&'a [u8]> {
        match cell {
            Cell::Source(span) => Some(&data[span.range()]),
            Cell::Unescaped(span) => Some(&self.unescaped.as_bytes()[span.range()]),
            Cell::Decoded(span) => Some(&self.decoded[span.range()]),
            _ => None,
        }
    }
}
