//! `lakehose table ddl`: the statements by which engines read a stream's objects.

use std::path::Path;
use std::process::ExitCode;

use super::{fail, load, show_faults};
use crate::app::{self, StreamError};

/// Prints the statements.
pub(super) async fn ddl(file: &Path, stream: &str) -> ExitCode {
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match app::ddl(&config, stream).await {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(StreamError::Faults(faults)) => show_faults(&faults, &file.display().to_string()),
        Err(error) => fail(&error.to_string()),
    }
}
