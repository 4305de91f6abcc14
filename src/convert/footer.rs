//! What the footer of a Parquet file says of its origin.
//!
//! Owns the keys and the form of their values. Does not own where the values come from.
//!
//! A file is known by them alone, without its name and without the machine that wrote it: which
//! records of which journal it holds, and by which schema.

use crate::positions::Positions;
use crate::record::{StreamName, Tenant, UnixMillis};

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
        let runs = self.positions.runs();
        let first = runs.first().map_or(0, |run| run.first.0);
        let last = runs.last().map_or(0, |run| run.end().0.saturating_sub(1));
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
        pairs.extend(self.tenant.map(|tenant| ("lakehose.tenant", tenant.as_str().to_owned())));
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
