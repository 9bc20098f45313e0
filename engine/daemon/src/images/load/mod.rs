//! Images out of an archive: docker-archive and OCI layout.
//!
//! 1. A sealed worker inflates the archive into a spool file without a name and lists its members.
//! 2. The small documents are read, compared with their digests, and a [`plan::Plan`] is made.
//! 3. Workers read the layers straight out of the spool, several at once.
//! 4. Only when everything is what it claims to be: layers, blobs, documents, then image records,
//!    then names. Data before names, so a load that is killed leaves no name that lies.
//!
//! A lease keeps a collection from what is being put together; whatever is not named when the
//! lease ends goes with the next collection.

mod archive;
mod docker_archive;
mod error;
mod layers;
mod layout;
mod plan;
mod publish;

pub use error::LoadError;

use std::os::fd::{AsFd, BorrowedFd};

use hull_api::image::{ProgressDetail, ProgressMessage};
use hull_oci::{Digest, Platform, Reference};
use hull_store::Lease;
use hull_worker::job::{Answer, Job};

use super::{Images, ResolvedImage, select, worker};
use archive::Archive;
use plan::{Plan, Target};

/// How many layers an overlay can have below its upper one.
pub(super) const MAX_LAYERS: usize = 500;

/// What to load.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// No progress messages, only results.
    pub quiet: bool,
    /// Only images that this platform runs; everything the archive has when absent.
    pub platform: Option<Platform>,
}

/// Which image of an OCI layout is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LayoutEntry {
    /// The one that `index.json` calls so, else the only one.
    Tag(String),
    /// A manifest or index of it.
    Digest(Digest),
}

impl Images<'_> {
    /// Takes one image out of an OCI layout, for `platform` if it has that, else for another one.
    /// It gets no record and no name: `lease` keeps it.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn take_from_layout(
        &self,
        input: BorrowedFd<'_>,
        entry: &LayoutEntry,
        platform: &Platform,
        lease: &Lease<'_>,
    ) -> Result<ResolvedImage, LoadError> {
        let archive = self.scan(input)?;
        let mut target = layout::target(&archive, entry, &|layer| self.has(layer))?;
        let wanted = target.image_for(platform).id.clone();
        target.images.retain(|image| image.id == wanted);
        let plan = Plan { targets: vec![target] };
        for digest in publish::digests(&plan) {
            lease.add(digest)?;
        }
        let read = layers::read(self.store, self.worker, &archive, &plan.layers(), &mut |_, _| {})?;
        let [root] =
            self.keep_read(&plan, read, lease)?.try_into().map_err(|_| LoadError::Answer)?;
        let found = select::best(self.store, &root, platform)?;
        Ok(ResolvedImage {
            reference: None,
            record: root.digest,
            manifest_digest: found.manifest,
            image_id: found.image_id,
            layers: found.config.rootfs.diff_ids.clone(),
            config: found.config,
        })
    }

    /// Loads every image of the archive that `input` yields: a file or the read end of a pipe,
    /// plain, gzip or zstd.
    ///
    /// Returns the image IDs. `progress` gets Docker's messages as they come about.
    ///
    /// # Errors
    /// See [`LoadError`]. On an error nothing of the archive is kept.
    pub fn load(
        &self,
        input: BorrowedFd<'_>,
        options: &LoadOptions,
        progress: &mut dyn FnMut(ProgressMessage),
    ) -> Result<Vec<Digest>, LoadError> {
        let archive = self.scan(input)?;
        let lease = self.store.lease()?;
        let plan = self.plan(&archive, options)?;
        for digest in publish::digests(&plan) {
            lease.add(digest)?;
        }
        let layers = plan.layers();
        let mut report = |layer: &plan::PlannedLayer, done: bool| {
            if let Some(range) = layer.range.filter(|_| !options.quiet) {
                progress(loading(&layer.diff_id, range.size, done));
            }
        };
        let read = layers::read(self.store, self.worker, &archive, &layers, &mut report)?;
        self.publish(&plan, read, &lease, progress)?;
        Ok(plan.targets.iter().flat_map(|target| &target.images).map(|i| i.id.clone()).collect())
    }

    fn has(&self, layer: &Digest) -> bool {
        self.store.layers().contains(layer).is_ok_and(|found| found)
    }

    fn scan(&self, input: BorrowedFd<'_>) -> Result<Archive, LoadError> {
        let spool = self.store.blobs().temporary()?;
        let job = Job::ScanArchive { max_bytes: worker::MAX_BYTES };
        let answer =
            worker::run(self.worker, &job, &[input, spool.as_fd()]).map_err(LoadError::Scan)?;
        let Answer::Archive { members } = answer else { return Err(LoadError::Answer) };
        Ok(Archive::new(spool, members))
    }

    fn plan(&self, archive: &Archive, options: &LoadOptions) -> Result<Plan, LoadError> {
        let platform = options.platform.as_ref();
        let listed = docker_archive::images(archive)?;
        let mut plan = match &listed {
            // Docker 25 and later write both: the layout has the manifests, the list may have
            // more names.
            _ if archive.find("index.json").is_some() => {
                layout::plan(archive, platform, &|layer| self.has(layer))?
            }
            Some(images) => docker_archive::plan(archive, images, platform)?,
            None => return Err(LoadError::NotAnImage),
        };
        for image in listed.iter().flatten() {
            let named = |target: &&mut Target| {
                target.images.iter().any(|found| image.config.ends_with(found.id.hex()))
            };
            if let Some(target) = plan.targets.iter_mut().find(named) {
                target.names.extend(docker_archive::names(image)?);
            }
        }
        plan.settle_names(&Platform::host());
        Ok(plan)
    }
}

/// A name that an archive gives an image.
fn name(text: &str) -> Result<Reference, LoadError> {
    match text.parse::<Reference>() {
        Ok(name) => Ok(name.with_default_tag()),
        Err(source) => Err(LoadError::Name { text: text.to_owned(), source }),
    }
}

fn loading(diff_id: &Digest, size: u64, done: bool) -> ProgressMessage {
    let current = if done { size } else { 0 };
    ProgressMessage {
        id: Some(super::short(diff_id).to_owned()),
        progress_detail: Some(ProgressDetail { current: Some(current), total: Some(size) }),
        ..ProgressMessage::status("Loading layer")
    }
}

#[cfg(test)]
mod tests;
