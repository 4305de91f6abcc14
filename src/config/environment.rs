//! The only door to environment variables and to the files that hold secrets.

use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The most bytes that a file with a secret may have.
const SECRET_BYTES_MAX: u64 = 64 * 1_024;

/// What the configuration may ask of the machine.
pub trait Environment: fmt::Debug {
    /// The value of an environment variable, if it is set.
    ///
    /// # Errors
    /// When the value is not UTF-8.
    fn variable(&self, name: &str) -> io::Result<Option<String>>;

    /// The text of a file.
    ///
    /// # Errors
    /// When it cannot be read, is not UTF-8, or is too large for a secret.
    fn file(&self, path: &Path) -> io::Result<String>;

    /// `path` as seen from the root; relative paths begin at the working directory.
    ///
    /// # Errors
    /// When the working directory is not known.
    fn absolute(&self, path: &Path) -> io::Result<PathBuf>;

    /// The memory that the process may have, where that is known.
    fn memory_bytes(&self) -> Option<u64> {
        None
    }

    /// How many objects are made at the same time, at the most.
    fn cores(&self) -> usize {
        1
    }
}

/// The operating system's environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

/// Finds a program as the operating system does to start it: by its path where that has a slash, and
/// otherwise in the folders of `PATH`.
///
/// # Errors
/// Why it cannot be started, and what to do.
pub fn find_program(program: &str, folders: &str) -> Result<(), String> {
    if program.contains('/') {
        return match program_at(Path::new(program)) {
            Found::Program => Ok(()),
            Found::NotExecutable => {
                Err(format!("'{program}' may not be executed: chmod +x, or name its interpreter"))
            }
            Found::Nothing => Err(format!("there is no file '{program}': write where it is")),
        };
    }
    let found: Vec<Found> =
        std::env::split_paths(folders).map(|folder| program_at(&folder.join(program))).collect();
    if found.contains(&Found::Program) {
        return Ok(());
    }
    let what = if found.contains(&Found::NotExecutable) {
        "no program that may be executed"
    } else {
        "no program"
    };
    Err(format!("the folders of PATH have {what} '{program}': install it, or write its whole path"))
}

/// What `/proc/meminfo` says of the whole memory.
fn memory_of_machine(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[derive(PartialEq, Eq)]
enum Found {
    Program,
    NotExecutable,
    Nothing,
}

fn program_at(path: &Path) -> Found {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => {
            Found::Program
        }
        Ok(_) => Found::NotExecutable,
        Err(_) => Found::Nothing,
    }
}

impl Environment for SystemEnvironment {
    #[expect(clippy::disallowed_methods, reason = "this is the door to the environment")]
    fn variable(&self, name: &str) -> io::Result<Option<String>> {
        match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "its value is not UTF-8"))
            }
        }
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > SECRET_BYTES_MAX {
            let message = format!("it has more than {SECRET_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(text)
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        std::path::absolute(path)
    }

    fn memory_bytes(&self) -> Option<u64> {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let machine = memory_of_machine(&text("/proc/meminfo"));
        // What a container may have, by either version of control groups; "max" is no number.
        let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        let limits = limits.iter().filter_map(|path| text(path).trim().parse().ok());
        limits.chain(machine).min()
    }

    fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
