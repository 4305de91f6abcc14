//! What an object is called, and everything else about it but its bytes.
//!
//! Owns the step from a batch and a recipe to a header. Draws at random and keeps nothing: a name
//! counts when it stands in a durable plan.

use uuid::Uuid;

use super::freeze::Recipe;
use crate::partition::{EvaluateError, Group, GroupPlace, KeyTooLong, ObjectName};
use crate::plan::{ObjectHeader, ObjectKind};
use crate::record::{ErrorOutputType, StreamName, UnixMillis};

/// The longest location and the longest value of a partition, Glue's bounds.
const LOCATION_CHARS_MAX: usize = 2_056;
const VALUE_CHARS_MAX: usize = 1_024;

/// The longest name that file systems take.
const NAME_BYTES_MAX: usize = 255;

/// Why an object has no name.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameError {
    #[error(transparent)]
    Prefix(#[from] EvaluateError),
    #[error(transparent)]
    Key(#[from] KeyTooLong),
    #[error(
        "the partition's location would have {0} characters, at most {LOCATION_CHARS_MAX} are \
         possible: shorten the prefix or its values"
    )]
    Location(usize),
    #[error(
        "a partition value has {0} characters, at most {VALUE_CHARS_MAX} are possible: shorten it"
    )]
    Value(usize),
    #[error(
        "a folder or a file would have a name of {0} bytes, at most {NAME_BYTES_MAX} are possible in \
         a file:// store: shorten the prefix or its values"
    )]
    Name(usize),
}

/// The header of the object of a batch's rows or, with `error`, of those of its records that failed
/// in this way; of the batch, its group and when its oldest record arrived.
///
/// `stamp` is that of the log.
pub(super) fn name(
    stream: &StreamName,
    stamp: [u8; 8],
    recipe: &Recipe,
    (group, oldest_arrival): (&Group, UnixMillis),
    error: Option<ErrorOutputType>,
) -> Result<ObjectHeader, NameError> {
    let format = &recipe.format;
    // Lines of failures are written plainly whatever the data is.
    let (kind, template, extension, content_encoding) = match error {
        None => {
            let extension = recipe.file_extension.as_deref().unwrap_or(format.extension());
            (ObjectKind::Data, &recipe.prefix, extension, format.content_encoding())
        }
        Some(_) => (ObjectKind::Error, &recipe.error_prefix, "", None),
    };
    let mut random = || Uuid::new_v4().as_u128();
    let place = template.evaluate(oldest_arrival, group, error, &mut random)?;
    let is_late = kind == ObjectKind::Data && matches!(group.place, GroupPlace::Late(_));
    let rule = recipe.partitioning.event_time.as_ref().filter(|_| is_late);
    let late_folder = rule.map_or("", |rule| rule.late_folder.as_str());
    let name = ObjectName {
        stream,
        version: 1,
        instant: oldest_arrival,
        zone: template.zone(),
        random: marked(stamp, random()),
        extension,
    };
    // Late records beside their partition are none of the table's.
    let is_of_table = kind == ObjectKind::Data && !is_late;
    let partition = if is_of_table { recipe.partition(&place) } else { None };
    if let Some(partition) = &partition {
        let length = partition.location.chars().count();
        if length > LOCATION_CHARS_MAX {
            return Err(NameError::Location(length));
        }
        let lengths = partition.values.iter().map(|value| value.chars().count());
        if let Some(length) = lengths.max().filter(|length| *length > VALUE_CHARS_MAX) {
            return Err(NameError::Value(length));
        }
    }
    let key = name.key(&format!("{late_folder}{}", place.prefix))?;
    if recipe.target.is_folder() {
        let longest = key.split('/').map(str::len).max();
        if let Some(length) = longest.filter(|length| *length > NAME_BYTES_MAX) {
            return Err(NameError::Name(length));
        }
    }
    Ok(ObjectHeader {
        kind,
        target: recipe.target.clone(),
        key,
        offset: 0,
        size_bytes: 0,
        sha256: String::new(),
        row_count: 0,
        tenant: group.tenant.clone(),
        content_encoding: content_encoding.map(str::to_owned),
        partition,
        event: if is_of_table { recipe.event_partition(group, oldest_arrival) } else { None },
        renamed: 0,
        spoiled: false,
    })
}

/// Random bits that begin with the mark of the instance, so that the objects of several are told
/// apart by their names.
fn marked(stamp: [u8; 8], random: u128) -> u128 {
    let [a, b, c, d, ..] = stamp;
    u128::from(u32::from_be_bytes([a, b, c, d])) << 96 | random & (u128::MAX >> 32)
}
