//! The image config. Spec: image-spec, config.md, with the fields Docker adds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::lenient::{key_set, null_default, words};
use crate::parse::{MAX_CONFIG_BYTES, ParseDocumentError, invalid, json};
use crate::{Digest, Platform};

/// An image: what it runs on, its defaults, its layers and how they came to be. The digest of the
/// document's bytes is the image ID.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// CPU architecture, in Go's words (`amd64`).
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// Variant of the architecture (`v8`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Operating system.
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// Who made it.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What Docker calls the commit message.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// When, RFC 3339; absent in reproducible images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Defaults for containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RuntimeConfig>,
    /// The layers by their uncompressed content.
    pub rootfs: RootFs,
    /// How it was built, oldest first.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Which steps of a build gave which layers, for builds elsewhere (`--cache-to type=inline`).
    #[serde(rename = "hull.buildcache.v1", default, skip_serializing_if = "Option::is_none")]
    pub build_cache: Option<serde_json::Value>,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// diffIDs, lowest first.
    #[serde(default, deserialize_with = "null_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One step of an image's making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command or instruction.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Free text.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

/// Defaults for containers of an image. Absent, `null` and empty are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuntimeConfig {
    /// `user`, `uid`, `user:group` ...; empty is root.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/protocol`, documentation only.
    #[serde(default, with = "key_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// First words of the command.
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The words after the entrypoint.
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Probe of a container's health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Windows only: the command line is one escaped string.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// Paths that get an anonymous volume.
    #[serde(default, with = "key_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Working directory; empty is `/`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Build instructions for images made from this one.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Labels.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks it to stop; empty is SIGTERM.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds between that signal and SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of instructions written without brackets.
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// A probe of a container's health. Durations are nanoseconds; 0 takes the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", command]`; empty inherits.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between probes.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Until a probe counts as failed.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// From start, failures do not count.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between probes during the start period.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row until unhealthy.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl ImageConfig {
    /// Reads an image config of at most [`MAX_CONFIG_BYTES`].
    ///
    /// # Errors
    /// Too large, not JSON of this shape, or a root file system that is not made of layers.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseDocumentError> {
        let config: Self = json("image config", bytes, MAX_CONFIG_BYTES)?;
        if config.rootfs.kind != "layers" {
            let reason = format!("rootfs of type {:?}, not \"layers\"", config.rootfs.kind);
            return Err(invalid("image config", reason));
        }
        Ok(config)
    }

    /// The document, as it is to be hashed and stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an image config has text keys")
    }

    /// What the image runs on, with the architecture's other names folded.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
        .normalized()
    }

    /// The defaults for containers, empty ones if the image has none.
    pub fn runtime(&self) -> RuntimeConfig {
        self.config.clone().unwrap_or_default()
    }
}

/// The chainID of layers by their diffIDs, lowest first; `None` for no layer.
///
/// Spec: image-spec, config.md, "Layer ChainID".
pub fn chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    let (first, rest) = diff_ids.split_first()?;
    Some(rest.iter().fold(first.clone(), |chain, diff_id| {
        Digest::sha256(format!("{chain} {diff_id}").as_bytes())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker_writes_it() {
        let diff_id = Digest::sha256(b"layer");
        let text = format!(
            r#"{{"architecture":"amd64","config":{{"Hostname":"","User":"","AttachStdin":false,
            "ExposedPorts":{{"80/tcp":{{}}}},"Env":null,"Cmd":["sh"],"Healthcheck":
            {{"Test":["CMD","x"],"Interval":30000000000}},"Volumes":null,"WorkingDir":"","Entrypoint":
            null,"OnBuild":[],"Labels":null,"StopSignal":"SIGINT","Shell":"sh"}},"container":"ab",
            "created":"2024-01-01T00:00:00Z","docker_version":"20.10","history":[{{"created":
            "2024-01-01T00:00:00Z","created_by":"/bin/sh -c #(nop) CMD","empty_layer":true}}],
            "os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        let runtime = config.runtime();
        assert_eq!(runtime.cmd, ["sh"]);
        assert_eq!(runtime.shell, ["sh"]);
        assert!(runtime.env.is_empty() && runtime.labels.is_empty());
        assert!(runtime.exposed_ports.contains("80/tcp"));
        assert_eq!(runtime.healthcheck.as_ref().unwrap().interval, 30_000_000_000);
        assert_eq!(config.rootfs.diff_ids, [diff_id]);
        assert!(config.history[0].empty_layer);
        let again = serde_json::to_vec(&config).unwrap();
        assert_eq!(ImageConfig::parse(&again).unwrap(), config);
        assert!(String::from_utf8(again).unwrap().contains(r#""ExposedPorts":{"80/tcp":{}}"#));
    }

    #[test]
    fn refused() {
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"rootfs":{"type":"base","diff_ids":[]}}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":["sha256:zz"]}}"#,
            r#"{"rootfs":{"type":"layers"},"config":{"Env":"A=b"}}"#,
            r#"{"rootfs":{"type":"layers"},"config":{"Volumes":["/x"]}}"#,
        ] {
            assert!(ImageConfig::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let nulls = r#"{"architecture":null,"os":null,"config":null,"history":null,
            "rootfs":{"type":"layers","diff_ids":null}}"#;
        assert_eq!(ImageConfig::parse(nulls.as_bytes()).unwrap(), ImageConfig::default());
    }

    #[test]
    fn chains() {
        let [a, b] = [Digest::sha256(b"a"), Digest::sha256(b"b")];
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(std::slice::from_ref(&a)), Some(a.clone()));
        let two = Digest::sha256(format!("{a} {b}").as_bytes());
        assert_eq!(chain_id(&[a, b]), Some(two));
    }
}
