//! Every input is taken or refused as its folder says, and so many changes of it break nothing.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use hull_fuzz::run::{Bound, many, one};
use hull_fuzz::{TARGETS, Target, Verdict, inputs};

/// Changed inputs for each target: the same ones in every run.
const COUNT: u64 = 3000;

#[track_caller]
fn check(name: &str) {
    let target: &Target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let inputs = inputs::of(target).unwrap();
    for input in &inputs {
        assert_eq!(one(target, &input.bytes), Ok(input.expected), "{}", input.name);
    }
    let good = inputs.iter().filter(|input| input.expected == Verdict::Accepted).count();
    assert!(good > 0 && good < inputs.len(), "{name}: inputs of both kinds are needed");
    match many(target, &inputs, 1, Bound::Count(COUNT)) {
        // A target that takes nothing any more tests nothing but its first refusal.
        Ok(tally) => assert!(tally.accepted > 0 && tally.refused > 0, "{name}: {tally:?}"),
        Err(failure) => panic!(
            "{name}: {}\nthe input: {:?}",
            failure.message,
            String::from_utf8_lossy(&failure.bytes)
        ),
    }
}

macro_rules! targets {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$($name),*];
            for target in TARGETS {
                assert!(tested.contains(&target.name), "{} has no test", target.name);
            }
            assert_eq!(tested.len(), TARGETS.len());
        }
    };
}

targets! {
    api: "api",
    archive_manifest: "archive-manifest",
    bzip2: "bzip2",
    chmod: "chmod",
    image_config: "image-config",
    digest: "digest",
    docker_config: "docker-config",
    dockerfile: "dockerfile",
    dockerignore: "dockerignore",
    git_remote: "git-remote",
    gitmodules: "gitmodules",
    manifest: "manifest",
    pax: "pax",
    platform: "platform",
    reference: "reference",
    registries: "registries",
    registry_auth: "registry-auth",
    registry_request: "registry-request",
    seccomp: "seccomp",
    tar: "tar",
    xz: "xz",
}

#[test]
fn runs_are_repeated_by_their_seed() {
    let target = TARGETS.iter().find(|target| target.name == "reference").unwrap();
    let inputs = inputs::of(target).unwrap();
    let tally = |seed| {
        let tally = many(target, &inputs, seed, Bound::Count(500)).unwrap();
        (tally.accepted, tally.refused)
    };
    assert_eq!(tally(7), tally(7));
}

mod properties {
    use hull_oci::Reference;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn references_print_as_they_parse(
            registry in "([a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?\\.)[a-z]{2,4}(:[1-9][0-9]{0,3})?/",
            repository in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,8}){0,3}",
            tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?",
        ) {
            let text = format!("{registry}{repository}{tag}");
            let name: Reference = text.parse().map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
            prop_assert_eq!(name.to_string(), text);
        }

        #[test]
        fn anything_is_a_reference_or_refused(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<Reference>() {
                prop_assert_eq!(name.to_string().parse::<Reference>().unwrap(), name);
            }
        }
    }
}
