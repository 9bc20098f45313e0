//! How an image was built. Spec: SLSA provenance 1.0.

use std::collections::BTreeMap;

use hull_oci::Digest;
use serde_json::{Value, json};

use crate::Statement;

/// What this kind of statement is called.
const PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// What kind of build it is: what the parameters mean.
const BUILD_TYPE: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What went in. Arguments, which may hold what is not for everybody, are left out.
    Min,
    /// Also the arguments, the Dockerfile and its steps.
    Max,
}

/// Something that went into a build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// A package URL of an image, or the address of a file or repository.
    pub uri: String,
    /// By algorithm, its digest in hex.
    pub digest: BTreeMap<String, String>,
}

/// A build, as far as it is told.
#[derive(Debug, Clone)]
pub struct Build<'a> {
    /// The stage that was built.
    pub target: Option<&'a str>,
    /// What was built for.
    pub platform: &'a str,
    /// `--build-arg`
    pub args: &'a BTreeMap<String, String>,
    /// `--label`
    pub labels: &'a BTreeMap<String, String>,
    /// Ids of secrets that were given, never what they hold.
    pub secrets: &'a [String],
    /// Name of the Dockerfile.
    pub file_name: &'a str,
    /// Its bytes.
    pub dockerfile: &'a [u8],
    /// Its steps, as they are shown.
    pub steps: &'a [String],
    /// What went in.
    pub materials: &'a [Material],
    /// Begin and end, RFC 3339 in UTC; left out of reproducible builds.
    pub times: Option<(&'a str, &'a str)>,
    /// Who built it.
    pub builder: &'a str,
}

/// Says how an image was built.
pub fn provenance(build: &Build<'_>, mode: Mode) -> Statement {
    let max = mode == Mode::Max;
    let mut args: BTreeMap<String, String> = BTreeMap::new();
    if let Some(target) = build.target {
        args.insert("target".to_owned(), target.to_owned());
    }
    if max {
        let given = build.args.iter().map(|(name, value)| (format!("build-arg:{name}"), value));
        let labels = build.labels.iter().map(|(name, value)| (format!("label:{name}"), value));
        args.extend(given.chain(labels).map(|(name, value)| (name, value.clone())));
    }
    let secrets: Vec<Value> =
        build.secrets.iter().map(|id| json!({ "id": id, "optional": true })).collect();
    let mut request = json!({ "frontend": "dockerfile.v0", "args": args });
    if max && !secrets.is_empty() {
        request["secrets"] = secrets.into();
    }
    let mut internal = json!({ "builderPlatform": build.platform });
    let mut metadata = json!({
        "hermetic": false,
        "completeness": { "request": max, "resolvedDependencies": true },
        "reproducible": false,
    });
    if let Some((begin, end)) = build.times {
        metadata["startedOn"] = begin.into();
        metadata["finishedOn"] = end.into();
    }
    if max {
        internal["buildConfig"] = json!({ "steps": build.steps });
        metadata["source"] = json!({
            "infos": [{
                "filename": build.file_name,
                "language": "Dockerfile",
                "data": String::from_utf8_lossy(build.dockerfile),
                "digest": Digest::sha256(build.dockerfile).as_str(),
            }],
        });
    }
    let materials: Vec<Value> = build
        .materials
        .iter()
        .map(|material| json!({ "uri": material.uri, "digest": material.digest }))
        .collect();
    let predicate = json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "configSource": { "path": build.file_name },
                "request": request,
            },
            "internalParameters": internal,
            "resolvedDependencies": materials,
        },
        "runDetails": { "builder": { "id": build.builder }, "metadata": metadata },
    });
    Statement { predicate_type: PREDICATE, predicate }
}
