//! Typed reading of the tree: sections declared once, faults collected rather than returned.
//!
//! Owns how a declared section is read: known keys, defaults, places, suggestions. Does not own
//! which keys there are (`shape`) nor how they relate (`check`).
//!
//! A section is declared with `section!`: each key has a type, a presence and a doc comment, and
//! the type knows its own text form. Defaults are YAML text and pass through the same reading as
//! the user's. Reading never stops at a fault; a [`Field`] tells what is absent from what is
//! faulty, so that one mistake gives one fault.

use std::fmt::Display;

use serde_json::Value as Json;

use super::environment::Environment;
use super::faults::{Fault, Place, join, listed, shown};
use super::json_schema;
use super::yaml::{self, Mark, Node, Value};

/// What is handed through while the tree is read.
#[derive(Debug)]
pub(super) struct Reader<'e> {
    pub(super) environment: &'e dyn Environment,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(environment: &'e dyn Environment, faults: Vec<Fault>) -> Self {
        Self { environment, faults, warnings: Vec::new() }
    }

    /// Notes what may be meant and is more likely a mistake.
    pub(super) fn warn(&mut self, place: Place, message: impl Display) {
        self.warnings.push(Fault::new(place, message));
    }

    /// What was warned of.
    pub(super) fn take_warnings(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.warnings)
    }

    /// Notes a fault and goes on.
    pub(super) fn fault(&mut self, place: Place, message: impl Display) {
        self.faults.push(Fault::new(place, message));
    }

    /// Notes a fault of a value that is then not read.
    pub(super) fn refuse<T>(&mut self, source: &Source<'_>, message: impl Display) -> Option<T> {
        self.fault(source.place(), message);
        None
    }

    /// Whether a fault was noted at `place` or below it.
    pub(super) fn has_fault_below(&self, place: &Place) -> bool {
        self.faults.iter().any(|fault| fault.place().path.starts_with(&place.path))
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}

/// A node and the keys that lead to it.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
}

impl<'a> Source<'a> {
    pub(super) fn place(&self) -> Place {
        place_of(self.node.mark, self.path.clone())
    }

    pub(super) fn scalar(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn scalar_or_fault(
        &self,
        expected: &str,
        reader: &mut Reader<'_>,
    ) -> Option<&'a str> {
        if self.scalar().is_none() {
            self.mismatch(expected, reader);
        }
        self.scalar()
    }

    fn mismatch(&self, expected: &str, reader: &mut Reader<'_>) {
        let found = match &self.node.value {
            Value::Null => "nothing",
            // It is not repeated: a misplaced text may hold a secret.
            Value::Scalar(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Faulty => return,
        };
        reader.fault(self.place(), format_args!("expected {expected}, found {found}"));
    }
}

/// A value that can stand behind a key.
pub(super) trait Setting: Sized {
    /// What to write, as faults say it.
    const EXPECTED: &'static str;

    /// The value in JSON Schema, as far as it can tell; accepts whatever `read` accepts.
    fn json_schema() -> Json;

    /// Reads the value, or notes at least one fault.
    fn read(source: &Source<'_>, reader: &mut Reader<'_>) -> Option<Self>;
}

/// A setting that is one text.
pub(super) trait Scalar: Sized {
    /// What to write, as faults say it.
    const EXPECTED: &'static str;

    /// The text in JSON Schema, as far as it can tell; accepts whatever `parse` accepts.
    fn json_schema() -> Json;

    /// Reads the text, or says what is wrong and what to write instead.
    fn parse(text: &str) -> Result<Self, String>;
}

impl<T: Scalar> Setting for T {
    const EXPECTED: &'static str = <T as Scalar>::EXPECTED;

    fn json_schema() -> Json {
        <T as Scalar>::json_schema()
    }

    fn read(source: &Source<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let text = source.scalar_or_fault(<T as Scalar>::EXPECTED, reader)?;
        if super::secret::looks_like_reference(text) {
            let message = "only secrets and the access keys of stores may be ${env:...} or \
                           ${file:...}: write the value itself";
            return reader.refuse(source, message);
        }
        T::parse(text).map_err(|message| reader.fault(source.place(), message)).ok()
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// What is known of a key's value.
#[derive(Clone, Debug)]
pub(super) enum Field<T> {
    /// Not in the file, and without a default.
    Absent,
    /// In the file, or missing from it, with a fault that is already noted.
    Faulty,
    /// Read.
    Given(At<T>),
}

impl<T> Field<T> {
    pub(super) fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            Self::Absent | Self::Faulty => None,
        }
    }

    pub(super) fn value(&self) -> Option<&T> {
        self.given().map(|at| &at.value)
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(super) fn is_faulty(&self) -> bool {
        matches!(self, Self::Faulty)
    }
}

/// Whether a key must be written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Presence {
    Required,
    Optional,
    /// YAML text that is read when the key is absent.
    Default(&'static str),
}

/// Values by names that the user chooses, in the file's order.
#[derive(Clone, Debug)]
pub(super) struct Named<T>(pub(super) Vec<NamedEntry<T>>);

/// A name and its value.
#[derive(Clone, Debug)]
pub(super) struct NamedEntry<T> {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) field: Field<T>,
}

impl<T> Named<T> {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.name.as_str())
    }
}

impl<T: Setting> Setting for Named<T> {
    const EXPECTED: &'static str = "a mapping of names";

    fn json_schema() -> Json {
        json_schema::named(T::json_schema())
    }

    fn read(source: &Source<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = match &source.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                source.mismatch(Self::EXPECTED, reader);
                return None;
            }
        };
        let named = entries.iter().map(|entry| {
            let path = join(&source.path, &entry.key);
            let place = place_of(entry.mark, path.clone());
            let field = read_field(&entry.node, path, reader);
            NamedEntry { name: entry.key.clone(), place, field }
        });
        Some(Self(named.collect()))
    }
}

/// Values one after another.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<Field<T>>);

impl<T: Setting> Setting for List<T> {
    const EXPECTED: &'static str = "a list";

    fn json_schema() -> Json {
        json_schema::list(T::json_schema())
    }

    fn read(source: &Source<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let items = match &source.node.value {
            Value::List(items) => items.as_slice(),
            Value::Null => &[],
            _ => {
                source.mismatch(Self::EXPECTED, reader);
                return None;
            }
        };
        let read = items
            .iter()
            .enumerate()
            .map(|(index, node)| read_field(node, format!("{}[{index}]", source.path), reader));
        Some(Self(read.collect()))
    }
}

/// The keys of one section, taken one by one.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    source: &'a Source<'a>,
    entries: &'a [yaml::Entry],
}

impl<'a> Fields<'a> {
    /// Opens a section and reports the keys that it does not have.
    pub(super) fn open(
        source: &'a Source<'a>,
        known: &[&'static str],
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let entries = match &source.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ if known.is_empty() => {
                source.mismatch("an empty mapping, {}", reader);
                return None;
            }
            _ => {
                source
                    .mismatch(&format!("a mapping with {}", listed(known.iter().copied())), reader);
                return None;
            }
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let place = place_of(entry.mark, join(&source.path, &entry.key));
            let key = shown(&entry.key);
            match nearest(&entry.key, known) {
                Some(meant) => {
                    reader.fault(place, format_args!("unknown key {key}: write '{meant}'"))
                }
                None if known.is_empty() => {
                    reader.fault(place, format_args!("unknown key {key}: there are no keys here"));
                }
                None => {
                    let known = listed(known.iter().copied());
                    reader
                        .fault(place, format_args!("unknown key {key}: the keys here are {known}"));
                }
            }
        }
        Some(Self { source, entries })
    }

    /// Reads the value of `key`. A key with nothing behind it is a fault, not a default: who left
    /// `streams:` empty hardly meant all of them.
    pub(super) fn take<T: Setting>(
        &self,
        key: &'static str,
        presence: Presence,
        reader: &mut Reader<'_>,
    ) -> Field<T> {
        let path = join(&self.source.path, key);
        let entry = self.entries.iter().find(|entry| entry.key == key);
        if let Some(entry) = entry {
            if entry.node.value == Value::Null {
                let expected = T::EXPECTED;
                let message = format_args!("it has no value: write {expected}, or remove the key");
                reader.fault(place_of(entry.mark, path), message);
                return Field::Faulty;
            }
            return read_field(&entry.node, path, reader);
        }
        let mark = self.source.node.mark;
        match presence {
            Presence::Optional => Field::Absent,
            Presence::Required => {
                let expected = T::EXPECTED;
                let message = format_args!("'{key}' is missing: write {expected}");
                reader.fault(place_of(mark, path), message);
                Field::Faulty
            }
            Presence::Default(text) => {
                let mut node = yaml::parse(text).expect("defaults are YAML").root;
                move_to(&mut node, mark);
                read_field(&node, path, reader)
            }
        }
    }
}

fn read_field<T: Setting>(node: &Node, path: String, reader: &mut Reader<'_>) -> Field<T> {
    if node.value == Value::Faulty {
        return Field::Faulty;
    }
    let source = Source { node, path };
    match T::read(&source, reader) {
        Some(value) => Field::Given(At { value, place: source.place() }),
        None => Field::Faulty,
    }
}

/// Gives the nodes of a default the mark of the section that lacks the key. Defaults are our own
/// and shallow.
fn move_to(node: &mut Node, mark: Mark) {
    node.mark = mark;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| move_to(item, mark)),
        Value::Map(entries) => {
            for entry in entries {
                entry.mark = mark;
                move_to(&mut entry.node, mark);
            }
        }
        Value::Null | Value::Scalar(_) | Value::Faulty => {}
    }
}

fn place_of(mark: Mark, path: String) -> Place {
    Place { line: mark.line, column: mark.column, path }
}

/// The known name that was probably meant by `name`.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let name = plain(name);
    let distances = known.iter().map(|known| (edit_distance(&name, &plain(known)), *known));
    let (distance, meant) = distances.min()?;
    (distance <= 2 && distance * 3 <= meant.len()).then_some(meant)
}

/// How many characters must be put in, taken out or replaced to make one text the other; at most
/// the length of the longer, and not computed for texts of very different lengths.
fn edit_distance(one: &str, other: &str) -> usize {
    if one.len().abs_diff(other.len()) > 8 {
        return one.len().max(other.len());
    }
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, from) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// Declares a section of the file: a struct of [`Field`]s that reads itself and knows its schema,
/// in which the doc comments are what editors show.
///
/// `key: Type = Presence`; the key `r#type` is written `type` in the file.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        $name:ident expects $expected:literal {
            $($(#[doc = $key_doc:literal])* $key:ident: $kind:ty = $presence:expr,)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $name {
            $($(#[doc = $key_doc])* pub(super) $key: $crate::config::reader::Field<$kind>,)*
        }

        impl $crate::config::reader::Setting for $name {
            const EXPECTED: &'static str = $expected;

            fn json_schema() -> serde_json::Value {
                $crate::config::json_schema::section(
                    concat!($($doc),*),
                    vec![$($crate::config::json_schema::Key {
                        name: const { $crate::config::reader::key_name(stringify!($key)) },
                        about: concat!($($key_doc),*),
                        presence: $presence,
                        schema: <$kind as $crate::config::reader::Setting>::json_schema(),
                    }),*],
                )
            }

            fn read(
                source: &$crate::config::reader::Source<'_>,
                reader: &mut $crate::config::reader::Reader<'_>,
            ) -> Option<Self> {
                const KEYS: &[&str] = &[$($crate::config::reader::key_name(stringify!($key))),*];
                let fields = $crate::config::reader::Fields::open(source, KEYS, reader)?;
                Some(Self {
                    $($key: fields.take(
                        const { $crate::config::reader::key_name(stringify!($key)) },
                        $presence,
                        reader,
                    ),)*
                })
            }
        }
    };
}
pub(super) use section;

/// The key of a field as the file writes it.
pub(super) const fn key_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}
