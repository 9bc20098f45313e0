//! An OCI layout as an archive: `index.json` and `blobs/`.
//!
//! Docker 25 and later writes this beside its own `manifest.json`; BuildKit, skopeo and podman
//! write it alone. Spec: image-spec, image-layout.md.

use std::collections::HashSet;

use hull_oci::{
    Descriptor, Digest, Document, ImageConfig, Index, Layout, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES,
    Manifest, Platform, Reference, annotation, media_type,
};

use super::archive::{Archive, digest_as};
use super::plan::{Plan, PlannedImage, Root, Target};
use super::{LayoutEntry, LoadError};

/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 8;

/// How many documents one name may lead to.
const MAX_DOCUMENTS: usize = 1024;

/// Reads the documents of a layout.
///
/// `platform` keeps only what it would run. `in_store` says which layers need not be in the
/// archive.
pub(super) fn plan(
    archive: &Archive,
    platform: Option<&Platform>,
    in_store: &dyn Fn(&Digest) -> bool,
) -> Result<Plan, LoadError> {
    let index = index(archive)?;
    let mut plan = Plan::default();
    for descriptor in &index.manifests {
        if descriptor.is_attestation() {
            continue;
        }
        let name = name_of(descriptor)?;
        let known = plan.targets.iter_mut().find(|target| match &target.root {
            Root::Found { descriptor: known, .. } => known.digest == descriptor.digest,
            Root::Made => false,
        });
        if let Some(target) = known {
            target.names.extend(name);
            continue;
        }
        let mut walk = Walk { platform, ..Walk::empty(archive, in_store) };
        walk.visit(descriptor, 0)?;
        plan.targets.push(walk.finish(descriptor, name)?);
    }
    if plan.targets.is_empty() {
        return Err(LoadError::NotAnImage);
    }
    Ok(plan)
}

/// What is called `entry`, all platforms of it.
pub(super) fn target(
    archive: &Archive,
    entry: &LayoutEntry,
    in_store: &dyn Fn(&Digest) -> bool,
) -> Result<Target, LoadError> {
    let index = index(archive)?;
    let images: Vec<_> =
        index.manifests.iter().filter(|descriptor| !descriptor.is_attestation()).collect();
    let found = match entry {
        LayoutEntry::Digest(digest) => images.iter().find(|one| one.digest == *digest),
        LayoutEntry::Tag(tag) => {
            let is_called = |one: &&&Descriptor| {
                one.annotations.get(annotation::REF_NAME).is_some_and(|name| name == tag)
            };
            images.iter().find(is_called).or(match images.as_slice() {
                [only] => Some(only),
                _ => None,
            })
        }
    };
    let descriptor = found.ok_or_else(|| LoadError::NoEntry {
        entry: match entry {
            LayoutEntry::Tag(tag) => tag.clone(),
            LayoutEntry::Digest(digest) => digest.to_string(),
        },
        count: images.len(),
    })?;
    let mut walk = Walk::empty(archive, in_store);
    walk.visit(descriptor, 0)?;
    walk.finish(descriptor, None)
}

fn index(archive: &Archive) -> Result<Index, LoadError> {
    if let Some(range) = archive.find("oci-layout") {
        let bytes = archive.read("oci-layout", range, MAX_MANIFEST_BYTES)?;
        Layout::parse(&bytes).map_err(|source| document("oci-layout", source))?;
    }
    let range = archive.find("index.json").ok_or(LoadError::NotAnImage)?;
    let bytes = archive.read("index.json", range, MAX_MANIFEST_BYTES)?;
    Index::parse(&bytes).map_err(|source| document("index.json", source))
}

fn document(name: impl Into<String>, source: hull_oci::ParseDocumentError) -> LoadError {
    LoadError::Document { name: name.into(), source }
}

/// The name an entry of `index.json` gives itself. A bare `org.opencontainers.image.ref.name` is
/// a tag without repository, which names nothing.
fn name_of(descriptor: &Descriptor) -> Result<Option<Reference>, LoadError> {
    let annotation = |key| descriptor.annotations.get(key);
    if let Some(name) = annotation(annotation::CONTAINERD_IMAGE_NAME) {
        return super::name(name).map(Some).map(|name| name.filter(|name| name.tag().is_some()));
    }
    let name = annotation(annotation::REF_NAME).filter(|name| name.contains([':', '/']));
    Ok(name.and_then(|name| super::name(name).ok()).filter(|name| name.tag().is_some()))
}

/// One walk from an entry of `index.json` down to its images.
struct Walk<'a> {
    archive: &'a Archive,
    platform: Option<&'a Platform>,
    in_store: &'a dyn Fn(&Digest) -> bool,
    seen: HashSet<Digest>,
    documents: Vec<(Digest, Vec<u8>)>,
    images: Vec<PlannedImage>,
    /// Platforms that were left out because `platform` is another.
    others: Vec<Platform>,
    /// The first image that is not whole in the archive.
    absent: Option<LoadError>,
}

impl<'a> Walk<'a> {
    fn empty(archive: &'a Archive, in_store: &'a dyn Fn(&Digest) -> bool) -> Self {
        Self {
            archive,
            platform: None,
            in_store,
            seen: HashSet::new(),
            documents: Vec::new(),
            images: Vec::new(),
            others: Vec::new(),
            absent: None,
        }
    }

    fn finish(self, descriptor: &Descriptor, name: Option<Reference>) -> Result<Target, LoadError> {
        if self.images.is_empty() {
            return Err(match (self.absent, self.platform) {
                (Some(absent), _) => absent,
                (None, Some(wanted)) if !self.others.is_empty() => {
                    LoadError::NoPlatform { wanted: wanted.clone(), found: self.others }
                }
                _ => LoadError::NoImages { digest: descriptor.digest.clone() },
            });
        }
        // What the archive says of the entry is not part of the image.
        let root = Descriptor::new(
            descriptor.media_type.clone(),
            descriptor.digest.clone(),
            descriptor.size,
        );
        let root = Root::Found { descriptor: Box::new(root), documents: self.documents };
        Ok(Target { root, images: self.images, names: name.into_iter().collect() })
    }

    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), LoadError> {
        if !self.seen.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        if depth > MAX_DEPTH || self.seen.len() > MAX_DOCUMENTS {
            return Err(LoadError::TooDeep { digest: descriptor.digest.clone() });
        }
        let kind = descriptor.media_type.as_str();
        let (manifest, index) = (media_type::is_manifest(kind), media_type::is_index(kind));
        if !manifest && !index && !kind.is_empty() {
            // Something that is no image: below an index that is nobody's business.
            return if depth == 0 { Err(artifact(descriptor, kind)) } else { Ok(()) };
        }
        let Some(bytes) = self.unless_absent(self.blob(descriptor, MAX_MANIFEST_BYTES))? else {
            return Ok(());
        };
        let parsed = if manifest {
            Manifest::parse(&bytes).map(|manifest| Document::Manifest(Box::new(manifest)))
        } else if index {
            Index::parse(&bytes).map(Document::Index)
        } else {
            Document::parse(&bytes)
        };
        match parsed.map_err(|source| document(descriptor.digest.as_str(), source))? {
            Document::Index(index) => {
                for child in index.manifests.iter().filter(|child| !child.is_attestation()) {
                    self.visit(child, depth + 1)?;
                }
            }
            Document::Manifest(manifest) => {
                if !media_type::is_image_config(&manifest.config.media_type) {
                    let kind = &manifest.config.media_type;
                    return if depth == 0 { Err(artifact(descriptor, kind)) } else { Ok(()) };
                }
                let Some(image) = self.unless_absent(self.image(&manifest))? else {
                    return Ok(());
                };
                let platform = descriptor.platform.as_ref().unwrap_or(&image.platform);
                if self.platform.is_some_and(|wanted| !wanted.matches(platform)) {
                    self.others.push(platform.clone());
                    return Ok(());
                }
                self.images.push(image);
            }
        }
        self.documents.push((descriptor.digest.clone(), bytes));
        Ok(())
    }

    /// Makes `None` of what is only missing; the rest stays an error.
    fn unless_absent<T>(&mut self, result: Result<T, LoadError>) -> Result<Option<T>, LoadError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error @ LoadError::MissingBlob { .. }) => {
                self.absent.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A small blob, compared with its descriptor.
    fn blob(&self, descriptor: &Descriptor, max: usize) -> Result<Vec<u8>, LoadError> {
        let digest = &descriptor.digest;
        let range = self.range(descriptor)?;
        let bytes = self.archive.read(digest.as_str(), range, max)?;
        let actual = digest_as(digest.algorithm(), &bytes);
        if actual != *digest {
            return Err(LoadError::DigestMismatch { expected: digest.clone(), actual });
        }
        Ok(bytes)
    }

    fn range(&self, descriptor: &Descriptor) -> Result<super::archive::Range, LoadError> {
        let digest = &descriptor.digest;
        let missing = || LoadError::MissingBlob { digest: digest.clone() };
        let range = self.archive.blob(digest).ok_or_else(missing)?;
        if range.size != descriptor.size {
            let (expected, actual) = (descriptor.size, range.size);
            return Err(LoadError::SizeMismatch { digest: digest.clone(), expected, actual });
        }
        Ok(range)
    }

    fn image(&self, manifest: &Manifest) -> Result<PlannedImage, LoadError> {
        let id = &manifest.config.digest;
        let bytes = self.blob(&manifest.config, MAX_CONFIG_BYTES)?;
        let config = ImageConfig::parse(&bytes).map_err(|source| document(id.as_str(), source))?;
        let mut layers = Vec::new();
        for (place, descriptor) in manifest.layers.iter().enumerate() {
            if !media_type::is_layer(&descriptor.media_type) {
                let (digest, media_type) =
                    (descriptor.digest.clone(), descriptor.media_type.clone());
                return Err(LoadError::LayerType { digest, media_type });
            }
            let stored = config.rootfs.diff_ids.get(place).is_some_and(self.in_store);
            let range = match self.range(descriptor) {
                Err(LoadError::MissingBlob { .. }) if stored => None,
                range => Some(range?),
            };
            layers.push((Some(descriptor.clone()), range));
        }
        PlannedImage::new(id.clone(), bytes, &config, layers)
    }
}

fn artifact(descriptor: &Descriptor, media_type: &str) -> LoadError {
    LoadError::Artifact { digest: descriptor.digest.clone(), media_type: media_type.to_owned() }
}
