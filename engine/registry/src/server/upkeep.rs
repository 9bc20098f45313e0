//! What a server does by itself: retention and collection of garbage, and reading everything
//! again. Requests go on all the while.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hull_oci::{Digest, Hasher};

use super::catalog::{Catalog, GRACE, View};
use super::config::Retention;
use super::handler::Shared;
use super::refusal::Refusal;
use super::route::RepositoryName;
use super::storage::Stored;

/// How much is read at once when everything is read again.
const PIECE: u64 = 256 << 10;

/// Collects again and again, first a moment after the start.
pub(super) async fn collect(shared: Arc<Shared>) {
    let Some(interval) = shared.config.collect.interval else { return };
    let mut wait = interval.min(Duration::from_secs(60));
    loop {
        tokio::time::sleep(wait).await;
        wait = interval;
        let again = Arc::clone(&shared);
        // What failed was logged, and is tried again.
        let _failed = shared.blocking.run(move || collect_once(&again)).await;
    }
}

/// Retention, then uploads and marks that are too old, then what nothing refers to.
fn collect_once(shared: &Shared) -> Result<(), Refusal> {
    let began = Instant::now();
    let catalog = &shared.catalog;
    let (mut tags, mut manifests) = (0, 0);
    for name in catalog.storage.repositories()? {
        let Ok(name) = RepositoryName::parse(&name) else { continue };
        let rule = shared.config.retention.iter().find(|rule| rule.is_about(name.as_str()));
        if let Some(rule) = rule {
            tags += retire_tags(catalog, &name, rule)?;
        }
        if let Some(age) = shared.config.collect.untagged {
            manifests += retire_manifests(catalog, &name, age)?;
        }
        sweep_marks(catalog, &name)?;
        catalog.changed(&name);
    }
    let oldest = SystemTime::now().checked_sub(shared.config.collect.uploads);
    catalog.storage.expire_uploads(oldest.unwrap_or(SystemTime::UNIX_EPOCH))?;
    let collected = catalog.storage.collect()?;
    let metrics = &shared.metrics;
    metrics.collections.add(1);
    metrics.retired_tags.add(tags);
    metrics.retired_manifests.add(manifests);
    metrics.collected_objects.add(collected.objects);
    metrics.collected_bytes.add(collected.bytes);
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (objects, bytes) = (collected.objects, collected.bytes);
    tracing::info!(tags, manifests, objects, bytes, milliseconds, "collected");
    Ok(())
}

impl Retention {
    fn is_about(&self, repository: &str) -> bool {
        self.repositories.iter().any(|glob| glob.matches(repository))
    }

    /// Those of `tags`, with when they were set, that go.
    fn victims(&self, mut tags: Vec<(String, SystemTime)>, now: SystemTime) -> Vec<String> {
        // Of two set at once, the one whose name is greater counts as the later.
        tags.sort_by(|one, other| (other.1, &other.0).cmp(&(one.1, &one.0)));
        let kept = |tag: &str| self.keep.iter().any(|glob| glob.matches(tag));
        let old = |time: SystemTime| {
            self.max_age.is_some_and(|age| now.duration_since(time).is_ok_and(|is| is >= age))
        };
        let late = |place: usize| self.keep_last.is_some_and(|count| place >= count);
        let goes = |(place, (tag, time)): &(usize, &(String, SystemTime))| {
            !kept(tag) && (late(*place) || old(*time))
        };
        let victims = tags.iter().enumerate().filter(goes);
        victims.map(|(_, (tag, _))| tag.clone()).collect()
    }
}

fn retire_tags(catalog: &Catalog, name: &RepositoryName, rule: &Retention) -> Stored<u64> {
    let mut tags = Vec::new();
    for tag in catalog.storage.tags(name.as_str())? {
        let time = catalog.storage.tag_time(name.as_str(), &tag)?;
        tags.extend(time.map(|time| (tag, time)));
    }
    let mut count = 0;
    for tag in rule.victims(tags, SystemTime::now()) {
        if catalog.storage.remove_tag(name.as_str(), &tag)? {
            tracing::info!(repository = name.as_str(), tag, "retired");
            count += 1;
        }
    }
    Ok(count)
}

/// Manifests that no tag leads to, nor an index or a subject of one that is kept, and that were
/// pushed too long ago.
fn retire_manifests(catalog: &Catalog, name: &RepositoryName, age: Duration) -> Stored<u64> {
    let storage = &catalog.storage;
    let mut kept = HashSet::new();
    for tag in storage.tags(name.as_str())? {
        if let Some(target) = storage.tag(name.as_str(), &tag)? {
            keep(catalog, target.digest, &mut kept)?;
        }
    }
    let held = storage.manifests(name.as_str())?;
    let young = |since: SystemTime| since.elapsed().map_or(true, |is| is < age);
    for manifest in held.iter().filter(|manifest| young(manifest.since)) {
        keep(catalog, manifest.descriptor.digest.clone(), &mut kept)?;
    }
    // What is about something that stays, stays: also what is about that.
    let mut grown = true;
    while grown {
        grown = false;
        for manifest in &held {
            let digest = &manifest.descriptor.digest;
            if kept.contains(digest) {
                continue;
            }
            let summary = catalog.summaries.of(&*storage.clone(), digest)?;
            let subject = summary.as_ref().and_then(|summary| summary.subject.as_ref());
            if subject.is_some_and(|subject| kept.contains(&subject.digest)) {
                keep(catalog, digest.clone(), &mut kept)?;
                grown = true;
            }
        }
    }
    let mut count = 0;
    for manifest in held {
        let digest = &manifest.descriptor.digest;
        // Pushed again meanwhile, it is young.
        if !kept.contains(digest) && storage.remove_manifest(name.as_str(), digest)? {
            tracing::info!(repository = name.as_str(), %digest, "retired");
            count += 1;
        }
    }
    Ok(count)
}

/// Adds a manifest and all that it lists.
fn keep(catalog: &Catalog, digest: Digest, kept: &mut HashSet<Digest>) -> Stored<()> {
    let mut pending = vec![digest];
    while let Some(digest) = pending.pop() {
        if kept.insert(digest.clone())
            && let Some(summary) = catalog.summaries.of(&*catalog.storage, &digest)?
        {
            pending.extend(summary.listed().iter().map(|child| child.digest.clone()));
        }
    }
    Ok(())
}

/// Marks that mean nothing any more.
fn sweep_marks(catalog: &Catalog, name: &RepositoryName) -> Stored<()> {
    let storage = &catalog.storage;
    for (digest, time) in storage.blobs(name.as_str())? {
        if time.elapsed().is_ok_and(|age| age >= GRACE) {
            storage.remove_blob(name.as_str(), &digest)?;
        }
    }
    for digest in storage.removed(name.as_str())? {
        if storage.stat(&digest)?.is_none() {
            storage.set_removed(name.as_str(), &digest, false)?;
        }
    }
    Ok(())
}

/// Reads everything again, slowly, again and again.
pub(super) async fn scrub(shared: Arc<Shared>) {
    let Some(scrub) = shared.config.scrub.clone() else { return };
    loop {
        tokio::time::sleep(scrub.interval).await;
        let catalog = Arc::clone(&shared.catalog);
        let listed = shared.blocking.run(move || Ok(everything(&catalog)?)).await;
        let Ok(digests) = listed else { continue };
        let (mut blobs, mut corrupt) = (0_u64, 0_u64);
        for digest in digests {
            // Otherwise it was deleted meanwhile, or what failed was told already.
            if let Ok(Some(sound)) = read_again(&shared, digest, scrub.bytes_per_second).await {
                blobs += 1;
                corrupt += u64::from(!sound);
            }
        }
        tracing::info!(blobs, corrupt, "read everything again");
    }
}

/// All that any repository shows.
fn everything(catalog: &Catalog) -> Stored<Vec<Digest>> {
    let mut found = HashSet::new();
    for name in catalog.storage.repositories()? {
        if let Ok(name) = RepositoryName::parse(&name) {
            let view: Arc<View> = catalog.view(&name)?;
            found.extend(view.manifests.keys().chain(view.blobs.keys()).cloned());
        }
    }
    Ok(found.into_iter().collect())
}

/// Hashes a blob at a bounded rate, and takes it out of the way if it is not what it should be.
/// `None` if it is not here.
async fn read_again(shared: &Shared, digest: Digest, rate: u64) -> Result<Option<bool>, Refusal> {
    let (catalog, wanted) = (Arc::clone(&shared.catalog), digest.clone());
    let opened = shared.blocking.run(move || Ok(catalog.storage.open(&wanted)?)).await?;
    let Some(blob) = opened else { return Ok(None) };
    let mut hasher = Hasher::new(digest.algorithm());
    let (mut offset, size) = (0, blob.size());
    let mut failed = false;
    while offset < size && !failed {
        let began = Instant::now();
        let count = PIECE.min(size - offset);
        let source = Arc::clone(&blob);
        let read = shared.blocking.run(move || {
            let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
            Ok(source.read_at(&mut bytes, offset).map(|()| bytes))
        });
        match read.await? {
            Ok(bytes) => hasher.update(&bytes),
            Err(error) => {
                tracing::error!(%digest, %error, "cannot read a blob again");
                failed = true;
            }
        }
        offset += count;
        shared.metrics.scrubbed_bytes.add(count);
        let pace = Duration::from_secs_f64(count as f64 / rate as f64);
        tokio::time::sleep(pace.saturating_sub(began.elapsed())).await;
    }
    shared.metrics.scrubbed_blobs.add(1);
    if !failed && hasher.finish() == digest {
        return Ok(Some(true));
    }
    shared.metrics.corrupt_blobs.add(1);
    tracing::error!(%digest, "the bytes of a blob are wrong: it is taken out, push it again");
    let catalog = Arc::clone(&shared.catalog);
    shared.blocking.run(move || Ok(catalog.storage.quarantine(&digest)?)).await?;
    Ok(Some(false))
}

#[cfg(test)]
mod tests {
    use super::super::access::Glob;
    use super::*;

    #[test]
    fn which_tags_stay() {
        let now = SystemTime::now();
        let tags: Vec<_> = [("v1", 90), ("v2", 50), ("a", 40), ("b", 30), ("c", 20), ("d", 10)]
            .iter()
            .map(|(tag, age)| ((*tag).to_owned(), now - Duration::from_secs(*age)))
            .collect();
        let check = |keep_last, keep: &[&str], max_age: Option<u64>, expected: &[&str]| {
            let rule = Retention {
                repositories: Vec::new(),
                keep_last,
                keep: keep.iter().map(|glob| Glob::new(*glob)).collect(),
                max_age: max_age.map(Duration::from_secs),
            };
            assert_eq!(rule.victims(tags.clone(), now), expected);
        };
        check(Some(2), &[], None, &["b", "a", "v2", "v1"]);
        check(Some(2), &["v*"], None, &["b", "a"]);
        check(None, &["v*"], Some(35), &["a"]);
        check(Some(0), &[], None, &["d", "c", "b", "a", "v2", "v1"]);
        check(Some(9), &[], None, &[]);
    }
}
