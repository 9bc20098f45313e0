//! Proxies for `RUN`, from Docker's `config.json`: what builds are given without being asked.
//!
//! They are arguments that every Dockerfile has (`HTTP_PROXY` and so on, in both cases), so they
//! are in the environment of `RUN` and in no image and no key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Bytes of the file that are read.
const MAX_FILE: u64 = 4 << 20;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    proxies: Option<BTreeMap<String, Proxies>>,
}

#[derive(Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Proxies {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
}

/// Adds the proxies of the file in `folder` to the arguments of a build, where these say nothing:
/// those for `host`, the address of an engine, or else the default ones.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn add(
    folder: &Path,
    host: Option<&str>,
    arguments: &mut BTreeMap<String, String>,
) -> Result<()> {
    let path = folder.join("config.json");
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let config: Config = match text.trim() {
        "" => Config::default(),
        text => {
            serde_json::from_str(text).with_context(|| format!("cannot use {}", path.display()))?
        }
    };
    let all = config.proxies.unwrap_or_default();
    let Some(proxies) = host.and_then(|host| all.get(host)).or_else(|| all.get("default")) else {
        return Ok(());
    };
    for (name, value) in [
        ("HTTP_PROXY", &proxies.http_proxy),
        ("HTTPS_PROXY", &proxies.https_proxy),
        ("NO_PROXY", &proxies.no_proxy),
        ("FTP_PROXY", &proxies.ftp_proxy),
        ("ALL_PROXY", &proxies.all_proxy),
    ] {
        if value.is_empty() {
            continue;
        }
        for name in [name.to_owned(), name.to_lowercase()] {
            arguments.entry(name).or_insert_with(|| value.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_own_or_the_default_ones() {
        let folder = tempfile::tempdir().unwrap();
        let added = |host: Option<&str>| {
            let mut arguments = BTreeMap::from([("http_proxy".to_owned(), "mine".to_owned())]);
            add(folder.path(), host, &mut arguments).map(|()| {
                arguments
                    .into_iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        assert_eq!(added(None).unwrap(), "http_proxy=mine");
        let write = |text: &str| std::fs::write(folder.path().join("config.json"), text).unwrap();
        write(
            r#"{"auths":{},"proxies":{"default":{"httpProxy":"h:1","noProxy":"a,b"},"unix:///x":{"allProxy":"s"}}}"#,
        );
        assert_eq!(
            added(None).unwrap(),
            "HTTP_PROXY=h:1 NO_PROXY=a,b http_proxy=mine no_proxy=a,b"
        );
        assert_eq!(added(Some("unix:///x")).unwrap(), "ALL_PROXY=s all_proxy=s http_proxy=mine");
        assert_eq!(added(Some("unix:///y")).unwrap(), added(None).unwrap());
        for none in ["", "{}", r#"{"proxies":null}"#, r#"{"proxies":{"other":{}}}"#] {
            write(none);
            assert_eq!(added(None).unwrap(), "http_proxy=mine", "{none}");
        }
        write("[");
        assert!(added(None).unwrap_err().to_string().contains("config.json"));
    }
}
