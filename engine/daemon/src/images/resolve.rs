//! From what the user calls an image to the image.

use hull_api::ErrorKind;
use hull_oci::{Descriptor, Digest, ImageConfig, ParseReferenceError, Platform, Reference};
use hull_store::Store;

use super::catalog::{Catalog, Image};
use super::failure::{OfStore, StoreError};
use super::select::{self, SelectError, Selected};
use crate::error::ApiError;

/// An image that can be run.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The name it was asked for by; `None` if by ID.
    pub reference: Option<Reference>,
    /// Digest of the image record it was found by: its manifest's, or that of an index over it.
    pub record: Digest,
    /// Digest of its manifest.
    pub manifest_digest: Digest,
    /// Digest of its config.
    pub image_id: Digest,
    /// Its config.
    pub config: ImageConfig,
    /// DiffIDs of its layers, lowest first.
    pub layers: Vec<Digest>,
}

/// Why no image was found.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Nothing is called so.
    #[error("No such image: {0}")]
    NotFound(String),
    /// Several images are called so.
    #[error("image ID prefix {0:?} is not unique: it fits {1} images")]
    Ambiguous(String, usize),
    /// No name and no ID.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// The image is for another platform than was asked for.
    #[error("image {} is for {}, not for {} as was asked", .0.name, .0.image, .0.wanted)]
    Platform(Box<Mismatch>),
    /// The image is for another platform than this host's.
    #[error("image {} is for {}, this host is {}", .0.name, .0.image, .0.wanted)]
    Host(Box<Mismatch>),
    /// What is in the store makes no sense.
    #[error(transparent)]
    Select(#[from] SelectError),
}

/// An image for one platform where another was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// What the user called it.
    pub name: String,
    /// What the image runs on.
    pub image: Platform,
    /// What was wanted.
    pub wanted: Platform,
}

impl<E: Into<StoreError> + OfStore> From<E> for ResolveError {
    fn from(error: E) -> Self {
        Self::Select(SelectError::Store(error.into()))
    }
}

impl From<StoreError> for ResolveError {
    fn from(error: StoreError) -> Self {
        Self::Select(SelectError::Store(error))
    }
}

impl From<ResolveError> for ApiError {
    fn from(error: ResolveError) -> Self {
        let kind = match &error {
            ResolveError::NotFound(_) => ErrorKind::NotFound,
            ResolveError::Ambiguous(..) | ResolveError::Reference(_) => ErrorKind::Invalid,
            ResolveError::Platform(_) | ResolveError::Host(_) => ErrorKind::Precondition,
            ResolveError::Select(SelectError::Store(error)) => error.kind(),
            ResolveError::Select(_) => ErrorKind::Internal,
        };
        let api = Self::chain(kind, &error);
        match &error {
            ResolveError::NotFound(_) => api
                .hint("`hull images` lists what is here, `hull load` and `hull import` bring more"),
            ResolveError::Host(mismatch) => api.hint(format!(
                "load an image for this host, or pass --platform {} if the host can emulate it",
                mismatch.image
            )),
            _ => api,
        }
    }
}

/// Where a name or ID leads.
#[derive(Debug)]
pub(super) enum Found {
    /// A reference that is here, and what it points at.
    Name(Reference, Box<Descriptor>),
    /// An image ID or digest, or the beginning of one.
    Id(Box<Image>),
}

impl Found {
    /// The manifest or index.
    pub(super) fn root(&self) -> &Descriptor {
        match self {
            Self::Name(_, descriptor) => descriptor,
            Self::Id(image) => &image.records[0].descriptor,
        }
    }
}

/// Finds what is called `name`: a reference, an image ID or manifest digest, or the beginning of
/// one.
///
/// # Errors
/// [`ResolveError::NotFound`] in Docker's words, [`ResolveError::Ambiguous`], and text that can be
/// neither.
pub(super) fn find(store: &Store, name: &str) -> Result<Found, ResolveError> {
    let parsed = name.parse::<Reference>().map(Reference::with_default_tag);
    if let Ok(reference) = &parsed {
        if let Some(descriptor) = store.resolve(reference)? {
            return Ok(Found::Name(reference.clone(), Box::new(descriptor)));
        }
        if let Some(digest) = reference.digest() {
            return by_digest(store, reference, digest);
        }
    }
    let catalog = Catalog::read(store)?;
    match (catalog.by_prefix(name).as_slice(), parsed) {
        ([image], _) => Ok(Found::Id(Box::new(Image::clone(image)))),
        ([], Ok(reference)) => Err(ResolveError::NotFound(reference.familiar())),
        ([], Err(ParseReferenceError::LooksLikeId(_))) => {
            Err(ResolveError::NotFound(format!("sha256:{name}")))
        }
        // `sha256:` and 64 digits is too long for a tag, but not for an ID.
        ([], Err(_)) if name.parse::<Digest>().is_ok() => {
            Err(ResolveError::NotFound(name.to_owned()))
        }
        ([], Err(error)) => Err(error.into()),
        (images, _) => Err(ResolveError::Ambiguous(name.to_owned(), images.len())),
    }
}

/// `name@digest`: a record with this digest that some tag of the same repository names.
fn by_digest(store: &Store, reference: &Reference, digest: &Digest) -> Result<Found, ResolveError> {
    let name = reference.without_tag_and_digest();
    let same = |(named, target): &(Reference, Descriptor)| {
        target.digest == *digest && named.without_tag_and_digest() == name
    };
    match store.refs()?.into_iter().find(same) {
        Some((_, descriptor)) => Ok(Found::Name(reference.clone(), Box::new(descriptor))),
        None => Err(ResolveError::NotFound(reference.familiar())),
    }
}

/// Finds the image that `name` means for `platform`, this host's if absent.
///
/// # Errors
/// As [`ResolveError`] says; an image that `platform` does not run is refused.
pub fn resolve_image(
    store: &Store,
    name: &str,
    platform: Option<&Platform>,
) -> Result<ResolvedImage, ResolveError> {
    let found = find(store, name)?;
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let Selected { manifest, image_id, config } = select::best(store, found.root(), wanted)?;
    let image = config.platform();
    if !wanted.matches(&image) {
        let (name, wanted) = (name.to_owned(), wanted.clone());
        let mismatch = Box::new(Mismatch { name, image, wanted });
        return Err(match platform {
            Some(_) => ResolveError::Platform(mismatch),
            None => ResolveError::Host(mismatch),
        });
    }
    let record = found.root().digest.clone();
    let reference = match found {
        Found::Name(reference, _) => Some(reference),
        Found::Id(_) => None,
    };
    let layers = config.rootfs.diff_ids.clone();
    Ok(ResolvedImage { reference, record, manifest_digest: manifest, image_id, config, layers })
}

/// The image called `name`, with all that leads to it.
pub(super) fn image(catalog: &Catalog, store: &Store, name: &str) -> Result<Image, ResolveError> {
    match find(store, name)? {
        Found::Id(image) => Ok(*image),
        Found::Name(reference, descriptor) => {
            let has = |image: &&Image| {
                image.records.iter().any(|record| record.descriptor.digest == descriptor.digest)
            };
            let image = catalog.images.iter().find(has);
            image.cloned().ok_or_else(|| ResolveError::NotFound(reference.familiar()))
        }
    }
}
