//! Naming images.

use hull_api::ErrorKind;
use hull_oci::{ParseReferenceError, Reference};

use super::failure::{OfStore, StoreError};
use super::resolve::{self, ResolveError};
use super::{Images, select};
use crate::error::ApiError;

/// Why an image was not tagged.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// The image was not found.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The new name is none.
    #[error(transparent)]
    Name(#[from] ParseReferenceError),
    /// The new name says which content it means.
    #[error("refusing to create a tag with a digest reference")]
    Digest,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Into<StoreError> + OfStore> From<E> for TagError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<TagError> for ApiError {
    fn from(error: TagError) -> Self {
        match error {
            TagError::Resolve(error) => error.into(),
            TagError::Name(_) | TagError::Digest => Self::chain(ErrorKind::Invalid, &error),
            TagError::Store(ref source) => Self::chain(source.kind(), &error),
        }
    }
}

impl Images<'_> {
    /// Gives the image called `source` the name `repository:tag`; without `tag`, `repository` may
    /// hold one, else it is `latest`.
    ///
    /// # Errors
    /// See [`TagError`].
    pub fn tag(
        &self,
        source: &str,
        repository: &str,
        tag: Option<&str>,
    ) -> Result<Reference, TagError> {
        let name = new_name(repository, tag)?;
        let found = resolve::find(self.store, source)?;
        self.store.set_ref(&name, found.root())?;
        if let Ok(image) = select::any(self.store, found.root()) {
            let labels = &image.config.runtime().labels;
            self.happened(&image.image_id.to_string(), labels, "tag", &name.familiar());
        }
        Ok(name)
    }
}

/// The name that Docker's two parameters mean.
pub(crate) fn new_name(repository: &str, tag: Option<&str>) -> Result<Reference, TagError> {
    let name: Reference = repository.parse()?;
    if name.digest().is_some() {
        return Err(TagError::Digest);
    }
    Ok(match tag {
        Some(tag) => name.with_tag(tag)?,
        None => name.with_default_tag(),
    })
}
