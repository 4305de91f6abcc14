//! Faults of the YAML file: where, and what to write instead.
//!
//! Owns places, faults and their text form. Does not own what is wrong.
//!
//! Invariants: one fault is one line; no fault shows a secret, since those who make faults never
//! hand one over.

use std::fmt;

/// How many characters of foreign text a fault repeats.
const SHOWN_CHARS_MAX: usize = 60;
/// How many known names a fault lists.
const LISTED_MAX: usize = 16;

/// Where something stands in the YAML file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The keys that lead there, such as `delivery_streams.clicks.buffering`; empty for the file.
    pub path: String,
}

impl Place {
    /// The place of something below this one that is not written in the file.
    #[must_use]
    pub fn below(&self, key: &str) -> Self {
        Self { path: join(&self.path, key), ..self.clone() }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    place: Place,
    message: String,
    is_passing: bool,
}

impl Fault {
    /// A fault at `place`; `message` says what is wrong and what to write instead.
    #[must_use]
    pub fn new(place: Place, message: impl fmt::Display) -> Self {
        Self { place, message: one_line(&message.to_string()), is_passing: false }
    }

    /// The same, and nothing is wrong with the file: what it names is out of reach, and the same
    /// file may do later.
    #[must_use]
    pub fn passing(self) -> Self {
        Self { is_passing: true, ..self }
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is wrong and what to write instead.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column, path } = &self.place;
        write!(f, "{line}:{column}: ")?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// All faults of a file, in the order of their lines. Displays one a line, without a file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Puts faults in the order of their lines.
    #[must_use]
    pub fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort();
        faults.dedup();
        Self(faults)
    }

    /// The faults.
    #[must_use]
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }

    /// Whether the same file may do later, since what it names is only out of reach.
    #[must_use]
    pub fn are_passing(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|fault| fault.is_passing)
    }

    /// Displays one fault a line as `FILE:LINE:COLUMN: path.to.key: message`.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| self.write(f, Some(file)))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, file: Option<&str>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if let Some(file) = file {
                write!(f, "{file}:")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, None)
    }
}

impl std::error::Error for Faults {}

/// Foreign text as a fault shows it: quoted, on one line, not longer than helps.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("'{}'", one_line(&short))
}

/// Names as a fault lists them.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let mut list: Vec<&str> = names.by_ref().take(LISTED_MAX).collect();
    if names.next().is_some() {
        list.push("...");
    }
    list.join(", ")
}

/// The path of `key` below `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = shown(key);
    let key = &key[1..key.len() - 1];
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let escaped = |c: char| {
        if c.is_control() { c.escape_default().to_string() } else { c.into() }
    };
    text.chars().map(escaped).collect()
}
