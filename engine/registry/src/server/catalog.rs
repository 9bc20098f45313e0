//! What repositories show: decided from the tags and manifests they hold.
//!
//! A repository shows the manifests that its tags name and that were pushed to it, what indexes
//! among them list, all blobs those refer to, and what was uploaded to it a short while ago. It
//! shows nothing else, whatever lies in the store: one repository is no window into another.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hull_oci::{Descriptor, Digest};
use serde_json::json;

use super::refusal::Refusal;
use super::route::RepositoryName;
use super::storage::{Storage, Stored};
use super::summary::{Summaries, Summary, is_foreign};

/// How long an uploaded blob is shown without a manifest.
pub(super) const GRACE: Duration = Duration::from_secs(60 * 60);

/// How long what a repository showed is believed to be shown still, where others than this server
/// may have taken a tag away.
const FRESH: Duration = Duration::from_secs(1);

/// Of how many repositories it is remembered what they show.
const MAX_VIEWS: usize = 256;

/// How deep indexes may list indexes.
const MAX_DEPTH: usize = 16;

/// Repositories, as they are shown.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) summaries: Summaries,
    views: Mutex<HashMap<RepositoryName, (Instant, Arc<View>)>>,
    /// Indexes may list what was not pushed.
    pub(super) sparse_indexes: bool,
}

/// What a repository shows.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Manifests and indexes.
    pub(super) manifests: HashMap<Digest, Descriptor>,
    /// Configs and layers, with their size in bytes.
    pub(super) blobs: HashMap<Digest, u64>,
}

/// A manifest to give out.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

/// Whether what an index lists must be here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// All of it, unless the operator says otherwise.
    Needed,
    /// None of it.
    Optional,
}

/// A manifest that came in, checked as far as it speaks for itself.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) bytes: Vec<u8>,
    pub(super) summary: Summary,
    pub(super) descriptor: Descriptor,
}

impl Catalog {
    pub(super) fn new(storage: Arc<dyn Storage>, sparse_indexes: bool) -> Self {
        let (summaries, views) = (Summaries::default(), Mutex::default());
        Self { storage, summaries, views, sparse_indexes }
    }

    /// Whether the repository holds a tag or a manifest.
    pub(super) fn exists(&self, name: &RepositoryName) -> Stored<bool> {
        let name = name.as_str();
        Ok(!self.storage.tags(name)?.is_empty() || !self.storage.manifests(name)?.is_empty())
    }

    /// What it shows now.
    pub(super) fn view(&self, name: &RepositoryName) -> Stored<Arc<View>> {
        let mut view = View::default();
        let mut pending = Vec::new();
        for tag in self.storage.tags(name.as_str())? {
            pending.extend(self.storage.tag(name.as_str(), &tag)?.map(|target| (target, 0)));
        }
        let held = self.storage.manifests(name.as_str())?;
        pending.extend(held.into_iter().map(|held| (held.descriptor, 0)));
        let removed: HashSet<_> = self.storage.removed(name.as_str())?.into_iter().collect();
        while let Some((descriptor, depth)) = pending.pop() {
            let hidden = depth > 0 && removed.contains(&descriptor.digest);
            if hidden || view.manifests.contains_key(&descriptor.digest) {
                continue;
            }
            let Some(summary) = self.summaries.of(&*self.storage, &descriptor.digest)? else {
                continue;
            };
            let blobs = summary.blobs().map(|blob| (blob.digest.clone(), blob.size));
            view.blobs.extend(blobs);
            if depth < MAX_DEPTH {
                pending.extend(summary.listed().iter().map(|child| (child.clone(), depth + 1)));
            }
            view.manifests.insert(descriptor.digest.clone(), descriptor);
        }
        let view = Arc::new(view);
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if views.len() >= MAX_VIEWS {
            views.retain(|_, (taken, _)| taken.elapsed() < FRESH);
        }
        if views.len() < MAX_VIEWS {
            views.insert(name.clone(), (Instant::now(), Arc::clone(&view)));
        }
        Ok(view)
    }

    /// What it showed a moment ago, if that is known.
    fn recent_view(&self, name: &RepositoryName) -> Option<Arc<View>> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, view) = views.get(name)?;
        (taken.elapsed() < FRESH).then(|| Arc::clone(view))
    }

    /// What the repository shows has changed.
    pub(super) fn changed(&self, name: &RepositoryName) {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Whether it shows a blob.
    pub(super) fn shows_blob(&self, name: &RepositoryName, digest: &Digest) -> Stored<bool> {
        let fits =
            |view: &View| view.blobs.contains_key(digest) || view.manifests.contains_key(digest);
        if self.recent_view(name).is_some_and(|view| fits(&view)) {
            return Ok(true);
        }
        let uploaded = self.storage.blob_time(name.as_str(), digest)?;
        if uploaded.is_some_and(|time| time.elapsed().is_ok_and(|age| age < GRACE)) {
            return Ok(true);
        }
        if self.storage.stat(digest)?.is_none() {
            return Ok(false);
        }
        Ok(fits(&*self.view(name)?))
    }

    /// The descriptor of a manifest that it shows by `reference`: a tag or a digest.
    pub(super) fn descriptor(
        &self,
        name: &RepositoryName,
        reference: &str,
    ) -> Result<Option<Descriptor>, Refusal> {
        if !reference.contains(':') {
            return Ok(self.storage.tag(name.as_str(), reference)?);
        }
        let digest = digest(reference)?;
        if let Some(held) = self.storage.manifest(name.as_str(), &digest)? {
            return Ok(Some(held));
        }
        if let Some(view) = self.recent_view(name)
            && let Some(descriptor) = view.manifests.get(&digest)
        {
            return Ok(Some(descriptor.clone()));
        }
        if self.storage.stat(&digest)?.is_none() {
            return Ok(None);
        }
        Ok(self.view(name)?.manifests.get(&digest).cloned())
    }

    /// A manifest to give out.
    pub(super) fn manifest(
        &self,
        name: &RepositoryName,
        reference: &str,
    ) -> Result<Found, Refusal> {
        let unknown = || {
            let message = format!("{} has no manifest {reference:?}", name.as_str());
            Refusal::manifest_unknown(message).detail(json!({ "reference": reference }))
        };
        let descriptor = self.descriptor(name, reference)?.ok_or_else(unknown)?;
        let max = hull_oci::MAX_MANIFEST_BYTES;
        let bytes = self.storage.read(&descriptor.digest, max)?.ok_or_else(unknown)?;
        let summary = self.summaries.of(&*self.storage, &descriptor.digest)?;
        let summary = summary.ok_or_else(unknown)?;
        let media_type = match &summary.media_type {
            Some(kind) => kind.clone(),
            None if descriptor.media_type.is_empty() => summary.kind().to_owned(),
            None => descriptor.media_type,
        };
        Ok(Found { digest: descriptor.digest, media_type, bytes })
    }

    /// Keeps a manifest and points tags at it, if all it needs is here.
    pub(super) fn put(
        &self,
        name: &RepositoryName,
        tags: &[String],
        incoming: &Incoming,
        listed: Listed,
    ) -> Result<(), Refusal> {
        let Incoming { bytes, summary, descriptor } = incoming;
        let mut digests = vec![descriptor.digest.clone()];
        digests.extend(summary.blobs().map(|blob| blob.digest.clone()));
        digests.extend(summary.listed().iter().map(|child| child.digest.clone()));
        let mut outcome = Ok(());
        self.storage.keeping(&digests, &mut || {
            outcome = self.missing(name, summary, listed)?;
            if outcome.is_err() {
                return Ok(());
            }
            self.storage.put(&descriptor.digest, bytes)?;
            self.storage.add_manifest(name.as_str(), descriptor)?;
            if self.storage.is_removed(name.as_str(), &descriptor.digest)? {
                self.storage.set_removed(name.as_str(), &descriptor.digest, false)?;
            }
            for tag in tags {
                self.storage.set_tag(name.as_str(), tag, descriptor)?;
            }
            Ok(())
        })?;
        self.changed(name);
        outcome
    }

    /// What the repository lacks of a manifest's parts.
    fn missing(
        &self,
        name: &RepositoryName,
        summary: &Summary,
        listed: Listed,
    ) -> Stored<Result<(), Refusal>> {
        let mut missing = Vec::new();
        let refuse = |digest: &Digest, size, actual| {
            let message = format!("{digest} is said to have {size} bytes, it has {actual}");
            Ok(Err(Refusal::manifest_invalid(message)))
        };
        for (place, blob) in summary.blobs().enumerate() {
            let present = self.storage.stat(&blob.digest)?;
            match present {
                Some(size) if self.shows_blob(name, &blob.digest)? => {
                    if size != blob.size {
                        return refuse(&blob.digest, blob.size, size);
                    }
                }
                // A config is always the registry's own.
                _ if place > 0 && is_foreign(blob) => {}
                _ => missing.push(&blob.digest),
            }
        }
        if listed == Listed::Needed && !self.sparse_indexes {
            for child in summary.listed() {
                match self.descriptor(name, child.digest.as_str()) {
                    Ok(Some(_)) => {}
                    Ok(None) => missing.push(&child.digest),
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
        }
        if missing.is_empty() {
            return Ok(Ok(()));
        }
        let names: Vec<_> = missing.iter().map(|digest| digest.as_str()).collect();
        let message = format!("{} does not have {}", name.as_str(), names.join(", "));
        Ok(Err(Refusal::manifest_blob_unknown(message).detail(json!({ "digests": names }))))
    }

    /// Deletes a manifest by digest with the tags that name it, or a tag; false if there is none.
    pub(super) fn delete(&self, name: &RepositoryName, reference: &str) -> Result<bool, Refusal> {
        let storage = &self.storage;
        if !reference.contains(':') {
            let target = storage.tag(name.as_str(), reference)?;
            let removed = storage.remove_tag(name.as_str(), reference)?;
            // What an engine tagged here stays servable by digest, as what was pushed does.
            if let Some(target) = target.filter(|_| removed)
                && storage.manifest(name.as_str(), &target.digest)?.is_none()
            {
                storage.keeping(std::slice::from_ref(&target.digest), &mut || match storage
                    .stat(&target.digest)?
                {
                    Some(_) => storage.add_manifest(name.as_str(), &target),
                    None => Ok(()),
                })?;
            }
            self.changed(name);
            return Ok(removed);
        }
        let digest = digest(reference)?;
        if self.descriptor(name, reference)?.is_none() {
            return Ok(false);
        }
        for tag in storage.tags(name.as_str())? {
            if storage.tag(name.as_str(), &tag)?.is_some_and(|target| target.digest == digest) {
                storage.remove_tag(name.as_str(), &tag)?;
            }
        }
        storage.remove_manifest(name.as_str(), &digest)?;
        if self.view(name)?.manifests.contains_key(&digest) {
            storage.set_removed(name.as_str(), &digest, true)?;
        }
        self.changed(name);
        Ok(true)
    }

    /// What is about `subject`, as descriptors.
    pub(super) fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Stored<Vec<Descriptor>> {
        let view = self.view(name)?;
        let mut found = Vec::new();
        for (digest, descriptor) in &view.manifests {
            let Some(summary) = self.summaries.of(&*self.storage, digest)? else { continue };
            if summary.subject.as_ref().is_some_and(|about| about.digest == *subject) {
                let kind = match descriptor.media_type.is_empty() {
                    true => summary.kind().to_owned(),
                    false => descriptor.media_type.clone(),
                };
                let mut listed = Descriptor::new(kind, digest.clone(), summary.size);
                listed.artifact_type = summary.artifact_type.clone();
                listed.annotations = summary.annotations.clone();
                found.push(listed);
            }
        }
        found.sort_by(|one, other| one.digest.cmp(&other.digest));
        Ok(found)
    }

    /// Whether a blob is looked for by one who may push it: it is kept for a while from now.
    pub(super) fn keep_for_push(&self, name: &RepositoryName, digest: &Digest) -> Stored<()> {
        let known = self.storage.blob_time(name.as_str(), digest)?;
        let lately = |time: SystemTime| time.elapsed().is_ok_and(|age| age < GRACE / 2);
        if known.is_some_and(lately) {
            return Ok(());
        }
        self.storage.keeping(std::slice::from_ref(digest), &mut || match self
            .storage
            .stat(digest)?
        {
            Some(_) => self.storage.add_blob(name.as_str(), digest),
            None => Ok(()),
        })
    }

    /// Bytes of all that a repository shows, each blob once.
    pub(super) fn size(&self, name: &RepositoryName) -> Stored<u64> {
        let view = self.view(name)?;
        let manifests: u64 = view.manifests.values().map(|descriptor| descriptor.size).sum();
        Ok(manifests + view.blobs.values().sum::<u64>())
    }
}

/// Reads a digest of a path or a query.
pub(super) fn digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error: hull_oci::ParseDigestError| {
        Refusal::digest_invalid(error.to_string()).detail(json!({ "digest": text }))
    })
}
