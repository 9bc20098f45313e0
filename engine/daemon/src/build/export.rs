//! What becomes of what was built: an image in the store with names, an archive, a directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use hull_api::ErrorKind;
use hull_api::build::{BuildRequest, BuildResult};
use hull_builder::plan::Plan;
use hull_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media_type};
use hull_store::{ImageRecord, Lease, Store};
use hull_worker::client::{Worker, run as run_job};
use hull_worker::job::{ExtractOptions, Job, Method};

use super::attest::{self, Origin};
use super::chain::Chain;
use super::external;
use super::output::{Compression, Kind, Level, Wanted, names};
use super::progress::{Progress, now};
use super::stage::Done;
use crate::error::ApiError;
use crate::images::{Compressing, ForBuilds, Images, ORIGIN_BUILD, Parent, ResolvedImage};
use crate::worker_stream::failed;

/// A stage that was built, as an image.
pub(super) struct Image {
    config: ImageConfig,
    platform: Platform,
    chain: Chain,
    base: Option<ResolvedImage>,
    /// Layers of the base.
    inherited: usize,
    origin: Origin,
}

/// Exports images of one build.
pub(super) struct Exporting<'a> {
    pub(super) store: &'a Store,
    pub(super) registries: &'a ForBuilds<'a>,
    pub(super) worker: &'a Path,
    pub(super) request: &'a BuildRequest,
    pub(super) lease: &'a Lease<'a>,
}

/// Refuses outputs that cannot be made, before anything is built.
///
/// # Errors
/// Those refusals.
pub(super) fn check(request: &BuildRequest) -> Result<(), ApiError> {
    Wanted::all(request)?;
    request.cache_from.iter().try_for_each(|cache| external::Source::parse(cache).map(drop))?;
    request.cache_to.iter().try_for_each(|cache| external::Target::parse(cache).map(drop))?;
    Ok(())
}

impl Image {
    /// The image of a plan's target.
    pub(super) fn new(
        plan: &Plan,
        done: &Done,
        base: Option<ResolvedImage>,
        origin: Origin,
        cache: Option<serde_json::Value>,
    ) -> Result<Self, ApiError> {
        let target = plan.target();
        let layers = done.chain.layers()?;
        let mut config = target.image.clone();
        // The plan's root file system is that of the base.
        let inherited = base.as_ref().map_or(0, |base| base.layers.len());
        config.rootfs.diff_ids = layers;
        // That of the base is about other steps.
        config.build_cache = cache;
        let mut last = None;
        for (index, entry) in config.history.iter_mut().enumerate() {
            if entry.created.is_none() {
                let own = done.created.get(index).cloned().flatten();
                entry.created = own.or_else(|| last.clone());
            }
            last = entry.created.clone().or(last);
        }
        if config.created.is_none() {
            // As old as its newest part, so that the same parts make the same image.
            config.created =
                last.or_else(|| base.as_ref().and_then(|base| base.config.created.clone()));
        }
        if config.created.is_none() {
            config.created = Some("1970-01-01T00:00:00Z".to_owned());
        }
        for entry in &mut config.history {
            entry.created = entry.created.take().or_else(|| config.created.clone());
        }
        Ok(Self {
            config,
            platform: target.platform.clone(),
            chain: done.chain.clone(),
            base,
            inherited,
            origin,
        })
    }
}

impl Exporting<'_> {
    /// Exports.
    pub(super) fn export(
        &self,
        images: &[Image],
        progress: &Progress,
    ) -> Result<BuildResult, ApiError> {
        let activity = progress.begin("exporting", Vec::new());
        let mut result = BuildResult::default();
        for wanted in Wanted::all(self.request)? {
            let started = now();
            match wanted.kind {
                Kind::Store => {
                    self.to_store(images, &wanted, &mut result)?;
                    if wanted.pushes {
                        for name in names(self.request)? {
                            self.registries.push(&name, wanted.method())?;
                        }
                    }
                }
                Kind::Archive => {
                    let made = self.to_store(images, &wanted, &mut result)?;
                    self.to_archive(&wanted, &result)?;
                    self.forget(made)?;
                }
                Kind::Layout => {
                    let made = self.to_store(images, &wanted, &mut result)?;
                    self.to_layout(&wanted, &result)?;
                    self.forget(made)?;
                }
                Kind::Tar => self.to_tar(images, &wanted)?,
                Kind::Directory => self.to_directory(images, &wanted)?,
            }
            activity.status(&format!("exporting to {}", wanted.name), 0, &started);
        }
        activity.done();
        Ok(result)
    }

    /// Keeps the images, and gives them their names if they stay. Returns the digest of the record
    /// that was made for it, if there was none.
    fn to_store(
        &self,
        images: &[Image],
        wanted: &Wanted,
        result: &mut BuildResult,
    ) -> Result<Option<Digest>, ApiError> {
        if wanted.compression.is_some() {
            // Fresh layers are no blobs yet.
            self.store.layers().settle()?;
        }
        let mut manifests = Vec::new();
        for image in images {
            let (mut descriptor, id) = self.manifest(image, wanted)?;
            result.image_id = id.to_string();
            descriptor.platform = Some(image.platform.clone());
            manifests.push(descriptor);
        }
        let mut said = Vec::new();
        for (image, descriptor) in images.iter().zip(&manifests) {
            said.extend(self.attest(image, descriptor)?);
        }
        for (image, descriptor) in images.iter().zip(&mut manifests) {
            descriptor.annotations = annotations(wanted, Level::Descriptor, &image.platform);
        }
        manifests.extend(said);
        // Everything below is on disk before anything refers to it.
        self.store.layers().settle()?;
        let of_index = annotations(wanted, Level::Index, &Platform::host());
        let descriptor = match manifests.as_slice() {
            [_] if !of_index.is_empty() => {
                return Err(ApiError::invalid(
                    "an image for one platform has no index to annotate",
                )
                .hint("annotate its manifest, or build for several platforms"));
            }
            [one] => {
                let mut one = one.clone();
                one.platform = None;
                one
            }
            _ => {
                let mut index = Index::of(manifests);
                index.annotations = of_index;
                let kind = match wanted.docker_types {
                    true => media_type::DOCKER_INDEX,
                    false => media_type::OCI_INDEX,
                };
                index.media_type = Some(kind.to_owned());
                let index = index.to_bytes();
                let descriptor = Descriptor::of(kind, &index);
                self.put(&descriptor.digest, &index)?;
                descriptor
            }
        };
        result.digest = descriptor.digest.to_string();
        let store = self.store;
        let known = store.image(&descriptor.digest).ok().flatten().is_some();
        if !known {
            let record = ImageRecord {
                descriptor: descriptor.clone(),
                created: now(),
                origin: ORIGIN_BUILD.to_owned(),
            };
            store.put_image(&record).map_err(|error| internal(&error))?;
        }
        let stays = wanted.kind == Kind::Store;
        for name in names(self.request)?.iter().filter(|_| stays) {
            let same = store
                .resolve(name)
                .map_err(|error| internal(&error))?
                .is_some_and(|found| found.digest == descriptor.digest);
            if !same {
                store.set_ref(name, &descriptor).map_err(|error| internal(&error))?;
                let labels = images.first().map(|image| image.config.runtime().labels);
                let images = Images { store, worker: self.worker };
                images.happened(
                    &result.image_id,
                    &labels.unwrap_or_default(),
                    "tag",
                    &name.familiar(),
                );
            }
            if !result.names.contains(&name.familiar()) {
                result.names.push(name.familiar());
            }
        }
        let metadata = [
            ("containerimage.config.digest", result.image_id.clone().into()),
            ("containerimage.digest", result.digest.clone().into()),
            ("containerimage.descriptor", json(&descriptor)?),
            ("image.name", result.names.join(",").into()),
        ];
        result.metadata = metadata.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Some(descriptor.digest).filter(|_| !known))
    }

    /// Forgets an image that was only on its way into an archive.
    fn forget(&self, made: Option<Digest>) -> Result<(), ApiError> {
        let Some(made) = made else { return Ok(()) };
        let removed = self.store.remove_unnamed_image(&made);
        removed.map(drop).map_err(|error| internal(&error))
    }

    /// Says of an image what is asked for; the descriptor of the manifest that says it.
    fn attest(
        &self,
        image: &Image,
        descriptor: &Descriptor,
    ) -> Result<Option<Descriptor>, ApiError> {
        if !attest::is_wanted(self.request) {
            return Ok(None);
        }
        let root = image.chain.view(self.store)?;
        let documents = attest::documents(
            self.request,
            self.worker,
            &root,
            (descriptor, &image.platform),
            &names(self.request)?,
            &image.origin,
            image.config.created.as_deref().unwrap_or_default(),
        )?;
        for document in &documents {
            self.put(&document.descriptor.digest, &document.bytes)?;
        }
        Ok(documents.into_iter().last().map(|manifest| manifest.descriptor))
    }

    /// Writes config and manifest of one image.
    fn manifest(&self, image: &Image, wanted: &Wanted) -> Result<(Descriptor, Digest), ApiError> {
        let (config_type, manifest_type) = match wanted.docker_types {
            true => (media_type::DOCKER_CONFIG, media_type::DOCKER_MANIFEST),
            false => (media_type::OCI_CONFIG, media_type::OCI_MANIFEST),
        };
        let config = image.config.to_bytes();
        let config_descriptor = Descriptor::of(config_type, &config);
        let id = config_descriptor.digest.clone();
        let mut layers = match &image.base {
            Some(base) => {
                let parent = Parent {
                    record: base.record.clone(),
                    image_id: base.image_id.clone(),
                    layers: base.layers.clone(),
                };
                let images = Images { store: self.store, worker: self.worker };
                images.layers_of(&parent, self.lease)?
            }
            None => Vec::new(),
        };
        for layer in &image.config.rootfs.diff_ids[image.inherited..] {
            let info = self.store.layers().info(layer)?;
            // Plain, however it came here: the same steps make the same manifest everywhere.
            let is_plain = self.store.blobs().contains(layer)?;
            let (digest, size) = match !is_plain && self.store.blobs().contains(&info.digest)? {
                true => (info.digest, info.size),
                false => (layer.clone(), info.tar_size),
            };
            let kind = match digest == *layer {
                true => media_type::oci_layer(""),
                false => media_type::oci_layer(&info.compression),
            };
            self.lease.add(&digest)?;
            layers.push(Descriptor::new(kind, digest, size));
        }
        for (place, layer) in layers.iter_mut().enumerate() {
            let diff_id = &image.config.rootfs.diff_ids[place];
            let is_own = place >= image.inherited;
            self.compress(layer, diff_id, wanted, is_own)?;
            if wanted.docker_types {
                layer.media_type = docker_layer(&layer.media_type).to_owned();
            }
        }
        let mut manifest = Manifest::of(config_descriptor, layers);
        manifest.media_type = Some(manifest_type.to_owned());
        manifest.annotations = annotations(wanted, Level::Manifest, &image.platform);
        let manifest = manifest.to_bytes();
        let descriptor = Descriptor::of(manifest_type, &manifest);
        self.put(&id, &config)?;
        self.put(&descriptor.digest, &manifest)?;
        Ok((descriptor, id))
    }

    /// Makes a layer as compressed as it is to be. Of the base's layers those that are compressed
    /// stay as they came, unless that is not wanted.
    fn compress(
        &self,
        layer: &mut Descriptor,
        diff_id: &Digest,
        wanted: &Wanted,
        is_own: bool,
    ) -> Result<(), ApiError> {
        let Some(compression) = wanted.compression else { return Ok(()) };
        let is_plain = layer.digest == *diff_id;
        let there = match compression {
            Compression::None => is_plain,
            Compression::By(Method::Gzip) => layer.media_type.ends_with("gzip"),
            Compression::By(Method::Zstd) => layer.media_type.ends_with("zstd"),
        };
        if there && wanted.level.is_none() || !is_own && !is_plain && !wanted.force {
            return Ok(());
        }
        if !is_plain {
            if !self.store.blobs().contains(diff_id)? {
                return Err(ApiError::new(
                    ErrorKind::Unavailable,
                    format!("cannot compress layer {diff_id} anew: its plain tar is not kept here"),
                ));
            }
            let size = self.store.layers().info(diff_id)?.tar_size;
            *layer = Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), size);
        }
        self.lease.add(diff_id)?;
        if let Compression::By(method) = compression {
            let images = Images { store: self.store, worker: self.worker };
            let compressing =
                Compressing { images, lease: self.lease, method, level: wanted.level };
            *layer = compressing.layer(layer, &|| {})?;
        }
        Ok(())
    }

    /// Keeps a document, unless it is here.
    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ApiError> {
        self.lease.add(digest)?;
        if self.store.blobs().contains(digest)? {
            return Ok(());
        }
        self.store.blobs().put_bytes(bytes).map(drop).map_err(|error| internal(&error))
    }

    /// Writes an archive of both formats, which is one file.
    fn to_archive(&self, wanted: &Wanted, result: &BuildResult) -> Result<(), ApiError> {
        let path = wanted.path.as_str();
        let mut file = create(path)?;
        let names = names(self.request)?;
        let images = Images { store: self.store, worker: self.worker };
        images
            .write_archive(&result.digest, &names, &mut file)
            .and_then(|()| file.flush().map_err(|error| ApiError::internal(&error)))
            .map_err(|error| error.context(&format!("cannot write {path}")))
    }

    /// Writes what is in such an archive into a directory.
    fn to_layout(&self, wanted: &Wanted, result: &BuildResult) -> Result<(), ApiError> {
        let path = wanted.path.as_str();
        let directory = directory_at(path)?;
        let names = names(self.request)?;
        let (reader, writer) = std::io::pipe().map_err(|error| ApiError::internal(&error))?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let images = Images { store: self.store, worker: self.worker };
                images.write_archive(&result.digest, &names, std::io::BufWriter::new(writer))
            });
            let extracted = self.extract(&directory, path, reader);
            let written = writing.join().unwrap_or_else(|_| {
                Err(ApiError::new(ErrorKind::Internal, "what writes a layout broke off"))
            });
            extracted.and(written)
        })
    }

    /// Unpacks a tar of our own into a directory of the user.
    fn extract(
        &self,
        directory: &OwnedFd,
        path: &str,
        reader: std::io::PipeReader,
    ) -> Result<(), ApiError> {
        let options = ExtractOptions { max_bytes: u64::MAX, ..ExtractOptions::default() };
        let job = Job::Extract { path: "/".to_owned(), options, userns: false };
        let extracted = run_job(self.worker, &job, &[directory.as_fd(), reader.as_fd()]);
        drop(reader);
        extracted
            .map(drop)
            .map_err(|error| failed(&error).context(&format!("cannot write to {path}")))
    }

    /// Writes the root file system as a tar.
    fn to_tar(&self, images: &[Image], wanted: &Wanted) -> Result<(), ApiError> {
        let path = wanted.path.as_str();
        let [image] = images else { return Err(only_one(wanted)) };
        let view = image.chain.view(self.store)?;
        let file = create(path)?;
        run_job(self.worker, &Job::PackTree, &[view.as_fd(), file.as_fd()])
            .map(drop)
            .map_err(|error| failed(&error).context(&format!("cannot write {path}")))
    }

    /// Writes the root file system into a directory: each of several platforms into its own.
    fn to_directory(&self, images: &[Image], wanted: &Wanted) -> Result<(), ApiError> {
        for image in images {
            let mut path = wanted.path.clone();
            if images.len() > 1 {
                let platform = image.platform.to_string().replace('/', "_");
                path = format!("{}/{platform}", path.trim_end_matches('/'));
            }
            let directory = directory_at(&path)?;
            let view = image.chain.view(self.store)?;
            let (reader, writer) = std::io::pipe().map_err(|error| ApiError::internal(&error))?;
            let packing =
                Worker::spawn(self.worker, &Job::PackTree, &[view.as_fd(), writer.as_fd()])
                    .map_err(|error| failed(&error))?;
            drop(writer);
            let extracted = self.extract(&directory, &path, reader);
            packing.answer().map_err(|error| failed(&error))?;
            extracted?;
        }
        Ok(())
    }
}

fn annotations(wanted: &Wanted, level: Level, platform: &Platform) -> BTreeMap<String, String> {
    let all = wanted.annotations.iter().filter(|one| one.is_of(level, platform));
    all.map(|one| (one.key.clone(), one.value.clone())).collect()
}

/// Docker's media type of a layer.
fn docker_layer(kind: &str) -> &'static str {
    match kind {
        kind if kind.ends_with("gzip") => media_type::DOCKER_LAYER_GZIP,
        kind if kind.ends_with("zstd") => media_type::DOCKER_LAYER_ZSTD,
        _ => media_type::DOCKER_LAYER,
    }
}

/// A directory of the user, made if it is missing.
fn directory_at(path: &str) -> Result<OwnedFd, ApiError> {
    let made = std::fs::create_dir_all(path).and_then(|()| File::open(path));
    made.map(OwnedFd::from).map_err(|error| {
        ApiError::chain(ErrorKind::Invalid, &error).context(&format!("cannot write to {path}"))
    })
}

fn only_one(wanted: &Wanted) -> ApiError {
    ApiError::invalid(format!("output type {} holds one platform only", wanted.name))
}

fn create(path: &str) -> Result<File, ApiError> {
    File::create(path).map_err(|error| {
        ApiError::chain(ErrorKind::Invalid, &error).context(&format!("cannot create {path}"))
    })
}

fn internal(error: &dyn std::error::Error) -> ApiError {
    ApiError::internal(error)
}

fn json(descriptor: &Descriptor) -> Result<serde_json::Value, ApiError> {
    serde_json::to_value(descriptor).map_err(|error| ApiError::internal(&error))
}
