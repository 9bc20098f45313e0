//! Compressed layers that are not kept any more, from where they came.

use hull_oci::{Descriptor, Reference};
use hull_store::Store;

use super::serve::run;
use super::session::session;
use super::{Progress, Remote, Stop};
use crate::error::ApiError;
use crate::http::Query;
use crate::images::pull::keep_blob;
use crate::images::resolve;
use crate::service::Engine;

/// Fetches a part of the image called `name` from a repository that is known to have it, as
/// anybody may: there is nobody here whose credentials could be used.
///
/// # Errors
/// Nobody is known to have it, or the last of them does not give it out.
pub(in crate::images) fn fetch_again(
    engine: &Engine,
    name: &str,
    part: &Descriptor,
) -> Result<(), ApiError> {
    let what = format!("{}, a part of image {name}, is not kept as it came", part.digest);
    let origins = origins(engine.store()?, name, part)?;
    let mut last = None;
    for origin in &origins {
        let session = session(origin.registry(), None, &Query::default())?;
        let silent = |_, _| {};
        let progress = Progress::new(&silent);
        let fetched = run(engine, &session, &Stop::default(), &progress, |remote: Remote<'_>| {
            Ok(keep_blob(remote, origin, part)?)
        });
        match fetched {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => error.context(&format!("{what}, and cannot be fetched again")),
        None => ApiError::new(
            hull_api::ErrorKind::Unavailable,
            format!("{what}, and no registry is known to have it"),
        )
        .hint("load or import the image again"),
    })
}

/// Repositories that may have a part of the image called `name`.
pub(in crate::images) fn origins(
    store: &Store,
    name: &str,
    part: &Descriptor,
) -> Result<Vec<Reference>, ApiError> {
    let known = store.provenance(&part.digest)?;
    let mut origins = known.map(|known| known.origins).unwrap_or_default();
    if let Ok(found) = resolve::find(store, name)
        && let Some(record) = store.image(&found.root().digest)?
        && let Some(origin) = of_record(&record.origin)
        && !origins.contains(&origin)
    {
        origins.push(origin);
    }
    Ok(origins)
}

/// The repository that an image record says it came from; nothing of what came otherwise.
pub(in crate::images) fn of_record(origin: &str) -> Option<Reference> {
    // Other origins are words.
    let reference: Reference = Some(origin).filter(|text| text.contains('/'))?.parse().ok()?;
    Some(reference.without_tag_and_digest())
}
