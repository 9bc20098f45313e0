//! Everything about one image.

use hull_api::image::{GraphDriver, ImageInspect, ImageMetadata, ImageRootFs};

use super::catalog::Catalog;
use super::{Images, resolve};
use crate::error::ApiError;

impl Images<'_> {
    /// Everything about the image called `name`.
    ///
    /// # Errors
    /// As [`super::ResolveError`].
    pub fn inspect(&self, name: &str) -> Result<ImageInspect, ApiError> {
        let catalog = Catalog::read(self.store)?;
        let image = resolve::image(&catalog, self.store, name)?;
        let config = &image.selected.config;
        let last = config.history.last();
        let comment = match (config.comment.as_str(), last) {
            ("", Some(last)) => last.comment.clone(),
            (comment, _) => comment.to_owned(),
        };
        let diff_ids = &config.rootfs.diff_ids;
        let mode = diff_ids.iter().find_map(|diff_id| self.store.layers().info(diff_id).ok());
        let came = image.records.iter().map(|record| record.created.clone()).max();
        Ok(ImageInspect {
            id: image.id().to_string(),
            repo_tags: image.tags(),
            repo_digests: image.digests.clone(),
            parent: String::new(),
            comment,
            created: config.created.clone(),
            author: config.author.clone(),
            config: config.runtime(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            os: config.os.clone(),
            size: i64::try_from(image.size(self.store)).unwrap_or(i64::MAX),
            graph_driver: GraphDriver {
                name: mode.map_or("", |info| info.mode.as_str()).to_owned(),
                ..GraphDriver::default()
            },
            root_fs: ImageRootFs {
                kind: config.rootfs.kind.clone(),
                layers: diff_ids.iter().map(ToString::to_string).collect(),
            },
            metadata: ImageMetadata { last_tag_time: came },
            descriptor: image.records.first().map(|record| record.descriptor.clone()),
        })
    }
}
