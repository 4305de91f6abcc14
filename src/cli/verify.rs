//! `lakehose verify`: shows what is wrong with a data directory.

use std::path::Path;
use std::process::ExitCode;

use super::{EXIT_UNCHECKED, fail_with, thousands};
use crate::app::{self, Verified};

/// Prints one line for each finding; exits with 0 when there is no problem, with 1 when there is one,
/// and with 2 when the directory, or a part of it, could not be checked.
pub(super) async fn verify(directory: &Path) -> ExitCode {
    let path = directory.to_owned();
    let looked = tokio::task::spawn_blocking(move || {
        app::verify(&path, &mut |finding| println!("{finding}"))
    });
    let verified = match looked.await {
        Ok(Ok(verified)) => verified,
        Ok(Err(error)) => return fail_with(EXIT_UNCHECKED, &error.to_string()),
        Err(error) => return fail_with(EXIT_UNCHECKED, &format!("the check ended early: {error}")),
    };
    let Verified { streams, segments, records, objects, problems, unchecked } = verified;
    println!(
        "{}: looked at {} streams, {} journal segments, {} records, {} frozen objects: {}",
        directory.display(),
        thousands(streams),
        thousands(segments),
        thousands(records),
        thousands(objects),
        match (problems, unchecked) {
            (0, 0) => "no problems".to_owned(),
            (1, 0) => "1 problem".to_owned(),
            (_, 0) => format!("{} problems", thousands(problems)),
            _ => format!("{} problems, {} not checked", thousands(problems), thousands(unchecked)),
        }
    );
    match (problems, unchecked) {
        (0, 0) => ExitCode::SUCCESS,
        (_, 0) => ExitCode::FAILURE,
        _ => EXIT_UNCHECKED.into(),
    }
}
