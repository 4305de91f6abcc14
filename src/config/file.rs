//! The YAML file on the disk: read as a whole, and every fault of it named with the file.

use std::io;
use std::path::Path;
use std::string::FromUtf8Error;

use super::environment::Environment;
use super::faults::Faults;
use super::settings::Config;
use crate::disk::{OsDisk, read_file};

/// No configuration of people's making is longer.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Why a file gives no configuration. Displays one fault a line.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("could not read the configuration {file}: {error}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// What it says cannot be used.
    #[error("{}", faults.in_file(file))]
    Faults {
        /// The file.
        file: String,
        /// All of them.
        faults: Faults,
    },
}

/// Reads and checks a file.
///
/// # Errors
/// When it cannot be read, or has faults.
pub fn load_file(file: &Path, environment: &dyn Environment) -> Result<Config, FileError> {
    let name = file.display().to_string();
    let text = read_file(&OsDisk, file, CONFIG_BYTES_MAX)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|error| not_text(&error)));
    let text = match text {
        Ok(text) => text,
        Err(error) => return Err(FileError::Unreadable { file: name, error }),
    };
    super::load(&text, environment).map_err(|faults| FileError::Faults { file: name, faults })
}

fn not_text(error: &FromUtf8Error) -> io::Error {
    let readable = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = 1 + readable.iter().filter(|byte| **byte == b'\n').count();
    io::Error::other(format!("line {line} is not UTF-8: save the file as UTF-8"))
}
