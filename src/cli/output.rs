//! What commands say on the standard output and the standard error.
//!
//! Owns what happens when nobody can take it: the macros below stand for those of the same names in
//! the standard library, which panic then, and every command uses them without knowing. Does not own
//! what is said, nor the log of the service.
//!
//! A reader that has gone away (`lakehose status | head -1`) has what it wanted, so the process ends
//! without a word, with the exit code by which shells know that end. Any other failure, such as a
//! full disk, is told in one line, and the process ends with 1. Whatever runs in the process then,
//! as in a demo, ends as by a kill, which loses nothing.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};

/// 128 and the number of SIGPIPE.
const EXIT_BROKEN_PIPE: i32 = 141;

/// Prints to the standard output; a failure ends the process.
macro_rules! print {
    ($($what:tt)*) => { $crate::cli::output::print(format_args!($($what)*)) };
}

/// Prints a line to the standard output; a failure ends the process.
macro_rules! println {
    () => { $crate::cli::output::print(format_args!("\n")) };
    ($($what:tt)*) => { $crate::cli::output::print(format_args!("{}\n", format_args!($($what)*))) };
}

/// Prints a line to the standard error, if anybody takes it.
macro_rules! eprintln {
    ($($what:tt)*) => { $crate::cli::output::complain(format_args!("{}\n", format_args!($($what)*))) };
}

pub(super) fn print(what: Arguments<'_>) {
    end_at(io::stdout().lock().write_fmt(what));
}

/// Makes sure that all of it has been taken.
pub(super) fn flush() {
    end_at(io::stdout().lock().flush());
}

pub(super) fn complain(what: Arguments<'_>) {
    // There is no place left to say that this could not be said.
    let _ = io::stderr().lock().write_fmt(what);
}

fn end_at(written: io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            std::process::exit(EXIT_BROKEN_PIPE);
        }
        Err(error) => {
            eprintln!("could not write to the standard output: {error}");
            std::process::exit(1);
        }
    }
}
