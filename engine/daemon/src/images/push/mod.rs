//! Images to registries.
//!
//! 1. What is to be sent is put together from what is here ([`plan`]). A manifest is sent as it
//!    is, with one exception that is told: a manifest that was made here, by a commit, an import or
//!    a load of an archive without one, and lists uncompressed layers. They are compressed, always
//!    to the same bytes (`images/compress.rs`), and the name leads to the new manifest from then on.
//! 2. Blobs ([`upload`]), several at once. What the registry has is not sent; what another of its
//!    repositories is known to have is mounted from there; a compressed copy that was removed to
//!    keep the budget is fetched again from where it came from.
//! 3. Manifests, those that others lead to first; the name last. What is here about a manifest
//!    that was sent (its `subject`) is sent too.

mod error;
mod plan;
mod upload;

pub use error::PushError;

use hull_oci::{Descriptor, Platform, Reference};
use hull_worker::job::Method;

use super::remote::Remote;
use plan::Plan;

/// What to push.
#[derive(Debug, Clone)]
pub(super) struct PushOptions {
    /// Without tag: every tag of the repository that is here.
    pub(super) reference: Reference,
    /// Only the image for this platform.
    pub(super) platform: Option<Platform>,
    /// How to compress layers that are not.
    pub(super) compression: Method,
}

/// Pushes what `options` says.
///
/// # Errors
/// See [`PushError`]. No name of the registry was set or moved by a push that failed; with several
/// tags, those before are pushed.
pub(super) fn push(remote: Remote<'_>, options: &PushOptions) -> Result<(), PushError> {
    let repository = options.reference.without_tag_and_digest();
    remote.progress.say(format!("The push refers to repository [{repository}]"));
    for (reference, root) in targets(remote, &options.reference)? {
        Push { remote, reference, options }.run(&root)?;
    }
    Ok(())
}

/// Pushes a manifest that has no record here, and what it lists.
///
/// # Errors
/// See [`PushError`].
pub(super) fn push_manifest(
    remote: Remote<'_>,
    reference: &Reference,
    manifest: &Descriptor,
) -> Result<(), PushError> {
    let lease = remote.images.store.lease()?;
    let compression = Method::Gzip;
    let options = PushOptions { reference: reference.clone(), platform: None, compression };
    let mut plan = Plan::new(remote, &lease, reference, &options)?;
    let target = plan.root(manifest)?;
    Push { remote, reference: reference.clone(), options: &options }.send(&plan, &target)
}

/// The names to push and what they lead to.
fn targets(
    remote: Remote<'_>,
    reference: &Reference,
) -> Result<Vec<(Reference, Descriptor)>, PushError> {
    let store = remote.images.store;
    let name = reference.familiar_name();
    if reference.tag().is_some() || reference.digest().is_some() {
        return match store.resolve(reference)? {
            Some(root) => Ok(vec![(reference.clone(), root)]),
            None => Err(PushError::NoTag { reference: reference.familiar() }),
        };
    }
    let mut targets = store.refs()?;
    targets
        .retain(|(known, _)| known.tag().is_some() && known.without_tag_and_digest() == *reference);
    if targets.is_empty() { Err(PushError::NoImage { name }) } else { Ok(targets) }
}

/// One name being pushed.
struct Push<'a> {
    remote: Remote<'a>,
    reference: Reference,
    options: &'a PushOptions,
}

impl Push<'_> {
    fn run(&self, root: &Descriptor) -> Result<(), PushError> {
        let store = self.remote.images.store;
        let lease = store.lease()?;
        let mut plan = Plan::new(self.remote, &lease, &self.reference, self.options)?;
        let target = plan.root(root)?;
        plan.referrers()?;
        self.send(&plan, &target)?;
        self.remember(&plan, root, &target)?;
        let tag = self.reference.tag().unwrap_or_default();
        let Descriptor { digest, size, .. } = &target;
        self.remote.progress.say(format!("{tag}: digest: {digest} size: {size}"));
        self.remote.progress.result(serde_json::json!({
            "Tag": tag,
            "Digest": digest,
            "Size": size,
        }));
        Ok(())
    }

    /// Sends blobs, then manifests.
    fn send(&self, plan: &Plan<'_>, target: &Descriptor) -> Result<(), PushError> {
        upload::all(self.remote, &self.reference, plan)?;
        // The name last.
        let (last, first): (Vec<_>, Vec<_>) =
            (plan.manifests.iter()).partition(|(descriptor, _)| descriptor.digest == target.digest);
        for (descriptor, bytes) in first.into_iter().chain(last) {
            let name = if descriptor.digest == target.digest {
                self.reference.clone()
            } else {
                self.reference.with_digest(descriptor.digest.clone())
            };
            let put = self.remote.transfer.put_manifest(&name, &descriptor.media_type, bytes);
            let put = put.map_err(|error| self.remote.failed(error))?;
            if put != descriptor.digest {
                let (expected, actual) = (descriptor.digest.clone(), put);
                return Err(PushError::OtherDigest { expected, actual });
            }
        }
        Ok(())
    }

    /// Keeps what was learnt: who has what, and what the name is there.
    fn remember(
        &self,
        plan: &Plan<'_>,
        root: &Descriptor,
        target: &Descriptor,
    ) -> Result<(), PushError> {
        let store = self.remote.images.store;
        if plan.is_changed(root) {
            plan.keep(&self.reference, root, target)?;
        }
        if store.image(&target.digest)?.is_some() {
            let by_digest = self.reference.with_digest(target.digest.clone());
            store.set_ref(&by_digest, target)?;
        }
        let image = super::select::any(store, target).ok();
        let labels = image.map(|image| image.config.runtime().labels).unwrap_or_default();
        let (id, name) = (self.reference.familiar(), self.reference.familiar_name());
        self.remote.images.happened(&id, &labels, "push", &name);
        Ok(())
    }
}
