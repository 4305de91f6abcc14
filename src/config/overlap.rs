//! Which folders of a store belong to whom: nothing may lie among the objects that a stream's readers
//! read.
//!
//! Owns the comparison of all prefixes of all streams. Does not own what one prefix says by itself
//! (`prefixes`).
//!
//! Readers of a stream look at the folder of its table: what stands before the first expression and
//! the first `key=value` folder, since that belongs to a partition. No other stream's objects, failed
//! records, raw or late records may be there, and none of its own. A stream without a folder of its own
//! reads the whole store, which it therefore has for itself; its failed and raw records need folders
//! that cannot be taken for partitions.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::faults::Place;
use super::reader::Reader;
use super::settings::{DeliveryStream, Store};
use crate::record::StreamName;

/// Objects of one kind that a stream writes.
struct Written<'a> {
    stream: &'a StreamName,
    place: &'a Place,
    /// The whole folders before the first expression, with a slash at the end unless there is none.
    folder: String,
    root: Root,
    /// Whether its objects look like those of a table.
    is_late: bool,
}

/// A store as it is compared: its server and its URL, with a slash at the end.
#[derive(PartialEq, Eq)]
struct Root {
    endpoint: Option<String>,
    url: String,
}

/// Reports what lies where another stream's readers look, or this one's own.
pub(super) fn check_overlaps(
    streams: &BTreeMap<StreamName, DeliveryStream>,
    stores: &BTreeMap<String, Store>,
    reader: &mut Reader<'_>,
) {
    let data: Vec<Written<'_>> =
        streams.iter().filter_map(|(name, stream)| data(name, stream, stores)).collect();
    let others: Vec<Written<'_>> =
        streams.iter().flat_map(|(name, stream)| others(name, stream, stores)).collect();
    for outer in &data {
        for inner in data.iter().filter(|inner| inner.stream != outer.stream) {
            check_data(outer, inner, reader);
        }
        for inner in &others {
            check_other(outer, inner, reader);
        }
    }
}

fn check_data(outer: &Written<'_>, inner: &Written<'_>, reader: &mut Reader<'_>) {
    let (folder, name) = (outer.table_folder(), outer.stream);
    if !inner.is_below(&outer.root, folder) {
        return;
    }
    if inner.root == outer.root && inner.table_folder() == folder {
        // The second of two is told, once.
        if inner.stream > outer.stream {
            let whose = shown_folder(folder);
            let message = format_args!(
                "its objects lie in {whose}, as those of stream '{name}' do, and readers could not \
                 tell them apart: begin with a folder of its own, such as {}/",
                inner.stream
            );
            tell(inner.place, message, reader);
        }
    } else if folder.is_empty() {
        let message = format_args!(
            "it has no folder before its first expression or partition, so that its readers would \
             find the objects of stream '{}' too: begin with one, such as {name}/",
            inner.stream
        );
        tell(outer.place, message, reader);
    } else {
        below(outer, inner, reader);
    }
}

fn check_other(outer: &Written<'_>, inner: &Written<'_>, reader: &mut Reader<'_>) {
    let folder = outer.table_folder();
    if !inner.is_below(&outer.root, folder) {
        return;
    }
    if !folder.is_empty() {
        return below(outer, inner, reader);
    }
    if inner.is_late {
        let message = format_args!(
            "the readers of stream '{}' find every object of the store, and late records that go to \
             late_prefix are not meant for them: begin its prefix with a folder, such as {}/",
            outer.stream, outer.stream
        );
        return tell(outer.place, message, reader);
    }
    if inner.root == outer.root && inner.table_folder().is_empty() {
        let message = format_args!(
            "the objects of stream '{}' begin at the top of the store, and these would lie among \
             them: begin with a folder that has no '=', such as other/",
            outer.stream
        );
        tell(inner.place, message, reader);
    }
}

/// One fault for a prefix is enough: the next shows when this one is mended.
fn tell(place: &Place, message: impl Display, reader: &mut Reader<'_>) {
    if !reader.has_fault_below(place) {
        reader.fault(place.clone(), message);
    }
}

fn below(outer: &Written<'_>, inner: &Written<'_>, reader: &mut Reader<'_>) {
    let message = format_args!(
        "it lies below the folder {} of stream '{}', whose readers would find these objects too: \
         write a folder beside it",
        outer.table_folder(),
        outer.stream
    );
    tell(inner.place, message, reader);
}

fn data<'a>(
    stream: &'a StreamName,
    settings: &'a DeliveryStream,
    stores: &BTreeMap<String, Store>,
) -> Option<Written<'a>> {
    let destination = &settings.destination;
    let folder = fixed_folder(&destination.prefix_text).to_owned();
    let root = Root::of(&destination.store, stores)?;
    Some(Written { stream, place: &destination.prefix_place, folder, root, is_late: false })
}

/// The failed, the raw and the late records of a stream.
fn others<'a>(
    stream: &'a StreamName,
    settings: &'a DeliveryStream,
    stores: &BTreeMap<String, Store>,
) -> Vec<Written<'a>> {
    let destination = &settings.destination;
    // One that is made from the prefix stands where that stands. Firehose's rule puts it below the
    // prefix, and what comes from Firehose has to mean the same here.
    let has_own = destination.error_prefix_place != destination.prefix_place;
    let errors = has_own.then_some((
        &destination.store,
        &destination.error_prefix_text,
        &destination.error_prefix_place,
    ));
    let backup = settings.backup.as_ref();
    let raw = backup.map(|backup| (&backup.store, &backup.prefix_text, &backup.prefix_place));
    let written = |(store, text, place): (&String, &'a String, &'a Place)| {
        let root = Root::of(store, stores)?;
        let folder = fixed_folder(text).to_owned();
        Some(Written { stream, place, folder, root, is_late: false })
    };
    let rule = settings.partitioning.event_time.as_ref().filter(|rule| rule.uses_late_prefix());
    let late = rule.and_then(|rule| {
        let data = data(stream, settings, stores)?;
        let folder = format!("{}{}", rule.late_folder, data.folder);
        Some(Written { folder, is_late: true, ..data })
    });
    errors.into_iter().chain(raw).filter_map(written).chain(late).collect()
}

impl Written<'_> {
    /// The folder above all partitions.
    fn table_folder(&self) -> &str {
        let is_partition = |segment: &&str| segment.contains('=');
        let above = self.folder.split_inclusive('/').take_while(|segment| !is_partition(segment));
        &self.folder[..above.map(str::len).sum::<usize>()]
    }

    fn is_below(&self, root: &Root, folder: &str) -> bool {
        self.root.endpoint == root.endpoint
            && format!("{}{}", self.root.url, self.folder)
                .starts_with(&format!("{}{folder}", root.url))
    }
}

impl Root {
    fn of(store: &str, stores: &BTreeMap<String, Store>) -> Option<Self> {
        // A store with a fault has none; that is told already.
        let target = stores.get(store)?.target(store);
        Some(Self { endpoint: target.endpoint, url: format!("{}/", target.url) })
    }
}

/// The folders of a prefix before its first expression.
fn fixed_folder(prefix: &str) -> &str {
    let fixed = prefix.split("!{").next().unwrap_or_default();
    fixed.rfind('/').map_or("", |slash| &fixed[..=slash])
}

fn shown_folder(folder: &str) -> String {
    if folder.is_empty() {
        "the top of the store".to_owned()
    } else {
        format!("the folder {folder}")
    }
}
