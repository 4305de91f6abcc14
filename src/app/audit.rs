//! `lakehose audit`: what lies in the stores, recounted, against what the journals say was delivered.
//!
//! Owns which objects belong to a stream, and the comparison. The books are taken twice, before the
//! listing and after it: what was committed before must be in the store, what lies there must be
//! settled after. So the answer is exact also while the service runs, and nothing has to stand
//! still.
//!
//! Rows of Parquet are recounted by their footers, which name the records; of an object only its end
//! is read. Failures are recounted by their lines. An object of records as they are says nothing of
//! itself: there the count serves that the put noted beside it, where the store keeps notes.
//!
//! Changes nothing, and does not judge what was done on purpose: files that were compacted or deleted
//! by their age are gaps all the same, what was delivered by a prefix or to a store that the
//! configuration has no more is a gap, and what a stream left that was taken out is a stranger.
//!
//! Memory holds the records that were found, as runs, which become few as the picture fills; listing
//! and reading are streamed.

mod comparison;
mod coverage;
mod name;
mod reading;
mod recount;
mod rest;
mod roots;

use std::collections::BTreeMap;

use serde::Serialize;

use super::repair::find;
use super::{StreamError, accesses};
use crate::config::{Config, DeliveryStream};
use crate::deliver::{ListError, Stores};
use crate::pipeline::StreamBooks;
use crate::positions::Positions;
use crate::record::StreamName;

use self::recount::Recount;

pub(super) use self::rest::left_at_rest;
pub use self::rest::{RestError, books_at_rest};

/// Differences of one kind that are told one by one; the rest is counted.
const TOLD_MAX: u64 = 1000;

/// What the recount of one stream came to.
#[derive(Clone, Debug, Serialize)]
pub struct StreamAudit {
    /// The stream.
    pub stream: StreamName,
    /// What was found, by what it is.
    pub counts: Vec<AuditCount>,
    /// Objects of other instances, which have books of their own.
    pub other_instances: u64,
    /// What does not agree.
    pub differences: Vec<Difference>,
    /// Differences beyond those that are told, by kind.
    pub untold: BTreeMap<&'static str, u64>,
    /// What could not be recounted, and why.
    pub notes: Vec<String>,
}

/// One line of the recount.
#[derive(Clone, Debug, Serialize)]
pub struct AuditCount {
    /// What was counted.
    pub what: &'static str,
    /// Objects in the store.
    pub objects: u64,
    /// Records in them; `None` where they do not tell.
    pub in_store: Option<u64>,
    /// Records that the books say were delivered, before the listing and after it.
    pub in_books: (u64, u64),
}

/// Something that does not agree.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// One word for it: gap, overlap, stranger, rows, unknown, surplus.
    pub kind: &'static str,
    /// The object, where it is one.
    pub key: Option<String>,
    /// The records or parts.
    pub positions: Option<Positions>,
    /// What it is, as a sentence.
    pub text: String,
}

/// Why a recount did not come about.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no such stream.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A store does not answer.
    #[error(transparent)]
    Store(#[from] ListError),
    /// The books are not to be had.
    #[error("{0}")]
    Books(String),
}

/// Recounts `stream`, or every stream of the configuration. `books` gives a stream's books as they
/// stand at the moment; `None` for one that has none yet. `progress` hears how many objects of a
/// stream were looked at.
///
/// # Errors
/// When the books or a store are not to be had.
pub async fn audit(
    config: &Config,
    stream: Option<&str>,
    books: impl AsyncFn(&StreamName) -> Result<Option<StreamBooks>, String>,
    progress: &(dyn Fn(&StreamName, u64) + Sync),
) -> Result<Vec<StreamAudit>, AuditError> {
    let stores = Stores::new(accesses::of(config, []));
    let chosen: Vec<(&StreamName, &DeliveryStream)> = match stream {
        Some(stream) => vec![find(config, stream)?],
        None => config.delivery_streams.iter().collect(),
    };
    let mut audits = Vec::new();
    for (name, settings) in chosen {
        let before = books(name).await.map_err(AuditError::Books)?;
        let Some(before) = before else {
            let note = "nothing was ever accepted: the stream has no books".to_owned();
            audits.push(StreamAudit { notes: vec![note], ..StreamAudit::new(name) });
            continue;
        };
        let mut recount = Recount::new(name, settings, config, &before.stamp);
        recount.run(&stores, progress).await?;
        let after = books(name).await.map_err(AuditError::Books)?;
        let after = after.unwrap_or_else(|| before.clone());
        audits.push(recount.compare(&before, &after));
    }
    Ok(audits)
}

impl StreamAudit {
    fn new(stream: &StreamName) -> Self {
        Self {
            stream: stream.clone(),
            counts: Vec::new(),
            other_instances: 0,
            differences: Vec::new(),
            untold: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    fn differ(
        &mut self,
        kind: &'static str,
        key: Option<&str>,
        positions: Option<Positions>,
        text: String,
    ) {
        let told = self.differences.iter().filter(|known| known.kind == kind).count() as u64;
        if told >= TOLD_MAX {
            *self.untold.entry(kind).or_default() += 1;
            return;
        }
        let key = key.map(str::to_owned);
        self.differences.push(Difference { kind, key, positions, text });
    }
}
