//! How an image was built.

use hull_api::image::ImageHistoryItem;
use hull_oci::Platform;

use super::catalog::Catalog;
use super::{Images, resolve, seconds, select};
use crate::error::ApiError;

impl Images<'_> {
    /// The steps of the image called `name`, newest first. Of a multi-platform image those for
    /// `platform`, this host's if absent.
    ///
    /// # Errors
    /// As [`super::ResolveError`].
    pub fn history(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<Vec<ImageHistoryItem>, ApiError> {
        let catalog = Catalog::read(self.store)?;
        let image = resolve::image(&catalog, self.store, name)?;
        let selected = match platform {
            None => image.selected.clone(),
            Some(platform) => {
                let root = &image.records[0].descriptor;
                let selected = select::best(self.store, root, platform);
                selected.map_err(resolve::ResolveError::from)?
            }
        };
        let mut layers = selected.config.rootfs.diff_ids.iter();
        let size = |diff_id| {
            let size = self.store.layers().info(diff_id).map_or(0, |info| info.tar_size);
            i64::try_from(size).unwrap_or(i64::MAX)
        };
        let mut items: Vec<ImageHistoryItem> = Vec::new();
        for step in &selected.config.history {
            let layer = if step.empty_layer { None } else { layers.next() };
            items.push(ImageHistoryItem {
                id: "<missing>".to_owned(),
                created: seconds(step.created.as_deref()),
                created_by: step.created_by.clone(),
                tags: Vec::new(),
                size: layer.map_or(0, size),
                comment: step.comment.clone(),
            });
        }
        if let Some(newest) = items.last_mut() {
            newest.id = selected.image_id.to_string();
            newest.tags = image.tags();
        }
        items.reverse();
        Ok(items)
    }
}
