//! What the records of batches became, as the size of their objects is learnt from it.
//!
//! Owns the line that tells of each object, and the file in which a leg leaves what it has learnt for
//! the next start. Does not own what follows from sizes (`buffer`). The file is not synced, and without
//! it, or with a damaged one, sizes are learnt anew: nothing else depends on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::freeze::Recipe;
use super::round::Batch;
use crate::buffer::{Aim, Observed};
use crate::disk::{Disk, OpenMode, read_file};
use crate::partition::Group;
use crate::plan::{ObjectKind, Plan};
use crate::record::StreamName;

const FILE_NAME: &str = "sizes.json";
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Where a leg leaves what it has learnt.
#[derive(Clone, Debug)]
pub(super) struct SizesFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Sizes {
    /// Of other formats the sizes say nothing.
    format: String,
    /// Bytes of records, and of the object that they became; the oldest first.
    objects: Vec<(u64, u64)>,
}

impl SizesFile {
    /// The file of the leg in `directory`.
    pub(super) fn new(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        Self { disk, path: directory.join(FILE_NAME) }
    }

    /// The aim of a recipe, with what an earlier run has left; none where objects are to have no
    /// certain size.
    pub(super) fn aim(&self, recipe: &Recipe) -> Option<Aim<Group>> {
        let target_bytes = recipe.object_bytes?;
        let bytes = read_file(self.disk.as_ref(), &self.path, FILE_BYTES_MAX).ok();
        let sizes = bytes.and_then(|bytes| serde_json::from_slice::<Sizes>(&bytes).ok());
        let sizes = sizes.filter(|sizes| sizes.format == recipe.format.fingerprint());
        let objects = sizes.into_iter().flat_map(|sizes| sizes.objects);
        let observed = |(data_bytes, object_bytes)| Observed { data_bytes, object_bytes };
        Some(Aim::new(target_bytes, &objects.map(observed).collect::<Vec<_>>()))
    }

    /// Leaves what `aim` knows of objects in the format of `recipe`.
    pub(super) fn leave(&self, aim: &Aim<Group>, recipe: &Recipe) {
        let pair = |object: &Observed| (object.data_bytes, object.object_bytes);
        let objects = aim.remembered().iter().map(pair).collect();
        let sizes = Sizes { format: recipe.format.fingerprint(), objects };
        let bytes = serde_json::to_vec(&sizes).unwrap_or_default();
        let file = self.disk.open(&self.path, OpenMode::Create);
        if let Err(error) = file.and_then(|file| file.write_all_at(&bytes, 0)) {
            let path = self.path.display();
            tracing::debug!(%path, %error, "could not leave the sizes of objects; they are learnt anew");
        }
    }
}

/// Tells of the objects in a new plan, and teaches their sizes.
pub(super) fn planned(
    stream: &StreamName,
    batches: &[Batch],
    plan: &Plan,
    aim: &mut Option<Aim<Group>>,
) {
    // Objects stand in the order of their batches.
    let mut objects = plan.objects.iter().peekable();
    for batch in batches {
        let is_of_batch = |first| batch.positions.contains(first);
        let mut of_batch = Vec::new();
        while let Some(object) =
            objects.next_if(|object| object.positions.first().is_some_and(is_of_batch))
        {
            of_batch.extend(Some(object).filter(|object| object.header.kind == ObjectKind::Data));
        }
        // A batch comes in parts when one of its records made the conversion panic.
        if let [object] = of_batch.as_slice() {
            tracing::info!(
                %stream,
                key = object.header.key,
                trigger = batch.closed_by.as_str(),
                records = object.positions.count(),
                record_bytes = batch.data_bytes,
                rows = object.header.row_count,
                bytes = object.header.size_bytes,
                "planned an object"
            );
            // Where many records failed, their bytes say nothing of the object's.
            let is_telling = object.positions.count() * 20 >= batch.positions.count() * 19;
            if let Some(aim) = aim.as_mut().filter(|_| is_telling) {
                let object_bytes = object.header.size_bytes;
                let data_bytes = batch.data_bytes;
                aim.observe(&batch.group, Observed { data_bytes, object_bytes });
            }
        }
    }
    if let Some(aim) = aim {
        aim.has_learnt();
    }
}
