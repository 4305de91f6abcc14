//! Secrets, and texts that come from the environment or a file.
//!
//! Owns the form `${env:NAME}` and `${file:/path}` and the type whose value is never printed. Does
//! not own what secrets are for.
//!
//! Invariant: no fault and no `Debug` shows what a reference gave, nor a secret written literally.

use std::fmt;
use std::path::Path;

use serde_json::Value as Json;

use super::environment::Environment;
use super::json_schema;
use super::reader::{Reader, Setting, Source};

/// A reference in JSON Schema.
pub(super) const REFERENCE_PATTERN: &str = r"\$\{(env:[A-Za-z0-9_]+|file:[^\0]+)\}";

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    /// Where it was read, and may change.
    file: Option<String>,
}

impl Secret {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), file: None }
    }

    /// The text itself, for those who sign with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The file that it was read from.
    pub(super) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The secret as its file has it now.
    ///
    /// # Errors
    /// What keeps it from being read, in words.
    pub(super) fn read_again(&self, environment: &dyn Environment) -> Result<Self, String> {
        let Some(file) = self.file() else {
            return Ok(self.clone());
        };
        Ok(Self { text: read_file(file, environment)?, file: Some(file.to_owned()) })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Setting for Secret {
    const EXPECTED: &'static str = "${env:NAME} or ${file:/path}";

    fn json_schema() -> Json {
        json_schema::pattern(Self::EXPECTED, &format!("^{REFERENCE_PATTERN}$"))
    }

    fn read(source: &Source<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(text) = source.scalar() else {
            // What was found is not shown: it may hold the secret.
            reader.fault(source.place(), format_args!("expected {}", Self::EXPECTED));
            return None;
        };
        match reference(text) {
            Some(reference) => match reference.resolve(reader.environment) {
                Ok(text) => Some(Self { text, file: reference.file() }),
                Err(message) => reader.refuse(source, message),
            },
            None => reader.refuse(
                source,
                "a secret must not stand in this file: write ${env:NAME} or ${file:/path}",
            ),
        }
    }
}

/// A text that may stand in the file as it is, or come from the environment or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlainOrReference {
    pub(super) text: String,
    /// Where it was read, and may change.
    pub(super) file: Option<String>,
}

impl Setting for PlainOrReference {
    const EXPECTED: &'static str = "a text, ${env:NAME} or ${file:/path}";

    fn json_schema() -> Json {
        let pattern = format!(r"^({REFERENCE_PATTERN}|((?!\$\{{)[\s\S])+)$");
        json_schema::pattern(Self::EXPECTED, &pattern)
    }

    fn read(source: &Source<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let text = source.scalar_or_fault(Self::EXPECTED, reader)?;
        match reference(text) {
            Some(reference) => match reference.resolve(reader.environment) {
                Ok(text) => Some(Self { text, file: reference.file() }),
                Err(message) => reader.refuse(source, message),
            },
            None if text.is_empty() => reader.refuse(source, "it is empty: write a text"),
            None if looks_like_reference(text) => reader
                .refuse(source, "a reference stands alone: write ${env:NAME} and nothing else"),
            None => Some(Self { text: text.to_owned(), file: None }),
        }
    }
}

/// Whether `text` tries to be a reference.
pub(super) fn looks_like_reference(text: &str) -> bool {
    text.contains("${")
}

enum Reference<'a> {
    Variable(&'a str),
    File(&'a str),
    /// `${` without what should follow.
    Malformed,
}

fn reference(text: &str) -> Option<Reference<'_>> {
    let inside = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
    let parts = inside.and_then(|inside| inside.split_once(':'));
    match parts {
        Some(("env", name)) if is_variable_name(name) => Some(Reference::Variable(name)),
        Some(("file", path)) if !path.is_empty() && !path.contains('\0') => {
            Some(Reference::File(path))
        }
        _ if text.starts_with("${") => Some(Reference::Malformed),
        _ => None,
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What stands in a file that a setting refers to.
///
/// # Errors
/// What keeps it from being read, in words.
pub(super) fn read_file(path: &str, environment: &dyn Environment) -> Result<String, String> {
    Reference::File(path).resolve(environment)
}

impl Reference<'_> {
    fn file(&self) -> Option<String> {
        match self {
            Self::File(path) => Some((*path).to_owned()),
            Self::Variable(_) | Self::Malformed => None,
        }
    }

    fn resolve(&self, environment: &dyn Environment) -> Result<String, String> {
        let (text, what) = match self {
            Self::Variable(name) => {
                let what = format!("the environment variable {name}");
                let value =
                    environment.variable(name).map_err(|error| format!("{what}: {error}"))?;
                (value.ok_or_else(|| format!("{what} is not set: set it, or write another"))?, what)
            }
            Self::File(path) => {
                let what = format!("the file {path}");
                let text = environment.file(Path::new(path));
                (text.map_err(|error| format!("{what} cannot be read: {error}"))?, what)
            }
            Self::Malformed => {
                return Err("it cannot be read: write ${env:NAME} or ${file:/path}".to_owned());
            }
        };
        // Editors and `echo` end files with a newline that is no part of the secret.
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Err(format!("{what} is empty: put the value in it"));
        }
        Ok(line.to_owned())
    }
}
