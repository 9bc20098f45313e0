//! What is said of an image in statements beside it, as BuildKit lays them down: a manifest of its
//! own in the same index, for no platform, with a layer for each statement.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use hull_api::build::{BuildRequest, Provenance};
use hull_attestation::{
    Build, Material, Mode, PREDICATE_TYPE, STATEMENT_MEDIA_TYPE, Statement, provenance, spdx,
};
use hull_builder::plan::Plan;
use hull_oci::{Descriptor, ImageConfig, Manifest, Platform, Reference, RootFs, media_type};
use hull_worker::client::run as run_job;
use hull_worker::job::{Answer, Job};

use super::job::unexpected;
use crate::error::ApiError;
use crate::worker_stream::failed;

/// What made the statements.
const TOOL: &str = concat!("hull-", env!("CARGO_PKG_VERSION"));

/// Who builds. It is no address of anybody: a build says no more than it knows.
const BUILDER: &str = "";

/// Annotations of the descriptor in the index.
const SUBJECT: &str = "vnd.docker.reference.digest";
const KIND: &str = "vnd.docker.reference.type";
const ATTESTATION: &str = "attestation-manifest";

/// How an image was built, kept until it has a manifest.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) file_name: String,
    pub(super) dockerfile: Vec<u8>,
    pub(super) steps: Vec<String>,
    pub(super) materials: Vec<Material>,
    /// Begin and end; none where the build is to be reproducible.
    pub(super) times: Option<(String, String)>,
}

/// A document to be kept.
pub(super) struct Document {
    pub(super) descriptor: Descriptor,
    pub(super) bytes: Vec<u8>,
}

/// Whether anything is to be said.
pub(super) fn is_wanted(request: &BuildRequest) -> bool {
    request.sbom || request.provenance.is_some()
}

/// The documents that say it of the image `descriptor`; the last one is the manifest, its
/// descriptor as it stands in the index. `root` is the image's file system.
pub(super) fn documents(
    request: &BuildRequest,
    worker: &Path,
    root: &OwnedFd,
    (descriptor, platform): (&Descriptor, &Platform),
    names: &[Reference],
    origin: &Origin,
    created: &str,
) -> Result<Vec<Document>, ApiError> {
    let place = platform.to_string();
    let mut statements = Vec::new();
    if request.sbom {
        statements.push(bill(worker, root, names, created)?);
    }
    if let Some(mode) = request.provenance {
        statements.push(built(request, mode, &place, origin));
    }
    let mut documents: Vec<Document> = Vec::new();
    let mut layers = Vec::new();
    for statement in statements {
        let bytes = statement.to_bytes(names, &place, &descriptor.digest);
        let mut layer = Descriptor::of(STATEMENT_MEDIA_TYPE, &bytes);
        let kind = statement.predicate_type.to_owned();
        layer.annotations.insert(PREDICATE_TYPE.to_owned(), kind);
        layers.push(layer.clone());
        documents.push(Document { descriptor: layer, bytes });
    }
    let config = ImageConfig {
        architecture: "unknown".to_owned(),
        os: "unknown".to_owned(),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            // A statement is not compressed: its digest is its diffID.
            diff_ids: layers.iter().map(|layer| layer.digest.clone()).collect(),
        },
        ..ImageConfig::default()
    };
    let bytes = config.to_bytes();
    let config = Descriptor::of(media_type::OCI_CONFIG, &bytes);
    documents.push(Document { descriptor: config.clone(), bytes });
    let bytes = Manifest::of(config, layers).to_bytes();
    let mut manifest = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
    manifest.platform = Some(Platform {
        os: "unknown".to_owned(),
        architecture: "unknown".to_owned(),
        variant: None,
    });
    manifest.annotations.insert(SUBJECT.to_owned(), descriptor.digest.to_string());
    manifest.annotations.insert(KIND.to_owned(), ATTESTATION.to_owned());
    documents.push(Document { descriptor: manifest, bytes });
    Ok(documents)
}

/// Which packages are in the image. Its databases are read by a sealed worker.
fn bill(
    worker: &Path,
    root: &OwnedFd,
    names: &[Reference],
    created: &str,
) -> Result<Statement, ApiError> {
    let (release, packages) = match run_job(worker, &Job::Packages, &[root.as_fd()]) {
        Ok(Answer::Packages { release, packages }) => (release, packages),
        Ok(other) => return Err(unexpected(&other)),
        Err(error) => {
            return Err(failed(&error).context("cannot list the packages of the image"));
        }
    };
    let name = names.first().map_or_else(|| "image".to_owned(), Reference::familiar);
    Ok(spdx(&name, &release, &packages, created, TOOL))
}

/// How it was built.
fn built(request: &BuildRequest, mode: Provenance, platform: &str, origin: &Origin) -> Statement {
    let secrets: Vec<String> = request.secrets.keys().cloned().collect();
    let times = origin.times.as_ref().map(|(begin, end)| (begin.as_str(), end.as_str()));
    // Proxies are in nothing that leaves this host: their addresses may hold a password.
    let is_proxy = |name: &str| name.to_ascii_lowercase().ends_with("_proxy");
    let mut args = request.build_args.clone();
    args.retain(|name, _| !is_proxy(name));
    let build = Build {
        target: request.target.as_deref(),
        platform,
        args: &args,
        labels: &request.labels,
        secrets: &secrets,
        file_name: &origin.file_name,
        dockerfile: &origin.dockerfile,
        steps: &origin.steps,
        materials: &origin.materials,
        times,
        builder: match request.builder_id.as_str() {
            "" => BUILDER,
            given => given,
        },
    };
    let mode = match mode {
        Provenance::Min => Mode::Min,
        Provenance::Max => Mode::Max,
    };
    provenance(&build, mode)
}

/// The steps of a plan, as they are shown.
pub(super) fn steps(plan: &Plan) -> Vec<String> {
    let steps = plan.stages.iter().flat_map(|stage| {
        stage.base_display.iter().chain(stage.steps.iter().map(|step| &step.display))
    });
    steps.filter(|step| !step.is_empty()).cloned().collect()
}
