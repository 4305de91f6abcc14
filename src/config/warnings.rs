//! What a file without faults is likely not to mean.
//!
//! Owns which settings are doubted and at which place. Does not own the doubts about one prefix by
//! itself (`partition`), nor about the order of steps (`processors`). Nothing here keeps a configuration from being used.

use super::faults::{Fault, Place};
use super::settings::{Config, DeliveryStream, Format};
use crate::convert;
use crate::partition::Template;

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
