//! What a stream's objects in the store say of its partitions.

use crate::deliver::{ListError, Stores, folders};
use crate::partition::{Evaluated, Layout};
use crate::pipeline::Recipe;
use crate::plan::CatalogPartition;

/// The partitions of the stream that have objects.
///
/// # Errors
/// When the store cannot be listed.
pub(super) async fn partitions(
    stores: &Stores,
    recipe: &Recipe,
) -> Result<Vec<CatalogPartition>, ListError> {
    let layout = Layout::of(&recipe.prefix);
    if layout.folders.is_empty() {
        return Ok(Vec::new());
    }
    let found = folders(stores, &recipe.target, &layout).await?;
    let places = found.into_iter().map(|folder| Evaluated {
        partition: Layout::values(&folder),
        prefix: folder.clone(),
        partition_folder: folder,
    });
    Ok(places.filter_map(|place| recipe.partition(&place)).collect())
}
