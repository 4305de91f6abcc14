//! `lakehose partitions repair`: brings a catalog to what the store has, and says what it did.

use std::path::Path;
use std::process::ExitCode;

use super::{fail, load, show_faults};
use crate::app::{self, Repair, StreamError};
use crate::plan::CatalogPartition;

/// Compares and mends; exits with 0 when the catalog has every partition afterwards, or would have.
pub(super) async fn repair(file: &Path, stream: &str, dry_run: bool) -> ExitCode {
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match app::repair(&config, stream, dry_run).await {
        Ok(repair) => {
            show(&repair, dry_run);
            if repair.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(StreamError::Faults(faults)) => show_faults(&faults, &file.display().to_string()),
        Err(error) => fail(&error.to_string()),
    }
}

fn show(repair: &Repair, dry_run: bool) {
    let Repair { table, in_store, in_catalog, missing, refused, elsewhere, empty, widened } =
        repair;
    let values = |partition: &CatalogPartition| partition.values.join("/");
    let is_refused = |partition: &CatalogPartition| refused.iter().any(|(p, _)| p == partition);
    let verb = if dry_run { "would register" } else { "registered" };
    for partition in missing.iter().filter(|partition| !is_refused(partition)) {
        println!("{verb} {} at {}", values(partition), partition.location);
    }
    for (partition, reason) in refused {
        println!("not registered: {}: {reason}", values(partition));
    }
    for (partition, location) in elsewhere {
        let objects = &partition.location;
        println!(
            "left as it is: {} is at {location} in the catalog, its objects are at {objects}",
            values(partition)
        );
    }
    for known in empty {
        println!("left as it is: {} has no objects at {}", known.values.join("/"), known.location);
    }
    if *widened > 0 {
        println!("gave {widened} partitions columns of the table that they lacked");
    }
    println!(
        "{table}: {in_store} partitions with objects, {in_catalog} in the catalog before; {} {verb}, \
         {} refused, {} elsewhere, {} without objects",
        missing.len() - refused.len(),
        refused.len(),
        elsewhere.len(),
        empty.len(),
    );
}
