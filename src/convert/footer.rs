//! What the footer of a Parquet file says of its origin.
//!
//! Owns the keys and the form of their values, both ways. Does not own where the values come from.
//!
//! A file is known by them alone, without its name and without the machine that wrote it: which
//! records of which journal it holds, and by which schema.

use parquet::file::metadata::{FooterTail, ParquetMetaDataReader};

use crate::positions::Positions;
use crate::record::{StreamName, Tenant, UnixMillis};

/// Runs of positions that a footer lists at the most; beyond it the ends and the count are all it
/// says, so that no file is mostly footer.
const RUNS_MAX: usize = 4096;
/// A longer footer is not one of ours.
const FOOTER_BYTES_MAX: usize = 64 << 20;

/// What positions count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// Records, in the order in which they were accepted.
    Records,
    /// What hooks made of records, in the order in which they made it.
    Parts,
}

impl Counted {
    /// The word in footers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Parts => "parts",
        }
    }
}

/// The origin of a file.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The delivery stream.
    pub stream: &'a StreamName,
    /// Whose records they are.
    pub tenant: Option<&'a Tenant>,
    /// The stamp of the journal, which tells instances apart; plans and positions count in it.
    pub journal: [u8; 8],
    /// The number of the plan.
    pub plan: u64,
    /// The records in the file; at least one.
    pub positions: &'a Positions,
    /// What those positions count.
    pub counted: Counted,
    /// The rows that they became.
    pub row_count: u64,
    /// The arrivals of the oldest and of the newest record.
    pub arrivals: (UnixMillis, UnixMillis),
    /// The version of the table's columns.
    pub schema_version: &'a str,
}

impl Origin<'_> {
    /// The pairs for the footer; a tenant that there is not has none.
    #[must_use]
    pub fn pairs(&self) -> Vec<(String, String)> {
        let first = self.positions.first().map_or(0, |first| first.0);
        let last = self.positions.end().0.saturating_sub(1);
        let journal = u64::from_be_bytes(self.journal);
        let mut pairs = vec![
            ("lakehose.stream", self.stream.to_string()),
            ("lakehose.journal", format!("{journal:016x}")),
            ("lakehose.plan", self.plan.to_string()),
            ("lakehose.records", self.positions.count().to_string()),
            ("lakehose.rows", self.row_count.to_string()),
            ("lakehose.position.first", first.to_string()),
            ("lakehose.position.last", last.to_string()),
            ("lakehose.arrival.first", self.arrivals.0.0.to_string()),
            ("lakehose.arrival.last", self.arrivals.1.0.to_string()),
            ("lakehose.schema.version", self.schema_version.to_owned()),
        ];
        pairs.push(("lakehose.position.of", self.counted.as_str().to_owned()));
        if self.positions.run_count() <= RUNS_MAX {
            pairs.push(("lakehose.positions", self.positions.to_string()));
        }
        pairs.extend(self.tenant.map(|tenant| ("lakehose.tenant", tenant.as_str().to_owned())));
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// What a footer says, as far as it says anything of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The rows that the file has.
    pub stored_rows: u64,
    /// The stream; `None` in a file that is not ours.
    pub stream: Option<String>,
    /// The stamp of the journal, in hex.
    pub journal: String,
    /// The number of the plan.
    pub plan: u64,
    /// The records that it says it has.
    pub records: u64,
    /// The rows that it says it has.
    pub rows: u64,
    /// The records; `None` where they are too scattered to be listed, or were not in an older file.
    pub positions: Option<Positions>,
    /// What those positions count.
    pub counted: Counted,
}

/// How many bytes at the end of a file its footer has, by the last eight of them; `None` when they
/// are not the end of a Parquet file.
#[must_use]
pub fn footer_bytes(end: &[u8]) -> Option<usize> {
    let end: &[u8; 8] = end.last_chunk()?;
    let tail = FooterTail::try_new(end).ok()?;
    let bytes = tail.metadata_length().checked_add(end.len())?;
    (!tail.is_encrypted_footer() && bytes <= FOOTER_BYTES_MAX).then_some(bytes)
}

impl Provenance {
    /// Reads a footer, which is the last [`footer_bytes`] of a file; `None` when it cannot be read.
    #[must_use]
    pub fn read(footer: &[u8]) -> Option<Self> {
        let metadata = footer.len().checked_sub(8).map(|end| &footer[..end])?;
        let metadata = ParquetMetaDataReader::decode_metadata(metadata).ok()?;
        let file = metadata.file_metadata();
        let pairs = file.key_value_metadata();
        let text = |key: &str| {
            let pair = pairs?.iter().find(|pair| pair.key == key)?;
            pair.value.as_deref()
        };
        let number = |key: &str| text(key).and_then(|text| text.parse().ok()).unwrap_or(0);
        let is_parts = text("lakehose.position.of") == Some(Counted::Parts.as_str());
        Some(Self {
            stored_rows: u64::try_from(file.num_rows()).ok()?,
            stream: text("lakehose.stream").map(str::to_owned),
            journal: text("lakehose.journal").unwrap_or_default().to_owned(),
            plan: number("lakehose.plan"),
            records: number("lakehose.records"),
            rows: number("lakehose.rows"),
            positions: text("lakehose.positions").and_then(|text| text.parse().ok()),
            counted: if is_parts { Counted::Parts } else { Counted::Records },
        })
    }
}
