//! Images that stages begin with, and that files are copied from.

use hull_builder::plan::{Base, BaseImage, Wanted};
use hull_oci::{ImageConfig, Platform, Reference};
use hull_store::Store;

use super::named::{Contexts, Named};
use crate::error::ApiError;
use crate::images::{ForBuilds, ResolveError, ResolvedImage, resolve_image};

/// Finds the image that is called `name`, for `platform`. If that was not asked for, an image for
/// another platform is taken as it is. One that is not here is pulled, and one that is if `newer`
/// says so.
pub(super) fn image(
    store: &Store,
    registries: &ForBuilds<'_>,
    newer: bool,
    name: &str,
    platform: &Platform,
    explicit: bool,
) -> Result<ResolvedImage, ApiError> {
    let reference = name.parse::<Reference>().map(Reference::with_default_tag);
    if let (Ok(reference), true) = (&reference, newer) {
        registries.pull(reference, platform)?;
    }
    let mut resolved = resolve_image(store, name, Some(platform));
    if let (Err(ResolveError::NotFound(_)), Ok(reference)) = (&resolved, &reference) {
        registries.pull(reference, platform)?;
        resolved = resolve_image(store, name, Some(platform));
    }
    match resolved {
        Err(ResolveError::Platform(mismatch)) if !explicit => {
            Ok(resolve_image(store, name, Some(&mismatch.image))?)
        }
        resolved => Ok(resolved?),
    }
}

/// Answers a planner.
pub(super) fn supply(
    contexts: &Contexts<'_>,
    wanted: &Wanted,
) -> Result<(BaseImage, Option<ResolvedImage>), ApiError> {
    let (platform, explicit) = (&wanted.platform, wanted.explicit_platform);
    let (name, image, is_files) = match &wanted.base {
        Base::Image(name) => {
            let image = contexts.image_called(name, platform, explicit)?;
            (name.clone(), Some(image), false)
        }
        Base::Named(context) => {
            let image = contexts.image(context, platform, explicit)?;
            let is_files = image.is_none() && contexts.named(context)? != Named::Empty;
            (contexts.value(context).to_owned(), image, is_files)
        }
        Base::Scratch | Base::Stage(_) => (String::new(), None, false),
    };
    let Some(image) = image else {
        let Platform { os, architecture, variant } = platform.clone();
        let config = ImageConfig { os, architecture, variant, ..ImageConfig::default() };
        let base = BaseImage { config, resolved: name, is_known: true, is_files };
        return Ok((base, None));
    };
    let reference = image.reference.as_ref().map(|reference| reference.without_digest_text());
    let resolved = format!("{}@{}", reference.unwrap_or(name), image.manifest_digest);
    let base = BaseImage { config: image.config.clone(), resolved, is_known: true, is_files };
    Ok((base, Some(image)))
}

trait WithoutDigest {
    fn without_digest_text(&self) -> String;
}

impl WithoutDigest for hull_oci::Reference {
    /// As text, without a digest.
    fn without_digest_text(&self) -> String {
        let text = self.to_string();
        text.split_once('@').map_or(text.clone(), |(text, _)| text.to_owned())
    }
}
