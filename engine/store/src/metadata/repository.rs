//! What a registry server keeps beside the references of a repository.
//!
//! A server has a name, and its repositories are the references below `refs/<name>/`: what is
//! tagged there is served. Beside `_tags` and `_digests`, which name images, a repository holds
//!
//! ```text
//! _manifests/<algorithm>/<hex>   one descriptor: a manifest that was pushed here. It and all below
//!                                it stay as long as the file does
//! _blobs/<algorithm>/<hex>       empty: a blob that was uploaded here or looked for by one who
//!                                pushes. It stays for an hour after the file was last touched
//! _removed/<algorithm>/<hex>     empty: a manifest that was deleted here by its digest, though an
//!                                index that is here may list it
//! ```
//!
//! and `refs/<name>/_served` says that a server of this name has been started in this store.

use std::time::{Duration, SystemTime};

use hull_oci::{Descriptor, Digest, ParseReferenceError, Reference};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::record::{self, RecordError};
use super::reference::{Target, publish, retract};
use crate::Store;
use crate::error::FileError;
use crate::root::Root;

/// How long an uploaded blob that no manifest refers to is kept.
pub const BLOB_GRACE: Duration = Duration::from_secs(60 * 60);

const SERVED: &str = "_served";
const MANIFESTS: &str = "_manifests";
const BLOBS: &str = "_blobs";
const REMOVED: &str = "_removed";

/// One repository of a registry that this store serves.
#[derive(Debug)]
pub struct Repository<'a> {
    store: &'a Store,
    name: Reference,
}

/// A manifest that was pushed to a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldManifest {
    /// What it is.
    pub descriptor: Descriptor,
    /// When it was pushed last.
    pub since: SystemTime,
}

impl Store {
    /// Says that a server of this name serves this store: copies of layers that its repositories
    /// refer to are kept.
    pub fn serve_registry(&self, registry: &str) -> Result<(), FileError> {
        let path = format!("refs/{registry}/{SERVED}");
        if self.root.exists(&path)? {
            return Ok(());
        }
        publish(&self.root, &path, b"")
    }

    /// Names of the registries that are or were served from this store, sorted.
    pub fn served_registries(&self) -> Result<Vec<String>, FileError> {
        let mut served = Vec::new();
        for registry in self.root.list_text("refs")? {
            if self.root.exists(&format!("refs/{registry}/{SERVED}"))? {
                served.push(registry);
            }
        }
        Ok(served)
    }

    /// Names of the repositories of `registry` that hold a tag or a manifest, sorted.
    pub fn repositories(&self, registry: &str) -> Result<Vec<String>, FileError> {
        let mut found = Vec::new();
        find(&self.root, registry, "", &mut found)?;
        found.sort();
        Ok(found)
    }

    /// The repository `name` of `registry`, whether anything is in it or not.
    ///
    /// # Errors
    /// If the two cannot be parts of a reference.
    pub fn repository(
        &self,
        registry: &str,
        name: &str,
    ) -> Result<Repository<'_>, ParseReferenceError> {
        Ok(Repository { store: self, name: Reference::from_parts(registry, name)? })
    }

    /// Manifests that repositories hold, and blobs that were uploaded within [`BLOB_GRACE`].
    pub(crate) fn pushed(&self) -> Result<(Vec<Digest>, Vec<Digest>), FileError> {
        let (mut manifests, mut blobs) = (Vec::new(), Vec::new());
        let now = SystemTime::now();
        for registry in self.served_registries()? {
            let mut names = Vec::new();
            walk(&self.root, &registry, "", &mut |path, held| {
                if held == MANIFESTS || held == BLOBS {
                    names.push((path.to_owned(), held == BLOBS));
                }
                Ok(())
            })?;
            for (path, recent) in names {
                for digest in digests(&self.root, &path)? {
                    if !recent {
                        manifests.push(digest);
                    } else if touched(&self.root, &file_of(&path, &digest))?
                        .is_some_and(|time| is_recent(time, now))
                    {
                        blobs.push(digest);
                    }
                }
            }
        }
        Ok((manifests, blobs))
    }

    /// Repositories of served registries, as references without tag.
    pub(crate) fn served_repositories(&self) -> Result<Vec<Reference>, FileError> {
        let mut found = Vec::new();
        for registry in self.served_registries()? {
            let names = self.repositories(&registry)?;
            found.extend(names.iter().filter_map(|n| Reference::from_parts(&registry, n).ok()));
        }
        Ok(found)
    }

    /// Manifests and indexes that a registry served from this store gives out, by what names
    /// them: tags, digests and pushes. What they refer to must stay servable.
    pub fn served_manifests(&self) -> Result<Vec<Digest>, FileError> {
        let mut served = Vec::new();
        for name in self.served_repositories()? {
            let repository = Repository { store: self, name };
            for tag in repository.tags()? {
                match repository.tag(&tag) {
                    Ok(target) => served.extend(target.map(|target| target.digest)),
                    Err(error) => tracing::warn!(tag, %error, "skipped a tag"),
                }
            }
            served.extend(repository.manifests()?.into_iter().map(|held| held.descriptor.digest));
        }
        served.sort();
        served.dedup();
        Ok(served)
    }
}

impl Repository<'_> {
    /// Its tags, sorted.
    pub fn tags(&self) -> Result<Vec<String>, FileError> {
        let tags = self.root().list_text(&format!("{}/_tags", self.path()))?;
        Ok(tags.into_iter().filter(|tag| self.name.with_tag(tag).is_ok()).collect())
    }

    /// What a tag points at, `None` if there is no such tag.
    pub fn tag(&self, tag: &str) -> Result<Option<Descriptor>, RecordError> {
        match self.name.with_tag(tag) {
            Ok(reference) => self.store.resolve(&reference),
            Err(_) => Ok(None),
        }
    }

    /// When a tag was set last.
    pub fn tag_time(&self, tag: &str) -> Result<Option<SystemTime>, FileError> {
        match self.name.with_tag(tag) {
            Ok(_) => touched(self.root(), &format!("{}/_tags/{tag}", self.path())),
            Err(_) => Ok(None),
        }
    }

    /// The reference of one of its tags; `None` if `tag` cannot be one.
    pub fn reference(&self, tag: &str) -> Option<Reference> {
        self.name.with_tag(tag).ok()
    }

    /// The manifests that were pushed to it or are named by digest, sorted by digest. One that
    /// cannot be read is left out with a warning.
    pub fn manifests(&self) -> Result<Vec<HeldManifest>, FileError> {
        let mut held = Vec::new();
        for directory in [MANIFESTS, "_digests"] {
            let path = format!("{}/{directory}", self.path());
            for digest in digests(self.root(), &path)? {
                let path = file_of(&path, &digest);
                match record::load::<Target>(self.root(), &path) {
                    Ok(Some(target)) => held.push(HeldManifest {
                        descriptor: target.descriptor,
                        since: touched(self.root(), &path)?.unwrap_or(SystemTime::UNIX_EPOCH),
                    }),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(path, %error, "skipped a manifest"),
                }
            }
        }
        held.sort_by(|one, other| one.descriptor.digest.cmp(&other.descriptor.digest));
        held.dedup_by(|one, other| one.descriptor.digest == other.descriptor.digest);
        Ok(held)
    }

    /// The manifest with this digest, if it was pushed here or is named by digest.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<Descriptor>, RecordError> {
        for directory in [MANIFESTS, "_digests"] {
            let path = self.file(directory, digest);
            if let Some(target) = record::load::<Target>(self.root(), &path)? {
                return Ok(Some(target.descriptor));
            }
        }
        Ok(None)
    }

    /// Holds a manifest, on disk when this returns; it and all below it must be committed, under
    /// a lease that is still held.
    pub fn add_manifest(&self, descriptor: &Descriptor) -> Result<(), FileError> {
        let json = record::encode(&Target { descriptor: descriptor.clone() });
        publish(self.root(), &self.file(MANIFESTS, &descriptor.digest), &json)
    }

    /// Holds a manifest no longer; false if it was not held. Tags are the caller's to remove.
    pub fn remove_manifest(&self, digest: &Digest) -> Result<bool, FileError> {
        let pushed = retract(self.root(), &self.file(MANIFESTS, digest))?;
        Ok(self.store.remove_ref(&self.name.with_digest(digest.clone()))? || pushed)
    }

    /// Whether a manifest was deleted here by its digest.
    pub fn is_removed(&self, digest: &Digest) -> Result<bool, FileError> {
        self.root().exists(&self.file(REMOVED, digest))
    }

    /// Says whether a manifest was deleted here by its digest.
    pub fn set_removed(&self, digest: &Digest, removed: bool) -> Result<(), FileError> {
        let path = self.file(REMOVED, digest);
        match removed {
            true => publish(self.root(), &path, b""),
            false => retract(self.root(), &path).map(drop),
        }
    }

    /// Manifests that were deleted here by their digests.
    pub fn removed(&self) -> Result<Vec<Digest>, FileError> {
        digests(self.root(), &format!("{}/{REMOVED}", self.path()))
    }

    /// Holds an uploaded blob for [`BLOB_GRACE`] from now, on disk when this returns.
    pub fn add_blob(&self, digest: &Digest) -> Result<(), FileError> {
        publish(self.root(), &self.file(BLOBS, digest), b"")
    }

    /// When a blob was uploaded or looked for last.
    pub fn blob_time(&self, digest: &Digest) -> Result<Option<SystemTime>, FileError> {
        touched(self.root(), &self.file(BLOBS, digest))
    }

    /// Forgets an upload of a blob; false if there was none.
    pub fn remove_blob(&self, digest: &Digest) -> Result<bool, FileError> {
        retract(self.root(), &self.file(BLOBS, digest))
    }

    /// Blobs that were uploaded here and not forgotten, with when.
    pub fn blobs(&self) -> Result<Vec<(Digest, SystemTime)>, FileError> {
        let mut found = Vec::new();
        for digest in digests(self.root(), &format!("{}/{BLOBS}", self.path()))? {
            if let Some(time) = self.blob_time(&digest)? {
                found.push((digest, time));
            }
        }
        Ok(found)
    }

    fn root(&self) -> &Root {
        &self.store.root
    }

    fn path(&self) -> String {
        format!("refs/{}/{}", self.name.registry(), self.name.repository())
    }

    fn file(&self, directory: &str, digest: &Digest) -> String {
        file_of(&format!("{}/{directory}", self.path()), digest)
    }
}

fn file_of(directory: &str, digest: &Digest) -> String {
    format!("{directory}/{}/{}", digest.algorithm().as_str(), digest.hex())
}

fn is_recent(time: SystemTime, now: SystemTime) -> bool {
    // A clock that was set back makes a file of the future: that is recent.
    now.duration_since(time).is_ok_and(|age| age < BLOB_GRACE) || time > now
}

/// The digests that name the files in a directory.
fn digests(root: &Root, directory: &str) -> Result<Vec<Digest>, FileError> {
    let mut found = Vec::new();
    for algorithm in ["sha256", "sha512"] {
        let names = root.list_text(&format!("{directory}/{algorithm}"))?;
        found.extend(names.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse().ok()));
    }
    Ok(found)
}

fn touched(root: &Root, path: &str) -> Result<Option<SystemTime>, FileError> {
    match rustix::fs::statat(root.as_fd(), path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
            Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(root.error("look up", path, error)),
    }
}

fn find(
    root: &Root,
    registry: &str,
    below: &str,
    found: &mut Vec<String>,
) -> Result<(), FileError> {
    walk(root, registry, below, &mut |path, directory| {
        if ["_tags", "_digests", MANIFESTS].contains(&directory) {
            let prefix = format!("refs/{registry}/");
            let name = path.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(directory));
            let name = name.map(|name| name.trim_end_matches('/').to_owned());
            found.extend(name.filter(|name| !name.is_empty() && found.last() != Some(name)));
        }
        Ok(())
    })
}

/// Calls `visit` with the path and the name of every directory of ours below a registry. Depth is
/// bounded by the length of a path.
fn walk(
    root: &Root,
    registry: &str,
    below: &str,
    visit: &mut dyn FnMut(&str, &str) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let directory = format!("refs/{registry}/{below}");
    for name in root.list_text(&directory)? {
        if name == SERVED {
            continue;
        }
        if name.starts_with('_') {
            visit(&format!("{directory}{name}"), &name)?;
        } else {
            walk(root, registry, &format!("{below}{name}/"), visit)?;
        }
    }
    Ok(())
}
