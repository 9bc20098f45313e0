//! What the distribution-spec asks of a registry, asked of ours and of the one that Debian has.
//!
//! Each check stands for itself, in a repository of its own, with both digest algorithms. Ours
//! passes all of them; what the other does differently is listed with its reason, so that the
//! checks are known to say something of registries and not only of ours.

#[path = "conformance/case.rs"]
mod case;

#[path = "conformance/blobs.rs"]
mod blobs;

#[path = "conformance/manifests.rs"]
mod manifests;

#[path = "conformance/lists.rs"]
mod lists;

use std::collections::BTreeMap;

use case::{Algorithm, Case, Check};
use hull_test_support::Hull;
use hull_test_support::http::Http;
use hull_test_support::serve::{DockerRegistry, RegistryServer};

/// All checks that fail, with why.
fn failures(http: &Http) -> BTreeMap<String, String> {
    let checks: Vec<Check> =
        [blobs::CHECKS, manifests::CHECKS, lists::CHECKS].into_iter().flatten().copied().collect();
    let mut failed = BTreeMap::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for (number, (name, check)) in checks.iter().enumerate() {
            let case =
                Case::new(http.clone(), &format!("conformance/{algorithm}/{number}"), algorithm);
            // An answer that breaks off is a failure of this check alone.
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&case)));
            let reason = match checked {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "the answer broke off".to_owned(),
            };
            failed.insert(format!("{name} {algorithm}"), reason);
        }
    }
    failed
}

#[test]
fn privileged_our_registry_does_all_that_the_specification_asks() {
    let Some(hull) = Hull::new() else { return };
    let server = RegistryServer::start(&hull);
    let failed = failures(&server.http());
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

/// What distribution 2.8 does otherwise, and why.
const DIFFERENCES: &[(&str, &str)] = &include!("conformance/differences.in");

#[test]
fn the_registry_of_debian_does_it_but_for_what_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(registry) = DockerRegistry::start(folder.path()) else { return };
    let failed = failures(&registry.http());
    let unlisted: Vec<_> = failed
        .iter()
        .filter(|(name, _)| !DIFFERENCES.iter().any(|(known, _)| name.starts_with(known)))
        .collect();
    assert!(unlisted.is_empty(), "{unlisted:#?}");
    let gone: Vec<_> = DIFFERENCES
        .iter()
        .filter(|(known, _)| !failed.keys().any(|name| name.starts_with(known)))
        .collect();
    assert!(gone.is_empty(), "no difference any more: {gone:#?}");
}
