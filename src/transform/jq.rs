//! jq steps: a program whose outputs become the parts, and a filter that keeps what a program is
//! true of.
//!
//! Owns what is done with the outputs of a program. The program sees each JSON document of a
//! record by itself; of a filtered record the documents that pass keep their bytes. Does not own the
//! language, which is [`crate::jq`].
//!
//! Bounds, and what they cannot hold. Outputs are counted and measured, and the time of a record
//! ([`RECORD_PATIENCE`]) is looked at between two outputs; what exceeds either fails the record. A
//! program that never comes to an output cannot be stopped: after [`RUN_PATIENCE`] the step says
//! that it is away and raises the alarm, the one thread stays busy, and the stream waits; no second
//! run begins before the first has ended. A program that builds values without end takes the memory
//! of the process, one that calls itself without end its stack: both are the writer's to avoid. What
//! producers send cannot do any of this to a program that does not: nesting is bounded, also for
//! `fromjson`.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::documents::documents;
use super::{Item, PARTS_BYTES_MAX, PARTS_MAX, Part, Transform, Unavailable, Verdict};
use crate::fault::Action;
use crate::jq::Program;

/// How long a program may take over one record.
const RECORD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a batch is waited for before the alarm is raised.
const RUN_PATIENCE: Duration = Duration::from_secs(60);

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
        Self(Runner { program, outputs: Use::Parts, running: Mutex::default() })
    }
}

impl Filter {
    /// A step that keeps what any output of `program` is true of: neither `false` nor `null`.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self(Runner { program, outputs: Use::Filter, running: Mutex::default() })
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

/// Runs a program beside the tasks of the process, one batch at a time.
#[derive(Debug)]
struct Runner {
    program: Program,
    outputs: Use,
    running: Mutex<Option<Run>>,
}

/// A batch that is being worked on, whether or not somebody still waits for it.
#[derive(Debug)]
struct Run {
    items: Vec<Item>,
    end: JoinHandle<Vec<Verdict>>,
}

impl Runner {
    async fn apply(&self, items: &[Item]) -> Result<Vec<Verdict>, Unavailable> {
        let unavailable = |reason: String| Unavailable { reason, action: Action::Alarm };
        let deadline = tokio::time::Instant::now() + RUN_PATIENCE;
        let late = || {
            let seconds = RUN_PATIENCE.as_secs();
            unavailable(format!("the jq program has not come to an end within {seconds} s"))
        };
        let running = tokio::time::timeout_at(deadline, self.running.lock()).await;
        let mut running = running.map_err(|_| late())?;
        loop {
            let run = running.get_or_insert_with(|| self.start(items.to_vec()));
            let ended = tokio::time::timeout_at(deadline, &mut run.end).await;
            let ended = ended.map_err(|_| late())?;
            // A batch that was given up is still to be waited for, and is not this one.
            let is_ours = running.take().is_some_and(|run| run.items == items);
            match ended {
                Ok(verdicts) if is_ours => return Ok(verdicts),
                Err(error) if is_ours => {
                    return Err(unavailable(format!("the jq program broke down: {error}")));
                }
                _ => {}
            }
        }
    }

    fn start(&self, items: Vec<Item>) -> Run {
        let (program, outputs, batch) = (self.program.clone(), self.outputs, items.clone());
        let end = tokio::task::spawn_blocking(move || {
            batch.iter().map(|item| verdict(&program, outputs, &item.part)).collect()
        });
        Run { items, end }
    }
}

fn verdict(program: &Program, outputs: Use, part: &Part) -> Verdict {
    // A fault of the interpreter costs the record and not the stream.
    let verdict = std::panic::catch_unwind(AssertUnwindSafe(|| match outputs {
        Use::Parts => parts(program, part),
        Use::Filter => kept(program, part),
    }));
    let verdict = verdict.unwrap_or_else(|_| Err("the program broke down".to_owned()));
    verdict.unwrap_or_else(|why| Verdict::failed("Transform.JqFailed", why))
}

fn parts(program: &Program, part: &Part) -> Result<Verdict, String> {
    let (text, documents) = documents(&part.data)?;
    let mut clock = Timer::start();
    let mut parts = Vec::new();
    let mut size_bytes = 0;
    for place in documents {
        program.run(&text[place], &mut |output| {
            clock.check()?;
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

fn kept(program: &Program, part: &Part) -> Result<Verdict, String> {
    let (text, documents) = documents(&part.data)?;
    let mut clock = Timer::start();
    let count = documents.len();
    let mut kept = Vec::new();
    for place in documents {
        let mut passes = false;
        program.run(&text[place.clone()], &mut |output| {
            clock.check()?;
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

struct Timer {
    deadline: Instant,
}

impl Timer {
    fn start() -> Self {
        Self { deadline: tokio::time::Instant::now() + RECORD_PATIENCE }
    }

    fn check(&mut self) -> Result<(), String> {
        if tokio::time::Instant::now() > self.deadline {
            let seconds = RECORD_PATIENCE.as_secs();
            return Err(format!("the program took more than {seconds} s"));
        }
        Ok(())
    }
}
