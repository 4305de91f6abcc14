//! jq steps: a program whose outputs become the parts, and a filter that keeps what a program is
//! true of.
//!
//! Owns what is done with the outputs of a program. The program sees each JSON document of a
//! record by itself; of a filtered record the documents that pass keep their bytes. Does not own the
//! language, which is [`crate::jq`].
//!
//! Bounds. What a record may cost is counted by the language itself; it fails where that is used up.
//! Outputs are counted and measured here. A program that is out of its bounds fails its record and
//! nothing else.

use bytes::Bytes;
use futures::future::BoxFuture;

use super::documents::documents;
use super::inside::within_memory;
use super::{Item, PARTS_BYTES_MAX, PARTS_MAX, Part, Transform, Unavailable, Verdict};
use crate::fault::Action;
use crate::jq::{Bounds, Program};
use crate::record::UnixMillis;

/// What is done with the outputs.
#[derive(Clone, Copy, Debug)]
enum Use {
    Parts,
    Filter,
}

/// A program whose outputs are the parts of a record; a record without outputs is dropped.
#[derive(Debug)]
pub struct Jq(Runner);

/// A program that tells which records stay; the others are dropped.
#[derive(Debug)]
pub struct Filter(Runner);

impl Jq {
    /// A step that runs `program`.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self(Runner { program, outputs: Use::Parts })
    }
}

impl Filter {
    /// A step that keeps what any output of `program` is true of: neither `false` nor `null`.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self(Runner { program, outputs: Use::Filter })
    }
}

impl Transform for Jq {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        Box::pin(self.0.apply(items))
    }
}

impl Transform for Filter {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        Box::pin(self.0.apply(items))
    }
}

/// Runs a program beside the tasks of the process.
#[derive(Debug)]
struct Runner {
    program: Program,
    outputs: Use,
}

impl Runner {
    async fn apply(&self, items: &[Item]) -> Result<Vec<Verdict>, Unavailable> {
        let (program, outputs, batch) = (self.program.clone(), self.outputs, items.to_vec());
        let run = move || {
            let verdict = |item: &Item| verdict(&program, outputs, item);
            within_memory(batch.iter().map(verdict))
        };
        let ended = tokio::task::spawn_blocking(run).await;
        ended.map_err(|error| Unavailable {
            reason: format!("the jq program broke down: {error}"),
            action: Action::Alarm,
        })
    }
}

fn verdict(program: &Program, outputs: Use, item: &Item) -> Verdict {
    let verdict = match outputs {
        Use::Parts => parts(program, item),
        Use::Filter => kept(program, item),
    };
    verdict.unwrap_or_else(|why| Verdict::failed("Transform.JqFailed", why))
}

/// What `now` stands for: the arrival of the record, so that a repetition gives the same.
#[allow(clippy::cast_precision_loss)]
fn now(arrival: UnixMillis) -> Option<f64> {
    Some(arrival.0 as f64 / 1000.0)
}

fn parts(program: &Program, item: &Item) -> Result<Verdict, String> {
    let Item { arrival, part, .. } = item;
    let (text, documents) = documents(&part.data)?;
    let mut bounds = Bounds::for_record(text.len());
    let mut parts = Vec::new();
    let mut size_bytes = 0;
    for place in documents {
        program.run(&text[place], now(*arrival), &mut bounds, &mut |output| {
            let data = output.json()?;
            size_bytes += data.len();
            if parts.len() == PARTS_MAX || size_bytes > PARTS_BYTES_MAX {
                let bounds = format!("{PARTS_MAX} outputs or {PARTS_BYTES_MAX} bytes");
                return Err(format!("the program gives more than {bounds}"));
            }
            parts.push(Part { data: data.into(), partition_keys: part.partition_keys.clone() });
            Ok(())
        })?;
    }
    Ok(if parts.is_empty() { Verdict::Dropped } else { Verdict::Parts(parts) })
}

fn kept(program: &Program, item: &Item) -> Result<Verdict, String> {
    let Item { arrival, part, .. } = item;
    let (text, documents) = documents(&part.data)?;
    let mut bounds = Bounds::for_record(text.len());
    let count = documents.len();
    let mut kept = Vec::new();
    for place in documents {
        let mut passes = false;
        program.run(&text[place.clone()], now(*arrival), &mut bounds, &mut |output| {
            passes |= output.is_true();
            Ok(())
        })?;
        if passes {
            kept.push(&text[place]);
        }
    }
    if kept.is_empty() {
        return Ok(Verdict::Dropped);
    }
    let data = if kept.len() == count { part.data.clone() } else { Bytes::from(kept.join("\n")) };
    Ok(Verdict::Parts(vec![Part { data, partition_keys: part.partition_keys.clone() }]))
}
