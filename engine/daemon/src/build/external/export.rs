//! Writing caches.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use hull_oci::{Descriptor, Digest, Manifest, media_type};
use hull_store::{Lease, Store};
use hull_worker::job::Method;

use super::document::{ARTIFACT, CONFIG, Document, Inline, Step};
use super::folder::Folder;
use super::import::{Imports, Offer};
use super::options::{Place, Target};
use crate::build::progress::{Activity, Progress, now};
use crate::error::ApiError;
use crate::images::{Compressing, ForBuilds, Images};

/// A step of a build and its result.
#[derive(Debug, Clone)]
pub(in crate::build) struct Made {
    pub(in crate::build) key: Digest,
    /// A further key, over layers in place of files.
    pub(in crate::build) alias: Option<Digest>,
    /// ChainID of the layers it was made on.
    pub(in crate::build) on: Option<Digest>,
    /// How many these are.
    pub(in crate::build) depth: usize,
    pub(in crate::build) diff_id: Digest,
    /// Where the layer is, if it is not here.
    pub(in crate::build) elsewhere: Option<Arc<Offer>>,
    pub(in crate::build) created: String,
    pub(in crate::build) description: String,
    /// Whether the layer is one of the result.
    pub(in crate::build) is_of_result: bool,
}

/// Writes the caches of one build.
pub(in crate::build) struct Exporting<'a> {
    pub(in crate::build) store: &'a Store,
    pub(in crate::build) registries: &'a ForBuilds<'a>,
    pub(in crate::build) worker: &'a Path,
    pub(in crate::build) lease: &'a Lease<'a>,
    pub(in crate::build) progress: &'a Progress,
}

/// What stands in the config of the image that the steps of the result made.
///
/// # Errors
/// It cannot be written as JSON.
pub(in crate::build) fn inline(made: &[Made]) -> Result<serde_json::Value, ApiError> {
    let own = made.iter().filter(|made| made.is_of_result);
    let mut steps: Vec<Step> = own
        // An image says of its own layers what they lie on, and of its steps what they were.
        .map(|made| Step { on: None, description: String::new(), ..step(made, made.depth) })
        .collect();
    steps.sort_by_key(|step| step.layer);
    serde_json::to_value(Inline::new(steps)).map_err(|error| ApiError::internal(&error))
}

fn step(made: &Made, layer: usize) -> Step {
    Step {
        key: made.key.clone(),
        alias: made.alias.clone(),
        on: made.on.clone(),
        layer,
        created: made.created.clone(),
        description: made.description.clone(),
    }
}

impl Exporting<'_> {
    /// Writes the steps, with the caches of which those are that are not here.
    ///
    /// # Errors
    /// A cache that could not be written, unless the build is to succeed without it.
    pub(in crate::build) fn export(
        &self,
        targets: &[Target],
        made: &[(Made, &Imports<'_>)],
    ) -> Result<(), ApiError> {
        for target in targets {
            let (title, name) = match &target.place {
                Place::Inline => continue,
                Place::Registry(reference) => ("registry", reference.to_string()),
                Place::Folder { path, .. } => ("client directory", path.clone()),
            };
            let activity = self.progress.begin(&format!("exporting cache to {title}"), Vec::new());
            match self.write(target, made, &activity) {
                Ok(()) => activity.done(),
                Err(error) => {
                    self.progress.check()?;
                    let error = error.context(&format!("cannot export the cache to {name}"));
                    if !target.is_optional {
                        activity.failed(&error.message);
                        return Err(error);
                    }
                    self.progress.warn(&activity, &error.message, None);
                    activity.done();
                }
            }
        }
        Ok(())
    }

    fn write(
        &self,
        target: &Target,
        made: &[(Made, &Imports<'_>)],
        activity: &Activity<'_>,
    ) -> Result<(), ApiError> {
        // Fresh layers are no blobs yet.
        self.store.layers().settle()?;
        let mut numbers: HashMap<&Digest, usize> = HashMap::new();
        let (mut layers, mut diff_ids, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        for (made, imports) in made {
            if !target.all && !made.is_of_result {
                continue;
            }
            let number = match numbers.get(&made.diff_id) {
                Some(number) => *number,
                None => {
                    self.progress.check()?;
                    layers.push(self.layer(target, made, imports)?);
                    diff_ids.push(made.diff_id.clone());
                    numbers.insert(&made.diff_id, diff_ids.len() - 1);
                    diff_ids.len() - 1
                }
            };
            steps.push(step(made, number));
        }
        let config = Document::new(diff_ids, steps).to_bytes()?;
        let started = now();
        let mut manifest = Manifest::of(Descriptor::of(CONFIG, &config), layers);
        manifest.artifact_type = Some(ARTIFACT.to_owned());
        match &target.place {
            Place::Inline => {}
            Place::Registry(reference) => {
                let bytes = manifest.to_bytes();
                let root = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
                for (digest, bytes) in [(&manifest.config.digest, &config), (&root.digest, &bytes)]
                {
                    self.lease.add(digest)?;
                    self.store
                        .blobs()
                        .put_bytes(bytes)
                        .map_err(|error| ApiError::internal(&error))?;
                }
                self.registries.push_cache(reference, &root)?;
            }
            Place::Folder { path, tag } => {
                let folder = Folder::create(path)?;
                for layer in &manifest.layers {
                    let started = now();
                    let opened = self.store.blobs().open(&layer.digest);
                    let file = opened.map_err(|error| ApiError::internal(&error))?;
                    folder.put(&layer.digest, file)?;
                    activity.status(
                        &format!("writing layer {}", layer.digest),
                        layer.size,
                        &started,
                    );
                }
                folder.put(&manifest.config.digest, config.as_slice())?;
                folder.publish(tag, &manifest)?;
            }
        }
        let digest = Digest::sha256(&manifest.to_bytes());
        activity.status(&format!("writing cache image manifest {digest}"), 0, &started);
        Ok(())
    }

    /// A layer, compressed as it is to be: the copy that a push makes.
    fn layer(
        &self,
        target: &Target,
        made: &Made,
        imports: &Imports<'_>,
    ) -> Result<Descriptor, ApiError> {
        if let Some(offer) = &made.elsewhere
            && let Some(repository) = imports.repository(offer)
        {
            // Where it came from has it: it is asked there, if the other place has it not.
            self.lease.add(&offer.layer.digest)?;
            self.store.learn(&offer.layer.digest, offer.layer.size, None, Some(repository))?;
            return Ok(offer.layer.clone());
        }
        let size = self.store.layers().info(&made.diff_id)?.tar_size;
        let plain = Descriptor::new(media_type::OCI_LAYER, made.diff_id.clone(), size);
        let images = Images { store: self.store, worker: self.worker };
        let (method, level) = (target.method, target.level);
        let compressing = Compressing { images, lease: self.lease, method, level };
        Ok(compressing.layer(&plain, &|| {})?)
    }
}

/// Whether an offer can be handed on as it lies there.
pub(in crate::build) fn hands_on(targets: &[Target], offer: &Offer) -> bool {
    let is_gzip = offer.layer.media_type.ends_with("gzip");
    targets.iter().filter(|target| target.place != Place::Inline).all(|target| {
        matches!(target.place, Place::Registry(_))
            && target.level.is_none()
            && is_gzip == (target.method == Method::Gzip)
    })
}
