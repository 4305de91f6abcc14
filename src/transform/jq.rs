//! jq: a program whose outputs become the parts, and a filter that keeps what a program is true of.
//!
//! Owns compiling, running, and the bounds of either. The program sees each JSON document of a
//! record by itself; of a filtered record the documents that pass keep their bytes.
//!
//! Bounds, and what they cannot hold. Outputs are counted and measured, and the time of a record
//! ([`RECORD_PATIENCE`]) is looked at between two outputs; what exceeds either fails the record. A
//! program that never comes to an output cannot be stopped: after [`RUN_PATIENCE`] the step says
//! that it is away and raises the alarm, the one thread stays busy, and the stream waits; no second
//! run begins before the first has ended. A program that builds values without end takes the memory
//! of the process, one that calls itself without end its stack: both are the writer's to avoid. What
//! producers send cannot do any of this to a program that does not: nesting is bounded, also for
//! `fromjson`.
//!
//! `env`, `$ENV`, `input`, `halt`, `include` and `import` do not exist here: a program sees its
//! record and nothing else.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use jaq_core::compile::Undefined;
use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::native::{self, Fun, bome};
use jaq_core::{Compiler, Ctx, DataT, Vars};
use jaq_json::{Val, read, write};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::documents::{documents, is_shallow};
use super::{Item, PARTS_BYTES_MAX, PARTS_MAX, Part, Transform, Unavailable, Verdict};
use crate::fault::Action;

/// How long a program may take over one record.
const RECORD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a batch is waited for before the alarm is raised.
const RUN_PATIENCE: Duration = Duration::from_secs(60);

type Data = JustLut<Val>;

/// A compiled program.
#[derive(Clone)]
pub struct Program {
    text: Arc<str>,
    filter: Arc<jaq_core::Filter<Data>>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.text).finish()
    }
}

/// Why a text is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column} of the program: {message}")]
pub struct ProgramError {
    /// The line of the program, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl Program {
    /// Compiles a program.
    ///
    /// # Errors
    /// The first fault of the text.
    pub fn compile(text: &str) -> Result<Self, ProgramError> {
        let known = |fun: &Fun<Data>| !["env", "halt", "fromjson"].contains(&fun.0);
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let funs = funs.filter(known).chain([from_json::<Data>()]);
        // What is defined by something left out is left out too.
        let known = |def: &load::parse::Def<&'static str>| !def.name.starts_with("halt");
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).filter(known);
        let arena = Arena::default();
        let file = File { code: text, path: () };
        let modules = Loader::new(defs).load(&arena, file).map_err(|errors| {
            let first = errors.into_iter().next().map(|(_, error)| error);
            load_error(text, first)
        })?;
        let filter = Compiler::default().with_funs(funs).compile(modules).map_err(|errors| {
            let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
            let (name, what) = first.map_or(("", None), |(name, what)| (name, Some(what)));
            let what = match what {
                Some(Undefined::Filter(arity)) => format!("function of {arity} arguments"),
                Some(what) => what.as_str().to_owned(),
                None => "name".to_owned(),
            };
            error_at(text, name, format!("there is no {what} called {name}"))
        })?;
        Ok(Self { text: text.into(), filter: Arc::new(filter) })
    }

    /// Hands the outputs for one document to `take`, which may end the run.
    fn run(
        &self,
        document: &str,
        mut take: impl FnMut(Val) -> Result<(), String>,
    ) -> Result<(), String> {
        let input = read::parse_single(document.as_bytes());
        let input = input.map_err(|error| format!("the record is no JSON: {error}"))?;
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new([]));
        for output in self.filter.id.run((context, input)) {
            let output = output.map_err(|exception| match exception.get_err() {
                Ok(error) => error.to_string(),
                Err(_) => "the program was ended by itself".to_owned(),
            })?;
            take(output)?;
        }
        Ok(())
    }
}

/// `fromjson` that does not recurse into what a producer has nested without end.
fn from_json<D: for<'a> DataT<V<'a> = Val>>() -> Fun<D> {
    native::run(("fromjson", [].into(), |cv| {
        bome(cv.1.try_as_utf8_bytes_owned().and_then(|text| {
            if !is_shallow(&text) {
                return Err(jaq_core::Error::str("the text is nested too deeply"));
            }
            let value = read::parse_single(&text);
            value.map_err(|error| jaq_core::Error::str(format!("cannot parse as JSON: {error}")))
        }))
    }))
}

fn load_error(text: &str, error: Option<load::Error<&str>>) -> ProgramError {
    match error {
        Some(load::Error::Lex(errors)) => match errors.into_iter().next() {
            Some((expected, found)) => {
                error_at(text, found, format!("expected {}", expected.as_str()))
            }
            None => error_at(text, text, "it cannot be read"),
        },
        Some(load::Error::Parse(errors)) => match errors.into_iter().next() {
            Some((expected, found)) => {
                error_at(text, found, format!("expected {}", expected.as_str()))
            }
            None => error_at(text, text, "it cannot be read"),
        },
        Some(load::Error::Io(errors)) => {
            let path = errors.first().map_or("", |(path, _)| *path);
            error_at(text, path, "a program cannot load other files")
        }
        None => error_at(text, text, "it cannot be read"),
    }
}

/// An error at `part`, which is a piece of `text` itself.
fn error_at(text: &str, part: &str, message: impl Into<String>) -> ProgramError {
    let offset = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    // A name of the library's own definitions lies elsewhere.
    let before = text.get(..offset).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ProgramError {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: message.into(),
    }
}

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
        let deadline = Instant::now() + RUN_PATIENCE;
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
        program.run(&text[place], |output| {
            clock.check()?;
            let mut data = Vec::new();
            write::write(&mut data, &write::Pp::default(), 0, &output)
                .map_err(|error| error.to_string())?;
            size_bytes += data.len();
            if parts.len() == PARTS_MAX || size_bytes > PARTS_BYTES_MAX {
                let bounds = format!("{PARTS_MAX} outputs or {PARTS_BYTES_MAX} bytes");
                return Err(format!("the program gives more than {bounds}"));
            }
            check_json(&data)?;
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
        program.run(&text[place.clone()], |output| {
            clock.check()?;
            passes |= !matches!(output, Val::Null | Val::Bool(false));
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

/// jq knows values that JSON does not, such as `nan`.
fn check_json(output: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(output).map_err(|_| "the output is not UTF-8".to_owned())?;
    let json: Result<serde::de::IgnoredAny, _> = serde_json::from_str(text);
    json.map(|_| ()).map_err(|error| format!("the output is no JSON: {error}"))
}

struct Timer {
    deadline: Instant,
}

impl Timer {
    fn start() -> Self {
        Self { deadline: Instant::now() + RECORD_PATIENCE }
    }

    fn check(&mut self) -> Result<(), String> {
        if Instant::now() > self.deadline {
            let seconds = RECORD_PATIENCE.as_secs();
            return Err(format!("the program took more than {seconds} s"));
        }
        Ok(())
    }
}
