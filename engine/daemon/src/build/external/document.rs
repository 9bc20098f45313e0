//! What a cache says: of which step which layer is the result. Ours, versioned; parsed within
//! bounds, because whoever wrote it may be anybody.

use hull_oci::{Algorithm, Descriptor, Digest, Manifest, chain_id, media_type};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::images::MAX_LAYER_BYTES;

/// What the manifest is.
pub(super) const ARTIFACT: &str = "application/vnd.hull.buildcache.v1";

/// What its config is: a [`Document`].
pub(super) const CONFIG: &str = "application/vnd.hull.buildcache.config.v1+json";

/// What BuildKit's is.
const OF_BUILDKIT: &str = "application/vnd.buildkit.cacheconfig.v0";

/// The version of documents and of keys in image configs.
const VERSION: u32 = 1;

/// Bytes of a document. A transfer takes no larger one.
pub(super) const MAX_BYTES: usize = 8 << 20;

/// Steps of one cache.
const MAX_STEPS: usize = 20_000;

/// Layers of one cache.
const MAX_LAYERS: usize = 10_000;

/// The config of a cache.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    version: u32,
    /// DiffIDs of the manifest's layers.
    diff_ids: Vec<Digest>,
    pub(super) steps: Vec<Step>,
}

/// A step and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) key: Digest,
    /// A further key, over the layers that files come from in place of the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) alias: Option<Digest>,
    /// ChainID of the layers it was made on. In an image config they are those below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) on: Option<Digest>,
    /// Number of its layer.
    pub(super) layer: usize,
    /// When it was made, RFC 3339.
    pub(super) created: String,
    /// For people: the instruction.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
}

/// What stands in the config of an image that has a cache inside.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Inline {
    version: u32,
    pub(super) steps: Vec<Step>,
}

/// A step that a cache knows, and where its layer is.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) step: Step,
    pub(super) layer: Descriptor,
    pub(super) diff_id: Digest,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct Config {
    rootfs: hull_oci::RootFs,
    #[serde(rename = "hull.buildcache.v1")]
    own: Option<serde_json::Value>,
    #[serde(rename = "moby.buildkit.cache.v0")]
    of_buildkit: Option<serde::de::IgnoredAny>,
}

impl Document {
    pub(super) fn new(diff_ids: Vec<Digest>, steps: Vec<Step>) -> Self {
        Self { version: VERSION, diff_ids, steps }
    }

    /// As it is to be hashed and stored.
    ///
    /// # Errors
    /// It is more than anybody would read.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, ApiError> {
        let bytes = serde_json::to_vec(self).map_err(|error| ApiError::internal(&error))?;
        let count = self.steps.len();
        if bytes.len() > MAX_BYTES || count > MAX_STEPS || self.diff_ids.len() > MAX_LAYERS {
            return Err(ApiError::invalid(format!("{count} steps are too many for one cache")));
        }
        Ok(bytes)
    }
}

impl Inline {
    pub(super) fn new(steps: Vec<Step>) -> Self {
        Self { version: VERSION, steps }
    }
}

/// What is known by a cache, or by an image with one inside.
///
/// # Errors
/// It is none, one of BuildKit or of another version, or it contradicts itself.
pub(super) fn read(manifest: &Manifest, config: &[u8]) -> Result<Vec<Known>, ApiError> {
    let kind = manifest.config.media_type.as_str();
    let (diff_ids, steps) = match kind {
        CONFIG => of_document(config)?,
        OF_BUILDKIT => return Err(of_buildkit()),
        kind if media_type::is_image_config(kind) => of_image(config)?,
        kind => return Err(ApiError::invalid(format!("{kind:?} is no build cache"))),
    };
    if diff_ids.len() != manifest.layers.len() {
        return Err(ApiError::invalid(format!(
            "it has {} layers and names {}",
            manifest.layers.len(),
            diff_ids.len()
        )));
    }
    if steps.len() > MAX_STEPS || diff_ids.len() > MAX_LAYERS {
        return Err(ApiError::invalid(format!("it has {} steps, too many", steps.len())));
    }
    let known = |step: Step| {
        let (Some(layer), Some(diff_id)) =
            (manifest.layers.get(step.layer), diff_ids.get(step.layer))
        else {
            return Err(ApiError::invalid(format!("there is no layer {}", step.layer)));
        };
        check(layer, diff_id)?;
        if step.created.parse::<jiff::Timestamp>().is_err() {
            return Err(ApiError::invalid(format!("{:?} is no time", step.created)));
        }
        Ok(Known { layer: layer.clone(), diff_id: diff_id.clone(), step })
    };
    steps.into_iter().map(known).collect()
}

/// A cache that is BuildKit's.
pub(super) fn of_buildkit() -> ApiError {
    ApiError::invalid("it is a cache of BuildKit, whose keys are others than Hull's")
}

/// Whether an index is a cache of BuildKit.
pub(super) fn is_of_buildkit(index: &hull_oci::Index) -> bool {
    index.manifests.iter().any(|child| child.media_type == OF_BUILDKIT)
}

/// Refuses a layer that no layer can be.
fn check(layer: &Descriptor, diff_id: &Digest) -> Result<(), ApiError> {
    let Descriptor { media_type, digest, size, urls, .. } = layer;
    let refused = |why: String| ApiError::invalid(format!("layer {digest}: {why}"));
    if !media_type::is_layer(media_type) {
        return Err(refused(format!("{media_type:?} is no layer")));
    }
    if digest.algorithm() != Algorithm::Sha256 || diff_id.algorithm() != Algorithm::Sha256 {
        return Err(refused("its digest is not sha256".to_owned()));
    }
    if *size > MAX_LAYER_BYTES || !urls.is_empty() {
        return Err(refused("it is too large, or elsewhere".to_owned()));
    }
    Ok(())
}

fn version(bytes: &[u8]) -> Result<(), ApiError> {
    match serde_json::from_slice::<Version>(bytes) {
        Ok(Version { version: VERSION }) => Ok(()),
        Ok(Version { version }) => {
            Err(ApiError::invalid(format!("it has version {version}, this engine reads {VERSION}")))
        }
        Err(error) => Err(unreadable(&error)),
    }
}

fn unreadable(error: &serde_json::Error) -> ApiError {
    ApiError::invalid(format!("it cannot be read: {error}"))
}

fn of_document(bytes: &[u8]) -> Result<(Vec<Digest>, Vec<Step>), ApiError> {
    if bytes.len() > MAX_BYTES {
        return Err(ApiError::invalid(format!("it is larger than {MAX_BYTES} bytes")));
    }
    version(bytes)?;
    let document: Document = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    Ok((document.diff_ids, document.steps))
}

fn of_image(bytes: &[u8]) -> Result<(Vec<Digest>, Vec<Step>), ApiError> {
    let config: Config = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    let diff_ids = config.rootfs.diff_ids;
    let Some(own) = config.own else {
        return Err(match config.of_buildkit {
            Some(_) => of_buildkit(),
            None => ApiError::invalid("the image has no build cache inside"),
        });
    };
    version(own.to_string().as_bytes())?;
    let inline: Inline = serde_json::from_value(own).map_err(|error| unreadable(&error))?;
    let mut steps = inline.steps;
    for step in &mut steps {
        step.on = diff_ids.get(..step.layer).and_then(chain_id);
    }
    Ok((diff_ids, steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(layer: usize) -> Step {
        Step {
            key: Digest::sha256(b"key"),
            alias: None,
            on: None,
            layer,
            created: "2024-01-01T00:00:00Z".to_owned(),
            description: "RUN x".to_owned(),
        }
    }

    fn layer() -> Descriptor {
        Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer")
    }

    fn manifest(kind: &str, config: &[u8], layers: Vec<Descriptor>) -> Manifest {
        Manifest::of(Descriptor::of(kind, config), layers)
    }

    #[track_caller]
    fn refused(kind: &str, config: &str, layers: Vec<Descriptor>, part: &str) {
        let manifest = manifest(kind, config.as_bytes(), layers);
        let error = read(&manifest, config.as_bytes()).unwrap_err().message;
        assert!(error.contains(part), "{config}: {error}");
    }

    #[test]
    fn what_is_written_is_read() {
        let diff_id = Digest::sha256(b"plain");
        let bytes = Document::new(vec![diff_id.clone()], vec![step(0)]).to_bytes().unwrap();
        let known = read(&manifest(CONFIG, &bytes, vec![layer()]), &bytes).unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!(
            (&known[0].step, &known[0].layer, &known[0].diff_id),
            (&step(0), &layer(), &diff_id)
        );
    }

    #[test]
    fn an_image_has_its_own_layers() {
        let (low, high) = (Digest::sha256(b"low"), Digest::sha256(b"high"));
        let inline = serde_json::to_value(Inline::new(vec![step(1)])).unwrap();
        let config = serde_json::json!({
            "rootfs": {"type": "layers", "diff_ids": [low, high]},
            "hull.buildcache.v1": inline,
        });
        let bytes = config.to_string();
        let manifest = manifest(media_type::OCI_CONFIG, bytes.as_bytes(), vec![layer(), layer()]);
        let known = read(&manifest, bytes.as_bytes()).unwrap();
        assert_eq!(known[0].diff_id, high);
        assert_eq!(known[0].step.on, Some(low));
    }

    #[test]
    fn what_is_no_cache_of_ours_is_refused() {
        let digest = Digest::sha256(b"x");
        let document =
            |steps: &str| format!(r#"{{"version":1,"diffIds":["{digest}"],"steps":[{steps}]}}"#);
        let step = |layer: &str, created: &str| {
            document(&format!(r#"{{"key":"{digest}","layer":{layer},"created":"{created}"}}"#))
        };
        let time = "2024-01-01T00:00:00Z";
        refused(CONFIG, r#"{"version":2}"#, vec![], "it has version 2, this engine reads 1");
        refused(CONFIG, "{}", vec![], "cannot be read");
        refused(CONFIG, &document(""), vec![], "it has 0 layers and names 1");
        refused(CONFIG, &step("1", time), vec![layer()], "there is no layer 1");
        refused(CONFIG, &step("-1", time), vec![layer()], "cannot be read");
        refused(CONFIG, &step("0", "now"), vec![layer()], "is no time");
        refused(CONFIG, &format!("{}{}", document(""), " ".repeat(MAX_BYTES)), vec![], "larger");
        let mut not_a_layer = layer();
        not_a_layer.media_type = media_type::OCI_CONFIG.to_owned();
        refused(CONFIG, &step("0", time), vec![not_a_layer], "is no layer");
        let mut huge = layer();
        huge.size = u64::MAX;
        refused(CONFIG, &step("0", time), vec![huge], "too large");
        let mut elsewhere = layer();
        elsewhere.urls = vec!["http://127.0.0.1/".to_owned()];
        refused(CONFIG, &step("0", time), vec![elsewhere], "elsewhere");
        let one = format!(r#"{{"key":"{digest}","layer":0,"created":"{time}"}}"#);
        let many = vec![one.as_str(); MAX_STEPS + 1].join(",");
        refused(CONFIG, &document(&many), vec![layer()], "too many");
        refused(OF_BUILDKIT, "{}", vec![], "a cache of BuildKit");
        refused("application/x", "{}", vec![], "\"application/x\" is no build cache");
        let image = r#"{"rootfs":{"type":"layers","diff_ids":[]}}"#;
        refused(media_type::OCI_CONFIG, image, vec![], "no build cache inside");
        let image = r#"{"rootfs":{"type":"layers","diff_ids":[]},"moby.buildkit.cache.v0":"e30="}"#;
        refused(media_type::OCI_CONFIG, image, vec![], "a cache of BuildKit");
        let image = r#"{"rootfs":{"type":"layers"},"hull.buildcache.v1":{"version":9}}"#;
        refused(media_type::OCI_CONFIG, image, vec![], "version 9");
    }
}
