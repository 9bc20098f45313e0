//! Looking into caches: which steps they know, and bringing a layer when it is needed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hull_api::build::BuildRequest;
use hull_oci::{Descriptor, Digest, Index, Platform, Reference, chain_id};
use hull_store::{Lease, Store};

use super::document::{self, Known};
use super::folder::Folder;
use super::options::Source;
use crate::build::chain::Chain;
use crate::build::progress::{Progress, now};
use crate::error::ApiError;
use crate::images::{CacheDocument, ForBuilds, Images};

/// A result that a cache has. Its layer is not here until [`Imports::bring`] says so.
#[derive(Debug)]
pub(in crate::build) struct Offer {
    /// Number of the cache.
    source: usize,
    /// Key of the step.
    pub(in crate::build) key: Digest,
    /// ChainID of the layers it was made on.
    on: Option<Digest>,
    pub(in crate::build) diff_id: Digest,
    /// The layer as it lies there.
    pub(in crate::build) layer: Descriptor,
    /// When it was made.
    pub(in crate::build) created: String,
    /// Ids that a container of it needs, once the layer is here.
    ids: OnceLock<u32>,
}

/// One cache that is asked.
#[derive(Debug)]
struct Asked {
    source: Source,
    /// It gave something that is not what it says; nothing of it is used any more.
    is_rejected: AtomicBool,
}

/// The caches that one build of one platform looks into. They are read when the first step is not
/// in the engine's own cache: a build without news asks nobody.
pub(in crate::build) struct Imports<'a> {
    images: Images<'a>,
    registries: &'a ForBuilds<'a>,
    lease: &'a Lease<'a>,
    progress: &'a Progress,
    platform: Platform,
    asked: Vec<Asked>,
    offers: OnceLock<HashMap<Digest, Vec<Arc<Offer>>>>,
    /// Held by whoever brings layers, so that none is brought twice.
    bringing: Mutex<()>,
    /// Whether a cache was rejected since this was last asked.
    news: AtomicBool,
}

impl Offer {
    /// Ids that a container of it needs; none if it is not here.
    pub(in crate::build) fn ids(&self) -> Option<u32> {
        self.ids.get().copied()
    }
}

impl<'a> Imports<'a> {
    /// Those of a request, whose sources were looked at before.
    ///
    /// # Errors
    /// Sources that make no sense.
    pub(in crate::build) fn new(
        request: &BuildRequest,
        images: Images<'a>,
        registries: &'a ForBuilds<'a>,
        lease: &'a Lease<'a>,
        progress: &'a Progress,
        platform: Platform,
    ) -> Result<Self, ApiError> {
        let asked = |source: &_| {
            let source = Source::parse(source)?;
            Ok(Asked { source, is_rejected: AtomicBool::new(false) })
        };
        Ok(Self {
            images,
            registries,
            lease,
            progress,
            platform,
            asked: request.cache_from.iter().map(asked).collect::<Result<_, ApiError>>()?,
            offers: OnceLock::new(),
            bringing: Mutex::default(),
            news: AtomicBool::new(false),
        })
    }

    fn store(&self) -> &'a Store {
        self.images.store
    }

    /// What the caches know of the step with this key, made on the very same layers.
    pub(in crate::build) fn find(
        &self,
        key: &Digest,
        below: &Chain,
    ) -> Result<Option<Arc<Offer>>, ApiError> {
        if self.asked.is_empty() {
            return Ok(None);
        }
        let offers = self.offers.get_or_init(|| self.read_all());
        let Some(offers) = offers.get(key) else { return Ok(None) };
        let on = chain_id(&below.layers()?);
        let usable = |offer: &&Arc<Offer>| {
            offer.on == on && !self.asked[offer.source].is_rejected.load(Ordering::SeqCst)
        };
        Ok(offers.iter().find(usable).cloned())
    }

    /// Whether a cache was rejected since this was last asked: then the steps that were taken from
    /// it are to be made.
    pub(in crate::build) fn take_news(&self) -> bool {
        self.news.swap(false, Ordering::SeqCst)
    }

    /// Whether a cache was rejected, and nobody has asked yet.
    pub(in crate::build) fn has_news(&self) -> bool {
        self.news.load(Ordering::SeqCst)
    }

    /// The repository in which an offer's layer lies.
    pub(super) fn repository(&self, offer: &Offer) -> Option<&Reference> {
        match &self.asked[offer.source].source {
            Source::Registry(reference) => Some(reference),
            Source::Folder { .. } => None,
        }
    }

    fn read_all(&self) -> HashMap<Digest, Vec<Arc<Offer>>> {
        let mut offers: HashMap<Digest, Vec<Arc<Offer>>> = HashMap::new();
        for (number, asked) in self.asked.iter().enumerate() {
            if self.progress.is_cancelled() {
                break;
            }
            let name = asked.source.name();
            let title = format!("importing cache manifest from {name}");
            let activity = self.progress.begin(&title, Vec::new());
            let read = self.document(&asked.source);
            match read.and_then(|found| document::read(&found.manifest, &found.config)) {
                Ok(known) => {
                    for Known { step, layer, diff_id } in known {
                        let offer = Arc::new(Offer {
                            source: number,
                            key: step.key.clone(),
                            on: step.on,
                            diff_id,
                            layer,
                            created: step.created,
                            ids: OnceLock::new(),
                        });
                        for key in std::iter::once(step.key).chain(step.alias) {
                            offers.entry(key).or_default().push(Arc::clone(&offer));
                        }
                    }
                }
                Err(error) => {
                    let text = format!("cache {name} is not used: {}", error.message);
                    self.progress.warn(&activity, &text, None);
                }
            }
            activity.done();
        }
        offers
    }

    fn document(&self, source: &Source) -> Result<CacheDocument, ApiError> {
        let reference = match source {
            Source::Registry(reference) => reference,
            Source::Folder { path, entry } => return Folder::open(path)?.document(entry),
        };
        let is_foreign = |index: &Index| document::is_of_buildkit(index);
        match self.registries.cache(reference, &self.platform, &is_foreign) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(document::of_buildkit()),
            // What was pulled or built here under that name serves as well.
            Err(error) => {
                self.images.cache(&reference.to_string(), &self.platform).map_err(|_| error)
            }
        }
    }

    /// Brings the layers of a chain that are not here.
    ///
    /// # Errors
    /// A cache does not give them: it is told and rejected, and [`Imports::take_news`] is true.
    pub(in crate::build) fn bring(&self, chain: &Chain) -> Result<(), ApiError> {
        if chain.offers().all(|offer| offer.ids().is_some()) {
            return Ok(());
        }
        let _alone = self.bringing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut absent: Vec<&Arc<Offer>> = Vec::new();
        for offer in chain.offers().filter(|offer| offer.ids().is_none()) {
            self.lease.add(&offer.diff_id)?;
            self.lease.add(&offer.layer.digest)?;
            if !self.settle(offer)? {
                absent.push(offer);
            }
        }
        for (number, asked) in self.asked.iter().enumerate() {
            let offers: Vec<_> =
                absent.iter().copied().filter(|offer| offer.source == number).collect();
            if !offers.is_empty() {
                self.bring_from(asked, &offers)?;
            }
        }
        Ok(())
    }

    /// Notes that the layer of an offer is here; false if it is not.
    fn settle(&self, offer: &Offer) -> Result<bool, ApiError> {
        let layers = self.store().layers();
        if !layers.is_usable(&offer.diff_id)? {
            return Ok(false);
        }
        let ids = layers.info(&offer.diff_id)?.max_id.saturating_add(1);
        offer.ids.get_or_init(|| ids);
        Ok(true)
    }

    fn bring_from(&self, asked: &Asked, offers: &[&Arc<Offer>]) -> Result<(), ApiError> {
        let name = asked.source.name();
        let title = format!("importing layers of cache {name}");
        let activity = self.progress.begin(&title, Vec::new());
        let started = now();
        let wanted: Vec<(Descriptor, Digest)> =
            offers.iter().map(|offer| (offer.layer.clone(), offer.diff_id.clone())).collect();
        let brought = match &asked.source {
            Source::Registry(reference) => self.registries.layers(reference, &wanted, self.lease),
            Source::Folder { path, .. } => Folder::open(path).and_then(|folder| {
                wanted.iter().try_for_each(|(layer, diff_id)| {
                    folder.layer(self.images, layer, diff_id, self.lease)
                })
            }),
        };
        let kept = brought.and_then(|()| {
            wanted.iter().try_for_each(|(layer, diff_id)| {
                self.images.keep_plain(diff_id, &layer.digest, self.lease)
            })
        });
        if let Err(error) = kept {
            self.progress.check()?;
            let error = error.context(&format!("cache {name} is not used any more"));
            asked.is_rejected.store(true, Ordering::SeqCst);
            self.news.store(true, Ordering::SeqCst);
            self.progress.warn(&activity, &error.message, None);
            activity.done();
            return Err(error);
        }
        for offer in offers {
            if !self.settle(offer)? {
                return Err(ApiError::new(
                    hull_api::ErrorKind::Internal,
                    format!("layer {} vanished", offer.diff_id),
                ));
            }
            activity.status(offer.layer.digest.as_str(), offer.layer.size, &started);
        }
        activity.done();
        Ok(())
    }
}
