//! When an object is closed, as the file says it.
//!
//! Owns what the two sizes mean for each other, and whether the machine can hold an object that is to
//! have one. Does not own how a size is reached (`buffer`).

use super::faults::Place;
use super::reader::{At, Field, Named, Reader};
use super::settings::Buffering;
use super::shape::{BUFFER_BYTES_MAX, BufferingSection, File, TARGETED_BYTES_MAX};
use super::units::show_size;
use crate::convert::RecordsCompression;

/// The size of records when neither size is written: Firehose's for converted records.
const SIZE_DEFAULT: u64 = 128 << 20;
/// So many times the size of an object may its records have: more than anything compresses that is
/// worth keeping.
const RECORDS_PER_OBJECT_MAX: u64 = 20;
/// While it is made, an object takes so many times its size of memory at the most: itself, twice while
/// its bytes move to a larger place, and the pages of a row group.
const OBJECT_IN_MEMORY: u64 = 3;
/// An archive of the plain form holds less than 4 GiB, line ends included.
const ZIP_RECORDS_BYTES_MAX: u64 = 3 << 30;

/// When an object is closed, unless there is a fault.
pub(super) fn buffering(section: &BufferingSection, reader: &mut Reader<'_>) -> Option<Buffering> {
    let BufferingSection { size, target_object_size: target, interval } = section;
    if size.is_faulty() || target.is_faulty() {
        return None;
    }
    let object_bytes = target.value().map(|target| target.0);
    let size_bytes = match (size.given(), object_bytes) {
        (None, None) => SIZE_DEFAULT,
        (None, Some(bytes)) => (bytes * RECORDS_PER_OBJECT_MAX).min(TARGETED_BYTES_MAX),
        (Some(At { value, place }), None) if value.0 > BUFFER_BYTES_MAX => {
            let most = show_size(BUFFER_BYTES_MAX);
            let message = format_args!(
                "that is too large for an object in memory: write at most {most}, or set \
                 target_object_size, which bounds the object itself"
            );
            reader.fault(place.clone(), message);
            return None;
        }
        (Some(At { value, place }), Some(bytes)) if value.0 < bytes => {
            let message = format_args!(
                "so few records never make an object of {}: write a size that is several times as \
                 large, or remove it",
                show_size(bytes)
            );
            reader.fault(place.clone(), message);
            return None;
        }
        (Some(at), _) => at.value.0,
    };
    Some(Buffering { size_bytes, object_bytes, interval: interval.value()?.0 })
}

impl Buffering {
    /// The same for records that are packed in this way.
    pub(super) fn packed(self, compression: RecordsCompression) -> Self {
        match compression {
            RecordsCompression::Zip => {
                Self { size_bytes: self.size_bytes.min(ZIP_RECORDS_BYTES_MAX), ..self }
            }
            _ => self,
        }
    }
}

/// Whether the machine that reads the file can hold the objects that it asks for: each, and as many of the
/// largest as are made at the same time. Each stream makes one at a time, and so does each backup.
pub(super) fn check_memory(file: &File, reader: &mut Reader<'_>) {
    let Some(memory_bytes) = reader.environment.memory_bytes() else {
        return;
    };
    let streams = file.delivery_streams.value();
    let streams = streams.into_iter().flat_map(|Named(entries)| entries);
    let mut targets: Vec<(Place, u64)> = Vec::new();
    for section in streams.filter_map(|entry| entry.field.value()) {
        let backup = section.backup.value().map(|backup| &backup.buffering);
        for buffering in [Some(&section.buffering), backup].into_iter().flatten() {
            let target = buffering.value().map(|buffering| &buffering.target_object_size);
            if let Some(Field::Given(At { value, place })) = target {
                targets.push((place.clone(), value.0));
            }
        }
    }
    let objects_bytes = memory_bytes / OBJECT_IN_MEMORY;
    let mut is_each_held = true;
    for (place, bytes) in targets.iter().filter(|(_, bytes)| *bytes > objects_bytes) {
        is_each_held = false;
        let message = format_args!(
            "an object of {} takes up to {} of memory while it is made, and this process has {} MiB: \
             write at most {} MiB",
            show_size(*bytes),
            show_size(*bytes * OBJECT_IN_MEMORY),
            memory_bytes >> 20,
            objects_bytes >> 20,
        );
        reader.fault(place.clone(), message);
    }
    targets.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    targets.truncate(reader.environment.cores());
    let together: u64 = targets.iter().map(|(_, bytes)| bytes).sum();
    if let Some((place, _)) = targets.first().filter(|_| is_each_held && together > objects_bytes) {
        let count = targets.len() as u64;
        let message = format_args!(
            "{count} streams and backups make their objects at the same time, of {} in all, which takes up \
             to {} of memory, and this process has {} MiB: write at most {} MiB for each",
            show_size(together),
            show_size(together * OBJECT_IN_MEMORY),
            memory_bytes >> 20,
            (objects_bytes / count) >> 20,
        );
        reader.fault(place.clone(), message);
    }
}
