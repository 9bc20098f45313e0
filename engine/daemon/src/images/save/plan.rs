//! From names to everything that is to be in the archive.

use std::collections::BTreeMap;

use hull_oci::{
    ArchiveImage, Descriptor, Digest, Document, MAX_MANIFEST_BYTES, Manifest, Platform, Reference,
    annotation, media_type,
};
use hull_store::{Lease, ReadError, Store};

use super::{SaveError, Saving, blob_path, missing};
use crate::images::resolve::{self, Found, Mismatch, ResolveError};
use crate::images::select;

/// How deep indexes may lie in indexes; a load allows no more.
const MAX_DEPTH: usize = 8;

/// Finds what `names` mean: a reference, all tags of a repository, an ID. With `platform`, only
/// that part of each image.
///
/// # Errors
/// As [`SaveError`] says.
pub(in crate::images) fn plan<'s>(
    store: &'s Store,
    names: &[String],
    platform: Option<&Platform>,
) -> Result<Saving<'s>, SaveError> {
    if names.is_empty() {
        return Err(SaveError::Nothing);
    }
    let mut plan = Plan { store, lease: store.lease()?, roots: Vec::new(), blobs: BTreeMap::new() };
    for name in names {
        for (reference, root) in roots(store, name)? {
            plan.add(name, reference, root, platform)?;
        }
    }
    plan.finish()
}

/// The same of one manifest or index, which is to carry these names.
///
/// # Errors
/// As [`SaveError`] says.
pub(in crate::images) fn plan_named<'s>(
    store: &'s Store,
    digest: &str,
    names: &[Reference],
) -> Result<Saving<'s>, SaveError> {
    let mut plan = Plan { store, lease: store.lease()?, roots: Vec::new(), blobs: BTreeMap::new() };
    let root = resolve::find(store, digest)?.root().clone();
    plan.add(digest, None, root.clone(), None)?;
    for name in names {
        plan.add(digest, Some(name.clone()), root.clone(), None)?;
    }
    plan.finish()
}

/// The manifests or indexes called `name`, with the reference each is to carry.
fn roots(store: &Store, name: &str) -> Result<Vec<(Option<Reference>, Descriptor)>, SaveError> {
    if let Ok(reference) = name.parse::<Reference>()
        && reference.tag().is_none()
        && reference.digest().is_none()
    {
        // A bare repository means all of its tags.
        let repository = reference.without_tag_and_digest();
        let mut refs = store.refs()?;
        refs.retain(|(other, _)| {
            other.tag().is_some() && other.without_tag_and_digest() == repository
        });
        if !refs.is_empty() {
            return Ok(refs.into_iter().map(|(name, root)| (Some(name), root)).collect());
        }
    }
    let found = resolve::find(store, name)?;
    let root = found.root().clone();
    let reference = match found {
        Found::Name(reference, _) => Some(reference).filter(|name| name.tag().is_some()),
        Found::Id(_) => None,
    };
    Ok(vec![(reference, root)])
}

struct Root {
    descriptor: Descriptor,
    names: Vec<Reference>,
    config: Digest,
    labels: BTreeMap<String, String>,
    /// Digests of the layers, lowest first.
    layers: Vec<Digest>,
}

struct Plan<'s> {
    store: &'s Store,
    lease: Lease<'s>,
    roots: Vec<Root>,
    blobs: BTreeMap<Digest, u64>,
}

impl<'s> Plan<'s> {
    fn add(
        &mut self,
        name: &str,
        reference: Option<Reference>,
        root: Descriptor,
        platform: Option<&Platform>,
    ) -> Result<(), SaveError> {
        let host = Platform::host();
        let selected = select::best(self.store, &root, platform.unwrap_or(&host))?;
        let mut descriptor = root;
        if let Some(wanted) = platform {
            let image = selected.config.platform();
            if !wanted.matches(&image) {
                let (name, wanted) = (name.to_owned(), wanted.clone());
                let mismatch = Box::new(Mismatch { name, image, wanted });
                return Err(ResolveError::Platform(mismatch).into());
            }
            if descriptor.digest != selected.manifest {
                let size = self.size(name, &selected.manifest)?;
                descriptor =
                    Descriptor::new(media_type::OCI_MANIFEST, selected.manifest.clone(), size);
            }
        }
        if let Some(known) =
            self.roots.iter_mut().find(|known| known.descriptor.digest == descriptor.digest)
        {
            known.names.extend(reference.filter(|name| !known.names.contains(name)));
            return Ok(());
        }
        let mut layers = Vec::new();
        self.document(name, &descriptor, 0, &selected.manifest, &mut layers)?;
        let names = reference.into_iter().collect();
        let labels = selected.config.runtime().labels;
        self.roots.push(Root { descriptor, names, config: selected.image_id, labels, layers });
        Ok(())
    }

    /// Adds a manifest or index and all below it that is here. `layers` gets those of `selected`.
    fn document(
        &mut self,
        name: &str,
        descriptor: &Descriptor,
        depth: usize,
        selected: &Digest,
        layers: &mut Vec<Digest>,
    ) -> Result<(), SaveError> {
        let digest = &descriptor.digest;
        self.lease.add(digest)?;
        let bytes = match self.store.blobs().read(digest, MAX_MANIFEST_BYTES) {
            Ok(bytes) => bytes,
            // An index may list more than came here.
            Err(ReadError::NotFound(_)) if depth > 0 => return Ok(()),
            Err(error) => return Err(missing(name, error)),
        };
        let parsed = Document::parse(&bytes)
            .map_err(|source| select::SelectError::Document { digest: digest.clone(), source })?;
        match parsed {
            Document::Index(index) => {
                if depth < MAX_DEPTH {
                    for child in &index.manifests {
                        self.document(name, child, depth + 1, selected, layers)?;
                    }
                }
            }
            Document::Manifest(manifest) => {
                let whole = self.manifest(name, &manifest);
                match whole {
                    Err(SaveError::Missing { .. }) if digest != selected => return Ok(()),
                    whole => whole?,
                }
                if digest == selected {
                    layers.extend(manifest.layers.iter().map(|layer| layer.digest.clone()));
                }
            }
        }
        self.blobs.insert(digest.clone(), bytes.len() as u64);
        Ok(())
    }

    /// Adds what a manifest names, if all of it is here.
    fn manifest(&mut self, name: &str, manifest: &Manifest) -> Result<(), SaveError> {
        let mut found = Vec::new();
        for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.lease.add(&part.digest)?;
            let Some(actual) = self.store.blobs().stat(&part.digest)? else {
                let (digest, part) = (part.digest.clone(), Some(Box::new(part.clone())));
                return Err(SaveError::Missing { name: name.to_owned(), digest, part });
            };
            if actual != part.size {
                let (digest, expected) = (part.digest.clone(), part.size);
                return Err(SaveError::Size { digest, expected, actual });
            }
            found.push((part.digest.clone(), actual));
        }
        self.blobs.extend(found);
        Ok(())
    }

    fn size(&self, name: &str, digest: &Digest) -> Result<u64, SaveError> {
        let size = self.store.blobs().stat(digest)?;
        size.ok_or_else(|| missing(name, ReadError::NotFound(digest.clone())))
    }

    fn finish(self) -> Result<Saving<'s>, SaveError> {
        let mut index = Vec::new();
        let mut images = Vec::new();
        let mut ids = Vec::new();
        for root in self.roots {
            let plain = Descriptor::new(
                root.descriptor.media_type,
                root.descriptor.digest,
                root.descriptor.size,
            );
            for name in &root.names {
                let mut named = plain.clone();
                named.annotations = annotations(name);
                index.push(named);
            }
            if root.names.is_empty() {
                index.push(plain);
            }
            ids.push((root.config.clone(), root.labels));
            images.push(ArchiveImage {
                config: blob_path(&root.config),
                repo_tags: root.names.iter().map(Reference::familiar).collect(),
                layers: root.layers.iter().map(blob_path).collect(),
            });
        }
        Ok(Saving { _lease: self.lease, index, images, ids, blobs: self.blobs })
    }
}

/// The name as containerd and Docker write it, and the tag alone.
fn annotations(name: &Reference) -> BTreeMap<String, String> {
    let tag = name.tag().unwrap_or_default().to_owned();
    BTreeMap::from([
        (annotation::CONTAINERD_IMAGE_NAME.to_owned(), name.to_string()),
        (annotation::REF_NAME.to_owned(), tag),
    ])
}
