//! jq: the language in which queries for partition keys and two of the steps are written.
//!
//! Owns compiling a program and running it over one JSON document, and how deep a document may be
//! nested. Does not own what becomes of outputs: parts and filters are `transform`'s, places are the
//! pipeline's.
//!
//! `env`, `$ENV`, `input`, `halt`, `include` and `import` do not exist here: a program sees its
//! record and nothing else.

mod keys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jaq_core::compile::Undefined;
use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::native::{self, Fun, bome};
use jaq_core::{Compiler, Ctx, DataT, Vars};
use jaq_json::{Val, read, write};

pub use self::keys::{KEYS_MAX, KeyValue};

/// The deepest nesting of a document that is read.
pub const DEPTH_MAX: usize = 128;

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
    ///
    /// # Errors
    /// In words, when `document` is not one JSON value, when the program fails, and what `take` says.
    pub fn run(
        &self,
        document: &str,
        take: &mut dyn FnMut(Output) -> Result<(), String>,
    ) -> Result<(), String> {
        if !is_shallow(document.as_bytes()) {
            return Err(format!("the record has more than {DEPTH_MAX} levels"));
        }
        let input = read::parse_single(document.as_bytes());
        let input = input.map_err(|error| format!("the record is no JSON: {error}"))?;
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new([]));
        for output in self.filter.id.run((context, input)) {
            let output = output.map_err(|exception| match exception.get_err() {
                // A text is shown as it is, anything else as JSON.
                Ok(error) => match error.into_val() {
                    Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
                    value => value.to_string(),
                },
                Err(_) => "the program was ended by itself".to_owned(),
            })?;
            take(Output(output))?;
        }
        Ok(())
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

    /// It as JSON.
    ///
    /// # Errors
    /// In words, of what JSON does not know, such as `nan`.
    pub fn json(&self) -> Result<Vec<u8>, String> {
        let mut json = Vec::new();
        write::write(&mut json, &write::Pp::default(), 0, &self.0)
            .map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&json).map_err(|_| "the output is not UTF-8".to_owned())?;
        let read: Result<serde::de::IgnoredAny, _> = serde_json::from_str(text);
        read.map_err(|error| format!("the output is no JSON: {error}"))?;
        Ok(json)
    }
}

/// Whether no more than [`DEPTH_MAX`] lists and objects are open anywhere. Of what is no JSON it
/// only tells that reading it is safe.
#[must_use]
pub fn is_shallow(data: &[u8]) -> bool {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for byte in data {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return false;
        }
    }
    true
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
