//! A look at the files of an outbox that changes none of them.
//!
//! Owns what is to be said of the files: missing, too short, other bytes than planned, without a plan.
//! Reads an object piece by piece, whatever its size. Takes no lock.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{QUARANTINE, file_name, parse_file_name};
use crate::disk::{Disk, DiskFile, OpenMode, read_up_to};
use crate::plan::{Hasher, ObjectHeader, Plan, PlanId, PlannedObject};

/// What is read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Something about an outbox's files that is not as it was written.
#[derive(Debug)]
pub struct Flaw<'a> {
    /// The file.
    pub path: PathBuf,
    /// The object whose bytes are concerned; none where the whole file is, or no object of a plan.
    pub object: Option<&'a PlannedObject>,
    /// What it is.
    pub kind: FlawKind,
}

/// What a flaw is.
#[derive(Debug)]
pub enum FlawKind {
    /// The file of an open plan is not there; told for each of its objects.
    Missing,
    /// The file ends before the object does.
    Short,
    /// The object's bytes are not those that were planned.
    Damaged,
    /// The disk does not give the file.
    Unreadable(io::Error),
    /// A file that an interrupted attempt to plan left; no damage.
    Leftover,
    /// A file of a plan that the log should have and has not.
    Unplanned(PlanId),
    /// A file with damaged objects that was set aside.
    SetAside,
    /// A name that no file of an outbox has.
    Unknown,
}

/// Checks the outbox in the stream's `directory` against its `open_plans`; `last` is the last plan
/// that the log knows. Tells how many objects were looked at.
///
/// # Errors
/// When the folder cannot be listed; one that is not there is empty.
pub fn survey<'a>(
    disk: &dyn Disk,
    directory: &Path,
    open_plans: &'a BTreeMap<PlanId, Plan>,
    last: PlanId,
    seen: &mut dyn FnMut(Flaw<'a>),
) -> io::Result<u64> {
    let quarantine = directory.join(QUARANTINE);
    for name in list(disk, &quarantine)? {
        seen(Flaw { path: quarantine.join(name), object: None, kind: FlawKind::SetAside });
    }
    let directory = directory.join("outbox");
    for name in list(disk, &directory)? {
        let path = directory.join(&name);
        let kind = match parse_file_name(&name) {
            Some(id) if open_plans.contains_key(&id) => continue,
            // It waits for the checkpoint after its commit.
            Some(id) if id <= last => continue,
            // The next plan's file is written before the plan is.
            Some(id) if id.0 == last.0.saturating_add(1) => FlawKind::Leftover,
            Some(id) => FlawKind::Unplanned(id),
            None => FlawKind::Unknown,
        };
        seen(Flaw { path, object: None, kind });
    }
    let mut count = 0;
    for (id, plan) in open_plans {
        let is_aside = plan.spoiled().next().is_some();
        let aside = is_aside.then(|| quarantine.join(file_name(*id)));
        let aside = aside.filter(|path| disk.open(path, OpenMode::Read).is_ok());
        let path = aside.unwrap_or_else(|| directory.join(file_name(*id)));
        let opened = disk.open(&path, OpenMode::Read);
        for object in plan.objects.iter().filter(|object| !object.header.spoiled) {
            count += 1;
            let kind = match &opened {
                Ok(file) => look(file.as_ref(), &object.header),
                Err(error) if error.kind() == ErrorKind::NotFound => Some(FlawKind::Missing),
                Err(error) => {
                    Some(FlawKind::Unreadable(io::Error::new(error.kind(), error.to_string())))
                }
            };
            if let Some(kind) = kind {
                seen(Flaw { path: path.clone(), object: Some(object), kind });
            }
        }
    }
    Ok(count)
}

fn list(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<String>> {
    match disk.list(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    }
}

/// What is wrong with one object.
fn look(file: &dyn DiskFile, header: &ObjectHeader) -> Option<FlawKind> {
    match hash(file, header) {
        Ok(Some(hash)) => (hash != header.sha256).then_some(FlawKind::Damaged),
        Ok(None) => Some(FlawKind::Short),
        Err(error) => Some(FlawKind::Unreadable(error)),
    }
}

/// The hash of an object's bytes; `None` when the file ends before them.
fn hash(file: &dyn DiskFile, header: &ObjectHeader) -> io::Result<Option<String>> {
    let mut hasher = Hasher::default();
    let mut piece = vec![0; PIECE_BYTES];
    let (mut offset, mut left) = (header.offset, header.size_bytes);
    while left > 0 {
        let wanted = left.min(PIECE_BYTES as u64) as usize;
        let read = read_up_to(file, &mut piece[..wanted], offset)?;
        if read < wanted {
            return Ok(None);
        }
        hasher.update(&piece[..read]);
        offset = offset.saturating_add(wanted as u64);
        left -= wanted as u64;
    }
    Ok(Some(hasher.finish()))
}
