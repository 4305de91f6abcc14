//! When an object is closed, as the file says it.
//!
//! Owns what the two sizes mean for each other, whether the machine can hold an object that is to have
//! one, and how much of its memory is taken. Does not own how a size is reached (`buffer`).

use super::faults::Place;
use super::reader::{At, Field, Named, Reader};
use super::settings::Buffering;
use super::shape::{BUFFER_BYTES_MAX, BufferingSection, File, TARGETED_BYTES_MAX};
use super::units::show_size;
use crate::convert::RecordsCompression;
use crate::memory::MEMORY_BYTES_MIN;

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

/// How much memory the process is to take, in bytes.
const MEMORY_DEFAULT: u64 = 1 << 30;

/// How much memory the process is to take.
pub(super) fn memory_bytes(file: &File, reader: &mut Reader<'_>) -> Option<u64> {
    let may_have = reader.environment.memory_bytes();
    let Field::Given(At { value, place }) = &file.memory else {
        let part = may_have.map_or(u64::MAX, |bytes| bytes / 4 * 3);
        let bytes = MEMORY_DEFAULT.min(part).max(MEMORY_BYTES_MIN);
        return (!file.memory.is_faulty()).then_some(bytes);
    };
    if let Some(may_have) = may_have.filter(|may_have| *may_have < value.0) {
        let message = format_args!(
            "this process may have {} MiB: write less, and leave a fifth of that free",
            may_have >> 20
        );
        reader.warn(place.clone(), message);
    }
    Some(value.0)
}

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

/// Whether the memory can hold the objects that the file asks for. Large ones are made one at a time.
pub(super) fn check_objects(file: &File, memory_bytes: u64, reader: &mut Reader<'_>) {
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
    targets.retain(|(_, bytes)| bytes * OBJECT_IN_MEMORY > memory_bytes);
    for (place, bytes) in targets {
        let message = format_args!(
            "an object of {} takes up to {} of memory while it is made, and the process is to take {} MiB: \
             write at most {} MiB, or more for 'memory'",
            show_size(bytes),
            show_size(bytes * OBJECT_IN_MEMORY),
            memory_bytes >> 20,
            (memory_bytes / OBJECT_IN_MEMORY) >> 20,
        );
        reader.fault(place, message);
    }
}
