//! The tree of a stage: a chain of layers, some of which are not layers yet.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use hull_api::ErrorKind;
use hull_oci::Digest;
use hull_store::Store;
use hull_store::cache::Scratch;
use hull_store::snapshot::read_only_view;

use super::external::Offer;
use crate::error::ApiError;

/// A layer of a chain.
#[derive(Debug, Clone)]
pub(super) enum Link {
    /// It is in the store.
    Stored(Digest),
    /// What a step wrote, as it lies there.
    Written(Arc<Written>),
    /// A cache has it; it is brought before anybody looks into it.
    Offered(Arc<Offer>),
}

/// What a step wrote, on its way to become a layer.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) scratch: Scratch,
    sealed: Mutex<Option<Result<Digest, ApiError>>>,
    changed: Condvar,
}

/// A chain of layers, the lowest first. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    links: Vec<Link>,
    /// Ids that a container of it needs, but for what is offered.
    ids: u32,
}

impl Written {
    pub(super) fn new(scratch: Scratch) -> Arc<Self> {
        Arc::new(Self { scratch, sealed: Mutex::default(), changed: Condvar::new() })
    }

    /// It is a layer now, or never will be.
    pub(super) fn seal(&self, result: Result<Digest, ApiError>) {
        *self.sealed.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.changed.notify_all();
    }

    /// Waits until it is a layer.
    pub(super) fn wait(&self) -> Result<Digest, ApiError> {
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = &*sealed {
                return result.clone();
            }
            sealed = self.changed.wait(sealed).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Link {
    /// Its layer, once it is one.
    pub(super) fn layer(&self) -> Result<Digest, ApiError> {
        match self {
            Self::Stored(digest) => Ok(digest.clone()),
            Self::Written(written) => written.wait(),
            Self::Offered(offer) => Ok(offer.diff_id.clone()),
        }
    }
}

impl Chain {
    /// The layers of an image.
    pub(super) fn of(store: &Store, layers: &[Digest]) -> Result<Self, ApiError> {
        let mut chain = Self { links: Vec::with_capacity(layers.len() + 16), ids: 0 };
        for layer in layers {
            let info = store.layers().info(layer)?;
            chain.push(Link::Stored(layer.clone()), info.max_id.saturating_add(1));
        }
        Ok(chain)
    }

    /// Puts a layer on top, whose ids are all below `ids`.
    pub(super) fn push(&mut self, link: Link, ids: u32) {
        self.links.push(link);
        self.ids = self.ids.max(ids);
    }

    /// Ids that a container of it needs, once all of it is here.
    pub(super) fn ids(&self) -> u32 {
        self.offers().filter_map(|offer| offer.ids()).fold(self.ids, u32::max)
    }

    /// How many layers it has.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// The layers that a cache has, be they here or not.
    pub(super) fn offers(&self) -> impl Iterator<Item = &Arc<Offer>> {
        self.links.iter().filter_map(|link| match link {
            Link::Offered(offer) => Some(offer),
            Link::Stored(_) | Link::Written(_) => None,
        })
    }

    /// Its layers, lowest first, once all are layers.
    pub(super) fn layers(&self) -> Result<Vec<Digest>, ApiError> {
        self.links.iter().map(Link::layer).collect()
    }

    /// The layer on top, once it is one.
    pub(super) fn top(&self) -> Result<Option<Digest>, ApiError> {
        self.links.last().map(Link::layer).transpose()
    }

    /// What an overlay is made of, the top first.
    pub(super) fn trees(&self, store: &Store) -> Result<Vec<OwnedFd>, ApiError> {
        let stored = |link: &Link| match link {
            Link::Stored(digest) => Some(digest.clone()),
            Link::Offered(offer) => Some(offer.diff_id.clone()),
            Link::Written(_) => None,
        };
        let base: Vec<Digest> = self.links.iter().map_while(stored).collect();
        let mut trees = Vec::with_capacity(self.links.len() + 1);
        let mut seen = Vec::new();
        for link in self.links[base.len()..].iter().rev() {
            match (link, stored(link)) {
                (Link::Written(written), _) => {
                    let upper = written.scratch.upper.upper.try_clone();
                    trees.push(upper.map_err(|error| ApiError::internal(&error))?);
                }
                // An overlay takes no directory twice; the upper one says it all.
                (_, Some(digest)) if !seen.contains(&digest) => {
                    trees.push(store.layers().mount(&digest)?);
                    seen.push(digest);
                }
                _ => {}
            }
        }
        let base: Vec<Digest> = base.into_iter().filter(|layer| !seen.contains(layer)).collect();
        trees.extend(store.snapshots().layers(&base)?);
        Ok(trees)
    }

    /// A read-only view of it.
    pub(super) fn view(&self, store: &Store) -> Result<OwnedFd, ApiError> {
        let trees = self.trees(store)?;
        let trees: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
        read_only_view(&trees).map_err(|error| {
            ApiError::chain(ErrorKind::Unavailable, &error).context("cannot look into a stage")
        })
    }
}
