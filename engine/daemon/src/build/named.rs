//! Named contexts: what stands beside the build context (`--build-context`).
//!
//! An image or an image of an OCI layout has a config and layers; everything else is files. What
//! is far away is fetched when it is first needed, once for all platforms and stages.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use hull_api::ErrorKind;
use hull_api::build::BuildRequest;
use hull_builder::ignore::Ignore;
use hull_builder::remote::Remote;
use hull_oci::{Digest, Platform};
use hull_store::{Lease, Store};
use hull_worker::client::Worker;
use hull_worker::job::Job;

use super::bases;
use super::context::{self, MAX_TEXT, Tree};
use super::remote::Fetcher;
use crate::error::ApiError;
use crate::images::{ForBuilds, Images, LayoutEntry, ResolvedImage};
use crate::worker_stream::failed;

/// The name of a file from an address: the only one of its context. BuildKit calls it so.
const FETCHED: &str = "context";

/// What a named context of a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// Nothing: `docker-image://scratch`.
    Empty,
    /// An image.
    Image(String),
    /// An image of an OCI layout.
    Layout {
        /// A directory of the engine's host.
        path: String,
        /// Which image of it.
        entry: LayoutEntry,
    },
    /// A directory of the engine's host.
    Directory(String),
    /// A git repository.
    Repository(String),
    /// A file at an address.
    File(String),
    /// A stage of the Dockerfile.
    Stage(String),
}

/// The named contexts of one build.
pub(super) struct Contexts<'a> {
    pub(super) request: &'a BuildRequest,
    images: Images<'a>,
    registries: &'a ForBuilds<'a>,
    fetcher: &'a Fetcher<'a>,
    lease: &'a Lease<'a>,
    /// Images of layouts, by name and platform.
    taken: Mutex<BTreeMap<(String, String), ResolvedImage>>,
    /// Contexts that are files, by name. Held while one is fetched: who needs it meanwhile waits.
    trees: Mutex<BTreeMap<String, Arc<Tree>>>,
}

impl Named {
    /// Reads the value of `--build-context`.
    pub(super) fn parse(name: &str, value: &str) -> Result<Self, ApiError> {
        let refused = |what: &str| {
            ApiError::invalid(format!("cannot use {value} as build context {name}: {what}")).hint(
                "it can be an absolute path, the address of a git repository or a file, \
                 docker-image://REFERENCE, oci-layout://PATH[:TAG][@DIGEST] or target:STAGE",
            )
        };
        if let Some(image) = value.strip_prefix("docker-image://") {
            return Ok(match image {
                "scratch" => Self::Empty,
                image => Self::Image(image.to_owned()),
            });
        }
        if let Some(layout) = value.strip_prefix("oci-layout://") {
            let (place, digest) = match layout.split_once('@') {
                Some((place, digest)) => (place, Some(digest)),
                None => (layout, None),
            };
            let (path, tag) = place.split_once(':').unwrap_or((place, "latest"));
            if !path.starts_with('/') {
                return Err(refused("the layout has no absolute path"));
            }
            let entry = match digest {
                Some(digest) => {
                    let parsed = digest.parse::<Digest>();
                    LayoutEntry::Digest(parsed.map_err(|error| refused(&error.to_string()))?)
                }
                None => LayoutEntry::Tag(tag.to_owned()),
            };
            return Ok(Self::Layout { path: path.to_owned(), entry });
        }
        if let Some(stage) = value.strip_prefix("target:") {
            return Ok(Self::Stage(stage.to_owned()));
        }
        match Remote::of(value) {
            Remote::Git => Ok(Self::Repository(value.to_owned())),
            Remote::Url => Ok(Self::File(value.to_owned())),
            Remote::Path if value.starts_with('/') => Ok(Self::Directory(value.to_owned())),
            Remote::Path => Err(refused("it is none of what a context can be")),
        }
    }

    /// The stages that contexts of a request stand for, by the contexts' names.
    pub(super) fn stages(request: &BuildRequest) -> BTreeMap<String, String> {
        let stage = |(name, value): (&String, &String)| {
            let stage = value.strip_prefix("target:")?;
            Some((name.to_lowercase(), stage.to_owned()))
        };
        request.contexts.iter().filter_map(stage).collect()
    }
}

impl<'a> Contexts<'a> {
    pub(super) fn new(
        request: &'a BuildRequest,
        store: &'a Store,
        registries: &'a ForBuilds<'a>,
        fetcher: &'a Fetcher<'a>,
        lease: &'a Lease<'a>,
    ) -> Self {
        let images = Images { store, worker: fetcher.worker() };
        let (taken, trees) = (Mutex::default(), Mutex::default());
        Self { request, images, registries, fetcher, lease, taken, trees }
    }

    /// Refuses contexts that can be none.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let parse = |(name, value): (&String, &String)| Named::parse(name, value).map(drop);
        self.request.contexts.iter().try_for_each(parse)
    }

    /// What a context is; its name is in lower case.
    pub(super) fn named(&self, name: &str) -> Result<Named, ApiError> {
        let entry = self.request.contexts.iter().find(|(key, _)| key.to_lowercase() == name);
        let (_, value) = entry
            .ok_or_else(|| ApiError::invalid(format!("there is no build context called {name}")))?;
        Named::parse(name, value)
    }

    /// How a context is written.
    pub(super) fn value(&self, name: &str) -> &str {
        let entry = self.request.contexts.iter().find(|(key, _)| key.to_lowercase() == name);
        entry.map_or("", |(_, value)| value)
    }

    /// The image called `name`, which is no context.
    pub(super) fn image_called(
        &self,
        name: &str,
        platform: &Platform,
        explicit: bool,
    ) -> Result<ResolvedImage, ApiError> {
        let (store, newer) = (self.images.store, self.request.pull);
        bases::image(store, self.registries, newer, name, platform, explicit)
    }

    /// The image that a context is; `None` for files and for nothing.
    pub(super) fn image(
        &self,
        name: &str,
        platform: &Platform,
        explicit: bool,
    ) -> Result<Option<ResolvedImage>, ApiError> {
        match self.named(name)? {
            Named::Image(image) => self.image_called(&image, platform, explicit).map(Some),
            Named::Layout { path, entry } => {
                self.of_layout(name, &path, &entry, platform, explicit).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn of_layout(
        &self,
        name: &str,
        path: &str,
        entry: &LayoutEntry,
        platform: &Platform,
        explicit: bool,
    ) -> Result<ResolvedImage, ApiError> {
        // Whoever needs it meanwhile waits for it.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), platform.to_string());
        let image = match taken.get(&key) {
            Some(image) => image.clone(),
            None => {
                let image = self.read_layout(path, entry, platform).map_err(|error| {
                    error.context(&format!(
                        "cannot use the OCI layout {path} as build context {name}"
                    ))
                })?;
                taken.entry(key).or_insert(image).clone()
            }
        };
        let found = image.config.platform();
        if explicit && !platform.matches(&found) {
            return Err(ApiError::new(
                ErrorKind::Precondition,
                format!("build context {name} is for {found}, not for {platform} as was asked"),
            ));
        }
        Ok(image)
    }

    fn read_layout(
        &self,
        path: &str,
        entry: &LayoutEntry,
        platform: &Platform,
    ) -> Result<ResolvedImage, ApiError> {
        let root = context::directory(path)?;
        let (reader, writer) = std::io::pipe().map_err(|error| ApiError::internal(&error))?;
        let descriptors = [root.as_fd(), writer.as_fd()];
        let packing = Worker::spawn(self.images.worker, &Job::PackTree, &descriptors)
            .map_err(|error| failed(&error))?;
        drop(writer);
        let image = self.images.take_from_layout(reader.as_fd(), entry, platform, self.lease)?;
        packing.answer().map_err(|error| failed(&error))?;
        Ok(image)
    }

    /// The files of a context that is no image; `None` for one that is, or is nothing.
    pub(super) fn files(&self, name: &str) -> Result<Option<Arc<Tree>>, ApiError> {
        let named = self.named(name)?;
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = trees.get(name) {
            return Ok(Some(Arc::clone(tree)));
        }
        let tree = match named {
            Named::Directory(path) => self.directory(&path),
            Named::Repository(remote) => self
                .fetcher
                .commit(&remote, None, false)
                .and_then(|commit| self.fetcher.check_out(&commit))
                .map(Tree::of_commit),
            Named::File(url) => self.fetcher.file_called(&url, FETCHED).map(|file| file.tree),
            Named::Empty | Named::Image(_) | Named::Layout { .. } | Named::Stage(_) => {
                return Ok(None);
            }
        };
        let tree = tree.map_err(|error| error.context(&format!("build context {name}")))?;
        Ok(Some(Arc::clone(trees.entry(name.to_owned()).or_insert(Arc::new(tree)))))
    }

    fn directory(&self, path: &str) -> Result<Tree, ApiError> {
        let root = context::directory(path)?;
        let text = context::read(&root, ".dockerignore", MAX_TEXT)?;
        let ignore = Ignore::parse(&text.unwrap_or_default())
            .map_err(|error| ApiError::chain(ErrorKind::Invalid, &error))?;
        let known = self.images.store.stat_cache(&context::cache_name(&root, path))?;
        Ok(Tree::of_context(root, ignore, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_context_can_be() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let tag = |tag: &str| LayoutEntry::Tag(tag.to_owned());
        let layout = |entry| Named::Layout { path: "/d".to_owned(), entry };
        let by_digest = LayoutEntry::Digest(digest.parse().unwrap());
        for (value, expected) in [
            ("docker-image://a:1", Named::Image("a:1".into())),
            ("docker-image://scratch", Named::Empty),
            ("oci-layout:///d", layout(tag("latest"))),
            ("oci-layout:///d:1", layout(tag("1"))),
            (&format!("oci-layout:///d@{digest}"), layout(by_digest.clone())),
            (&format!("oci-layout:///d:1@{digest}"), layout(by_digest)),
            ("target:build", Named::Stage("build".into())),
            ("/d", Named::Directory("/d".into())),
            ("https://h/r.git#main", Named::Repository("https://h/r.git#main".into())),
            ("https://h/f.tar", Named::File("https://h/f.tar".into())),
        ] {
            assert_eq!(Named::parse("c", value).unwrap(), expected, "{value}");
        }
        for bad in ["d", "oci-layout://d", "oci-layout:///d@sha256:0", "ftp://h/f", "x://y"] {
            let error = Named::parse("c", bad).unwrap_err();
            assert!(error.message.contains("as build context c"), "{bad}: {}", error.message);
        }
    }
}
