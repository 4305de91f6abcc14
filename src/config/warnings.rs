//! What a file without faults is likely not to mean.
//!
//! Owns which settings are doubted and at which place. Does not own the doubts about one prefix by
//! itself (`partition`), nor about the order of steps (`processors`). Nothing here keeps a
//! configuration from being used.

use super::faults::{Fault, Place};
use super::settings::{Config, DeliveryStream, Format};
use super::transform::StepKind;
use crate::convert::{self, Delimiter};
use crate::partition::{Absent, Template};
use crate::transform::LogForm;

/// What is worth a second look.
pub(super) fn of(config: &Config) -> Vec<Fault> {
    let mut warnings = Vec::new();
    for stream in config.delivery_streams.values() {
        for (prefix, place) in prefixes(stream) {
            let doubts = prefix.doubts().into_iter();
            warnings.extend(doubts.map(|doubt| Fault::new(place.clone(), doubt)));
        }
        warnings.extend(errors_among_data(stream));
        warnings.extend(hidden_compression(stream));
        warnings.extend(empty_records(stream));
    }
    warnings
}

/// What a stream writes, each text once: an error prefix may be made from the prefix.
fn prefixes(stream: &DeliveryStream) -> impl Iterator<Item = (&Template, &Place)> {
    let destination = &stream.destination;
    let errors = (&destination.error_prefix, &destination.error_prefix_place);
    let has_own = errors.1 != &destination.prefix_place;
    let backup = stream.backup.as_ref();
    [(&destination.prefix, &destination.prefix_place)]
        .into_iter()
        .chain(has_own.then_some(errors))
        .chain(backup.map(|backup| (&backup.prefix, &backup.prefix_place)))
}

/// Firehose's rule puts failures below a literal prefix, where readers of the data look too; any
/// other place among data is a fault.
fn errors_among_data(stream: &DeliveryStream) -> Option<Fault> {
    let destination = &stream.destination;
    let is_derived = destination.error_prefix_place == destination.prefix_place;
    is_derived.then(|| {
        let message = format_args!(
            "failed records go to {}, below the prefix, where readers of the data find them too: \
             write an error_prefix of its own, such as errors/",
            destination.error_prefix_text
        );
        Fault::new(destination.prefix_place.clone(), message)
    })
}

/// Athena and Spark tell compression by the name alone.
fn hidden_compression(stream: &DeliveryStream) -> Option<Fault> {
    let Format::Records(options) = &stream.format else {
        return None;
    };
    let usual = convert::Format::Records(*options).extension();
    let extension = stream.destination.file_extension.as_ref()?;
    let is_hidden = !usual.is_empty() && !extension.ends_with(usual);
    is_hidden.then(|| {
        let message = format_args!(
            "objects are compressed, which readers such as Athena and Spark tell by the end of the \
             name: write {extension}{usual}"
        );
        Fault::new(stream.destination.file_extension_place.clone(), message)
    })
}

/// Firehose makes empty records of CloudWatch's health checks. They come every few minutes, and there are few
/// things that take them.
fn empty_records(stream: &DeliveryStream) -> Option<Fault> {
    let makes_them = StepKind::CloudWatchLogs(LogForm::Messages { drops_control: false });
    let at = stream.transform.iter().position(|step| step.kind == makes_them)?;
    let after = stream.transform[at + 1..].iter().map(|step| &step.kind);
    // Of no document jq makes nothing, and what stands outside may drop them.
    let is_last = |kind: &StepKind| {
        kind.is_outside() || matches!(kind, StepKind::Jq(_) | StepKind::Filter(_))
    };
    let refuses = |kind: &StepKind| matches!(kind, StepKind::Fields(_));
    if let Some(first) = after.clone().find(|kind| is_last(kind) || refuses(kind))
        && is_last(first)
    {
        return None;
    }
    let partitioning = &stream.partitioning;
    let needs_time =
        partitioning.event_time.as_ref().is_some_and(|rule| rule.absent == Absent::Error);
    let has_lines = match &stream.format {
        Format::Records(options) => options.delimiter != Delimiter::None,
        Format::Parquet(_) => false,
    };
    let harm = if after.clone().any(refuses) {
        "in which fields finds no object and which go to the error prefix"
    } else if partitioning.query.is_some() {
        "of which the query makes no keys and which go to the error prefix"
    } else if needs_time {
        "which have no event time and go to the error prefix"
    } else if matches!(stream.format, Format::Parquet(_)) {
        "which no row is made of and which go to the error prefix"
    } else if has_lines || after.clone().any(|kind| matches!(kind, StepKind::AppendDelimiter(_))) {
        "which leave empty lines in objects"
    } else {
        return None;
    };
    let message = format_args!(
        "health checks of CloudWatch become empty records, {harm}: write control_messages: drop"
    );
    Some(Fault::new(stream.transform[at].place.clone(), message))
}
