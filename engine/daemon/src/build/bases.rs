//! Images that stages begin with, and that files are copied from.

use hull_builder::plan::{Base, BaseImage, Wanted};
use hull_oci::{ImageConfig, Platform, Reference};
use hull_store::Store;

use crate::error::ApiError;
use crate::images::{ForBuilds, ResolveError, ResolvedImage, resolve_image};

/// What a named context of a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// An image.
    Image(String),
    /// A directory of the engine's host.
    Directory(String),
}

impl Named {
    /// Reads the value of `--build-context`.
    pub(super) fn parse(name: &str, value: &str) -> Result<Self, ApiError> {
        let unavailable = |what: &str| {
            ApiError::new(
                hull_api::ErrorKind::Unavailable,
                format!("cannot use {value} as build context {name}: {what}"),
            )
            .hint("a directory, or docker-image:// and a reference, can be used")
        };
        if let Some(image) = value.strip_prefix("docker-image://") {
            return Ok(Self::Image(image.to_owned()));
        }
        match value.split_once("://") {
            Some((scheme, _)) => Err(unavailable(&format!("{scheme}:// is not supported"))),
            None if value.starts_with('/') => Ok(Self::Directory(value.to_owned())),
            None => Err(unavailable("it is no absolute path")),
        }
    }
}

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
    store: &Store,
    registries: &ForBuilds<'_>,
    newer: bool,
    wanted: &Wanted,
    named: &dyn Fn(&str) -> Result<Named, ApiError>,
) -> Result<(BaseImage, Option<ResolvedImage>), ApiError> {
    let name = match &wanted.base {
        Base::Image(name) => name.clone(),
        Base::Named(context) => match named(context)? {
            Named::Image(name) => name,
            Named::Directory(path) => {
                return Err(ApiError::invalid(format!(
                    "a stage cannot begin with build context {context}, the directory {path}"
                )));
            }
        },
        Base::Scratch | Base::Stage(_) => {
            let Platform { os, architecture, variant } = wanted.platform.clone();
            let config = ImageConfig { os, architecture, variant, ..ImageConfig::default() };
            let base = BaseImage { config, resolved: String::new(), is_known: true };
            return Ok((base, None));
        }
    };
    let image = image(store, registries, newer, &name, &wanted.platform, wanted.explicit_platform)?;
    let reference = image.reference.as_ref().map(|reference| reference.without_digest_text());
    let resolved = format!("{}@{}", reference.unwrap_or(name), image.manifest_digest);
    let base = BaseImage { config: image.config.clone(), resolved, is_known: true };
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
