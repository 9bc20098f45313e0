//! A docker-archive: `manifest.json`, configs and layers by path.
//!
//! Spec: moby, image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format".

use hull_oci::{
    ArchiveImage, Digest, ImageConfig, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Platform, Reference,
    parse_archive_manifest,
};

use super::LoadError;
use super::archive::Archive;
use super::plan::{Plan, PlannedImage, Root, Target};

const MANIFEST: &str = "manifest.json";

/// Reads `manifest.json`, if there is one.
pub(super) fn images(archive: &Archive) -> Result<Option<Vec<ArchiveImage>>, LoadError> {
    let Some(range) = archive.find(MANIFEST) else { return Ok(None) };
    let bytes = archive.read(MANIFEST, range, MAX_MANIFEST_BYTES)?;
    let images = parse_archive_manifest(&bytes);
    images.map(Some).map_err(|source| LoadError::Document { name: MANIFEST.to_owned(), source })
}

/// Reads the configs of the images that `manifest.json` lists.
pub(super) fn plan(
    archive: &Archive,
    images: &[ArchiveImage],
    platform: Option<&Platform>,
) -> Result<Plan, LoadError> {
    let mut plan = Plan::default();
    let mut others = Vec::new();
    for listed in images {
        let image = image(archive, listed)?;
        if platform.is_some_and(|wanted| !wanted.matches(&image.platform)) {
            others.push(image.platform);
            continue;
        }
        let names = names(listed)?;
        match plan.targets.iter_mut().find(|target| target.images[0].id == image.id) {
            Some(target) => target.names.extend(names),
            None => plan.targets.push(Target { root: Root::Made, images: vec![image], names }),
        }
    }
    match platform {
        Some(wanted) if plan.targets.is_empty() => {
            Err(LoadError::NoPlatform { wanted: wanted.clone(), found: others })
        }
        _ => Ok(plan),
    }
}

/// The names `manifest.json` gives an image.
pub(super) fn names(image: &ArchiveImage) -> Result<Vec<Reference>, LoadError> {
    let tagged = |name: &Reference| name.tag().is_some();
    let names: Vec<_> =
        image.repo_tags.iter().map(|name| super::name(name)).collect::<Result<_, _>>()?;
    Ok(names.into_iter().filter(tagged).collect())
}

fn image(archive: &Archive, listed: &ArchiveImage) -> Result<PlannedImage, LoadError> {
    let missing = |name: &str| LoadError::MissingMember { name: name.to_owned() };
    let range = archive.find(&listed.config).ok_or_else(|| missing(&listed.config))?;
    let bytes = archive.read(&listed.config, range, MAX_CONFIG_BYTES)?;
    let id = Digest::sha256(&bytes);
    if let Some(expected) = promised(&listed.config)
        && expected != id
    {
        return Err(LoadError::DigestMismatch { expected, actual: id });
    }
    let config = ImageConfig::parse(&bytes)
        .map_err(|source| LoadError::Document { name: listed.config.clone(), source })?;
    let mut layers = Vec::new();
    for name in &listed.layers {
        layers.push((None, Some(archive.find(name).ok_or_else(|| missing(name))?)));
    }
    PlannedImage::new(id, bytes, &config, layers)
}

/// The digest a config's path promises: `<hex>.json` or `blobs/sha256/<hex>`.
fn promised(path: &str) -> Option<Digest> {
    let name = path.rsplit('/').next()?;
    format!("sha256:{}", name.strip_suffix(".json").unwrap_or(name)).parse().ok()
}
