//! jq: the language in which queries for partition keys and two of the steps are written.
//!
//! Owns compiling a program and running it over one JSON document within [`Bounds`], and how deep and
//! how wide a document may be whose values are built ([`check_shape`]). Does not own what becomes of
//! outputs: parts and filters are `transform`'s, places are the pipeline's.
//!
//! The interpreter is jaq's. A program is rewritten before it is compiled (`guard`), so that all
//! it does is paid for (`meter`): one that runs away fails its record, at the same place on every
//! machine, and never the process. What jq 1.6 does otherwise than jaq, and a partition key may show,
//! is mended by natives and by `definitions.jq`; `tests/jq` compares the two and its README lists
//! what is left.
//!
//! Not bounded to the step: one search of a regular expression, which takes time that is linear in
//! the text, and sorting, which is paid for by the size of what is sorted.
//!
//! `env`, `$ENV`, `input`, `halt`, `include` and `import` do not exist here: a program sees its
//! record and nothing else. `now` is the arrival of the record, so that a repetition gives the same.

mod guard;
mod keys;
mod matching;
mod meter;
mod natives;
mod operators;
#[cfg(test)]
mod tests;
mod text;
mod times;
mod update;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jaq_core::compile::Undefined;
use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars};
use jaq_json::{Num, Val};

use crate::json::DEPTH_MAX;

pub use self::keys::{KEYS_MAX, KeyValue};
pub use self::meter::Bounds;

/// The most digits in a row that a number may have.
const DIGITS_MAX: usize = 10_000;

/// The most members that one object of a document may have. Those of all its objects together are
/// bounded by its bytes alone: a list of many small objects is what producers send. Who builds no values
/// need not count: the conversion keeps the members that are columns, the search for an event time one.
pub const MEMBERS_MAX: usize = 10_000;
/// The longest program, in bytes. Reading one recurses as deeply as it is nested.
const PROGRAM_BYTES_MAX: usize = 16 << 10;
/// The stack on which a program is read: enough for the deepest of that length.
const COMPILE_STACK_BYTES: usize = 256 << 20;
/// How long an error of a program may be, in characters.
const TOLD_CHARS_MAX: usize = 1_000;
/// What a program is called when it is compiled as a definition.
const MAIN: &str = "__main";

/// Definitions of the library that do not exist here, or use what does not.
const ABSENT: [&str; 15] = [
    "capture_of_match",
    "debug",
    "halt",
    "halt_error",
    "@htmld",
    "logb",
    "pick",
    "scan",
    "scan_",
    "significand",
    "stderr",
    "toboolean",
    "totype",
    "@urid",
    "todate",
];

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

/// What numbers of a document are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// Doubles, as in jq.
    Doubles,
    /// As they are written, until a program calculates with them.
    Written,
}

impl Program {
    /// Compiles a program.
    ///
    /// # Errors
    /// The first fault of the text.
    pub fn compile(text: &str) -> Result<Self, ProgramError> {
        if text.len() > PROGRAM_BYTES_MAX {
            let what = format!("the program has more than {PROGRAM_BYTES_MAX} bytes");
            return Err(error_at(text, text, what));
        }
        // Reading a program recurses as deeply as it is nested.
        let compiled = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(COMPILE_STACK_BYTES);
            let thread = thread.spawn_scoped(scope, || compile(text)).ok()?;
            thread.join().ok()
        });
        let failed = || error_at(text, text, "it could not be read, since the compiler broke down");
        Ok(Self { text: text.into(), filter: Arc::new(compiled.ok_or_else(failed)??) })
    }

    /// Hands the outputs for one document to `take`, which may end the run. What it uses of `bounds`
    /// is gone for the record's next document. `now` is what the program calls so, in seconds since
    /// 1970.
    ///
    /// # Errors
    /// In words, when `document` is not one JSON value, when the program fails or exceeds its bounds,
    /// and what `take` says.
    pub fn run(
        &self,
        document: &str,
        now: Option<f64>,
        bounds: &mut Bounds,
        take: &mut dyn FnMut(Output) -> Result<(), String>,
    ) -> Result<(), String> {
        let input = read(document.as_bytes(), Numbers::Written);
        let input = input.map_err(|error| format!("the record is no JSON: {error}"))?;
        self.evaluate(input, now, bounds, take)
    }

    /// Runs the program over a value.
    fn evaluate(
        &self,
        input: Val,
        now: Option<f64>,
        bounds: &mut Bounds,
        take: &mut dyn FnMut(Output) -> Result<(), String>,
    ) -> Result<(), String> {
        meter::begin(*bounds, now);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let context = Ctx::<Data>::new(&self.filter.lut, Vars::new([]));
            for output in self.filter.id.run((context, input)) {
                take(Output(output.map_err(told)?))?;
            }
            Ok(())
        }));
        *bounds = meter::left();
        ended.unwrap_or_else(|panic| match panic.downcast::<meter::Stopped>() {
            Ok(stopped) => Err(format!("the program was stopped: {}", stopped.0)),
            // A fault of the interpreter costs the record and not the stream.
            Err(_) => Err("the program broke down".to_owned()),
        })
    }
}

/// A document as a value.
fn read(document: &[u8], numbers: Numbers) -> Result<Val, String> {
    check_shape(document).map_err(|why| format!("it has {why}"))?;
    if has_long_number(document) {
        return Err(format!("a number has more than {DIGITS_MAX} digits"));
    }
    let value = jaq_json::read::parse_single(document).map_err(|error| error.to_string())?;
    Ok(if numbers == Numbers::Doubles { doubles(value) } else { value })
}

/// A value with all its numbers as doubles.
fn doubles(value: Val) -> Val {
    match value {
        Val::Num(Num::Int(small)) if small.unsigned_abs() < 1 << 53 => value,
        Val::Num(number) => operators::plain(number),
        Val::Arr(list) => jaq_json::Rc::unwrap_or_clone(list).into_iter().map(doubles).collect(),
        Val::Obj(object) => {
            let mut object = jaq_json::Rc::unwrap_or_clone(object);
            for value in object.values_mut() {
                *value = doubles(std::mem::take(value));
            }
            Val::obj(object)
        }
        other => other,
    }
}

/// An error of a program in words: a text is shown as it is, anything else as JSON.
fn told(exception: jaq_core::Exn<'_, Val>) -> String {
    let Ok(error) = exception.get_err() else {
        return "the program broke off to no label".to_owned();
    };
    let text = text::plain(&error.into_val());
    let text = text.unwrap_or_else(|why| why);
    match text.char_indices().nth(TOLD_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// One output of a program.
#[derive(Debug)]
pub struct Output(Val);

impl Output {
    /// Whether it counts as true: neither `false` nor `null`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        !matches!(self.0, Val::Null | Val::Bool(false))
    }

    /// It as JSON in one line, as jq prints it; numbers that only passed through keep their digits.
    /// To be called while its program runs, which pays for the text.
    ///
    /// # Errors
    /// In words, of what is no JSON, such as an object with a key that is no text.
    pub fn json(&self) -> Result<String, String> {
        text::json(&self.0)
    }
}

/// Reads and compiles a program, and what it calls.
fn compile(text: &str) -> Result<jaq_core::Filter<Data>, ProgramError> {
    let arena = Arena::default();
    let main = guard::program(text, &arena).map_err(|error| load_error(text, error))?;
    let main = load::parse::Def { name: MAIN, args: Vec::new(), body: main };
    let own = load::parse(include_str!("definitions.jq"), |parser| parser.defs());
    let own = own.unwrap_or_default();
    let is_ours = |def: &load::parse::Def<&str>| {
        let args = def.args.len();
        natives::is_own(def.name, args)
            || own.iter().any(|own| own.name == def.name && own.args.len() == args)
    };
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let defs: Vec<_> = defs.filter(|def| !ABSENT.contains(&def.name) && !is_ours(def)).collect();
    let defs = defs.into_iter().chain(own);
    let defs = defs.map(|def| guard::definition(def, &arena)).chain([main]);
    let failed = |name: &str, what: String| error_at(text, name, what);
    let file = File { code: MAIN, path: () };
    let modules = Loader::new(defs).load(&arena, file);
    let modules = modules.map_err(|_| failed(text, "it cannot be read".to_owned()))?;
    Compiler::default().with_funs(natives::all()).compile(modules).map_err(|errors| {
        let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
        let (name, what) = first.map_or(("", None), |(name, what)| (name, Some(what)));
        let what = match what {
            Some(Undefined::Filter(arity)) => format!("function of {arity} arguments"),
            Some(what) => what.as_str().to_owned(),
            None => "name".to_owned(),
        };
        failed(name, format!("there is no {what} called {name}"))
    })
}

/// Looks, before anything is built of it, whether a document is nested no deeper than any record may be,
/// and has no object of more than [`MEMBERS_MAX`] members. Of what is no JSON it only tells that
/// reading it is safe.
///
/// # Errors
/// What there is too much of, as the end of a sentence that begins with "it has".
pub fn check_shape(data: &[u8]) -> Result<(), String> {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    // Of what is open at each level; a colon outside of texts stands in an object only.
    let mut member_counts = [0_usize; DEPTH_MAX + 1];
    for byte in data {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' if depth == DEPTH_MAX => {
                return Err(format!("more than {DEPTH_MAX} levels"));
            }
            b'[' | b'{' => {
                depth += 1;
                member_counts[depth] = 0;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b':' if member_counts[depth] == MEMBERS_MAX => {
                return Err(format!("an object of more than {MEMBERS_MAX} members"));
            }
            b':' => member_counts[depth] += 1,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a number outside of texts has more digits than are read: the interpreter takes the square of
/// their count.
fn has_long_number(data: &[u8]) -> bool {
    let (mut digits, mut in_string, mut is_escaped) = (0_usize, false, false);
    for byte in data {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        digits = if byte.is_ascii_digit() && !in_string { digits + 1 } else { 0 };
        if digits > DIGITS_MAX {
            return true;
        }
    }
    false
}

fn load_error(text: &str, error: load::Error<&str>) -> ProgramError {
    match error {
        load::Error::Lex(errors) => match errors.into_iter().next() {
            Some((expected, found)) => {
                error_at(text, found, format!("expected {}", expected.as_str()))
            }
            None => error_at(text, text, "it cannot be read"),
        },
        load::Error::Parse(errors) => match errors.into_iter().next() {
            Some((expected, found)) => {
                error_at(text, found, format!("expected {}", expected.as_str()))
            }
            None => error_at(text, text, "it cannot be read"),
        },
        load::Error::Io(errors) => {
            let path = errors.first().map_or("", |(path, _)| *path);
            error_at(text, path, "a program cannot load other files")
        }
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
