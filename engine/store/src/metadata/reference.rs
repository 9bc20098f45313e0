//! References: tags and digests that name images.

use hull_oci::{Descriptor, Digest, Reference};
use serde::{Deserialize, Serialize};

use super::image::image_path;
use super::record::{self, RecordError};
use crate::Store;
use crate::error::{ErrorKind, FileError};
use crate::root::{Durability, Root};

/// Why a reference cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum SetRefError {
    /// It has neither tag nor digest.
    #[error("reference {0} has neither tag nor digest")]
    Unspecific(Reference),
    /// The image it should name is not here.
    #[error("image {0} is not here")]
    MissingImage(Digest),
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl SetRefError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unspecific(_) => ErrorKind::Invalid,
            Self::MissingImage(_) => ErrorKind::NotFound,
            Self::File(error) => error.kind(),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) descriptor: Descriptor,
}

impl Store {
    /// Points a reference at an image that is here, on disk when this returns. A tag that points
    /// elsewhere is moved; the image it leaves keeps its record. With a digest in the reference
    /// the tag is not looked at.
    pub fn set_ref(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<(), SetRefError> {
        let path =
            reference_path(reference).ok_or_else(|| SetRefError::Unspecific(reference.clone()))?;
        if !self.root.exists(&image_path(&descriptor.digest))? {
            return Err(SetRefError::MissingImage(descriptor.digest.clone()));
        }
        let json = record::encode(&Target { descriptor: descriptor.clone() });
        Ok(publish(&self.root, &path, &json)?)
    }

    /// What a reference points at, `None` if there is no such reference. Four system calls.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Descriptor>, RecordError> {
        let Some(path) = reference_path(reference) else { return Ok(None) };
        Ok(record::load::<Target>(&self.root, &path)?.map(|target| target.descriptor))
    }

    /// All references, sorted by their text. One that cannot be read is left out with a warning:
    /// `check` names it.
    pub fn refs(&self) -> Result<Vec<(Reference, Descriptor)>, FileError> {
        let mut refs = Vec::new();
        for reference in self.reference_names()? {
            match self.resolve(&reference) {
                Ok(target) => refs.extend(target.map(|target| (reference, target))),
                Err(error) => tracing::warn!(%reference, %error, "skipped a reference"),
            }
        }
        Ok(refs)
    }

    /// Removes a reference; false if there was none. The image it named keeps its record.
    pub fn remove_ref(&self, reference: &Reference) -> Result<bool, FileError> {
        let Some(path) = reference_path(reference) else { return Ok(false) };
        retract(&self.root, &path)
    }

    /// All references that have a file, readable or not.
    pub(crate) fn reference_names(&self) -> Result<Vec<Reference>, FileError> {
        let mut names = Vec::new();
        for registry in self.root.list_text("refs")? {
            collect(&self.root, &registry, "", &mut names)?;
        }
        names.sort();
        Ok(names)
    }
}

/// Walks the repositories of a registry. Depth is bounded by the length of a path.
fn collect(
    root: &Root,
    registry: &str,
    repository: &str,
    names: &mut Vec<Reference>,
) -> Result<(), FileError> {
    let directory = format!("refs/{registry}/{repository}");
    for name in root.list_text(&directory)? {
        let base = Reference::from_parts(registry, repository.trim_end_matches('/'));
        match (name.as_str(), base) {
            ("_tags", Ok(base)) => {
                let tags = root.list_text(&format!("{directory}{name}"))?;
                names.extend(tags.iter().filter_map(|tag| base.with_tag(tag).ok()));
            }
            ("_digests", Ok(base)) => {
                for algorithm in root.list_text(&format!("{directory}{name}"))? {
                    for hex in root.list_text(&format!("{directory}{name}/{algorithm}"))? {
                        let digest = format!("{algorithm}:{hex}").parse::<Digest>();
                        names.extend(digest.map(|digest| base.with_digest(digest)));
                    }
                }
            }
            // A registry server's own, see `repository`.
            _ if name.starts_with('_') => {}
            _ => collect(root, registry, &format!("{repository}{name}/"), names)?,
        }
    }
    Ok(())
}

/// Writes a file below `refs/` with the directories it needs, on disk when this returns.
pub(super) fn publish(root: &Root, path: &str, content: &[u8]) -> Result<(), FileError> {
    // Somebody who removes the repository's last reference may take an empty directory away
    // between making it and using it.
    let mut attempts = 0;
    loop {
        make_parents(root, path)?;
        let file = root.filled(content, Durability::Durable)?;
        match root.link_over(&file, path) {
            Err(error) if error.io().kind() == std::io::ErrorKind::NotFound && attempts < 100 => {
                attempts += 1;
            }
            result => break result?,
        }
    }
    // Whoever made the directories may not have come to syncing them.
    for directory in parents(path).into_iter().rev() {
        root.sync_directory(directory)?;
    }
    root.sync_directory("refs")
}

/// Removes a file below `refs/` and the directories that are empty then; false if there was none.
pub(super) fn retract(root: &Root, path: &str) -> Result<bool, FileError> {
    if !root.unlink(path)? {
        return Ok(false);
    }
    root.sync_parent(path)?;
    remove_empty_parents(root, path)?;
    Ok(true)
}

/// No component of a repository begins with `_`, so ours cannot be mistaken for one.
fn reference_path(reference: &Reference) -> Option<String> {
    let repository = format!("refs/{}/{}", reference.registry(), reference.repository());
    if let Some(digest) = reference.digest() {
        let algorithm = digest.algorithm().as_str();
        return Some(format!("{repository}/_digests/{algorithm}/{}", digest.hex()));
    }
    reference.tag().map(|tag| format!("{repository}/_tags/{tag}"))
}

fn parents(path: &str) -> Vec<&str> {
    path.match_indices('/').map(|(position, _)| &path[..position]).skip(1).collect()
}

fn make_parents(root: &Root, path: &str) -> Result<(), FileError> {
    for parent in parents(path) {
        match root.make_directory(parent, 0o700) {
            Ok(_) => {}
            // Taken away again by who removes a reference: the caller tries once more.
            Err(error) if error.io().kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn remove_empty_parents(root: &Root, path: &str) -> Result<(), FileError> {
    use rustix::fs::AtFlags;
    use rustix::io::Errno;
    for parent in parents(path).into_iter().rev() {
        match rustix::fs::unlinkat(root.as_fd(), parent, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            Err(error) => return Err(root.error("remove", parent, error)),
        }
    }
    Ok(())
}
