//! What becomes of what was built: an image in the store with names, an archive, a directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use hull_api::ErrorKind;
use hull_api::build::{BuildRequest, BuildResult, Output};
use hull_builder::plan::Plan;
use hull_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use hull_store::{ImageRecord, Lease, Store};
use hull_worker::client::{Worker, run as run_job};
use hull_worker::job::{ExtractOptions, Job, Method};

use super::attest::{self, Origin};
use super::chain::Chain;
use super::progress::{Progress, now};
use super::stage::Done;
use crate::error::ApiError;
use crate::images::{ForBuilds, Images, ORIGIN_BUILD, Parent, ResolvedImage, new_name};
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

/// What an output is.
enum Kind {
    Store,
    Archive,
    Tar,
    Directory,
}

impl Kind {
    fn of(output: &Output) -> Result<Self, ApiError> {
        let has_destination = output.attributes.contains_key("dest");
        match output.kind.as_str() {
            "" | "image" => Ok(Self::Store),
            "docker" if !has_destination => Ok(Self::Store),
            "docker" | "oci" => Ok(Self::Archive),
            "tar" => Ok(Self::Tar),
            "local" => Ok(Self::Directory),
            "registry" => Ok(Self::Store),
            other => Err(ApiError::invalid(format!("unknown output type {other:?}"))
                .hint("there are image, registry, docker, oci, tar and local")),
        }
    }
}

fn unavailable(what: &str) -> ApiError {
    ApiError::new(
        ErrorKind::Unavailable,
        format!("{what} is not supported by builds of this engine"),
    )
}

/// Refuses outputs that cannot be made, before anything is built.
///
/// # Errors
/// Those refusals.
pub(super) fn check(request: &BuildRequest) -> Result<(), ApiError> {
    for output in &request.outputs {
        let kind = Kind::of(output)?;
        let dest = output.attributes.get("dest");
        if !matches!(kind, Kind::Store) && dest.is_none_or(|dest| !dest.starts_with('/')) {
            return Err(ApiError::invalid(format!(
                "output type {} needs an absolute path as dest",
                output.kind
            )));
        }
        if pushes(output) {
            compression(output)?;
            if names(request)?.is_empty() {
                return Err(ApiError::invalid("what is to be pushed has no name")
                    .hint("name it with --tag"));
            }
        } else if let Some(compression) = output.attributes.get("compression")
            && compression != "uncompressed"
        {
            return Err(unavailable(&format!("compression={compression}"))
                .hint("layers are compressed when they are pushed"));
        }
    }
    if let Some(cache) = request.cache_to.first() {
        let kind = cache.get("type").map_or("registry", String::as_str);
        return Err(unavailable(&format!("--cache-to type={kind}"))
            .hint("builds of one host share their cache without it"));
    }
    names(request)?;
    Ok(())
}

/// Whether an output goes to a registry too.
fn pushes(output: &Output) -> bool {
    output.kind == "registry" || output.attributes.get("push").is_some_and(|value| value != "false")
}

/// How layers are compressed that go to a registry.
fn compression(output: &Output) -> Result<Method, ApiError> {
    match output.attributes.get("compression").map(String::as_str) {
        None | Some("gzip") => Ok(Method::Gzip),
        Some("zstd") => Ok(Method::Zstd),
        Some(other) => Err(unavailable(&format!("compression={other}"))
            .hint("layers that are pushed are compressed with gzip or zstd")),
    }
}

/// The names that the image gets.
fn names(request: &BuildRequest) -> Result<Vec<Reference>, ApiError> {
    let of_outputs = request.outputs.iter().filter_map(|output| output.attributes.get("name"));
    let texts = request.tags.iter().map(String::as_str);
    let all =
        texts.chain(of_outputs.flat_map(|names| names.split(','))).filter(|name| !name.is_empty());
    let mut names: Vec<Reference> = Vec::new();
    for text in all {
        let name = new_name(text, None)
            .map_err(|error| ApiError::from(error).context(&format!("invalid tag {text:?}")))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

impl Image {
    /// The image of a plan's target.
    pub(super) fn new(
        plan: &Plan,
        done: &Done,
        base: Option<ResolvedImage>,
        origin: Origin,
    ) -> Result<Self, ApiError> {
        let target = plan.target();
        let layers = done.chain.layers()?;
        let mut config = target.image.clone();
        // The plan's root file system is that of the base.
        let inherited = base.as_ref().map_or(0, |base| base.layers.len());
        config.rootfs.diff_ids = layers;
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
        let default = [Output { kind: "image".to_owned(), attributes: BTreeMap::new() }];
        let outputs = match self.request.outputs.as_slice() {
            [] => default.as_slice(),
            outputs => outputs,
        };
        for output in outputs {
            let started = now();
            match Kind::of(output)? {
                Kind::Store => {
                    self.to_store(images, true, &mut result)?;
                    if pushes(output) {
                        for name in names(self.request)? {
                            self.registries.push(&name, compression(output)?)?;
                        }
                    }
                }
                Kind::Archive => {
                    self.to_store(images, false, &mut result)?;
                    self.to_archive(output, &result)?;
                }
                Kind::Tar => self.to_tar(images, output)?,
                Kind::Directory => self.to_directory(images, output)?,
            }
            activity.status(&format!("exporting to {}", output.kind), 0, &started);
        }
        activity.done();
        Ok(result)
    }

    /// Keeps the images, and gives them their names.
    fn to_store(
        &self,
        images: &[Image],
        named: bool,
        result: &mut BuildResult,
    ) -> Result<(), ApiError> {
        let mut manifests = Vec::new();
        for image in images {
            let (mut descriptor, id) = self.manifest(image)?;
            result.image_id = id.to_string();
            descriptor.platform = Some(image.platform.clone());
            manifests.push(descriptor);
        }
        let mut said = Vec::new();
        for (image, descriptor) in images.iter().zip(&manifests) {
            said.extend(self.attest(image, descriptor)?);
        }
        manifests.extend(said);
        // Everything below is on disk before anything refers to it.
        self.store.layers().settle()?;
        let descriptor = match manifests.as_slice() {
            [one] => {
                let mut one = one.clone();
                one.platform = None;
                one
            }
            _ => {
                let index = Index::of(manifests).to_bytes();
                let descriptor = Descriptor::of(media_type::OCI_INDEX, &index);
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
        for name in names(self.request)?.iter().filter(|_| named) {
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
            result.names.push(name.familiar());
        }
        let metadata = [
            ("containerimage.config.digest", result.image_id.clone().into()),
            ("containerimage.digest", result.digest.clone().into()),
            ("containerimage.descriptor", json(&descriptor)?),
            ("image.name", result.names.join(",").into()),
        ];
        result.metadata = metadata.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(())
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
    fn manifest(&self, image: &Image) -> Result<(Descriptor, Digest), ApiError> {
        let config = image.config.to_bytes();
        let config_descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
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
            let (digest, size) = match self.store.blobs().contains(&info.digest)? {
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
        let mut manifest = Manifest::of(config_descriptor, layers);
        manifest.annotations.extend(self.request.annotations.clone());
        let manifest = manifest.to_bytes();
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
        self.put(&id, &config)?;
        self.put(&descriptor.digest, &manifest)?;
        Ok((descriptor, id))
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
    fn to_archive(&self, output: &Output, result: &BuildResult) -> Result<(), ApiError> {
        let path = destination(output);
        let mut file = create(path)?;
        let names = names(self.request)?;
        let images = Images { store: self.store, worker: self.worker };
        images
            .write_archive(&result.digest, &names, &mut file)
            .and_then(|()| file.flush().map_err(|error| ApiError::internal(&error)))
            .map_err(|error| error.context(&format!("cannot write {path}")))
    }

    /// Writes the root file system as a tar.
    fn to_tar(&self, images: &[Image], output: &Output) -> Result<(), ApiError> {
        let path = destination(output);
        let [image] = images else { return Err(only_one(output)) };
        let view = image.chain.view(self.store)?;
        let file = create(path)?;
        run_job(self.worker, &Job::PackTree, &[view.as_fd(), file.as_fd()])
            .map(drop)
            .map_err(|error| failed(&error).context(&format!("cannot write {path}")))
    }

    /// Writes the root file system into a directory: each of several platforms into its own.
    fn to_directory(&self, images: &[Image], output: &Output) -> Result<(), ApiError> {
        for image in images {
            let mut path = destination(output).to_owned();
            if images.len() > 1 {
                let platform = image.platform.to_string().replace('/', "_");
                path = format!("{}/{platform}", path.trim_end_matches('/'));
            }
            let failed_io = |error: std::io::Error| {
                ApiError::chain(ErrorKind::Invalid, &error)
                    .context(&format!("cannot write to {path}"))
            };
            std::fs::create_dir_all(&path).map_err(failed_io)?;
            let directory = OwnedFd::from(File::open(&path).map_err(failed_io)?);
            let view = image.chain.view(self.store)?;
            let (reader, writer) = std::io::pipe().map_err(failed_io)?;
            let packing =
                Worker::spawn(self.worker, &Job::PackTree, &[view.as_fd(), writer.as_fd()])
                    .map_err(|error| failed(&error))?;
            drop(writer);
            let options = ExtractOptions { max_bytes: u64::MAX, ..ExtractOptions::default() };
            let job = Job::Extract { path: "/".to_owned(), options, userns: false };
            let extracted = run_job(self.worker, &job, &[directory.as_fd(), reader.as_fd()]);
            drop(reader);
            packing.answer().map_err(|error| failed(&error))?;
            extracted
                .map_err(|error| failed(&error).context(&format!("cannot write to {path}")))?;
        }
        Ok(())
    }
}

fn only_one(output: &Output) -> ApiError {
    ApiError::invalid(format!("output type {} holds one platform only", output.kind))
}

fn destination(output: &Output) -> &str {
    output.attributes.get("dest").map_or("", String::as_str)
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
