//! Drafts of manifest lists, kept as Docker's client keeps them: beside its `config.json`, a
//! folder for each list, in it a file for each manifest.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hull_oci::{Digest, Reference, media_type};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::registry;

/// The most that is read of a file, in bytes: a manifest in base64 and what is said of it.
const MAX_FILE: u64 = 12 << 20;

/// What a manifest is for, with everything a list may say. Spec: image-spec, image-index.md.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ManifestPlatform {
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub(super) os_version: String,
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub(super) os_features: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) variant: String,
}

/// Operating systems and their architectures, as Go knows them.
const KNOWN: &[(&str, &str)] = &[
    ("aix", "ppc64"),
    ("android", "386 amd64 arm arm64"),
    ("darwin", "386 amd64 arm arm64"),
    ("dragonfly", "amd64"),
    ("freebsd", "386 amd64 arm arm64 riscv64"),
    ("illumos", "amd64"),
    ("ios", "arm64 amd64"),
    ("js", "wasm"),
    (
        "linux",
        "386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc64 ppc64le riscv64 s390x sparc64",
    ),
    ("netbsd", "386 amd64 arm arm64"),
    ("openbsd", "386 amd64 arm arm64 mips64 ppc64 riscv64"),
    ("plan9", "386 amd64 arm"),
    ("solaris", "amd64"),
    ("wasip1", "wasm"),
    ("windows", "386 amd64 arm arm64"),
];

impl ManifestPlatform {
    /// Whether there is such a pair of system and architecture.
    pub(super) fn is_known(&self) -> bool {
        KNOWN.iter().any(|(os, architectures)| {
            *os == self.os && architectures.split(' ').any(|known| known == self.architecture)
        })
    }
}

/// A member of a list. The order of its fields is that of Docker's lists, whose bytes have a
/// digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) size: u64,
    pub(super) digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<ManifestPlatform>,
}

/// One manifest of a list, as its file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Draft {
    /// Where it came from.
    #[serde(rename = "Ref")]
    pub(super) reference: String,
    pub(super) descriptor: Descriptor,
    /// The manifest, byte for byte.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub(super) raw: Vec<u8>,
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// Whether a media type is one of lists.
pub(super) fn is_list(kind: &str) -> bool {
    kind == media_type::OCI_INDEX || kind == media_type::DOCKER_INDEX
}

impl Draft {
    /// A manifest that came from a registry as `digest`.
    ///
    /// # Errors
    /// It has another digest, or is none of an image.
    pub(super) fn new(
        name: &Reference,
        media_type: String,
        digest: &str,
        raw: Vec<u8>,
        platform: ManifestPlatform,
    ) -> Result<Self> {
        let actual = Digest::sha256(&raw);
        let digest: Digest = if digest.is_empty() { actual } else { digest.parse()? };
        let draft = Self {
            reference: name.to_string(),
            descriptor: Descriptor {
                media_type,
                size: raw.len() as u64,
                digest,
                platform: Some(platform),
            },
            raw,
        };
        draft.check()?;
        Ok(draft)
    }

    /// Whether its parts fit together.
    fn check(&self) -> Result<()> {
        let Descriptor { digest, size, .. } = &self.descriptor;
        let mut hasher = hull_oci::Hasher::new(digest.algorithm());
        hasher.update(&self.raw);
        let actual = hasher.finish();
        ensure!(
            actual == *digest && self.raw.len() as u64 == *size,
            "the manifest of {} has digest {actual} and {} bytes, not {digest} and {size}",
            self.reference,
            self.raw.len()
        );
        Ok(())
    }

    /// As `inspect --verbose` shows it.
    pub(super) fn display(&self) -> Result<Vec<u8>> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Shown<'a> {
            #[serde(rename = "Ref")]
            reference: &'a str,
            descriptor: &'a Descriptor,
            raw: String,
            #[serde(rename = "SchemaV2Manifest", skip_serializing_if = "Option::is_none")]
            docker: Option<&'a RawValue>,
            #[serde(rename = "OCIManifest", skip_serializing_if = "Option::is_none")]
            oci: Option<&'a RawValue>,
        }
        let manifest: &RawValue = serde_json::from_slice(&self.raw)
            .with_context(|| format!("the manifest of {} is no JSON", self.reference))?;
        let is_docker = self.descriptor.media_type == media_type::DOCKER_MANIFEST;
        Ok(serde_json::to_vec(&Shown {
            reference: &self.reference,
            descriptor: &self.descriptor,
            raw: STANDARD.encode(&self.raw),
            docker: is_docker.then_some(manifest),
            oci: (!is_docker).then_some(manifest),
        })?)
    }
}

/// A list of these members: its media type, and its bytes as Docker's client writes them.
pub(super) fn list(members: Vec<Descriptor>) -> (&'static str, Vec<u8>) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List {
        schema_version: u8,
        media_type: &'static str,
        manifests: Vec<Descriptor>,
    }
    let oci = members.first().is_some_and(|member| member.media_type == media_type::OCI_MANIFEST);
    let kind = if oci { media_type::OCI_INDEX } else { media_type::DOCKER_INDEX };
    let list = List { schema_version: 2, media_type: kind, manifests: members };
    // A struct of strings and numbers has a JSON form.
    let json = serde_json::to_vec(&list).unwrap_or_default();
    (kind, crate::format::object::indent_by(&json, "   "))
}

/// The members of a list that came from a registry.
///
/// # Errors
/// It is none.
pub(super) fn list_members(bytes: &[u8]) -> Result<Vec<Descriptor>> {
    #[derive(Deserialize)]
    struct List {
        manifests: Vec<Descriptor>,
    }
    let list: List = serde_json::from_slice(bytes).context("the manifest list is damaged")?;
    ensure!(list.manifests.len() <= 1000, "the manifest list names more than 1000 manifests");
    Ok(list.manifests)
}

/// The drafts of one user.
#[derive(Debug)]
pub(super) struct Drafts(PathBuf);

impl Drafts {
    /// Those beside Docker's `config.json`.
    ///
    /// # Errors
    /// Nothing tells where that is.
    pub(super) fn of_user() -> Result<Self> {
        Ok(Self(registry::store()?.folder().join("manifests")))
    }

    /// Every manifest of a list; none where there is no such list.
    ///
    /// # Errors
    /// A file that cannot be read or is no draft.
    pub(super) fn all(&self, list: &Reference) -> Result<Vec<Draft>> {
        let folder = self.folder(list);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context(format!("cannot read {}", folder.display())),
        };
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("cannot read {}", folder.display()))?;
        // One that is being written is no draft yet.
        paths.retain(|path| path.extension().is_none_or(|extension| extension != "part"));
        paths.sort();
        paths.iter().map(|path| read(path)).collect()
    }

    /// One manifest of a list.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub(super) fn get(&self, list: &Reference, manifest: &Reference) -> Result<Draft> {
        let path = self.folder(list).join(file_name(manifest));
        if !path.exists() {
            bail!("manifest for image {manifest} does not exist in {list}");
        }
        read(&path)
    }

    /// Keeps a manifest of a list, in one step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(&self, list: &Reference, manifest: &Reference, draft: &Draft) -> Result<()> {
        let folder = self.folder(list);
        let path = folder.join(file_name(manifest));
        let context = || format!("cannot write {}", path.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).with_context(context)?;
        let temporary = folder.join(format!("{}.part", std::process::id()));
        let written = serde_json::to_vec(draft).map_err(std::io::Error::from);
        let written = written
            .and_then(|json| fs::write(&temporary, json))
            .and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            // The error at hand says more than one about what is left.
            let _ = fs::remove_file(&temporary);
        }
        written.with_context(context)
    }

    /// Forgets a list.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) fn remove(&self, list: &Reference) -> Result<()> {
        let folder = self.folder(list);
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    fn folder(&self, list: &Reference) -> PathBuf {
        self.0.join(file_name(list))
    }
}

/// A reference as the name of a file, as Docker's client makes it. A reference holds neither empty
/// parts nor dots alone, so this is never a way out of the folder.
fn file_name(name: &Reference) -> String {
    name.to_string().replace(':', "-").replace('/', "_")
}

fn read(path: &Path) -> Result<Draft> {
    let context = || format!("cannot read the draft {}", path.display());
    let size = fs::metadata(path).with_context(context)?.len();
    ensure!(size <= MAX_FILE, "the draft {} has more than {MAX_FILE} bytes", path.display());
    let bytes = fs::read(path).with_context(context)?;
    let draft: Draft = serde_json::from_slice(&bytes).with_context(context)?;
    draft.check().with_context(context)?;
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(name: &str, raw: &[u8]) -> Draft {
        let name: Reference = name.parse().unwrap();
        let platform = ManifestPlatform {
            architecture: "arm".into(),
            os: "linux".into(),
            variant: "v7".into(),
            ..ManifestPlatform::default()
        };
        Draft::new(&name, media_type::DOCKER_MANIFEST.into(), "", raw.into(), platform).unwrap()
    }

    #[test]
    fn drafts_are_kept_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let drafts = Drafts(folder.path().join("manifests"));
        let list: Reference = "localhost:5000/a/b:v1".parse().unwrap();
        let member = draft(
            "localhost:5000/a/c@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            b"{}",
        );
        let name: Reference = member.reference.parse().unwrap();
        assert!(drafts.all(&list).unwrap().is_empty());
        assert!(drafts.get(&list, &name).unwrap_err().to_string().contains("does not exist in"));
        drafts.save(&list, &name, &member).unwrap();
        assert_eq!(drafts.get(&list, &name).unwrap(), member);
        assert_eq!(drafts.all(&list).unwrap(), std::slice::from_ref(&member));
        let path = folder.path().join("manifests/localhost-5000_a_b-v1");
        let file = fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("e30=", "e31=")).unwrap();
        assert!(format!("{:#}", drafts.all(&list).unwrap_err()).contains("cannot read the draft"));
        drafts.remove(&list).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn lists_are_written_as_docker_does() {
        let (kind, bytes) = list(vec![draft("a", b"{}").descriptor]);
        assert_eq!(kind, media_type::DOCKER_INDEX);
        let expected = r#"{
   "schemaVersion": 2,
   "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
   "manifests": [
      {
         "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
         "size": 2,
         "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
         "platform": {
            "architecture": "arm",
            "os": "linux",
            "variant": "v7"
         }
      }
   ]
}"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert_eq!(list_members(&bytes).unwrap(), [draft("a", b"{}").descriptor]);
        assert!(list_members(b"{}").is_err());
    }

    #[test]
    fn a_manifest_of_another_digest_is_refused() {
        let name: Reference = "a".parse().unwrap();
        let digest = Digest::sha256(b"other").to_string();
        let made =
            Draft::new(&name, String::new(), &digest, b"{}".into(), ManifestPlatform::default());
        assert!(made.unwrap_err().to_string().contains("has digest"));
        let known = |os: &str, architecture: &str| {
            let (os, architecture) = (os.to_owned(), architecture.to_owned());
            ManifestPlatform { os, architecture, ..ManifestPlatform::default() }.is_known()
        };
        assert!(known("linux", "riscv64") && !known("linux", "x86") && !known("", ""));
    }
}
