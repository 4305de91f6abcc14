//! How many objects an hour brings, as far as the settings tell.
//!
//! Owns the estimate and its words. What comes is not known, so it is told for a partition to which
//! records keep coming: such a one closes an object by its age, and more only where its size comes
//! first.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::settings::{Buffering, Config, DeliveryStream};
use super::units::show_size;
use crate::partition::Slot;
use crate::record::StreamName;

const HOUR: Duration = Duration::from_secs(3_600);

/// A line for each stream.
#[must_use]
pub fn forecast(config: &Config) -> Vec<String> {
    config.delivery_streams.iter().map(|(name, stream)| line(config, name, stream)).collect()
}

fn line(config: &Config, name: &StreamName, stream: &DeliveryStream) -> String {
    let hourly = objects_an_hour(stream.buffering);
    let prefix = &stream.destination.prefix;
    let mut keys: Vec<&str> = prefix.slots().iter().filter_map(Slot::key).collect();
    if prefix.slots().iter().any(|slot| matches!(slot, Slot::Event(_))) {
        keys.push("the time in records");
    }
    let writers = config.identities.iter().filter(|identity| identity.may_write(name));
    let tenants: BTreeSet<_> = writers.map(|identity| identity.tenant.as_ref()).collect();
    let tenants = (prefix.uses_tenant() && tenants.len() > 1).then_some(tenants.len() as u64);
    let mut line = format!("{name}: {}", counted(hourly));
    let each = match (tenants, keys.as_slice()) {
        (None, []) => String::new(),
        (Some(_), []) => " for each tenant".to_owned(),
        (None, keys) => format!(" for each value of {}", keys.join(", ")),
        (Some(_), keys) => format!(" for each tenant and value of {}", keys.join(", ")),
    };
    let Buffering { size_bytes, interval, object_bytes } = stream.buffering;
    let interval = interval.as_secs();
    let sooner = match object_bytes {
        Some(bytes) => format!("an object has {} sooner", show_size(bytes)),
        None => format!("{} come sooner", show_size(size_bytes)),
    };
    let _ = write!(
        line,
        "{each} while records keep coming: one every {interval} s, more where {sooner}"
    );
    if let (Some(tenants), []) = (tenants, keys.as_slice()) {
        let _ = write!(line, "; {tenants} tenants, so {} in all", hourly * tenants);
    }
    if let Some(backup) = &stream.backup {
        let hourly = objects_an_hour(backup.buffering);
        let each = if backup.prefix.uses_tenant() { " for each tenant" } else { "" };
        let _ = write!(line, "; and {hourly}{each} of the backup");
    }
    line
}

/// An interval of nothing closes an object for every look at the log.
fn objects_an_hour(buffering: Buffering) -> u64 {
    let interval = buffering.interval.max(Duration::from_secs(1)).as_secs();
    HOUR.as_secs().div_ceil(interval)
}

fn counted(objects: u64) -> String {
    if objects == 1 { "1 object an hour".to_owned() } else { format!("{objects} objects an hour") }
}
