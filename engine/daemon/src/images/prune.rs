//! Removing what no container needs.

use hull_api::image::ImagesPruned;
use hull_events::Kind;

use super::catalog::Catalog;
use super::remove::RemoveError;
use super::{Images, list};
use crate::error::ApiError;
use crate::events;
use crate::http::Filters;

const FILTERS: &[&str] = &["dangling", "label", "label!", "until"];

impl Images<'_> {
    /// Removes the images without a name, or with `dangling=false` all that no container was made
    /// from.
    ///
    /// # Errors
    /// A filter that makes no sense, and those of removal.
    pub fn prune(&self, filters: &Filters) -> Result<ImagesPruned, ApiError> {
        filters.only(FILTERS)?;
        let dangling = filters.boolean("dangling")?.unwrap_or(true);
        let until = list::until(filters)?;
        let mut catalog = Catalog::read(self.store)?;
        let mut pruned = ImagesPruned::default();
        for image in catalog.images.clone() {
            let kept = (dangling && !image.names.is_empty())
                || until.is_some_and(|until| image.created() > until)
                || !filters.labels("label", &image.selected.config.runtime().labels)
                || !self.users(&image)?.is_empty();
            if kept {
                continue;
            }
            let mut image = image;
            for name in image.all_names() {
                self.untag(&mut image, &name, &mut pruned.images_deleted)?;
            }
            self.remove_records(&catalog, &image, &mut pruned.images_deleted)?;
            catalog.images.retain(|other| other.id() != image.id());
        }
        pruned.space_reclaimed = self.store.collect().map_err(RemoveError::from)?.bytes;
        events::happened_in(self.store, &events::pruned(Kind::Image, pruned.space_reclaimed));
        Ok(pruned)
    }
}
